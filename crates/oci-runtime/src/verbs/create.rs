//! `create`: everything up to the moment before the program runs.
//!
//! The record is written before the first effect, and with every new one (groups, process) before the next, so that
//! `delete --force` can undo what a `create` left that was killed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ochre_sys::clone::{CloneOptions, Cloned, clone_process};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::{guard_descriptors, write_pid_file};
use crate::cgroup::{self, Entry, Groups, Hierarchies, ScopeName};
use crate::channel::{Channel, Message};
use crate::cli::{CgroupDriver, CreateOptions, Global};
use crate::config::{self, LoadedSpec};
use crate::container::{Container, Record, Status, process_stat};
use crate::error::{Error, step};
use crate::hooks;
use crate::idmap;
use crate::init::{self, Birth};
use crate::log::{Level, Log};
use crate::lsm::Labels;
use crate::namespaces::Layout;
use crate::process::{Plan, rlimits};
use crate::rootfs::{self, console};
use crate::seccomp;
use crate::spec::{NamespaceKind, Process, Spec};
use crate::stdio;
use crate::sysctl;

pub(super) fn create(global: &Global, options: &CreateOptions, log: &mut Log) -> Result<(), Error> {
    crate::protect::protect().map_err(step("protecting the runtime's own program"))?;
    guard_descriptors(options.preserve_fds)?;
    let bundle = std::path::absolute(&options.bundle).map_err(step("finding the bundle"))?;
    let LoadedSpec { spec, bytes } = config::load_spec(&bundle.join("config.json"))?;
    let rootfs = bundle.join(spec.root.as_ref().map_or(Path::new(""), |root| &root.path));
    let record = Record {
        id: options.id.to_string(),
        bundle,
        rootfs,
        pid: 0,
        start_time: 0,
        created: crate::log::rfc3339(ochre_types::Timestamp::now()),
        groups: Groups { paths: BTreeMap::new(), scope: None },
        annotations: spec.annotations.clone(),
    };
    let container = Container::create(&global.root, record, &bytes)?;
    let mut making = Making { global, options, spec: &spec, container, log, child: None };
    match making.make() {
        Ok(()) => Ok(()),
        Err(error) => {
            making.undo();
            Err(error)
        }
    }
}

struct Making<'a> {
    global: &'a Global,
    options: &'a CreateOptions,
    spec: &'a Spec,
    container: Container,
    log: &'a mut Log,
    child: Option<(Pid, OwnedFd)>,
}

impl Making<'_> {
    fn make(&mut self) -> Result<(), Error> {
        let spec = self.spec;
        let Some(process) = &spec.process else {
            return Err(config::ConfigError::Missing { field: "process" }.into());
        };
        // All that can be refused without an effect is refused first.
        let sysctls = sysctl::check(&spec.linux)?;
        let plan = plan(spec, process, self.options.preserve_fds)?;
        let layout = Layout::open(&spec.linux)?;
        let hierarchies = Hierarchies::detect()?;
        let scope = self.make_groups(&hierarchies)?;
        let groups = &self.container.record.groups;
        let prepared_groups =
            scope.as_ref().map_or_else(|| groups.clone(), |scope| future_groups(&hierarchies, scope));
        if let Some(scope) = &scope
            && spec
                .mounts
                .iter()
                .any(|mount| mount.kind.as_deref().is_some_and(|kind| kind.starts_with("cgroup")))
            && spec.linux.namespace(NamespaceKind::Cgroup).is_none()
        {
            // The container is shown its group as a copy of a mount, for which the directory must exist; systemd
            // takes over one that does.
            Groups::create(&hierarchies, &scope.directory(), Some(scope.scope.clone()))?;
        }
        let (bundle, rootfs) = (&self.container.record.bundle, self.container.record.rootfs.clone());
        let prepared = rootfs::prepare(spec, bundle, rootfs, &hierarchies, &prepared_groups)?;
        let entry = if scope.is_some() { None } else { Some(groups.entry()?) };
        let console_socket = self.console_socket(process)?;
        stdio::give(process, &spec.linux)
            .map_err(step("giving the standard streams to the container's user"))?;
        let birth = Birth {
            spec,
            plan,
            prepared,
            entry,
            joined_user: None,
            sysctls,
            console_socket,
            fifo: self.container.open_fifo()?,
            no_pivot: self.options.no_pivot,
            hook_state: String::new(),
        };
        let channel = self.clone_child(birth, layout)?;
        self.settle(scope.as_ref(), &hierarchies, process)?;
        channel.send(&Message::Continue).map_err(step("letting the container's process go on"))?;
        self.converse(&channel)?;
        self.container.save()?;
        write_pid_file(self.options.pid_file.as_deref(), self.container.record.pid)
    }

    /// Makes and limits the groups, or only names the scope that systemd makes around the process.
    fn make_groups(&mut self, hierarchies: &Hierarchies) -> Result<Option<ScopeName>, Error> {
        let id = self.options.id.as_str();
        if self.global.cgroup_driver == CgroupDriver::Systemd {
            let scope = ScopeName::parse(self.spec.linux.cgroups_path.as_deref(), id)?;
            self.container.record.groups = future_groups(hierarchies, &scope);
            self.container.save()?;
            return Ok(Some(scope));
        }
        let own = hierarchies.own_path()?;
        let path = cgroup::relative_path(self.spec, id, &own)?;
        self.container.record.groups = Groups::create(hierarchies, &path, None)?;
        self.container.save()?;
        self.limit()?;
        Ok(None)
    }

    fn limit(&mut self) -> Result<(), Error> {
        let (groups, resources) = (&self.container.record.groups, &self.spec.linux.resources);
        let mut warnings = groups.restrict_devices(resources)?;
        warnings.extend(groups.apply(resources)?);
        for warning in warnings {
            self.log.write(Level::Warning, &warning);
        }
        Ok(())
    }

    fn console_socket(&self, process: &Process) -> Result<Option<OwnedFd>, Error> {
        match (&self.options.console_socket, process.terminal) {
            (Some(path), true) => {
                console::connect(path).map(Some).map_err(step("connecting to the console socket"))
            }
            (None, true) => Err(crate::cli::UsageError::MissingArgument { what: "--console-socket" }.into()),
            (_, false) => Ok(None),
        }
    }

    fn clone_child(&mut self, mut birth: Birth<'_>, mut layout: Layout) -> Result<Channel, Error> {
        let (ours, theirs) = Channel::pair().map_err(step("making a socket pair"))?;
        birth.hook_state = self.container.oci_state(Status::Creating)?;
        let user = layout.user.take();
        // In a joined user namespace, the others are made after it is entered.
        let namespaces = if user.is_some() { None } else { Some(layout.new) };
        birth.joined_user = user.map(|user| (user, layout.new));
        let born_in = match &birth.entry {
            Some(Entry::V2(directory)) => {
                Some(directory.try_clone().map_err(step("opening the control group"))?)
            }
            _ => None,
        };
        layout.enter_joined()?;
        let options = CloneOptions { namespaces, cgroup: born_in.as_ref().map(AsFd::as_fd), sibling: false };
        match clone_process(&options).map_err(step("cloning the container's process"))? {
            Cloned::Child => {
                drop(ours);
                init::live(birth, theirs)
            }
            Cloned::Parent { pid, pidfd } => {
                self.child = Some((pid, pidfd));
                layout.leave_joined()?;
                self.remember(pid)?;
                Ok(ours)
            }
        }
    }

    fn remember(&mut self, pid: Pid) -> Result<(), Error> {
        let raw = pid.as_raw_nonzero().get();
        let (_, start_time) =
            process_stat(raw).map_err(step("reading the start time of the container's process"))?;
        self.container.record.pid = raw;
        self.container.record.start_time = start_time;
        Ok(self.container.save()?)
    }

    /// What only the runtime may do for the child.
    fn settle(
        &mut self,
        scope: Option<&ScopeName>,
        hierarchies: &Hierarchies,
        process: &Process,
    ) -> Result<(), Error> {
        let linux = &self.spec.linux;
        let Some(pid) = Pid::from_raw(self.container.record.pid) else { return Err(Error::ChildDied) };
        if let Some(scope) = scope {
            let v2 = matches!(hierarchies, Hierarchies::V2);
            scope.start(self.options.id.as_str(), self.container.record.pid, &linux.resources, v2)?;
            let groups = Groups::create(hierarchies, &scope.directory(), Some(scope.scope.clone()))?;
            groups.attach(self.container.record.pid)?;
            self.container.record.groups = groups;
            self.limit()?;
        }
        if linux.makes(NamespaceKind::User) {
            idmap::write(pid, &linux.uid_mappings, &linux.gid_mappings)
                .map_err(step("writing id mappings"))?;
        }
        if linux.namespace(NamespaceKind::User).is_some() {
            for warning in rlimits::apply(Some(pid), &process.rlimits)? {
                self.log.write(Level::Warning, &warning);
            }
        }
        if let Some(adjustment) = process.oom_score_adj
            && let Some(warning) = rlimits::set_oom_score(pid, adjustment)?
        {
            self.log.write(Level::Warning, &warning);
        }
        Ok(())
    }

    /// Answers the child until it is ready.
    fn converse(&mut self, channel: &Channel) -> Result<(), Error> {
        loop {
            match channel.receive() {
                Ok(Message::Ready) => return Ok(()),
                Ok(Message::Warning(text)) => self.log.write(Level::Warning, &text),
                Ok(Message::Failed(message)) => return Err(Error::Child { message }),
                Ok(Message::RunHooks) => {
                    let state = self.container.oci_state(Status::Creating)?;
                    hooks::run("prestart", &self.spec.hooks.prestart, &state)?;
                    hooks::run("createRuntime", &self.spec.hooks.create_runtime, &state)?;
                    channel.send(&Message::Continue).map_err(step("answering the container's process"))?;
                }
                Ok(Message::Moved(raw)) => {
                    let pid = Pid::from_raw(raw).ok_or(Error::ChildDied)?;
                    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
                        .map_err(step("opening the container's process"))?;
                    if let Some((former, _)) = self.child.replace((pid, pidfd)) {
                        rustix::process::waitid(WaitId::Pid(former), WaitIdOptions::EXITED)
                            .map_err(step("waiting for the first child"))?;
                    }
                    self.remember(pid)?;
                    channel.send(&Message::Continue).map_err(step("answering the container's process"))?;
                }
                Ok(Message::Continue) | Err(_) => return Err(Error::ChildDied),
            }
        }
    }

    /// Takes back everything. The error that led here is the one reported, those of undoing are logged.
    fn undo(&mut self) {
        if let Some((pid, pidfd)) = self.child.take() {
            // It may be dead already.
            drop(rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).map_err(std::io::Error::from));
            let waited = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            if let Err(errno) = waited {
                self.log.write(Level::Warning, &format!("waiting for the failed container: {errno}"));
            }
        }
        if let Err(error) = self.container.record.groups.remove() {
            self.log.write(Level::Warning, &crate::error::describe(&error));
        }
        if let Err(error) = self.container.remove() {
            self.log.write(Level::Warning, &crate::error::describe(&error));
        }
    }
}

/// Where the groups of a scope will be.
fn future_groups(hierarchies: &Hierarchies, scope: &ScopeName) -> Groups {
    Groups::planned(hierarchies, &scope.directory(), scope.scope.clone())
}

/// What the program of a container becomes.
pub(super) fn plan<'a>(spec: &Spec, process: &'a Process, preserve_fds: u32) -> Result<Plan<'a>, Error> {
    let filter = spec.linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
    let personality = match spec.linux.personality.as_ref().map(|personality| personality.domain.as_str()) {
        None => None,
        Some("LINUX") => Some(0),
        Some("LINUX32") => Some(8),
        Some(_) => return Err(config::ConfigError::Unsupported { field: "linux.personality" }.into()),
    };
    Ok(Plan { process, filter, labels: Labels::decide(process)?, personality, preserve_fds })
}
