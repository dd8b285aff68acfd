//! The child: from a copy of the runtime to the container's first process.
//!
//! ```text
//! born ─► groups ─► (Continue) ─► user namespace ─► cgroup, time namespaces ─► root and mounts ─► hooks
//!      ─► pivot ─► terminal ─► masks ─► host name, sysctls ─► identity ─► Ready ─► waits in the fifo ─► exec
//! ```
//!
//! Until `Ready` every failure goes to the runtime with the name of its step. After it nobody listens any more: a
//! failed exec is told on standard error and by the exit status, 127 or 126 as shells do.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ochre_sys::clone::{CloneOptions, Cloned, clone_process, unshare_namespaces};
use ochre_types::ErrorKind;
use rustix::fs::Mode;
use rustix::thread::{Gid, ThreadNameSpaceType, Uid};
use thiserror::Error;

use crate::cgroup::Entry;
use crate::channel::{Channel, Message};
use crate::error::describe;
use crate::hooks::{self, HookError};
use crate::namespaces::{self, NamespaceError};
use crate::process::{self, Plan, ProcessError, Program, rlimits};
use crate::procfs::Procfs;
use crate::rootfs::{self, Prepared, RootfsError, console};
use crate::spec::{Hook, NamespaceKind, Spec};
use crate::sysctl::{self, SysctlError};

/// Why the child gave up.
#[derive(Debug, Error)]
pub enum InitError {
    /// A single step.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Files.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Namespaces.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A hook.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// A kernel parameter.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Identity and program.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

impl InitError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Step { .. } => ErrorKind::Internal,
            Self::Rootfs(error) => error.kind(),
            Self::Namespace(error) => error.kind(),
            Self::Hook(error) => error.kind(),
            Self::Sysctl(error) => error.kind(),
            Self::Process(error) => error.kind(),
        }
    }
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> InitError {
    move |error| InitError::Step { step, source: error.into() }
}

/// Everything the child was given by the runtime.
pub struct Birth<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// What it becomes.
    pub plan: Plan<'a>,
    /// Its files.
    pub prepared: Prepared,
    /// Its groups, unless it was born in them.
    pub entry: Option<Entry>,
    /// User namespace to join, and namespaces to make in it.
    pub joined_user: Option<(OwnedFd, ThreadNameSpaceType)>,
    /// Checked kernel parameters.
    pub sysctls: Vec<(String, String)>,
    /// Where the terminal goes.
    pub console_socket: Option<OwnedFd>,
    /// Where it waits for `start`.
    pub fifo: OwnedFd,
    /// Move the root instead of pivoting.
    pub no_pivot: bool,
    /// State documents for hooks in the container: at creation, and at start.
    pub hook_state: String,
}

/// Lives the child's life up to the exec. Never returns.
pub fn live(mut birth: Birth<'_>, channel: Channel) -> ! {
    let program = match prepare(&mut birth, &channel) {
        Ok(program) => program,
        Err(error) => {
            // If the runtime is gone, so is the reason to say anything.
            drop(channel.send(&Message::Failed(describe(&error))));
            ochre_sys::exec::exit_now(1)
        }
    };
    if channel.send(&Message::Ready).is_err() {
        ochre_sys::exec::exit_now(1);
    }
    drop(channel);
    let error = start(&birth, &program);
    let code = match &error {
        InitError::Process(ProcessError::NotExecutable { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            127
        }
        InitError::Process(_) => 126,
        _ => 1,
    };
    // The container's own standard error; there is nobody else to tell.
    drop(io::Write::write_all(&mut io::stderr(), format!("{}\n", describe(&error)).as_bytes()));
    ochre_sys::exec::exit_now(code)
}

fn prepare(birth: &mut Birth<'_>, channel: &Channel) -> Result<Program, InitError> {
    let spec = birth.spec;
    rustix::process::umask(Mode::empty());
    enter_groups(birth.entry.take())?;
    channel.wait_continue().map_err(step("waiting for the runtime"))?;
    if let Some((user, new)) = birth.joined_user.take() {
        enter_user_namespace(&user, new, channel)?;
    }
    if spec.linux.makes(NamespaceKind::Cgroup) {
        unshare_namespaces(ThreadNameSpaceType::CONTROL_GROUP)
            .map_err(step("making the cgroup namespace"))?;
    }
    let root = rootfs::enter(&birth.prepared)?;
    if spec.linux.namespace(NamespaceKind::User).is_some() {
        // Until here as the host's root without its rights, who may pass through its private directories.
        become_namespace_root()?;
    } else {
        let warnings = rlimits::apply(None, &birth.plan.process.rlimits)?;
        warn(channel, warnings)?;
    }
    let procfs = open_procfs(birth)?;
    offset_clocks(spec, procfs.as_ref())?;
    rustix::process::setsid().map_err(step("starting a session"))?;
    rootfs::populate(&root, &mut birth.prepared)?;
    run_hooks(birth, channel)?;
    rootfs::pivot(&root, birth.no_pivot)?;
    // A missing working directory is made, as runc does; one that cannot be is an error when it is entered.
    drop(root.create_dir_all(&birth.plan.process.cwd, 0o755));
    if let Some(socket) = birth.console_socket.take() {
        let process = birth.plan.process;
        let slave =
            console::open(&root, &socket, process.console_size, &process.user, birth.prepared.makes_devices)
                .and_then(|slave| console::adopt(&slave).map(|()| slave));
        slave.map_err(step("setting up the terminal"))?;
    }
    rootfs::seal(&root, &birth.prepared)?;
    if let Some(name) = spec.hostname.as_deref().filter(|name| !name.is_empty()) {
        rustix::system::sethostname(name.as_bytes()).map_err(step("setting the host name"))?;
    }
    if let Some(name) = spec.domainname.as_deref().filter(|name| !name.is_empty()) {
        rustix::system::setdomainname(name.as_bytes()).map_err(step("setting the domain name"))?;
    }
    if let Some(procfs) = &procfs {
        sysctl::set(procfs, &birth.sysctls)?;
    }
    let (program, warnings) = process::become_program(&birth.plan, procfs.as_ref())?;
    warn(channel, warnings)?;
    Ok(program)
}

fn warn(channel: &Channel, warnings: Vec<String>) -> Result<(), InitError> {
    let send = |text| channel.send(&Message::Warning(text));
    warnings.into_iter().try_for_each(send).map_err(step("reporting to the runtime"))
}

/// Moves the calling process into v1 groups.
///
/// # Errors
/// When one does not take it.
pub(crate) fn enter_groups(entry: Option<Entry>) -> Result<(), InitError> {
    if let Some(Entry::V1(tasks)) = entry {
        for file in tasks {
            // 0 is the writer itself.
            rustix::io::write(&file, b"0").map_err(step("entering the control groups"))?;
        }
    }
    Ok(())
}

/// Enters a user namespace and makes the others in it. A new PID namespace is only for children: one goes on in the
/// place of this process.
fn enter_user_namespace(
    user: &OwnedFd,
    new: ThreadNameSpaceType,
    channel: &Channel,
) -> Result<(), InitError> {
    namespaces::enter(NamespaceKind::User, user)?;
    unshare_namespaces(new.difference(ThreadNameSpaceType::PROCESS_ID)).map_err(step("making namespaces"))?;
    if !new.contains(ThreadNameSpaceType::PROCESS_ID) {
        return Ok(());
    }
    let options =
        CloneOptions { namespaces: Some(ThreadNameSpaceType::PROCESS_ID), cgroup: None, sibling: true };
    match clone_process(&options).map_err(step("making the PID namespace"))? {
        Cloned::Child => channel.wait_continue().map_err(step("waiting for the runtime")),
        Cloned::Parent { pid, .. } => {
            channel
                .send(&Message::Moved(pid.as_raw_nonzero().get()))
                .map_err(step("reporting to the runtime"))?;
            ochre_sys::exec::exit_now(0)
        }
    }
}

/// Becomes user and group 0 of the user namespace.
///
/// # Errors
/// When 0 is not mapped.
pub(crate) fn become_namespace_root() -> Result<(), InitError> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_groups(&[]).map_err(step("leaving the host's groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(step("becoming group 0 of the user namespace"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(step("becoming user 0 of the user namespace"))
}

/// The handle is made only when something is written through it.
fn open_procfs(birth: &Birth<'_>) -> Result<Option<Procfs>, InitError> {
    let needed = !birth.sysctls.is_empty()
        || !birth.plan.labels.is_empty()
        || !birth.spec.linux.time_offsets.is_empty();
    needed.then(Procfs::open).transpose().map_err(step("making a procfs handle"))
}

fn offset_clocks(spec: &Spec, procfs: Option<&Procfs>) -> Result<(), InitError> {
    if !spec.linux.makes(NamespaceKind::Time) {
        return Ok(());
    }
    unshare_namespaces(ThreadNameSpaceType::TIME).map_err(step("making the time namespace"))?;
    for (clock, offset) in &spec.linux.time_offsets {
        let line = format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
        if let Some(procfs) = procfs {
            procfs.write_own("timens_offsets", &line).map_err(step("setting clock offsets"))?;
        }
    }
    Ok(())
}

fn run_hooks(birth: &Birth<'_>, channel: &Channel) -> Result<(), InitError> {
    let hooks = &birth.spec.hooks;
    if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
        channel.send(&Message::RunHooks).map_err(step("asking for hooks"))?;
        channel.wait_continue().map_err(step("waiting for hooks"))?;
    }
    run_own(birth, "createContainer", &hooks.create_container)
}

fn run_own(birth: &Birth<'_>, phase: &'static str, list: &[Hook]) -> Result<(), InitError> {
    Ok(hooks::run(phase, list, &birth.hook_state)?)
}

/// Waits for `start` and runs the program; returns only when that failed.
fn start(birth: &Birth<'_>, program: &Program) -> InitError {
    let mut byte = [0];
    loop {
        match rustix::io::read(birth.fifo.as_fd(), &mut byte) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(1) => break,
            Ok(_) => return step("waiting for start")(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Err(errno) => return step("waiting for start")(errno),
        }
    }
    if let Err(error) = run_own(birth, "startContainer", &birth.spec.hooks.start_container) {
        return error;
    }
    process::run(&birth.plan, program).into()
}
