//! Turning the child into the program: identity, rights, limits, filter, exec. The same for a container's first
//! process and for every exec.
//!
//! The order is the kernel's: labels and the bounding set need rights that the change of user takes away; a filter
//! needs either `no_new_privs` or those rights, so without `no_new_privs` it is loaded early and all that follows
//! must be allowed by it.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ochre_sys::capability::{self, Capabilities};
use ochre_types::ErrorKind;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::thread::{Gid, Uid};
use thiserror::Error;

use crate::lsm::{Labels, LsmError};
use crate::procfs::Procfs;
use crate::seccomp::Filter;
use crate::spec::{CapabilitySets, Process};

pub(crate) mod rlimits;

/// Mode mask of programs when the specification gives none.
const DEFAULT_UMASK: u32 = 0o022;

/// Why the program does not run.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// A system call of the preparation.
    #[error("{step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A label.
    #[error(transparent)]
    Label(#[from] LsmError),
    /// The working directory.
    #[error("entering the working directory {path}")]
    Cwd {
        /// The path inside.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The working directory is not in the container (CVE-2024-21626).
    #[error("the working directory {path} is outside the container")]
    CwdOutside {
        /// The path inside.
        path: PathBuf,
    },
    /// The program is not there.
    #[error("exec: {program:?}: executable file not found in $PATH")]
    NotFound {
        /// The first argument.
        program: String,
    },
    /// The program is there and cannot be executed.
    #[error("exec: {program:?}")]
    NotExecutable {
        /// The first argument.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An unknown resource limit.
    #[error("unknown resource limit {name:?}")]
    UnknownLimit {
        /// The word.
        name: String,
    },
    /// A string with a zero byte.
    #[error("an argument or environment entry contains a NUL byte")]
    NulByte,
}

impl ProcessError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Label(error) => error.kind(),
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::CwdOutside { .. } => ErrorKind::Denied,
            Self::Cwd { .. } | Self::NotExecutable { .. } | Self::UnknownLimit { .. } | Self::NulByte => {
                ErrorKind::InvalidArgument
            }
            Self::Step { .. } => ErrorKind::Internal,
        }
    }
}

fn step<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> ProcessError {
    move |error| ProcessError::Step { step, source: error.into() }
}

/// What a process becomes; decided in the runtime, carried out in the child.
#[derive(Debug)]
pub struct Plan<'a> {
    /// From the specification.
    pub process: &'a Process,
    /// System call filter.
    pub filter: Option<Filter>,
    /// Security labels.
    pub labels: Labels,
    /// Execution domain.
    pub personality: Option<u32>,
    /// Descriptors from 3 on that the program inherits.
    pub preserve_fds: u32,
}

/// A program found and ready to run.
#[derive(Debug)]
pub struct Program {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Gives the child the identity and rights of the program, and finds the program. Returns warnings with it.
///
/// # Errors
/// The step that failed.
pub fn become_program(
    plan: &Plan<'_>,
    procfs: Option<&Procfs>,
) -> Result<(Program, Vec<String>), ProcessError> {
    let process = plan.process;
    let mut warnings = Vec::new();
    if let Some(procfs) = procfs {
        plan.labels.set(procfs)?;
    }
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(step("setting no_new_privs"))?;
    }
    if let Some(domain) = plan.personality {
        ochre_sys::exec::set_personality(domain).map_err(step("setting the personality"))?;
    }
    let sets = Sets::decide(process.capabilities.as_ref(), &mut warnings)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(
        process.user.umask.unwrap_or(DEFAULT_UMASK) & 0o777,
    ));
    if let Some(filter) = plan.filter.as_ref().filter(|_| !process.no_new_privileges) {
        load(filter)?;
    }
    capability::limit_bounding(sets.bounding).map_err(step("limiting the bounding set"))?;
    rustix::thread::set_keep_capabilities(true).map_err(step("keeping capabilities"))?;
    change_user(process)?;
    rustix::thread::set_keep_capabilities(false).map_err(step("no longer keeping capabilities"))?;
    enter_cwd(&process.cwd)?;
    sets.apply()?;
    Ok((find(process)?, warnings))
}

fn load(filter: &Filter) -> Result<(), ProcessError> {
    ochre_sys::seccomp::install_filter(&filter.program, filter.flags)
        .map_err(step("loading the seccomp filter"))
}

/// The five sets, without those that this runtime may not give.
struct Sets {
    bounding: Capabilities,
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
    ambient: Capabilities,
}

impl Sets {
    fn decide(asked: Option<&CapabilitySets>, warnings: &mut Vec<String>) -> Result<Self, ProcessError> {
        let nothing = CapabilitySets::default();
        let asked = asked.unwrap_or(&nothing);
        let held = capability::permitted()
            .map_err(step("reading capabilities"))?
            .intersection(capability::bounding());
        let mut read = |names: &[String]| {
            let mut set = Capabilities::default();
            for name in names {
                match capability::number(name) {
                    Some(number) => set.insert(number),
                    None => warnings.push(format!("capability {name:?} is not known")),
                }
            }
            set
        };
        let all = [&asked.bounding, &asked.effective, &asked.permitted, &asked.inheritable, &asked.ambient]
            .map(|n| read(n));
        let missing = Capabilities(all.iter().fold(0, |sum, set| sum | set.0)).difference(held);
        let names: Vec<String> = missing.numbers().filter_map(capability::name).collect();
        if !names.is_empty() {
            warnings
                .push(format!("capabilities beyond the runtime's own are not given: {}", names.join(", ")));
        }
        let [bounding, effective, permitted, inheritable, ambient] = all.map(|set| set.intersection(held));
        Ok(Self {
            bounding,
            effective: effective.intersection(permitted),
            permitted,
            inheritable,
            ambient: ambient.intersection(permitted).intersection(inheritable),
        })
    }

    fn apply(&self) -> Result<(), ProcessError> {
        capability::set(self.effective, self.permitted, self.inheritable)
            .map_err(step("setting capabilities"))?;
        capability::set_ambient(self.ambient).map_err(step("setting ambient capabilities"))
    }
}

fn change_user(process: &Process) -> Result<(), ProcessError> {
    let user = &process.user;
    let groups: Vec<Gid> = user.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    // The highest number means "no change" to the kernel: it must not pass for an identity.
    if user.uid == u32::MAX || user.gid == u32::MAX || user.additional_gids.contains(&u32::MAX) {
        return Err(step("changing the user")(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    rustix::thread::set_thread_groups(&groups).map_err(step("setting supplementary groups"))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(step("changing the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(step("changing the user"))
}

fn enter_cwd(path: &Path) -> Result<(), ProcessError> {
    let failed = |errno: rustix::io::Errno| ProcessError::Cwd { path: path.to_owned(), source: errno.into() };
    rustix::process::chdir(path).map_err(failed)?;
    // The kernel answers "(unreachable)…" for a directory that is not below the root.
    match rustix::process::getcwd(Vec::new()) {
        Ok(cwd) if cwd.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) => Err(ProcessError::CwdOutside { path: path.to_owned() }),
        Err(errno) => Err(failed(errno)),
    }
}

/// Finds the program as its user and in its working directory, so that a missing one is an error of `create`.
fn find(process: &Process) -> Result<Program, ProcessError> {
    let strings =
        |list: &[String]| list.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
    let arguments = strings(&process.args).map_err(|_| ProcessError::NulByte)?;
    let environment = strings(&process.env).map_err(|_| ProcessError::NulByte)?;
    let program = process.args.first().cloned().unwrap_or_default();
    let not_found = || ProcessError::NotFound { program: program.clone() };
    if program.contains('/') {
        let refused = |source| ProcessError::NotExecutable { program: program.clone(), source };
        executable(Path::new(&program)).map_err(refused)?;
        let path = CString::new(program.as_str()).map_err(|_| ProcessError::NulByte)?;
        return Ok(Program { path, arguments, environment });
    }
    let search = process.env.iter().find_map(|entry| entry.strip_prefix("PATH=")).ok_or_else(not_found)?;
    let mut refused = None;
    for directory in search.split(':') {
        let candidate = Path::new(if directory.is_empty() { "." } else { directory }).join(&program);
        match executable(&candidate) {
            Ok(()) => {
                let path =
                    CString::new(candidate.as_os_str().as_bytes()).map_err(|_| ProcessError::NulByte)?;
                return Ok(Program { path, arguments, environment });
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(refused
        .map_or_else(not_found, |source| ProcessError::NotExecutable { program: program.clone(), source }))
}

fn executable(path: &Path) -> io::Result<()> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Runs the program; returns only when that failed.
pub fn run(plan: &Plan<'_>, program: &Program) -> ProcessError {
    // Nothing of the runtime's is inherited, whoever opened it (CVE-2024-21626).
    if let Err(error) = ochre_sys::exec::cloexec_from(3 + plan.preserve_fds) {
        return step("closing descriptors")(error);
    }
    ochre_sys::exec::default_signals();
    // As late as can be, so that the profile need not allow what the runtime itself does.
    if let Some(filter) = plan.filter.as_ref().filter(|_| plan.process.no_new_privileges)
        && let Err(error) = load(filter)
    {
        return error;
    }
    let source = ochre_sys::exec::execve(&program.path, &program.arguments, &program.environment);
    ProcessError::NotExecutable { program: program.path.to_string_lossy().into_owned(), source }
}
