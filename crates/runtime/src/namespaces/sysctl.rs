//! Kernel parameters of a pod: only those that a namespace of the pod's own carries.
//!
//! | parameter | namespace |
//! |---|---|
//! | `net.*` | network |
//! | `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*` | IPC |
//!
//! Everything else would change the node, and is refused; so is one of a namespace that the pod shares with the node.
//! (CRI-O skips such a parameter with a warning; a pod that does not get what it asked for should not run.)
//!
//! Keys come with dots or slashes, as sysctl(8) takes them: the first separator of the two decides, and the other then
//! stands for itself, so that `net.ipv4.conf.eth0/1.rp_filter` and `net/ipv4/conf/eth0.1/rp_filter` are the same.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;
use rustix::fs::OFlags;

use super::PodNamespace;
use super::id_map::host_id;
use crate::config::IdMapping;

/// `proc_dostring` and its kin take a page.
const MAX_VALUE: usize = 4095;
const MAX_KEY: usize = 512;
/// The one parameter with ids in it.
const PING_GROUPS: &str = "net/ipv4/ping_group_range";

/// A refused kernel parameter.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The key has no valid form.
    #[error("invalid sysctl {key:?}: not a name such as net.ipv4.ip_forward")]
    InvalidKey {
        /// The key.
        key: String,
    },
    /// The value cannot be written as one line.
    #[error("invalid sysctl {key}: its value is empty, too long or has control characters")]
    InvalidValue {
        /// The key.
        key: String,
    },
    /// No namespace carries the parameter: setting it would change the node.
    #[error("invalid sysctl {key}: it belongs to the node and not to a network or IPC namespace")]
    NotNamespaced {
        /// The key.
        key: String,
    },
    /// The pod shares the namespace of the parameter with the node.
    #[error("invalid sysctl {key}: the pod uses the node's namespace, in which it cannot be set")]
    OfNode {
        /// The key.
        key: String,
    },
    /// This kernel has no such parameter.
    #[error("invalid sysctl {key}: this kernel has no such parameter")]
    Unknown {
        /// The key.
        key: String,
    },
    /// The kernel refused the value.
    #[error("invalid sysctl {key}: the kernel refuses the value {value:?}")]
    Refused {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `/proc/sys` cannot be used.
    #[error("cannot write sysctl {key}")]
    Write {
        /// The key.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SysctlError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidKey { .. }
            | Self::InvalidValue { .. }
            | Self::NotNamespaced { .. }
            | Self::OfNode { .. }
            | Self::Unknown { .. }
            | Self::Refused { .. } => ErrorKind::InvalidArgument,
            Self::Write { .. } => ErrorKind::Internal,
        }
    }
}

/// A checked kernel parameter and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    key: String,
    /// Relative to `/proc/sys`.
    file: String,
    value: String,
    namespace: PodNamespace,
}

impl Sysctl {
    /// Checks a key and its value.
    ///
    /// # Errors
    /// [`SysctlError::InvalidKey`], [`SysctlError::InvalidValue`], [`SysctlError::NotNamespaced`].
    pub fn new(key: &str, value: &str) -> Result<Self, SysctlError> {
        let parts =
            parts(key).ok_or_else(|| SysctlError::InvalidKey { key: key.chars().take(100).collect() })?;
        let Some(namespace) = namespace_of(&parts) else {
            return Err(SysctlError::NotNamespaced { key: key.to_owned() });
        };
        if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SysctlError::InvalidValue { key: key.to_owned() });
        }
        Ok(Self { key: key.to_owned(), file: parts.join("/"), value: value.to_owned(), namespace })
    }

    /// The key as it was given.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The namespace that carries it.
    pub fn namespace(&self) -> PodNamespace {
        self.namespace
    }

    /// The parameter as a pod with a user namespace means it: group ids are the container's. The upper end of a range is
    /// lowered to the last group that the pod has, as the kubelet's default range ends with the highest there is.
    ///
    /// # Errors
    /// [`SysctlError::InvalidValue`] for a range that begins with a group the pod does not have.
    pub fn in_user_namespace(mut self, groups: &[IdMapping]) -> Result<Self, SysctlError> {
        if self.file != PING_GROUPS {
            return Ok(self);
        }
        let numbers: Vec<u32> = self.value.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // Anything else is the kernel's to refuse, and a range that ends before it begins means nobody.
        let [low, high] = numbers[..] else { return Ok(self) };
        if low > high {
            return Ok(self);
        }
        let last =
            groups.iter().map(|line| line.container_id.saturating_add(line.length.saturating_sub(1))).max();
        let high = high.min(last.unwrap_or(0));
        match (host_id(groups, low), host_id(groups, high)) {
            (Some(low), Some(high)) => self.value = format!("{low} {high}"),
            _ => return Err(SysctlError::InvalidValue { key: self.key }),
        }
        Ok(self)
    }
}

/// The parameters of a pod: the engine's defaults, replaced and extended by what the pod asks for. A default of a
/// namespace the pod does not own is left out, since it is not meant for such a pod.
///
/// # Errors
/// Those of [`Sysctl::new`], and [`SysctlError::OfNode`] for one that the pod asks for.
pub fn merge_sysctls(
    defaults: &[(String, String)],
    requested: &BTreeMap<String, String>,
    own: &[PodNamespace],
) -> Result<Vec<Sysctl>, SysctlError> {
    let mut merged: Vec<Sysctl> = Vec::new();
    let mut set = |sysctl: Sysctl| match merged.iter_mut().find(|known| known.file == sysctl.file) {
        Some(known) => *known = sysctl,
        None => merged.push(sysctl),
    };
    for (key, value) in defaults {
        let sysctl = Sysctl::new(key, value)?;
        if own.contains(&sysctl.namespace) {
            set(sysctl);
        }
    }
    for (key, value) in requested {
        let sysctl = Sysctl::new(key, value)?;
        if !own.contains(&sysctl.namespace) {
            return Err(SysctlError::OfNode { key: sysctl.key });
        }
        set(sysctl);
    }
    Ok(merged)
}

/// Writes the parameters of one kind of namespace in that of the calling thread.
pub(super) fn write_all(sysctls: &[Sysctl], kind: PodNamespace) -> Result<(), SysctlError> {
    let mut sysctls = sysctls.iter().filter(|sysctl| sysctl.namespace == kind).peekable();
    let Some(first) = sysctls.peek() else { return Ok(()) };
    let root = Root::open(Path::new("/proc/sys"))
        .map_err(|source| SysctlError::Write { key: first.key.clone(), source })?;
    sysctls.try_for_each(|sysctl| write_one(&root, sysctl))
}

fn write_one(root: &Root, sysctl: &Sysctl) -> Result<(), SysctlError> {
    let key = || sysctl.key.clone();
    let file = match root.open_no_symlinks(Path::new(&sysctl.file), OFlags::WRONLY | OFlags::NOCTTY, 0) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
            return Err(SysctlError::Unknown { key: key() });
        }
        Err(source) => return Err(SysctlError::Write { key: key(), source }),
    };
    // One write: the kernel parses each write as a whole value.
    let refused = |source| SysctlError::Refused { key: key(), value: sysctl.value.clone(), source };
    match rustix::io::write(&file, sysctl.value.as_bytes()) {
        Ok(written) if written == sysctl.value.len() => Ok(()),
        Ok(_) => Err(refused(io::ErrorKind::WriteZero.into())),
        Err(error) => Err(refused(error.into())),
    }
}

fn parts(key: &str) -> Option<Vec<String>> {
    if key.len() > MAX_KEY {
        return None;
    }
    let separator = key.chars().find(|c| matches!(c, '.' | '/'))?;
    let (literal, meant) = if separator == '.' { ('/', ".") } else { ('.', ".") };
    let parts: Vec<String> = key.split(separator).map(|part| part.replace(literal, meant)).collect();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte);
    let is_name =
        |part: &String| !part.is_empty() && part != "." && !part.contains("..") && part.bytes().all(allowed);
    (parts.len() >= 2 && parts.iter().all(is_name)).then_some(parts)
}

fn namespace_of(parts: &[String]) -> Option<PodNamespace> {
    match (parts[0].as_str(), &parts[1..]) {
        ("net", _) => Some(PodNamespace::Net),
        ("kernel", [name]) if name == "sem" || name.starts_with("shm") || name.starts_with("msg") => {
            Some(PodNamespace::Ipc)
        }
        ("fs", [mqueue, _]) if mqueue == "mqueue" => Some(PodNamespace::Ipc),
        _ => None,
    }
}
