//! Making a container: pipes or console socket, log, the runtime's `create`, and init becoming our child.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ochre_monitor_api::{Create, Descriptors, FailureKind, Reply, StdinMode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::connection::Requester;
use crate::container::{Container, Process, State};
use crate::log::Log;
use crate::monitor::{Monitor, complain};
use crate::oom::OomWatch;
use crate::operation::{Call, Operation, Task};
use crate::process;
use crate::runtime::{CallFiles, CallStdio, socket_path};
use crate::streams::{input_pipe, output_pipe};

/// The container's ends of its pipes.
#[derive(Default)]
struct TheirEnds {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Monitor {
    /// Starts the runtime's `create`.
    pub(crate) fn create(&mut self, from: Requester, create: Create) {
        if self.container(&create.id).is_some() {
            return self.refuse(from, FailureKind::Exists, "the container exists");
        }
        let log = match Log::open(create.log_path.clone()) {
            Ok(log) => log,
            Err(error) => {
                let path = create.log_path.as_deref().unwrap_or(Path::new("")).display();
                return self.refuse(
                    from,
                    FailureKind::System,
                    format!("cannot open the log {path}: {error}"),
                );
            }
        };
        let serial = self.serial();
        self.containers.push(Container::new(serial, create, log));
        if let Err(error) = self.call_create(from, serial) {
            self.forget(serial);
            self.refuse(from, FailureKind::System, error.to_string());
        }
    }

    fn call_create(&mut self, from: Requester, serial: u32) -> io::Result<()> {
        let files = self.call_files();
        let Some(container) = self.container_by_serial(serial) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (id, bundle) = (container.setup.id.clone(), container.setup.bundle.clone());
        let stdio = container.setup.stdio;
        let mut theirs = TheirEnds::default();
        if !stdio.terminal {
            let mut ours = Descriptors::default();
            (ours.stdout, theirs.stdout) = split(output_pipe()?);
            (ours.stderr, theirs.stderr) = split(output_pipe()?);
            if stdio.stdin != StdinMode::Closed {
                (theirs.stdin, ours.stdin) = split(input_pipe()?);
            }
            container.streams.connect(ours)?;
        }
        let console = stdio.terminal.then(|| listen(&files, &self.dir_fd)).transpose()?;
        let (pid_file, socket) = (files.path("pid"), socket_path(&files, &self.dir_fd));
        let mut arguments: Vec<&OsStr> = vec![
            "create".as_ref(),
            "--bundle".as_ref(),
            bundle.as_os_str(),
            "--pid-file".as_ref(),
            &pid_file,
        ];
        if console.is_some() {
            arguments.extend(["--console-socket".as_ref(), socket.as_os_str()]);
        }
        arguments.push(id.as_str().as_ref());
        self.call(Call {
            task: Task::Create(console),
            container: serial,
            requester: Some(from),
            files,
            arguments: &arguments,
            stdio: CallStdio {
                stdin: theirs.stdin.as_ref().map(AsFd::as_fd),
                stdout: theirs.stdout.as_ref().map(AsFd::as_fd),
                stderr: theirs.stderr.as_ref().map(AsFd::as_fd),
            },
        })
    }

    pub(crate) fn create_finished(&mut self, operation: Operation, code: i32) {
        let pid = if code == 0 && !operation.killed { self.new_child(&operation.files) } else { None };
        let connected = pid.map(|pid| self.connect(&operation, pid));
        match (pid, connected) {
            (Some(pid), Some(Ok(()))) => self.created(&operation, pid),
            (_, Some(Err(error))) => {
                let mut failure = operation.failure(self, code, String::new());
                failure.message = format!("cannot connect the container's streams: {error}");
                self.discard(operation, failure);
            }
            (_, _) => {
                let Self { containers, buffer, .. } = self;
                let container = containers.iter_mut().find(|c| c.serial == operation.container);
                let also =
                    container.map(|container| container.streams.take_stderr(buffer)).unwrap_or_default();
                let failure = operation.failure(self, code, String::from_utf8_lossy(&also).trim().to_owned());
                self.discard(operation, failure);
            }
        }
    }

    /// The pid a runtime wrote, if it is a child of ours: being the subreaper we must be the parent of what a runtime
    /// leaves behind, so anything else in the file is wrong.
    pub(crate) fn new_child(&self, files: &CallFiles) -> Option<i32> {
        let pid = files.read_pid(&self.dir_fd)?;
        let ours = process::stat(pid).is_some_and(|stat| stat.parent == process::own_pid());
        (ours || self.strangers.iter().any(|(stranger, _)| *stranger == pid)).then_some(pid)
    }

    fn connect(&mut self, operation: &Operation, pid: i32) -> io::Result<()> {
        let serial = operation.container;
        let terminal = match &operation.task {
            Task::Create(Some(console)) => Some(receive_terminal(console)?),
            _ => None,
        };
        let Self { containers, poll, .. } = self;
        let container = containers.iter_mut().find(|c| c.serial == serial).ok_or(io::ErrorKind::NotFound)?;
        if terminal.is_some() {
            container.streams.connect(Descriptors { terminal, ..Descriptors::default() })?;
        }
        container.streams.watch(poll)?;
        self.watch_memory(serial, pid);
        Ok(())
    }

    /// Finds the container's cgroup and watches its memory. A container without a memory group of its own simply has no
    /// OOM events.
    pub(crate) fn watch_memory(&mut self, serial: u32, pid: i32) {
        if self.hierarchies.is_none() {
            self.hierarchies = crate::cgroup::Hierarchies::read().ok();
        }
        let Some(Ok(cgroup)) = self.hierarchies.as_ref().map(|hierarchies| hierarchies.of(pid)) else {
            return;
        };
        let Self { containers, poll, .. } = self;
        let Some(container) = containers.iter_mut().find(|c| c.serial == serial) else { return };
        if let Some(memory) = &cgroup.memory {
            match OomWatch::start(memory, poll, serial) {
                Ok(watch) => container.oom = Some(watch),
                Err(error) => {
                    complain(&format_args!("no OOM events for container {}: {error}", container.setup.id))
                }
            }
        }
        container.cgroup = Some(cgroup);
    }

    fn created(&mut self, operation: &Operation, pid: i32) {
        let (session, start_time) =
            process::stat(pid).map_or((pid, 0), |stat| (stat.session, stat.start_time));
        let Some(container) = self.container_by_serial(operation.container) else { return };
        let pidfd = process::open(pid);
        let mut spare = container.streams.spare_ends();
        spare.pidfd = pidfd.as_ref().and_then(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok());
        container.state = State::Created(Process { pid, pidfd, session, start_time });
        if let Some(requester) = operation.requester {
            self.reply(requester, &Reply::Created { pid }, spare);
        }
        if let Some(index) = self.strangers.iter().position(|(stranger, _)| *stranger == pid) {
            let (_, code) = self.strangers.remove(index);
            self.exited(operation.container, code);
        }
    }

    /// Lets the runtime remove what a failed `create` left, before the failure is reported.
    fn discard(&mut self, operation: Operation, failure: ochre_monitor_api::Failure) {
        operation.kill_leftovers();
        let (serial, requester) = (operation.container, operation.requester);
        let Some(id) = self.container_by_serial(serial).map(|container| container.setup.id.clone()) else {
            return;
        };
        let files = self.call_files();
        let arguments: [&OsStr; 3] = ["delete".as_ref(), "--force".as_ref(), id.as_str().as_ref()];
        let stdio = CallStdio::default();
        let task = Task::Discard(failure.clone());
        let call = Call { task, container: serial, requester, files, arguments: &arguments, stdio };
        if self.call(call).is_err() {
            self.forget(serial);
            if let Some(requester) = requester {
                self.reply(requester, &Reply::Failed(failure), Descriptors::default());
            }
        }
    }

    pub(crate) fn discard_finished(&mut self, operation: Operation) {
        self.forget(operation.container);
        if let (Some(requester), Task::Discard(failure)) = (operation.requester, operation.task) {
            self.reply(requester, &Reply::Failed(failure), Descriptors::default());
        }
    }
}

fn split((first, second): (OwnedFd, OwnedFd)) -> (Option<OwnedFd>, Option<OwnedFd>) {
    (Some(first), Some(second))
}

/// Makes the console socket of a call. Nobody has to accept before the runtime is through with it: the connection and the
/// terminal in it wait in the socket.
pub(crate) fn listen(files: &CallFiles, dir: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(socket_path(files, dir).as_os_str())?)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// Takes the terminal's master out of the console socket.
pub(crate) fn receive_terminal(console: &OwnedFd) -> io::Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let connection = rustix::net::accept_with(console, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let mut name = [0u8; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    rustix::net::recvmsg(&connection, &mut [io::IoSliceMut::new(&mut name)], &mut control, flags)?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal"))
}
