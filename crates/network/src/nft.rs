//! nf_tables without a helper program: tables, chains, sets and rules written as nfnetlink messages.
//!
//! `table` names the objects, `expr` the pieces of a rule, `transaction` sends them: the kernel applies a transaction
//! wholly or not at all (`include/uapi/linux/netfilter/nf_tables.h`).

pub(crate) mod expr;
pub(crate) mod table;
mod transaction;

pub(crate) use table::{Chain, Element, Family, Hook, Set};
pub(crate) use transaction::{Transaction, table_exists};
