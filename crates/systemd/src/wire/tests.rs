use super::*;
use crate::{Error, Property};

fn call(member: &'static str, signature: &'static str, body: Writer) -> Call {
    Call { destination: "d.e", path: "/p", interface: "i.f", member, signature, body }
}

#[test]
fn a_call_has_the_bytes_of_the_specification() {
    let mut body = Writer::default();
    body.string("ab");
    body.u32(1);
    let bytes = call("M", "sb", body).encode(0x0102_0304).unwrap();
    let expected: &[&[u8]] = &[
        b"l\x01\x00\x01",
        b"\x0c\x00\x00\x00",
        b"\x04\x03\x02\x01",
        b"\x4d\x00\x00\x00",
        // path, interface, member, destination, signature: each starts on 8
        b"\x01\x01o\x00\x02\x00\x00\x00/p\x00\0\0\0\0\0",
        b"\x02\x01s\x00\x03\x00\x00\x00i.f\x00\0\0\0\0",
        b"\x03\x01s\x00\x01\x00\x00\x00M\x00\0\0\0\0\0\0",
        b"\x06\x01s\x00\x03\x00\x00\x00d.e\x00\0\0\0\0",
        b"\x08\x01g\x00\x02sb\x00",
    ];
    let expected = expected.concat();
    // The array of fields is 77 bytes before its last field ends on a multiple of 8.
    assert_eq!(bytes[12], u8::try_from(expected.len() - 16).unwrap());
    assert_eq!(&bytes[16..expected.len()], &expected[16..]);
    assert_eq!(&bytes[..12], &expected[..12]);
    assert_eq!(&bytes[expected.len()..], b"\x02\x00\x00\x00ab\x00\0\x01\x00\x00\x00");
    assert_eq!(bytes.len() % 4, 0);
}

#[test]
fn properties_are_variants_of_systemds_types() {
    for (property, expected) in [
        (Property::Delegate(true), &b"\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0"[..]),
        (Property::TasksMax(u64::MAX), b"\x08\0\0\0TasksMax\0\x01t\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Property::KillSignal(13), b"\x0a\0\0\0KillSignal\0\x01i\0\0\0\x0d\0\0\0"),
        (Property::Slice("a.slice".into()), b"\x05\0\0\0Slice\0\x01s\0\0\0\0\x07\0\0\0a.slice\0"),
        (Property::Pids(vec![1, 258]), b"\x04\0\0\0PIDs\0\x02au\0\0\0\0\x08\0\0\0\x01\0\0\0\x02\x01\0\0"),
        (Property::AllowedCpus(vec![3]), b"\x0b\0\0\0AllowedCPUs\0\x02ay\0\x01\0\0\0\x03"),
        (Property::After(vec!["x".into()]), b"\x05\0\0\0After\0\x02as\0\0\0\x06\0\0\0\x01\0\0\0x\0"),
    ] {
        let mut out = Writer::default();
        property.write(&mut out);
        let got = out.into_bytes();
        // The paddings of the table are checked by length and content alike.
        assert_eq!(got, expected, "{property:?}\n got {got:02x?}\nwant {expected:02x?}");
    }
}

/// A reply with the given body length field, in either byte order.
fn reply(big_endian: bool) -> Vec<u8> {
    let number = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes = vec![if big_endian { b'B' } else { b'l' }, 2, 1, 1];
    bytes.extend(number(7));
    bytes.extend(number(9));
    bytes.extend(number(15));
    bytes.extend([5, 1, b'u', 0]);
    bytes.extend(number(77));
    bytes.extend([8, 1, b'g', 0, 1, b'o', 0]);
    bytes.push(0);
    bytes.extend(number(2));
    bytes.extend(b"/j\0");
    bytes
}

#[test]
fn a_reply_of_either_byte_order_is_read_once_it_is_whole() {
    for big_endian in [false, true] {
        let whole = reply(big_endian);
        for length in 0..whole.len() {
            let mut part = whole[..length].to_vec();
            assert!(Message::take(&mut part).unwrap().is_none(), "{length}");
            assert_eq!(part.len(), length);
        }
        let mut inbox = [whole.clone(), whole[..5].to_vec()].concat();
        let message = Message::take(&mut inbox).unwrap().unwrap();
        assert_eq!((message.kind, message.reply_serial), (MessageKind::Reply, Some(77)));
        assert_eq!(message.arguments("o").unwrap().string().unwrap(), "/j");
        assert!(matches!(message.arguments("s"), Err(Error::Protocol { .. })));
        assert_eq!(inbox.len(), 5);
    }
}

#[test]
fn rubbish_and_giants_are_refused() {
    let mut order = reply(false);
    order[0] = b'x';
    assert!(matches!(Message::take(&mut order), Err(Error::Protocol { .. })));
    let mut version = reply(false);
    version[3] = 2;
    assert!(matches!(Message::take(&mut version), Err(Error::Protocol { .. })));
    let mut body = reply(false);
    body[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Message::take(&mut body), Err(Error::TooLarge { .. })));
    let mut fields = reply(false);
    fields[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Message::take(&mut fields), Err(Error::TooLarge { .. })));
}

#[test]
fn what_cannot_be_carried_is_not_sent() {
    let mut nul = Writer::default();
    nul.string("a\0b");
    assert!(matches!(call("M", "s", nul).encode(1), Err(Error::InvalidText { method: "M" })));
    let mut long = Writer::default();
    long.string(&"x".repeat(MAX_MESSAGE));
    assert!(matches!(call("M", "s", long).encode(1), Err(Error::TooLarge { .. })));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes: Vec<u8>, flips: Vec<(usize, u8)>) {
        drop(Message::take(&mut bytes));
        let mut message = reply(false);
        for (at, value) in flips {
            let at = at % message.len();
            message[at] = value;
        }
        if let Ok(Some(message)) = Message::take(&mut message) {
            message.error_text();
            if let Ok(mut arguments) = message.arguments("o") {
                drop(arguments.string());
            }
        }
    }
}
