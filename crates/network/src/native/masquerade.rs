//! Pods of the built-in network reach the world under the node's address.

use super::NativeError;
use crate::config::Subnet;
use crate::hostport::remove_tables;
use crate::netlink::{NetlinkError, Socket};
use crate::nft::expr::{Expr, in_subnet, prefix};
use crate::nft::{Chain, Family, Hook, Transaction, table_exists};

const TABLE: &str = "ochre-net";

/// Whether the table is there: firewall services flush everything when they reload.
pub(crate) fn exists(socket: &mut Socket) -> Result<bool, NetlinkError> {
    table_exists(socket, Family::V4, TABLE)
}

/// Puts the table there, in place of one of an earlier life.
pub(crate) fn install(socket: &mut Socket, subnet: Subnet) -> Result<(), NetlinkError> {
    let mut transaction = Transaction::new(Family::V4, TABLE);
    transaction.replace_table();
    let hook = Some(Hook { kind: "nat", number: 4, priority: 100 });
    transaction.add_chain(Chain { name: "postrouting", hook });
    let (network, mask) = prefix(subnet.gateway(), subnet.prefix());
    let multicast = [224, 0, 0, 0];
    let mut rule: Vec<Expr<'_>> = Vec::new();
    rule.extend(in_subnet(&network, mask, false, true));
    rule.extend(in_subnet(&network, mask, true, false));
    rule.extend(in_subnet(&multicast, [240, 0, 0, 0], true, false));
    rule.push(Expr::Masquerade);
    transaction.add_rule("postrouting", &rule);
    transaction.commit(socket)
}

/// Removes the table.
pub(crate) fn remove(subnet: Subnet) -> Result<(), NativeError> {
    remove_tables(TABLE)
        .map_err(|source| NativeError::Masquerade { subnet: subnet.to_string(), source: Box::new(source) })
}
