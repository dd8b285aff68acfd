use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn encoded(frames: &[Frame]) -> BytesMut {
    let (mut encoder, mut output) = (Encoder::new().unwrap(), BytesMut::new());
    for frame in frames {
        encoder.encode(frame, &mut output).unwrap();
    }
    output
}

/// Decodes bytes that come in pieces, and joins the pieces of data frames again.
fn decoded(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::<Frame>::new());
    for bytes in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(bytes);
        while let Some(frame) = decoder.decode(&mut input)? {
            match (frames.last_mut(), &frame) {
                (
                    Some(Frame::Data { id, fin: fin @ false, bytes }),
                    Frame::Data { id: next, fin: last, bytes: more },
                ) if *id == *next => {
                    *bytes = [bytes.as_ref(), more].concat().into();
                    *fin = *last;
                }
                _ => frames.push(frame),
            }
        }
    }
    Ok(frames)
}

fn one_of_each() -> Vec<Frame> {
    let headers = Headers::new([("streamType", "data"), ("port", "80")]);
    vec![
        Frame::SynStream { id: 1, fin: false, headers: headers.clone() },
        Frame::SynReply { id: 1, fin: true, headers: Headers::default() },
        Frame::Data { id: 1, fin: true, bytes: Bytes::from_static(b"hello") },
        Frame::Ping { id: 0x8000_0001 },
        Frame::SynStream { id: 3, fin: true, headers },
        Frame::Reset { id: 3, status: CANCEL },
        Frame::Data { id: 5, fin: true, bytes: Bytes::new() },
        Frame::GoAway { last: 3 },
    ]
}

#[test]
fn frames_survive_the_wire_in_pieces_of_any_length() {
    let frames = one_of_each();
    let bytes = encoded(&frames);
    for piece in 1..=bytes.len() {
        assert_eq!(decoded(&bytes, piece).unwrap(), frames, "pieces of {piece}");
    }
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    assert_eq!(encoded(&[Frame::Ping { id: 2 }]).as_ref(), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]);
    assert_eq!(
        encoded(&[Frame::Reset { id: 7, status: REFUSED_STREAM }]).as_ref(),
        [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 3]
    );
    assert_eq!(
        encoded(&[Frame::GoAway { last: 9 }]).as_ref(),
        [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0]
    );
    assert_eq!(
        encoded(&[Frame::Data { id: 1, fin: true, bytes: Bytes::from_static(b"ab") }]).as_ref(),
        [0, 0, 0, 1, 1, 0, 0, 2, b'a', b'b']
    );
}

#[test]
fn settings_windows_and_unknown_frames_are_skipped_whatever_their_length() {
    for kind in [4u8, 9, 10, 77] {
        let mut bytes = vec![0x80, 3, 0, kind, 0, 2, 0, 0];
        bytes.resize(8 + 0x2_0000, 0xee);
        bytes.extend_from_slice(&encoded(&[Frame::Ping { id: 1 }]));
        assert_eq!(decoded(&bytes, 1000).unwrap(), [Frame::Ignored, Frame::Ping { id: 1 }], "type {kind}");
    }
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    type Check = fn(&FrameError) -> bool;
    let table: [(&str, &[u8], Check); 7] = [
        ("version 2", &[0x80, 2, 0, 1, 0, 0, 0, 10], |e| matches!(e, FrameError::Version { version: 2 })),
        ("data of stream 0", &[0, 0, 0, 0, 0, 0, 0, 1], |e| matches!(e, FrameError::NoStream)),
        ("reset of stream 0", &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5], |e| {
            matches!(e, FrameError::NoStream)
        }),
        ("16 MiB of headers", &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], |e| {
            matches!(e, FrameError::TooLong { kind: 1, length: 0xff_ffff })
        }),
        ("no stream number", &[0x80, 3, 0, 1, 0, 0, 0, 2, 0, 0], |e| {
            matches!(e, FrameError::Short { kind: 1 })
        }),
        ("no priority", &[0x80, 3, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0], |e| {
            matches!(e, FrameError::Short { kind: 1 })
        }),
        ("headers that are no zlib", &[0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 9, 9, 9, 9], |e| {
            matches!(e, FrameError::Headers(HeadersError::Zlib))
        }),
    ];
    for (name, bytes, check) in table {
        let error = decoded(bytes, 3).expect_err(name);
        assert!(check(&error), "{name}: {error:?}");
    }
}

#[test]
fn the_announced_length_of_data_costs_nothing() {
    let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
    input.extend_from_slice(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff, b'x']);
    let frame = decoder.decode(&mut input).unwrap();
    assert_eq!(frame, Some(Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"x") }));
    assert_eq!(decoder.decode(&mut input).unwrap(), None);
    assert!(input.capacity() < 1024);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), piece in 1usize..300) {
        let _outcome = decoded(&bytes, piece);
    }

    #[test]
    fn arbitrary_control_frames_never_panic(
        frames in proptest::collection::vec((0u8..12, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..80)), 1..8),
    ) {
        let mut bytes = Vec::new();
        for (kind, flags, payload) in frames {
            bytes.extend_from_slice(&[0x80, 3, 0, kind, flags, 0, 0, payload.len() as u8]);
            bytes.extend_from_slice(&payload);
        }
        let _outcome = decoded(&bytes, 64);
    }

    #[test]
    fn damaged_sessions_never_panic(at in 0usize..200, with in any::<u8>(), piece in 1usize..64) {
        let mut bytes = encoded(&one_of_each());
        let at = at % bytes.len();
        bytes[at] = with;
        let _outcome = decoded(&bytes, piece);
    }

    #[test]
    fn data_of_any_length_arrives_whole(bytes in proptest::collection::vec(any::<u8>(), 1..5000), piece in 1usize..5000) {
        let frame = Frame::Data { id: 3, fin: true, bytes: bytes.into() };
        prop_assert_eq!(decoded(&encoded(std::slice::from_ref(&frame)), piece).unwrap(), vec![frame]);
    }
}
