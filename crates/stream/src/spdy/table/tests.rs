use std::task::Waker;

use proptest::prelude::*;

use super::*;

const ROOM: usize = 4;

fn server() -> Table {
    Table::new(Role::Server, ROOM)
}

fn syn(id: u32) -> Frame {
    Frame::SynStream { id, fin: false, headers: Headers::default() }
}

fn data(id: u32, length: usize) -> Frame {
    Frame::Data { id, fin: false, bytes: vec![7; length].into() }
}

fn sent(table: &mut Table) -> Vec<Frame> {
    std::iter::from_fn(|| table.next_frame()).collect()
}

#[test]
fn streams_have_growing_numbers_of_the_peer() {
    let mut table = server();
    assert!(table.receive(syn(3)).is_some());
    for wrong in [3, 1, 2, 8] {
        assert!(table.receive(syn(wrong)).is_none());
        assert_eq!(sent(&mut table), [Frame::Reset { id: wrong, status: PROTOCOL_ERROR }]);
    }
    assert!(table.receive(syn(5)).is_some());
}

#[test]
fn more_streams_than_there_is_room_for_are_refused() {
    let mut table = server();
    for id in [1, 3, 5, 7] {
        assert!(table.receive(syn(id)).is_some());
    }
    assert!(table.receive(syn(9)).is_none());
    assert_eq!(sent(&mut table), [Frame::Reset { id: 9, status: REFUSED_STREAM }]);
    table.drop_reader(1);
    table.drop_writer(1);
    assert!(table.receive(syn(11)).is_some(), "a stream without handles makes room");
}

#[test]
fn a_reader_that_is_slow_stops_the_connection_until_it_reads() {
    let mut table = server();
    table.receive(syn(1));
    table.receive(data(1, STREAM_RECEIVE));
    assert!(!table.has_room());
    assert_eq!(table.take(1, 10).len(), 10);
    assert!(table.has_room());
    table.receive(data(1, 10));
    assert!(!table.has_room());
    table.drop_reader(1);
    assert!(table.has_room(), "what nobody reads is thrown away");
    table.receive(data(1, 2 * STREAM_RECEIVE));
    assert!(table.has_room());
}

#[test]
fn a_writer_waits_while_its_stream_has_too_much_unsent() {
    let mut table = server();
    table.receive(syn(1));
    table.receive(syn(3));
    let mut written = 0;
    while let Wrote::Bytes(count) = table.write(1, &[0; 1000], Waker::noop()) {
        written += count;
    }
    assert!((STREAM_SEND - 5000..=STREAM_SEND).contains(&written));
    assert!(matches!(table.write(3, b"x", Waker::noop()), Wrote::Bytes(1)), "others go on");
    sent(&mut table);
    assert!(matches!(table.write(1, b"x", Waker::noop()), Wrote::Bytes(1)));
}

#[test]
fn each_direction_ends_by_itself() {
    let mut table = server();
    table.receive(syn(1));
    table.receive(data(1, 3));
    table.receive(Frame::Data { id: 1, fin: true, bytes: Bytes::new() });
    assert_eq!(table.entry(1).unwrap().reading, Side::Ended);
    assert_eq!(table.take(1, 10).len(), 3, "what came before the end is still read");
    assert!(matches!(table.write(1, b"still", Waker::noop()), Wrote::Bytes(5)));
    table.finish(1);
    assert!(matches!(table.write(1, b"more", Waker::noop()), Wrote::Closed));
    table.finish(1);
    let frames = sent(&mut table);
    assert_eq!(frames.len(), 2, "the end is told once: {frames:?}");
    assert_eq!(frames[1], Frame::Data { id: 1, fin: true, bytes: Bytes::new() });
}

#[test]
fn a_reset_stream_sends_nothing_more() {
    let mut table = server();
    table.receive(syn(1));
    table.receive(syn(3));
    for id in [1, 3] {
        assert!(matches!(table.write(id, b"abc", Waker::noop()), Wrote::Bytes(3)));
    }
    table.receive(Frame::Reset { id: 1, status: CANCEL });
    assert_eq!(sent(&mut table).len(), 1, "only the other stream's");
    assert!(matches!(table.write(1, b"abc", Waker::noop()), Wrote::Closed));
    assert_eq!(table.output.unsent(), 0);
}

#[test]
fn pings_are_answered_when_they_are_the_peers() {
    let mut table = server();
    table.receive(Frame::Ping { id: 5 });
    table.receive(Frame::Ping { id: 2 });
    assert_eq!(sent(&mut table), [Frame::Ping { id: 5 }]);
}

#[test]
fn a_flood_of_pings_is_read_no_faster_than_it_is_answered() {
    let mut table = server();
    let mut taken = 0;
    while table.has_room() {
        table.receive(Frame::Ping { id: 1 });
        taken += 1;
    }
    assert_eq!(taken, CONTROLS);
    table.next_frame();
    assert!(table.has_room());
}

#[test]
fn closing_ends_every_stream_and_takes_no_more() {
    let mut table = server();
    table.receive(syn(1));
    table.write(1, b"last", Waker::noop());
    table.close();
    assert!(!table.drained());
    assert!(table.receive(syn(3)).is_none());
    let frames = sent(&mut table);
    assert!(matches!(frames[0], Frame::Data { fin: false, .. }));
    assert_eq!(frames[1], Frame::Data { id: 1, fin: true, bytes: Bytes::new() });
    assert_eq!(frames[2], Frame::GoAway { last: 1 });
    assert!(table.drained());
}

proptest! {
    /// The counts that decide who waits are those of what there is, after any history.
    #[test]
    fn counts_agree_with_the_queues(steps in proptest::collection::vec((0u8..11, 0u32..10, 0usize..200_000), 0..200)) {
        let mut table = server();
        for (step, id, length) in steps {
            match step {
                0 => drop(table.receive(syn(id))),
                1 => drop(table.receive(data(id, length))),
                2 => drop(table.receive(Frame::Data { id, fin: true, bytes: Bytes::new() })),
                3 => drop(table.receive(Frame::Reset { id, status: CANCEL })),
                4 => drop(table.take(id, length)),
                5 => { table.write(id, &vec![0; length], Waker::noop()); }
                6 => drop(table.next_frame()),
                7 => table.drop_reader(id),
                8 => table.drop_writer(id),
                9 => table.reset(id),
                _ => drop(table.receive(Frame::Ping { id: 1 })),
            }
            let buffered: usize = table.streams.values().map(|entry| entry.input.len()).sum();
            prop_assert_eq!(buffered, table.buffered);
            let full = table.streams.values().filter(|entry| entry.input.len() >= STREAM_RECEIVE).count();
            prop_assert_eq!(full, table.full);
            let unsent: usize = table.streams.values().map(|entry| entry.unsent).sum();
            prop_assert!(unsent <= table.output.unsent());
        }
    }
}
