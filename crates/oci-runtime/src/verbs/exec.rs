//! `exec`: a further process in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ochre_sys::clone::{CloneOptions, Cloned, clone_process};
use ochre_sys::rooted::Root;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use rustix::thread::ThreadNameSpaceType;

use super::create::plan;
use super::{guard_descriptors, write_pid_file};
use crate::cgroup::Entry;
use crate::channel::{Channel, Message};
use crate::cli::{ExecOptions, UsageError};
use crate::config;
use crate::container::{Container, Status};
use crate::error::{Error, describe, step};
use crate::init::{InitError, become_namespace_root, enter_groups};
use crate::log::{Level, Log};
use crate::namespaces::{KINDS, flag};
use crate::process::{self, Plan, rlimits};
use crate::procfs::Procfs;
use crate::rootfs::console;
use crate::spec::{NamespaceKind, Process};
use crate::stdio;

pub(super) fn exec(root: &Path, options: &ExecOptions, log: &mut Log) -> Result<u8, Error> {
    crate::protect::protect().map_err(step("protecting the runtime's own program"))?;
    guard_descriptors(options.preserve_fds)?;
    let container = Container::open(root, &options.id)?;
    container.require(&[Status::Running, Status::Created], "running or created", "exec")?;
    let spec = container.spec()?;
    let mut process = config::load_process(&options.process)?;
    process.oom_score_adj =
        process.oom_score_adj.or(spec.process.as_ref().and_then(|first| first.oom_score_adj));
    let first = container.process().ok_or(Error::ChildDied)?;
    let joining = Joining::decide(&container, first)?;
    let socket = match (&options.console_socket, process.terminal) {
        (Some(path), true) => Some(console::connect(path).map_err(step("connecting to the console socket"))?),
        (None, true) => return Err(UsageError::MissingArgument { what: "--console-socket" }.into()),
        (_, false) => None,
    };
    stdio::give(&process, &spec.linux).map_err(step("giving the standard streams to the process's user"))?;
    let entrant = Entrant {
        plan: plan(&spec, &process, options.preserve_fds)?,
        entry: container.record.groups.entry()?,
        joining,
        socket,
    };
    let (pid, channel) = entrant.spawn()?;
    let result = settle(pid, &process, &spec.linux, log)
        .and_then(|()| channel.send(&Message::Continue).map_err(step("letting the process go on")))
        .and_then(|()| converse(&channel, log))
        .and_then(|()| write_pid_file(options.pid_file.as_deref(), pid.as_raw_nonzero().get()));
    if let Err(error) = result {
        // Still the runtime's own child, so its number cannot have been given away.
        drop(rustix::process::kill_process(pid, Signal::KILL).map_err(std::io::Error::from));
        wait(pid)?;
        return Err(error);
    }
    if options.detach { Ok(0) } else { wait(pid) }
}

/// The namespaces of the first process that are not the runtime's.
struct Joining {
    first: OwnedFd,
    kinds: ThreadNameSpaceType,
}

impl Joining {
    fn decide(container: &Container, first: OwnedFd) -> Result<Self, Error> {
        let mut kinds = ThreadNameSpaceType::empty();
        for kind in KINDS {
            let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{}", kind.proc_name()));
            let theirs = link(&container.record.pid.to_string());
            match (link("self"), theirs) {
                (Ok(own), Ok(theirs)) if own != theirs => kinds |= flag(kind),
                (Ok(_), Ok(_)) => {}
                // A kernel without this kind.
                (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {}
                (_, Err(error)) | (Err(error), _) => {
                    return Err(step("reading the container's namespaces")(error));
                }
            }
        }
        Ok(Self { first, kinds })
    }

    fn enter(&self, kinds: ThreadNameSpaceType) -> Result<(), rustix::io::Errno> {
        let kinds = kinds.intersection(self.kinds);
        if kinds.is_empty() {
            Ok(())
        } else {
            rustix::thread::move_into_thread_name_spaces(self.first.as_fd(), kinds)
        }
    }
}

struct Entrant<'a> {
    plan: Plan<'a>,
    entry: Entry,
    joining: Joining,
    socket: Option<OwnedFd>,
}

impl Entrant<'_> {
    fn spawn(self) -> Result<(Pid, Channel), Error> {
        let (ours, theirs) = Channel::pair().map_err(step("making a socket pair"))?;
        // Only for children, so the process is born where it belongs and needs no second fork.
        self.joining.enter(ThreadNameSpaceType::PROCESS_ID).map_err(step("entering the PID namespace"))?;
        let cgroup = match &self.entry {
            Entry::V2(directory) => Some(directory.as_fd()),
            Entry::V1(_) => None,
        };
        let options = CloneOptions { namespaces: None, cgroup, sibling: false };
        match clone_process(&options).map_err(step("cloning the process"))? {
            Cloned::Parent { pid, .. } => Ok((pid, ours)),
            Cloned::Child => {
                drop(ours);
                let error = self.live(&theirs);
                // If the runtime is gone, so is the reason to say anything.
                drop(theirs.send(&Message::Failed(describe(&error))));
                ochre_sys::exec::exit_now(1)
            }
        }
    }

    /// Returns only with an error.
    fn live(self, channel: &Channel) -> InitError {
        self.enter_and_run(channel).map_or_else(|error| error, |never| match never {})
    }

    fn enter_and_run(self, channel: &Channel) -> Result<std::convert::Infallible, InitError> {
        let failed = |step: &'static str| move |source: std::io::Error| InitError::Step { step, source };
        let Self { plan, entry, joining, socket } = self;
        enter_groups(Some(entry))?;
        channel.wait_continue().map_err(failed("waiting for the runtime"))?;
        // Made here, where nothing covers parts of `/proc` yet.
        let procfs = (!plan.labels.is_empty())
            .then(Procfs::open)
            .transpose()
            .map_err(failed("making a procfs handle"))?;
        joining
            .enter(joining.kinds.difference(ThreadNameSpaceType::PROCESS_ID))
            .map_err(|errno| failed("entering the namespaces")(errno.into()))?;
        if joining.kinds.contains(flag(NamespaceKind::User)) {
            become_namespace_root()?;
        } else {
            let warnings = rlimits::apply(None, &plan.process.rlimits)?;
            warn(channel, warnings)?;
        }
        rustix::process::setsid().map_err(|errno| failed("starting a session")(errno.into()))?;
        if let Some(socket) = socket {
            let root = Root::open(Path::new("/")).map_err(failed("opening the root"))?;
            console::open(&root, &socket, plan.process.console_size, &plan.process.user, false)
                .and_then(|slave| console::adopt(&slave))
                .map_err(failed("setting up the terminal"))?;
        }
        let (program, warnings) = process::become_program(&plan, procfs.as_ref())?;
        warn(channel, warnings)?;
        // The channel closes with the exec: its silent end is the success.
        Err(process::run(&plan, &program).into())
    }
}

fn warn(channel: &Channel, warnings: Vec<String>) -> Result<(), InitError> {
    let send = |text| channel.send(&Message::Warning(text));
    let sent = warnings.into_iter().try_for_each(send);
    sent.map_err(|source| InitError::Step { step: "reporting to the runtime", source })
}

/// What only the runtime may do for the process.
fn settle(pid: Pid, process: &Process, linux: &crate::spec::Linux, log: &mut Log) -> Result<(), Error> {
    let mut warnings = Vec::new();
    if linux.namespace(NamespaceKind::User).is_some() {
        warnings.extend(rlimits::apply(Some(pid), &process.rlimits)?);
    }
    if let Some(adjustment) = process.oom_score_adj {
        warnings.extend(rlimits::set_oom_score(pid, adjustment)?);
    }
    for warning in warnings {
        log.write(Level::Warning, &warning);
    }
    Ok(())
}

fn converse(channel: &Channel, log: &mut Log) -> Result<(), Error> {
    loop {
        match channel.receive() {
            Ok(Message::Warning(text)) => log.write(Level::Warning, &text),
            Ok(Message::Failed(message)) => return Err(Error::Child { message }),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(_) | Err(_) => return Err(Error::ChildDied),
        }
    }
}

/// Waits for the end; the status as shells count it.
fn wait(pid: Pid) -> Result<u8, Error> {
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(step("waiting for the process")(errno)),
            Ok(status) => return Ok(status.as_ref().map_or(255, exit_code)),
        }
    }
}

fn exit_code(status: &WaitIdStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
