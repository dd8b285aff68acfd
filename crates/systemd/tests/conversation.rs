//! The client against a scripted systemd on a socket: what it sends, and how it takes what comes back.

#![allow(clippy::unwrap_used, reason = "also outside of test functions: everything here is a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ochre_systemd::{Bus, Error, Property};
use ochre_types::ErrorKind;

/// The server's end after authentication.
struct Server {
    stream: BufReader<UnixStream>,
}

/// A call as the server sees it.
struct Seen {
    serial: u32,
    raw: Vec<u8>,
}

impl Seen {
    fn mentions(&self, text: &str) -> bool {
        self.raw.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Server {
    fn accept(listener: &UnixListener) -> Self {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).unwrap();
        assert!(line.starts_with(b"\0AUTH EXTERNAL "), "{line:?}");
        stream.get_mut().write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").unwrap();
        line.clear();
        stream.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line, b"BEGIN\r\n");
        Self { stream }
    }

    fn call(&mut self) -> Seen {
        let mut fixed = [0; 16];
        self.stream.read_exact(&mut fixed).unwrap();
        let number = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().unwrap());
        let rest = (number(12) as usize).next_multiple_of(8) + number(4) as usize;
        let mut raw = vec![0; rest];
        self.stream.read_exact(&mut raw).unwrap();
        Seen { serial: number(8), raw }
    }

    fn send(&mut self, message: &[u8]) {
        self.stream.get_mut().write_all(message).unwrap();
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    out.extend(value.as_bytes());
    out.push(0);
}

fn message(kind: u8, fields: &[(u8, &str)], reply_to: Option<u32>, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut array = Vec::new();
    for (code, value) in fields {
        array.resize(array.len().next_multiple_of(8), 0);
        array.extend([*code, 1, if *code == 1 { b'o' } else { b's' }, 0]);
        text(&mut array, value);
    }
    if let Some(serial) = reply_to {
        array.resize(array.len().next_multiple_of(8), 0);
        array.extend([5, 1, b'u', 0]);
        array.extend(serial.to_le_bytes());
    }
    array.resize(array.len().next_multiple_of(8), 0);
    array.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap()]);
    array.extend(signature.as_bytes());
    array.push(0);
    let mut out = vec![b'l', kind, 1, 1];
    out.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(u32::try_from(array.len()).unwrap().to_le_bytes());
    out.extend(array);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(body);
    out
}

fn reply(to: u32, signature: &str, value: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, value);
    message(2, &[], Some(to), signature, &body)
}

fn refusal(to: u32, name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "no");
    message(3, &[(4, name)], Some(to), "s", &body)
}

fn job_removed(sender: &str, job: &str, result: &str) -> Vec<u8> {
    let mut body = 7u32.to_le_bytes().to_vec();
    for value in [job, "x.scope", result] {
        text(&mut body, value);
    }
    let manager = "org.freedesktop.systemd1.Manager";
    let fields = [(1, "/org/freedesktop/systemd1"), (2, manager), (3, "JobRemoved"), (7, sender)];
    message(4, &fields, None, "uoss", &body)
}

/// Runs `script` as the server; the client gets the socket's path.
fn with_server(
    script: impl FnOnce(&UnixListener) + Send + 'static,
) -> (tempfile::TempDir, PathBuf, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || script(&listener));
    (dir, path, server)
}

#[test]
fn a_scope_is_started_when_its_own_job_is_done() {
    let (_dir, path, server) = with_server(|listener| {
        let mut server = Server::accept(listener);
        let call = server.call();
        for text in ["StartTransientUnit", "x.scope", "replace", "Slice", "a.slice", "PIDs", "Delegate"] {
            assert!(call.mentions(text), "{text}");
        }
        // Another unit's job fails before and after the reply; ours ends early, before the reply names it.
        server.send(&job_removed(":1.0", "/job/1", "failed"));
        server.send(&job_removed(":1.0", "/job/2", "done"));
        server.send(&reply(call.serial, "o", "/job/2"));
        let call = server.call();
        server.send(&reply(call.serial, "o", "/job/3"));
        server.send(&job_removed(":1.0", "/job/4", "failed"));
        server.send(&job_removed(":1.0", "/job/3", "timeout"));
    });
    let mut bus = Bus::private(&path).unwrap();
    bus.start_transient_scope("x.scope", "a.slice", &[7], &[Property::Delegate(true)]).unwrap();
    let failed = bus.start_transient_scope("x.scope", "a.slice", &[7], &[]).unwrap_err();
    assert!(matches!(&failed, Error::JobFailed { result, .. } if result == "timeout"), "{failed}");
    server.join().unwrap();
}

#[test]
fn refusals_have_names() {
    let (_dir, path, server) = with_server(|listener| {
        let mut server = Server::accept(listener);
        for name in ["systemd1.UnitExists", "systemd1.NoSuchUnit", "DBus.Error.AccessDenied"] {
            let call = server.call();
            server.send(&refusal(call.serial, &format!("org.freedesktop.{name}")));
        }
    });
    let mut bus = Bus::private(&path).unwrap();
    let exists = bus.start_transient_slice("a-b.slice", &[]).unwrap_err();
    assert!(matches!(&exists, Error::UnitExists { unit } if unit == "a-b.slice"));
    assert_eq!(bus.stop_unit("x.scope").unwrap_err().kind(), ErrorKind::NotFound);
    let denied = bus.set_unit_properties("x.scope", true, &[Property::CpuWeight(1)]).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert!(denied.to_string().contains("SetUnitProperties for x.scope"), "{denied}");
    server.join().unwrap();
}

#[test]
fn on_a_bus_only_systemds_own_signals_are_believed() {
    let (_dir, path, server) = with_server(|listener| {
        let mut server = Server::accept(listener);
        for (member, answer) in
            [("Hello", ":1.9"), ("GetNameOwner", ":1.3"), ("AddMatch", ""), ("Subscribe", "")]
        {
            let call = server.call();
            assert!(call.mentions(member), "{member}");
            server.send(&reply(call.serial, "s", answer));
        }
        let call = server.call();
        server.send(&reply(call.serial, "o", "/job/1"));
        server.send(&job_removed(":1.66", "/job/1", "done"));
        server.send(&job_removed(":1.3", "/job/1", "canceled"));
    });
    let mut bus = Bus::brokered(&path).unwrap();
    let error = bus.stop_unit("x.scope").unwrap_err();
    assert!(matches!(&error, Error::JobFailed { result, .. } if result == "canceled"), "{error}");
    server.join().unwrap();
}

#[test]
fn a_silent_or_vanishing_peer_is_an_error_in_time() {
    let (_dir, path, server) = with_server(|listener| {
        let mut server = Server::accept(listener);
        let call = server.call();
        server.send(&reply(call.serial, "o", "/job/1"));
        server.call();
        server.call();
    });
    let mut bus = Bus::private(&path).unwrap();
    bus.set_timeout(Duration::from_millis(150));
    let start = Instant::now();
    assert!(matches!(bus.stop_unit("x.scope"), Err(Error::JobTimeout { job, .. }) if job == "/job/1"));
    assert!(matches!(bus.stop_unit("x.scope"), Err(Error::NoAnswer { method: "StopUnit" })));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(bus.reset_failed_unit("x.scope"), Err(Error::Closed | Error::NoAnswer { .. })));
    assert!(matches!(bus.reset_failed_unit("x.scope"), Err(Error::Closed)));
    server.join().unwrap();
}

#[test]
fn authentication_can_be_refused() {
    let (_dir, path, server) = with_server(|listener| {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        stream.read_until(b'\n', &mut Vec::new()).unwrap();
        stream.get_mut().write_all(b"REJECTED EXTERNAL\r\n").unwrap();
    });
    assert_eq!(Bus::private(&path).unwrap_err().kind(), ErrorKind::Denied);
    server.join().unwrap();
}

#[test]
fn names_are_checked_before_anything_is_sent() {
    let (_dir, path, server) = with_server(|listener| {
        // Nothing but the end of the connection follows.
        let mut server = Server::accept(listener);
        assert_eq!(server.stream.read(&mut [0; 1]).unwrap(), 0);
    });
    let mut bus = Bus::private(&path).unwrap();
    for name in ["", ".scope", "x.slice", "a/b.scope", "a b.scope", &format!("{}.scope", "x".repeat(250))] {
        let error = bus.start_transient_scope(name, "a.slice", &[], &[]).unwrap_err();
        assert!(matches!(error, Error::InvalidUnitName { .. }), "{name}");
    }
    drop(bus);
    server.join().unwrap();
}

#[test]
fn no_systemd_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Bus::private(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::Unavailable);
}
