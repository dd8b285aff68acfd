//! A transaction: messages between `BATCH_BEGIN` and `BATCH_END`, applied wholly or not at all.

use super::expr::Expr;
use super::table::TYPE_DEVICE_NAME;
use super::{Chain, Element, Family, Set};
use crate::netlink::message::{ACK, APPEND, CREATE, Writer};
use crate::netlink::{Answer, Batch, NetlinkError, Socket};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;

const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_CONCATENATION: u32 = 0x80;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
/// Elements in one message: an attribute is limited to 64 KiB.
const CHUNK: usize = 128;

/// A transaction on one table.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    batch: Batch,
    family: Family,
    table: &'a str,
    /// What each message does, by sequence number; for errors.
    actions: Vec<String>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(family: Family, table: &'a str) -> Self {
        let mut transaction = Self { batch: Batch::new(), family, table, actions: Vec::new() };
        transaction.actions.push("start a firewall transaction".into());
        transaction.batch.message(BATCH_BEGIN, 0, |m| m.raw(&[0, 0, 0, 10]));
        transaction
    }

    /// Makes the table; fine when it exists.
    pub(crate) fn add_table(&mut self) {
        self.message(NEW_TABLE, CREATE, "make table".into(), |_, _| {});
    }

    /// Removes the table with everything in it.
    pub(crate) fn delete_table(&mut self) {
        self.message(DELETE_TABLE, 0, "remove table".into(), |_, _| {});
    }

    /// Starts the table afresh: whatever was in it is replaced, in the same instant, by what follows.
    pub(crate) fn replace_table(&mut self) {
        self.add_table();
        self.delete_table();
        self.add_table();
    }

    pub(crate) fn add_chain(&mut self, chain: Chain) {
        self.message(NEW_CHAIN, CREATE, format!("make chain {} in", chain.name), |m, _| {
            m.text(3, chain.name);
            if let Some(hook) = chain.hook {
                m.nested(4, |m| {
                    m.number(1, hook.number);
                    m.number(2, hook.priority.cast_unsigned());
                });
                m.text(7, hook.kind);
            }
        });
    }

    pub(crate) fn add_set(&mut self, set: &Set, id: u32) {
        let concatenated = set.key_parts.len() > 1;
        let mut flags = 0;
        flags |= if set.value.is_some() { SET_MAP } else { 0 };
        flags |= if set.ranges { SET_INTERVAL } else { 0 };
        flags |= if set.ranges && concatenated { SET_CONCATENATION } else { 0 };
        self.message(NEW_SET, CREATE, format!("make set {} in", set.name), |m, _| {
            m.text(2, set.name);
            m.number(3, flags);
            m.number(4, set.key_type);
            m.number(5, set.key_parts.iter().map(|part| part.next_multiple_of(4)).sum());
            if let Some((kind, length)) = set.value {
                m.number(6, kind);
                m.number(7, length);
            }
            if set.ranges && concatenated {
                m.nested(9, |m| {
                    m.nested(2, |m| {
                        for part in &set.key_parts {
                            m.nested(NFTA_LIST_ELEM, |m| m.number(1, *part));
                        }
                    });
                });
            }
            m.number(10, id);
            if set.key_type == TYPE_DEVICE_NAME {
                // For the `nft` program only: the key is in the machine's byte order (tag 0, a 32-bit 1).
                let [a, b, c, d] = 1u32.to_ne_bytes();
                m.attribute(13, &[0, 4, a, b, c, d]);
            }
        });
    }

    pub(crate) fn add_rule(&mut self, chain: &str, expressions: &[Expr<'_>]) {
        self.message(NEW_RULE, CREATE | APPEND, format!("add a rule to chain {chain} in"), |m, _| {
            m.text(2, chain);
            m.nested(4, |m| expressions.iter().for_each(|expression| expression.write(m)));
        });
    }

    /// Adds elements; fine for those that are there already with the same value.
    pub(crate) fn add_elements(&mut self, elements: &[Element]) {
        self.elements(NEW_ELEMENT, CREATE, "add entries to", elements);
    }

    /// Removes elements; all of them must exist.
    pub(crate) fn delete_elements(&mut self, elements: &[Element]) {
        self.elements(DELETE_ELEMENT, 0, "remove entries from", elements);
    }

    /// Applies everything.
    pub(crate) fn commit(mut self, socket: &mut Socket) -> Result<(), NetlinkError> {
        self.actions.push("commit a firewall transaction".into());
        let (family, table) = (self.family, self.table);
        self.batch.message(BATCH_END, 0, |m| m.raw(&[0, 0, 0, 10]));
        let actions = self.actions;
        socket.run(&self.batch, |sequence| {
            let action = actions.get(sequence.wrapping_sub(1) as usize).map_or("change", String::as_str);
            format!("{action} ({} {table})", family.name())
        })
    }

    fn elements(&mut self, kind: u16, flags: u16, action: &str, elements: &[Element]) {
        for run in elements.chunk_by(|a, b| a.set == b.set) {
            for chunk in run.chunks(CHUNK) {
                let Some(first) = chunk.first() else { continue };
                self.message(kind, flags, format!("{action} set {} of", first.set), |m, _| {
                    m.text(2, first.set);
                    m.nested(3, |m| chunk.iter().for_each(|element| write_element(m, element)));
                });
            }
        }
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        action: String,
        write: impl FnOnce(&mut Writer<'_>, Family),
    ) {
        let (family, table) = (self.family, self.table);
        self.actions.push(format!("{action} table"));
        // A transaction without errors is silent unless its messages ask for acknowledgement.
        self.batch.message(kind, flags | ACK, |m| {
            table_header(m, family, table);
            write(m, family);
        });
    }
}

/// Whether the table is there.
pub(crate) fn table_exists(socket: &mut Socket, family: Family, table: &str) -> Result<bool, NetlinkError> {
    let mut batch = Batch::new();
    batch.message(GET_TABLE, 0, |m| table_header(m, family, table));
    let (mut exists, mut refused) = (false, None);
    socket.exchange(&batch, |answer| match answer {
        Answer::Object(_) => exists = true,
        Answer::Refused(refusal) => refused = Some(refusal),
        Answer::Done => {}
    })?;
    match refused.map(|refusal| refusal.into_error(format!("look up table {} {table}", family.name()))) {
        Some(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
        Some(error) => Err(error),
        None => Ok(exists),
    }
}

fn table_header(m: &mut Writer<'_>, family: Family, table: &str) {
    m.raw(&[family.number(), 0, 0, 0]);
    m.text(1, table);
}

fn write_element(m: &mut Writer<'_>, element: &Element) {
    m.nested(NFTA_LIST_ELEM, |m| {
        m.nested(1, |m| m.attribute(NFTA_DATA_VALUE, &element.key));
        if let Some(end) = &element.key_end {
            m.nested(10, |m| m.attribute(NFTA_DATA_VALUE, end));
        }
        if let Some(value) = &element.value {
            m.nested(2, |m| m.attribute(NFTA_DATA_VALUE, value));
        }
        if let Some(comment) = &element.comment {
            // Type 0 is a comment: type, length, NUL-terminated text.
            let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
            let mut tagged = vec![0, length];
            tagged.extend_from_slice(&comment.as_bytes()[..usize::from(length - 1)]);
            tagged.push(0);
            m.attribute(6, &tagged);
        }
    });
}
