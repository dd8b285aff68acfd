//! Whatever is encoded reads back; whatever is received is a message or an error, never a panic or a large allocation.

use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::*;
use crate::wire::{Descriptors, Frame, Inbox, MAX_FRAME, Malformed, Outgoing, Received};

fn id<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "[0-9a-f]{64}".prop_map(|text| text.parse().unwrap())
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[a-z/.]{0,80}".prop_map(PathBuf::from)
}

prop_compose! {
    fn create()(
        id in id(), runtime in path(), root in path(), bundle in path(), log_path in proptest::option::of(path()),
        exit_dir in proptest::option::of(path()), flags in any::<(bool, bool)>(), stdin in 0u8..3, ms in 1u64..1 << 40,
    ) -> Create {
        let stdin = [StdinMode::Closed, StdinMode::Open, StdinMode::Once][usize::from(stdin)];
        Create {
            id, bundle, log_path, exit_dir,
            runtime: RuntimeCommand { path: runtime, root, systemd_cgroup: flags.0 },
            stdio: Stdio { terminal: flags.1, stdin },
            timeout: Duration::from_millis(ms),
        }
    }
}

fn exit() -> impl Strategy<Value = Exit> {
    any::<(i32, i64, bool)>().prop_map(|(code, at, oom_killed)| Exit {
        code,
        finished_at: Timestamp::from_nanos(at),
        oom_killed,
    })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u32>().prop_map(|version| Request::Hello { version }),
        create().prop_map(Request::Create),
        id().prop_map(|id| Request::Start { id }),
        (id(), any::<i32>(), any::<bool>()).prop_map(|(id, signal, all)| Request::Signal { id, signal, all }),
        id().prop_map(|id| Request::Delete { id }),
        (id(), any::<Vec<u8>>()).prop_map(|(id, resources_json)| Request::Update { id, resources_json }),
        id().prop_map(|id| Request::ReopenLog { id }),
        (id(), any::<u16>(), any::<u16>()).prop_map(|(id, width, height)| Request::Resize {
            id,
            width,
            height
        }),
        id().prop_map(|id| Request::CloseStdin { id }),
        (id(), id(), any::<Vec<u8>>(), any::<bool>(), proptest::option::of(1u64..1 << 40)).prop_map(
            |(id, exec_id, process_json, terminal, ms)| Request::Exec(Exec {
                id,
                exec_id,
                process_json,
                terminal,
                timeout: ms.map(Duration::from_millis)
            })
        ),
        (id(), 0..u64::from(u32::MAX))
            .prop_map(|(exec_id, grace)| Request::KillExec { exec_id, grace: Duration::from_millis(grace) }),
        id().prop_map(|id| Request::Attach(Attach { id })),
        (create(), any::<(i32, u64, i64)>()).prop_map(|(container, (pid, start_time, at))| Request::Adopt(
            Adopt { container, pid, start_time, started_at: Timestamp::from_nanos(at) }
        )),
        Just(Request::Shutdown),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let state = prop_oneof![
        Just(ContainerState::Creating),
        any::<i32>().prop_map(|pid| ContainerState::Created { pid }),
        any::<i32>().prop_map(|pid| ContainerState::Running { pid }),
        (any::<i32>(), exit()).prop_map(|(pid, exit)| ContainerState::Exited { pid, exit }),
    ];
    let container = (id(), state, any::<i64>()).prop_map(|(id, state, at)| ContainerSnapshot {
        id,
        state,
        started_at: Timestamp::from_nanos(at),
    });
    let kind = (0usize..7).prop_map(|index| {
        [
            FailureKind::Unknown,
            FailureKind::Exists,
            FailureKind::WrongState,
            FailureKind::Runtime,
            FailureKind::TimedOut,
            FailureKind::System,
            FailureKind::Invalid,
        ][index]
    });
    prop_oneof![
        (any::<u32>(), any::<i32>(), proptest::collection::vec(container, 0..5))
            .prop_map(|(version, pid, containers)| Reply::Hello(Snapshot { version, pid, containers })),
        any::<i32>().prop_map(|pid| Reply::Created { pid }),
        Just(Reply::Done),
        any::<i32>().prop_map(|pid| Reply::ExecStarted { pid }),
        (kind, ".{0,60}").prop_map(|(kind, message)| Reply::Failed(Failure { kind, message })),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        (id(), exit()).prop_map(|(id, exit)| Notice::Exited { id, exit }),
        id().prop_map(|id| Notice::Oom { id }),
        (id(), any::<(i32, bool)>()).prop_map(|(exec_id, (code, timed_out))| Notice::ExecExited {
            exec_id,
            exit: ExecExit { code, timed_out }
        }),
    ]
}

/// Through a real socket, in pieces of `piece` bytes.
fn carry(mut outgoing: Outgoing, piece: usize) -> Result<Frame, Malformed> {
    let (left, right) = UnixStream::pair().unwrap();
    left.set_nonblocking(true).unwrap();
    let mut inbox = Inbox::default();
    let mut scratch = vec![0; piece];
    loop {
        let sent = outgoing.send(&left).unwrap();
        while inbox.receive(&right, &mut scratch).unwrap() == Received::Bytes {
            if let Some(frame) = inbox.next_frame()? {
                return Ok(frame);
            }
        }
        assert!(!sent, "the frame was sent but never completed");
    }
}

fn raw(bytes: &[u8]) -> Result<Option<Frame>, Malformed> {
    use std::io::Write;
    let (mut left, right) = UnixStream::pair().unwrap();
    left.write_all(bytes).unwrap();
    let mut inbox = Inbox::default();
    inbox.receive(&right, &mut vec![0; bytes.len() + 1]).unwrap();
    inbox.next_frame()
}

proptest! {
    #[test]
    fn requests_read_back(request in request(), number: u32, piece in 1usize..200) {
        let frame = carry(request.encode(number, Descriptors::default()), piece).unwrap();
        prop_assert_eq!(frame.id, number);
        prop_assert_eq!(Request::decode(&frame), Ok(request));
    }

    #[test]
    fn replies_and_notices_read_back(reply in reply(), notice in notice(), number: u32) {
        let frame = carry(reply.encode(number, Descriptors::default()), 64).unwrap();
        prop_assert!(Reply::is(&frame));
        prop_assert_eq!(Reply::decode(&frame), Ok(reply));
        let frame = carry(notice.encode(), 64).unwrap();
        prop_assert!(!Reply::is(&frame));
        prop_assert_eq!(Notice::decode(&frame), Ok(notice));
    }

    #[test]
    fn arbitrary_bodies_never_panic(kind: u8, body: Vec<u8>) {
        let frame = Frame { id: 1, kind, body, descriptors: Descriptors::default() };
        drop((Request::decode(&frame), Reply::decode(&frame), Notice::decode(&frame)));
    }

    #[test]
    fn damaged_messages_are_refused_or_differ(request in request(), at: prop::sample::Index, cut: bool, with: u8) {
        let mut frame = carry(request.encode(1, Descriptors::default()), 4096).unwrap();
        prop_assume!(!frame.body.is_empty());
        let at = at.index(frame.body.len());
        if cut {
            frame.body.truncate(at);
            prop_assert!(Request::decode(&frame).is_err());
        } else if frame.body[at] != with {
            frame.body[at] = with;
            prop_assert_ne!(Request::decode(&frame), Ok(request));
        }
    }

    #[test]
    fn arbitrary_streams_never_panic(bytes: Vec<u8>) {
        prop_assume!(!bytes.is_empty());
        drop(raw(&bytes));
    }
}

#[test]
fn impossible_headers_are_refused_before_the_body_arrives() {
    let header = |length: u32, roles: u8| [&length.to_le_bytes()[..], &[roles, 1, 0, 0, 0, 0]].concat();
    let over = u32::try_from(MAX_FRAME + 1).unwrap();
    assert_eq!(
        raw(&header(over, 0)).unwrap_err(),
        Malformed::TooLong { length: MAX_FRAME + 1, limit: MAX_FRAME }
    );
    assert_eq!(raw(&header(5, 0)).unwrap_err(), Malformed::Truncated);
    assert!(matches!(raw(&header(6, 0x20)).unwrap_err(), Malformed::UnknownTag { .. }));
    assert_eq!(raw(&header(6, 1)).unwrap_err(), Malformed::MissingDescriptors);
    assert!(raw(&header(7, 0)).unwrap().is_none(), "incomplete, not wrong");
}

#[test]
fn descriptors_arrive_in_their_roles() {
    let (stdin, stderr) = (UnixStream::pair().unwrap().0, std::fs::File::open("/dev/null").unwrap());
    let inode = |fd: &std::os::fd::OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
    let descriptors =
        Descriptors { stdin: Some(stdin.into()), stderr: Some(stderr.into()), ..Descriptors::default() };
    let sent = [descriptors.stdin.as_ref().map(inode), descriptors.stderr.as_ref().map(inode)];
    let frame = carry(Request::Shutdown.encode(3, descriptors), 3).unwrap();
    let received = frame.descriptors;
    assert_eq!([received.stdin.as_ref().map(inode), received.stderr.as_ref().map(inode)], sent);
    assert!(received.pidfd.is_none() && received.stdout.is_none() && received.terminal.is_none());
}

#[test]
fn relative_paths_and_foreign_ids_are_refused() {
    let frame = |kind: u8, body: &[u8]| Frame {
        id: 0,
        kind,
        body: body.to_vec(),
        descriptors: Descriptors::default(),
    };
    assert_eq!(Request::decode(&frame(3, b"\x03\0\0\0../")), Err(Malformed::InvalidId));
    let mut body = vec![64, 0, 0, 0];
    body.extend([b'a'; 64]);
    body.extend(b"\x04\0\0\0runc");
    assert_eq!(Request::decode(&frame(2, &body)), Err(Malformed::InvalidPath));
}
