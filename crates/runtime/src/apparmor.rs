//! The AppArmor profile behind `RuntimeDefault`: found in the kernel, or brought there when the daemon starts.
//!
//! ```text
//! option            kernel has AppArmor                               it has not
//! crio-default, ""  Profile: the engine's text, loaded at this start  Off: nothing is confined
//! unconfined        Unconfined                                        Off
//! another name      Profile, or no start when it is not loaded        Off
//! ```
//!
//! The kernel takes compiled policy only, and `apparmor_parser` is the compiler: without it the engine cannot bring its
//! text in. CRI-O does not start then. Here containers that ask for nothing run without a profile, the daemon says so
//! at start, and a container that asks for the runtime's default by name is refused: nobody who asked is left out.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ochre_sys::invoke::{self, End, Limits};
use ochre_types::ErrorKind;

/// The option's default value, which is also the name of the engine's own profile; CRI-O's, so that both are one.
pub const BUILT_IN: &str = "crio-default";
const UNCONFINED: &str = "unconfined";

/// Where programs of the administrator lie; a daemon's `$PATH` may lack them.
const SBIN: [&str; 2] = ["/usr/sbin", "/sbin"];
const PARSER: &str = "apparmor_parser";
/// Compiling takes some 100 ms, on an emulated node some seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the kernel's list that are read: some 100 bytes for each profile.
const LIST_LIMIT: u64 = 8 << 20;

/// What `RuntimeDefault` means on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AppArmor {
    /// The kernel has no AppArmor, or it is switched off.
    #[default]
    Off,
    /// Containers are not confined unless they ask for a profile of their own.
    Unconfined {
        /// The kernel's list of loaded profiles.
        list: PathBuf,
    },
    /// Containers run under a profile; whether it is still loaded is asked for each of them.
    Profile {
        /// The kernel's list of loaded profiles.
        list: PathBuf,
        /// Its name.
        name: String,
    },
}

/// AppArmor cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's list cannot be read.
    #[error("the list of loaded AppArmor profiles {path} cannot be read")]
    List {
        /// The list.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configured profile is not there.
    #[error("AppArmor profile {name:?} is not loaded")]
    NotLoaded {
        /// Its name.
        name: String,
    },
    /// No compiler.
    #[error("no {PARSER} in PATH, /usr/sbin or /sbin")]
    NoParser,
    /// The compiler cannot be run.
    #[error("{path} cannot be run")]
    Parser {
        /// The compiler.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The compiler or the kernel refuses the text.
    #[error("{path} does not load profile {name:?}: {reason}")]
    Refused {
        /// The compiler.
        path: PathBuf,
        /// Name of the profile.
        name: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLoaded { .. } | Self::NoParser => ErrorKind::FailedPrecondition,
            Self::List { .. } | Self::Parser { .. } | Self::Refused { .. } => ErrorKind::Internal,
        }
    }
}

/// Decides what `RuntimeDefault` means, loading the engine's own profile where that is it. The second value says why it
/// could not be loaded; containers run then as the first value says.
///
/// Blocking: runs `apparmor_parser`.
///
/// # Errors
/// [`Error::NotLoaded`] for a configured profile of somebody else's that the kernel does not have, [`Error::List`].
pub fn prepare(option: &str, search_path: &OsStr) -> Result<(AppArmor, Option<Error>), Error> {
    match kernel_list() {
        Some(list) => prepare_with(list, option, |name| load(name, search_path)),
        None => Ok((AppArmor::Off, None)),
    }
}

fn prepare_with(
    list: PathBuf,
    option: &str,
    load: impl FnOnce(&str) -> Result<(), Error>,
) -> Result<(AppArmor, Option<Error>), Error> {
    match option {
        UNCONFINED => Ok((AppArmor::Unconfined { list }, None)),
        "" | BUILT_IN => {
            let failed = load(BUILT_IN).err();
            Ok((AppArmor::Profile { list, name: BUILT_IN.to_owned() }, failed))
        }
        name if is_loaded(&list, name)? => Ok((AppArmor::Profile { list, name: name.to_owned() }, None)),
        name => Err(Error::NotLoaded { name: name.to_owned() }),
    }
}

/// Where the kernel lists loaded profiles, if AppArmor is enabled and its file system mounted.
fn kernel_list() -> Option<PathBuf> {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    let list = PathBuf::from("/sys/kernel/security/apparmor/profiles");
    (enabled.starts_with('Y') && list.exists()).then_some(list)
}

/// Whether a profile is in the kernel's list, whose lines are `name (mode)`.
pub(crate) fn is_loaded(list: &Path, name: &str) -> Result<bool, Error> {
    let failed = |source| Error::List { path: list.to_path_buf(), source };
    let content = crate::bounded::read_bounded(list, LIST_LIMIT).map_err(failed)?;
    let content = String::from_utf8_lossy(&content);
    Ok(content.lines().any(|line| line.rsplit_once(" (").is_some_and(|(known, _)| known == name)))
}

/// Compiles the engine's text and hands it to the kernel, in the place of an older one of that name.
fn load(name: &str, search_path: &OsStr) -> Result<(), Error> {
    let places = std::env::split_paths(search_path).chain(SBIN.iter().map(PathBuf::from));
    let path = places
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(PARSER))
        .find(|path| path.is_file())
        .ok_or(Error::NoParser)?;
    let mut command = Command::new(&path);
    command
        .args(["--replace", "--skip-cache", "--quiet"])
        .env_clear()
        .env("PATH", search_path)
        .current_dir("/");
    let outcome = invoke::run(&mut command, text(name).as_bytes(), Limits::within(PATIENCE, 4096, 4096))
        .map_err(|source| Error::Parser { path: path.clone(), source })?;
    let reason = match outcome.end {
        End::Exited(status) if status.success() => return Ok(()),
        End::Exited(status) => {
            let said = String::from_utf8_lossy(&outcome.stderr);
            format!("{status}: {}", said.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        End::Deadline => format!("it did not end within {PATIENCE:?}"),
        End::Flood => "it wrote without end".to_owned(),
    };
    Err(Error::Refused { path, name: name.to_owned(), reason })
}

/// The engine's own profile: everything but what reaches the node past the namespaces. It needs no file of the node's
/// policy (`tunables`, `abstractions`), so that it loads where only the compiler is installed.
fn text(name: &str) -> String {
    format!(
        r"profile {name} flags=(attach_disconnected,mediate_deleted) {{
  # Identity and namespaces are the borders; inside of them a container is free.
  capability,
  file,
  network,
  umount,

  # Signals and tracing stay among containers. The engine, its runtimes and monitors are not confined.
  signal (receive) peer=unconfined,
  signal (send, receive) peer={name},
  ptrace (trace, read, tracedby, readby) peer={name},

  # New mounts could show files of the node under names that no rule below knows.
  deny mount,

  # Of the kernel's parameters only those that a network or IPC namespace carries.
  deny /proc/sys/[^fkn]** wklx,
  deny /proc/sys/fs/[^m]** wklx,
  deny /proc/sys/kernel/[^ms]** wklx,
  deny /proc/sys/kernel/m[^s]** wklx,
  deny /proc/sys/kernel/s[^eh]** wklx,
  deny /proc/sys/kernel/se[^m]** wklx,

  # Switches and memory of the whole node.
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /proc/kmem rwklx,
  deny /proc/mem rwklx,
  deny /proc/acpi/** rwklx,
  deny /proc/[^1-9s]*/** wklx,
  deny /proc/s[^y]*/** wklx,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(dir: &Path) -> PathBuf {
        let list = dir.join("profiles");
        std::fs::write(
            &list,
            "crio-default (enforce)\n/usr/bin/x//child (complain)\nwith space (y) (enforce)\n",
        )
        .unwrap();
        list
    }

    #[test]
    fn a_profile_is_loaded_only_under_its_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        let list = list(dir.path());
        for (name, loaded) in [
            ("crio-default", true),
            ("crio", false),
            ("/usr/bin/x//child", true),
            ("with space (y)", true),
            ("", false),
        ] {
            assert_eq!(is_loaded(&list, name).unwrap(), loaded, "{name}");
        }
    }

    #[test]
    fn the_option_decides_what_the_default_is() {
        let dir = tempfile::tempdir().unwrap();
        let list = list(dir.path());
        let profile = |name: &str| AppArmor::Profile { list: list.clone(), name: name.into() };
        let never = |_: &str| panic!("only the engine's own profile is loaded");
        for (option, expected) in [
            (UNCONFINED, AppArmor::Unconfined { list: list.clone() }),
            ("/usr/bin/x//child", profile("/usr/bin/x//child")),
        ] {
            assert_eq!(prepare_with(list.clone(), option, never).unwrap().0, expected, "{option}");
        }
        assert!(matches!(prepare_with(list.clone(), "other", never), Err(Error::NotLoaded { .. })));
        for option in ["", BUILT_IN] {
            let (found, failed) = prepare_with(list.clone(), option, |_| Err(Error::NoParser)).unwrap();
            assert_eq!(found, profile(BUILT_IN));
            assert!(matches!(failed, Some(Error::NoParser)));
            assert!(prepare_with(list.clone(), option, |_| Ok(())).unwrap().1.is_none());
        }
    }

    #[test]
    fn the_text_names_itself_and_closes_what_it_opens() {
        let text = text("a-name");
        assert!(text.starts_with("profile a-name ") && text.matches("peer=a-name").count() == 2, "{text}");
        assert_eq!((text.matches('{').count(), text.matches('}').count()), (1, 1));
        assert!(!text.contains("#include"));
    }
}
