use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;

use crate::bundle::Bundle;

fn receive(listener: &UnixListener) -> OwnedFd {
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    rustix::net::recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            return descriptors.next().unwrap();
        }
    }
    panic!("no descriptor came");
}

/// Everything until the other end closes, which a terminal reports as an error.
fn read_all(master: OwnedFd) -> String {
    let (mut text, mut chunk) = (Vec::new(), [0; 1024]);
    let mut master = File::from(master);
    while let Ok(count) = master.read(&mut chunk) {
        if count == 0 {
            break;
        }
        text.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_terminal_of_the_container_s_own_comes_through_the_socket() {
    let mut bundle = Bundle::new("tty; stty size; ls -l /dev/console; read line; echo got $line");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({"height": 31, "width": 97});
    let socket = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    bundle.create_with(&["--console-socket", socket.to_str().unwrap()]).unwrap();
    let master = receive(&listener);
    bundle.start();
    File::from(master.try_clone().unwrap()).write_all(b"typed\n").unwrap();
    assert_eq!(bundle.wait().code, 0);
    let text = read_all(master);
    assert!(text.contains("/dev/pts/0") && text.contains("31 97") && text.contains("got typed"), "{text}");
    assert!(text.contains("crw"), "{text}");
}

#[test]
fn a_terminal_without_a_socket_is_refused() {
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["terminal"] = json!(true);
    assert!(bundle.create().unwrap_err().contains("--console-socket"));
    assert!(bundle.groups().is_empty());
}
