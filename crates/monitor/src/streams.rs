//! A container's standard streams: into the log and to whoever is attached, and from them to stdin.
//!
//! Everything is non-blocking. The log is written first. Output that an attachment has not taken yet waits for it, up to
//! 512 KiB of each stream beside the 64 KiB of its pipe; an attachment that is further behind is dropped whole, as if its
//! stream had ended, so that it can never slow the container, its log or other attachments, nor miss something in the
//! middle. What waits when the container ends is still delivered. Typed bytes wait in one small buffer; while it is not
//! empty nobody's input is read.

use std::io;
use std::os::fd::OwnedFd;

use ochre_monitor_api::{Descriptors, StdinMode};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, OutputModes, Winsize};

use crate::log::Log;
use crate::poll::{Poll, Source, Stream};

/// Output that may wait for one attachment. Allocated only while somebody is behind.
const PATIENCE: usize = 512 * 1024;
/// Reads per event, so that one busy container does not starve its neighbours.
const ROUNDS: usize = 8;
/// Reads when a stream is closed for good: more than a pipe or terminal holds.
const LAST_ROUNDS: usize = 80;

pub(crate) struct Streams {
    serial: u32,
    /// The pipe, or the terminal's master.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
    stdin: Stdin,
    inputs: Vec<Input>,
    sinks: Vec<Sink>,
}

struct Stdin {
    mode: StdinMode,
    /// The writing end; `None` for a terminal and after closing.
    pipe: Option<OwnedFd>,
    pending: Vec<u8>,
    /// The container does not take `pending`; nobody's input is read.
    blocked: bool,
    /// Close when `pending` is delivered.
    ending: bool,
}

struct Input {
    serial: u32,
    fd: OwnedFd,
}

/// An attachment's end for one output stream.
pub(crate) struct Sink {
    serial: u32,
    stream: Stream,
    fd: OwnedFd,
    pending: Vec<u8>,
    /// Nothing more will come; close when `pending` is delivered.
    ending: bool,
}

/// Non-blocking reading end, blocking writing end, both close-on-exec.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((reader, writer))
}

/// Blocking reading end, non-blocking writing end, both close-on-exec.
pub(crate) fn input_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    Ok((reader, writer))
}

impl Streams {
    /// Streams that are not connected yet.
    pub(crate) fn new(serial: u32, terminal: bool, mode: StdinMode) -> Self {
        let stdin = Stdin { mode, pipe: None, pending: Vec::new(), blocked: false, ending: false };
        Self { serial, stdout: None, stderr: None, terminal, stdin, inputs: Vec::new(), sinks: Vec::new() }
    }

    /// Takes our ends of the pipes, or the terminal's master. They are not read before [`Streams::watch`].
    pub(crate) fn connect(&mut self, ends: Descriptors) -> io::Result<()> {
        let output = if self.terminal { ends.terminal } else { ends.stdout };
        for end in [&output, &ends.stderr, &ends.stdin].into_iter().flatten() {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        if self.terminal
            && let Some(master) = &output
        {
            // Runtimes switch it off; every other engine's tty logs have CRLF.
            let mut modes = rustix::termios::tcgetattr(master)?;
            modes.output_modes |= OutputModes::ONLCR;
            rustix::termios::tcsetattr(master, OptionalActions::Now, &modes)?;
        }
        (self.stdout, self.stderr, self.stdin.pipe) = (output, ends.stderr, ends.stdin);
        Ok(())
    }

    /// Starts reading output.
    pub(crate) fn watch(&self, poll: &Poll) -> io::Result<()> {
        for (stream, fd) in [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)] {
            if let Some(fd) = fd {
                poll.add(fd, Source::Output(self.serial, stream), EventFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Copies of the ends that keep the container's output alive when this process dies.
    pub(crate) fn spare_ends(&self) -> Descriptors {
        let copy =
            |fd: &Option<OwnedFd>| fd.as_ref().and_then(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok());
        let (output, stderr) = (copy(&self.stdout), copy(&self.stderr));
        let (stdout, terminal) = if self.terminal { (None, output) } else { (output, None) };
        Descriptors { stdout, stderr, terminal, ..Descriptors::default() }
    }

    /// What a failed runtime left in the stderr pipe (for a failure's text); at most 16 KiB.
    pub(crate) fn take_stderr(&mut self, buffer: &mut [u8]) -> Vec<u8> {
        let read = self.stderr.as_ref().and_then(|fd| rustix::io::read(fd, &mut *buffer).ok()).unwrap_or(0);
        buffer.get(..read).unwrap_or_default().to_vec()
    }

    fn output(&mut self, stream: Stream) -> &mut Option<OwnedFd> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Reads some output.
    pub(crate) fn pump(&mut self, poll: &Poll, stream: Stream, log: &mut Log, buffer: &mut [u8]) {
        self.read_output(poll, stream, log, buffer, ROUNDS);
        // A terminal's one descriptor is also what typed bytes wait for.
        if self.terminal && self.stdin.blocked {
            self.deliver(poll);
        }
    }

    fn read_output(&mut self, poll: &Poll, stream: Stream, log: &mut Log, buffer: &mut [u8], rounds: usize) {
        for _ in 0..rounds {
            let Some(fd) = self.output(stream) else { return };
            match rustix::io::read(fd, &mut *buffer) {
                Ok(count) if count > 0 => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    log.write(stream, bytes);
                    self.copy_to_sinks(poll, stream, bytes);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // The end: no writer is left (EIO for a terminal), or the descriptor is broken.
                Ok(_) | Err(_) => return self.end_output(poll, stream, log),
            }
        }
    }

    fn end_output(&mut self, poll: &Poll, stream: Stream, log: &mut Log) {
        if let Some(fd) = self.output(stream).take() {
            poll.remove(&fd);
        }
        log.end(stream);
        self.sinks.retain_mut(|sink| {
            if sink.stream != stream {
                return true;
            }
            sink.ending = true;
            let keep = sink.flush() && !sink.pending.is_empty();
            if !keep {
                poll.remove(&sink.fd);
            }
            keep
        });
    }

    /// Reads all that is there: the container's init has ended.
    pub(crate) fn drain(&mut self, poll: &Poll, log: &mut Log, buffer: &mut [u8]) {
        self.read_output(poll, Stream::Stdout, log, buffer, LAST_ROUNDS);
        self.read_output(poll, Stream::Stderr, log, buffer, LAST_ROUNDS);
    }

    /// Reads all that is there and closes everything but the attachments that have not taken all of it yet, which come
    /// back.
    pub(crate) fn close(&mut self, poll: &Poll, log: &mut Log, buffer: &mut [u8]) -> Vec<Sink> {
        self.drain(poll, log, buffer);
        self.end_output(poll, Stream::Stdout, log);
        self.end_output(poll, Stream::Stderr, log);
        self.end_stdin(poll);
        std::mem::take(&mut self.sinks)
    }

    /// Takes somebody's ends: `stdout` and `stderr` get copies of the output, `stdin` is read. A terminal has one output.
    pub(crate) fn attach(&mut self, poll: &Poll, ends: Descriptors, serials: [u32; 3]) -> io::Result<()> {
        let [on_stdout, on_stderr, on_stdin] = serials;
        for (stream, serial, fd) in
            [(Stream::Stdout, on_stdout, ends.stdout), (Stream::Stderr, on_stderr, ends.stderr)]
        {
            let Some(fd) = fd else { continue };
            // Of a stream that has ended nothing will come; closing the end says so.
            if self.output(stream).is_some() {
                rustix::io::ioctl_fionbio(&fd, true)?;
                poll.add(&fd, Source::Sink(serial), EventFlags::empty())?;
                self.sinks.push(Sink { serial, stream, fd, pending: Vec::new(), ending: false });
            }
        }
        if let Some(fd) = ends.stdin.filter(|_| self.takes_input()) {
            rustix::io::ioctl_fionbio(&fd, true)?;
            if !self.stdin.blocked {
                poll.add(&fd, Source::Input(on_stdin), EventFlags::IN)?;
            }
            self.inputs.push(Input { serial: on_stdin, fd });
        }
        Ok(())
    }

    fn takes_input(&self) -> bool {
        let open = if self.terminal { self.stdout.is_some() } else { self.stdin.pipe.is_some() };
        open && !self.stdin.ending && self.stdin.mode != StdinMode::Closed
    }

    fn copy_to_sinks(&mut self, poll: &Poll, stream: Stream, bytes: &[u8]) {
        self.sinks.retain_mut(|sink| {
            if sink.stream != stream {
                return true;
            }
            let idle = sink.pending.is_empty();
            sink.pending.extend_from_slice(bytes);
            let keep = sink.flush() && sink.pending.len() <= PATIENCE;
            if !keep {
                poll.remove(&sink.fd);
            } else if idle && !sink.pending.is_empty() {
                return poll.modify(&sink.fd, Source::Sink(sink.serial), EventFlags::OUT).is_ok();
            }
            keep
        });
    }

    /// A sink can be written to, or its reader has gone. `false` if the sink is not one of this container's.
    pub(crate) fn sink_ready(&mut self, poll: &Poll, serial: u32, flags: EventFlags) -> bool {
        sink_ready(&mut self.sinks, poll, serial, flags)
    }

    /// Somebody typed. `false` if the input is not one of this container's.
    pub(crate) fn typed(&mut self, poll: &Poll, serial: u32, buffer: &mut [u8]) -> bool {
        let Some(index) = self.inputs.iter().position(|input| input.serial == serial) else { return false };
        match rustix::io::read(&self.inputs[index].fd, &mut *buffer) {
            Ok(count) if count > 0 => {
                self.stdin.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
                self.deliver(poll);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => {
                let input = self.inputs.remove(index);
                poll.remove(&input.fd);
                // On a terminal the end of one typist is not the end of typing.
                if self.stdin.mode == StdinMode::Once && !self.terminal {
                    self.close_stdin(poll);
                }
            }
        }
        true
    }

    /// Closes stdin when all that was typed is delivered.
    pub(crate) fn close_stdin(&mut self, poll: &Poll) {
        self.stdin.ending = true;
        self.deliver(poll);
    }

    /// Writes typed bytes to the container, and stops reading more while it does not take them.
    pub(crate) fn deliver(&mut self, poll: &Poll) {
        let target = if self.terminal { &self.stdout } else { &self.stdin.pipe };
        let Some(fd) = target else { return self.end_stdin(poll) };
        while !self.stdin.pending.is_empty() {
            match rustix::io::write(fd, &self.stdin.pending) {
                Ok(count) => drop(self.stdin.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return self.end_stdin(poll),
            }
        }
        let blocked = !self.stdin.pending.is_empty();
        if blocked != self.stdin.blocked && self.block_stdin(poll, blocked).is_err() {
            return self.end_stdin(poll);
        }
        if !blocked {
            self.stdin.pending = Vec::new();
            if self.stdin.ending {
                self.end_stdin(poll);
            }
        }
    }

    /// Waits for the container to take bytes instead of for people to type them, or the reverse.
    fn block_stdin(&mut self, poll: &Poll, blocked: bool) -> io::Result<()> {
        self.stdin.blocked = blocked;
        if let Some(master) = self.stdout.as_ref().filter(|_| self.terminal) {
            let interest = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            poll.modify(master, Source::Output(self.serial, Stream::Stdout), interest)?;
        } else if let Some(pipe) = &self.stdin.pipe {
            if blocked {
                poll.add(pipe, Source::Stdin(self.serial), EventFlags::OUT)?;
            } else {
                poll.remove(pipe);
            }
        }
        for input in &self.inputs {
            if blocked {
                poll.remove(&input.fd);
            } else {
                poll.add(&input.fd, Source::Input(input.serial), EventFlags::IN)?;
            }
        }
        Ok(())
    }

    fn end_stdin(&mut self, poll: &Poll) {
        if let Some(fd) = self.stdin.pipe.take() {
            poll.remove(&fd);
        }
        self.stdin.pending = Vec::new();
        self.stdin.ending = true;
        for input in self.inputs.drain(..) {
            poll.remove(&input.fd);
        }
    }

    /// Changes the terminal's size.
    pub(crate) fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        let Some(master) = self.stdout.as_ref().filter(|_| self.terminal) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the container has no terminal"));
        };
        let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(master, size)?)
    }
}

/// One of the sinks can be written to, or its reader has gone. `false` if it is not one of these.
pub(crate) fn sink_ready(sinks: &mut Vec<Sink>, poll: &Poll, serial: u32, flags: EventFlags) -> bool {
    let Some(index) = sinks.iter().position(|sink| sink.serial == serial) else { return false };
    let sink = &mut sinks[index];
    let mut keep = !flags.intersects(EventFlags::ERR | EventFlags::HUP) && sink.flush();
    if keep && sink.pending.is_empty() {
        sink.pending = Vec::new();
        keep = !sink.ending && poll.modify(&sink.fd, Source::Sink(serial), EventFlags::empty()).is_ok();
    }
    if !keep {
        poll.remove(&sink.fd);
        sinks.remove(index);
    }
    true
}

impl Sink {
    /// Writes what fits; `false` when the reader has gone.
    fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.fd, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
