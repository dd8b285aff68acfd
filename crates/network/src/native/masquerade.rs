//! Pods of the built-in network reach the world under the node's addresses.

use super::NativeError;
use crate::config::{Subnet, Subnets};
use crate::hostport::remove_tables;
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expr::{Expr, in_subnet, prefix};
use crate::nft::{Chain, Family, Hook, Transaction, table_exists};

/// One table per family.
pub(crate) const TABLE: &str = "ochre-net";

/// Whether a family's table is there: firewall services flush everything when they reload.
pub(crate) fn exists(socket: &mut Socket, family: Family, table: &str) -> Result<bool, NetlinkError> {
    table_exists(socket, family, table)
}

/// Puts the table of a subnet's family there, in place of one of an earlier life.
pub(crate) fn install(socket: &mut Socket, table: &str, subnet: Subnet) -> Result<(), NetlinkError> {
    let family = Family::of(subnet.gateway());
    let mut transaction = Transaction::new(family, table);
    transaction.replace_table();
    let hook = Some(Hook { kind: "nat", number: 4, priority: 100 });
    transaction.add_chain(Chain { name: "postrouting", hook });
    let pods = prefix(subnet.gateway(), subnet.prefix());
    let (multicast, length) = family.multicast();
    let multicast = prefix(multicast, length);
    let mut rule: Vec<Expr<'_>> = Vec::new();
    rule.extend(in_subnet(family, &pods, family.source_offset(), true));
    rule.extend(in_subnet(family, &pods, family.destination_offset(), false));
    rule.extend(in_subnet(family, &multicast, family.destination_offset(), false));
    rule.push(Expr::Masquerade);
    transaction.add_rule("postrouting", &rule);
    transaction.commit(socket)
}

/// Removes the tables.
pub(crate) fn remove(table: &str, subnets: &Subnets) -> Result<(), NativeError> {
    remove_tables(table)
        .map_err(|source| NativeError::Masquerade { subnets: subnets.to_string(), source: Box::new(source) })
}
