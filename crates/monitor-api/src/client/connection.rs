//! The task that moves the frames of one connection.

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{Event, Waiting};
use crate::message::{Notice, Reply};
use crate::wire::{Frame, Inbox, Outgoing, Received};

/// The connection cannot go on.
struct Broken;

/// Runs until the peer closes, breaks the protocol or outruns the daemon, or until every [`super::Monitor`] handle is gone.
pub(super) async fn run(
    stream: UnixStream,
    mut requests: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    waiting: Arc<Waiting>,
) {
    let mut inbox = Inbox::default();
    let mut current: Option<Outgoing> = None;
    loop {
        let interest =
            if current.is_some() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let step = tokio::select! {
            request = requests.recv(), if current.is_none() => match request {
                Some(frame) => {
                    current = Some(frame);
                    write(&stream, &mut current)
                }
                None => break,
            },
            ready = stream.ready(interest) => match ready {
                Ok(ready) => {
                    let read = if ready.is_readable() { read(&stream, &mut inbox, &events, &waiting) } else { Ok(()) };
                    read.and_then(|()| if ready.is_writable() { write(&stream, &mut current) } else { Ok(()) })
                }
                Err(_) => break,
            },
        };
        if step.is_err() {
            break;
        }
    }
    let mut table = waiting.table();
    table.closed = true;
    table.replies.clear();
    table.execs.clear();
}

fn write(stream: &UnixStream, current: &mut Option<Outgoing>) -> Result<(), Broken> {
    let Some(frame) = current else { return Ok(()) };
    let sent = stream.try_io(Interest::WRITABLE, || match frame.send(stream)? {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    });
    match sent {
        Ok(()) => *current = None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return Err(Broken),
    }
    Ok(())
}

fn read(
    stream: &UnixStream,
    inbox: &mut Inbox,
    events: &mpsc::Sender<Event>,
    waiting: &Waiting,
) -> Result<(), Broken> {
    // Only while something arrives: a daemon has many idle connections.
    let mut scratch = vec![0; 4096];
    loop {
        let received = stream.try_io(Interest::READABLE, || match inbox.receive(stream, &mut scratch)? {
            Received::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
            received => Ok(received),
        });
        while let Some(frame) = inbox.next_frame().map_err(|_| Broken)? {
            dispatch(frame, events, waiting)?;
        }
        match received {
            Ok(Received::Bytes) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Ok(_) | Err(_) => return Err(Broken),
        }
    }
}

fn dispatch(frame: Frame, events: &mpsc::Sender<Event>, waiting: &Waiting) -> Result<(), Broken> {
    if Reply::is(&frame) {
        let reply = Reply::decode(&frame).map_err(|_| Broken)?;
        if let Some(sender) = waiting.table().replies.remove(&frame.id) {
            // Whoever asked may have gone away.
            sender.send((reply, frame.descriptors)).ok();
        }
        return Ok(());
    }
    let event = match Notice::decode(&frame).map_err(|_| Broken)? {
        Notice::Exited { id, exit } => Event::Exited { id, exit },
        Notice::Oom { id } => Event::Oom { id },
        Notice::ExecExited { exec_id, exit } => {
            if let Some(sender) = waiting.table().execs.remove(&exec_id) {
                sender.send(exit).ok();
            }
            return Ok(());
        }
    };
    match events.try_send(event) {
        // Nobody listens for events: that is the daemon's choice.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        // Falling behind must not lose an exit silently; the next connection's snapshot has it.
        Err(mpsc::error::TrySendError::Full(_)) => Err(Broken),
    }
}
