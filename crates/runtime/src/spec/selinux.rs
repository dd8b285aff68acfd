//! SELinux labels: of a container's processes, and of the files and mounts that are made for it.
//!
//! ```text
//! policy's lxc_contexts  <  pod's options  <  container's options        category pair of the pod, unless a level is given
//!      user:role:type:level ─────────────────────────────────────────────────────> process, file
//! ```
//!
//! The same mount label is what volumes get that are to be relabelled (`relabel`), unless the container is super-privileged
//! (`spc_t`), whom every file serves.
//!
//! A file keeps the policy's role and type: options speak of processes, only their user and level reach files.
//! The category pair keeps pods of the same type apart. It follows from the pod's id, so that it needs no record; the id
//! is chosen such that no other pod of the node has the same ([`Categories::of`]).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ochre_types::SandboxId;

use crate::config::{ContainerSecurity, NamespaceMode, SandboxConfig, SelinuxLabel};

pub(in crate::spec) mod relabel;

pub use relabel::RelabelError;

/// Categories of every policy for containers: `c0` to `c1023`.
const CATEGORIES: u64 = 1024;
/// Where the policy's name and its files lie.
const DIRECTORY: &str = "/etc/selinux";
const LIMIT: u64 = 64 << 10;
/// Where the kernel keeps the label of a file.
const ATTRIBUTE: &str = "security.selinux";
/// The type that the policy does not confine.
const SUPER_PRIVILEGED: &str = "spc_t";

/// What the node's policy gives to containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelinuxPolicy {
    process: SelinuxLabel,
    file: SelinuxLabel,
    /// `hostnetwork_disable_selinux`: processes in the node's network are not labelled.
    pub network_of_node: OfNode,
    /// The extended attribute that volumes are labelled by.
    pub(in crate::spec) attribute: &'static str,
}

/// Whether containers that share a namespace with the node are labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfNode {
    /// They are.
    Labelled,
    /// They are not: they are part of the node.
    Free,
}

/// Labels of one container; an absent one is not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Of its processes.
    pub process: Option<String>,
    /// Of its root file system and of mounts made for it.
    pub mount: Option<String>,
    /// Of volumes that are to be relabelled.
    pub volume: Option<String>,
}

impl SelinuxPolicy {
    /// Reads the contexts of containers from the policy in force.
    ///
    /// # Errors
    /// `InvalidData` for a file without them, otherwise that of reading; with the path it is about.
    pub fn read(network_of_node: OfNode) -> Result<Self, (PathBuf, io::Error)> {
        let read = |path: PathBuf| match crate::bounded::read_bounded(&path, LIMIT) {
            Ok(content) => Ok((path, String::from_utf8_lossy(&content).into_owned())),
            Err(error) => Err((path, error)),
        };
        let (config, text) = read(Path::new(DIRECTORY).join("config"))?;
        let name = value(&text, "SELINUXTYPE").filter(|name| !name.contains('/'));
        let name = name.ok_or_else(|| (config, io::ErrorKind::InvalidData.into()))?;
        let (contexts, text) = read(Path::new(DIRECTORY).join(name).join("contexts/lxc_contexts"))?;
        Self::parse(&text, network_of_node).ok_or_else(|| (contexts, io::ErrorKind::InvalidData.into()))
    }

    /// Reads `process = "u:r:t:l"` and `file = "u:r:t:l"`. `None` without one of them.
    fn parse(text: &str, network_of_node: OfNode) -> Option<Self> {
        let label = |name| {
            let mut parts = value(text, name)?.splitn(4, ':').map(str::to_owned);
            Some(SelinuxLabel {
                user: parts.next()?,
                role: parts.next()?,
                kind: parts.next()?,
                level: parts.next().unwrap_or_else(|| "s0".to_owned()),
            })
        };
        let (process, file) = (label("process")?, label("file")?);
        Some(Self { process, file, network_of_node, attribute: ATTRIBUTE })
    }

    /// The labels of a container. CRI-O's rules: a privileged one has no process label, one with the PID or IPC namespace
    /// of the node none at all.
    pub fn of_container(
        &self,
        container: &ContainerSecurity,
        sandbox: &SandboxConfig,
        pod: Categories,
    ) -> Labels {
        let namespaces = &container.namespaces;
        if [namespaces.pid, namespaces.ipc].contains(&NamespaceMode::Node) {
            return Labels::default();
        }
        let of_node = namespaces.network == NamespaceMode::Node && self.network_of_node == OfNode::Free;
        let asked = [sandbox.selinux.as_ref(), container.selinux.as_ref()];
        let (process, mount) = self.labels(&asked, pod);
        let super_privileged = process.kind == SUPER_PRIVILEGED;
        let mount = text(&mount);
        Labels {
            process: (!container.privileged && !of_node).then(|| text(&process)),
            volume: (!super_privileged).then(|| mount.clone()),
            mount: Some(mount),
        }
    }

    /// The label of mounts that all containers of a pod share; `None` with the IPC namespace of the node.
    pub fn of_pod(&self, sandbox: &SandboxConfig, pod: Categories) -> Option<String> {
        let of_node = [sandbox.namespaces.pid, sandbox.namespaces.ipc].contains(&NamespaceMode::Node);
        (!of_node).then(|| text(&self.labels(&[sandbox.selinux.as_ref()], pod).1))
    }

    /// Process and file label; later options win.
    fn labels(&self, asked: &[Option<&SelinuxLabel>], pod: Categories) -> (SelinuxLabel, SelinuxLabel) {
        let (mut process, mut file) = (self.process.clone(), self.file.clone());
        let mut level = format!("{}:{pod}", process.level.split(':').next().unwrap_or("s0"));
        for options in asked.iter().flatten() {
            replace(&mut process.user, &options.user);
            replace(&mut process.role, &options.role);
            replace(&mut process.kind, &options.kind);
            replace(&mut file.user, &options.user);
            replace(&mut level, &options.level);
        }
        (process.level, file.level) = (level.clone(), level);
        (process, file)
    }
}

fn replace(place: &mut String, given: &str) {
    if !given.is_empty() {
        given.clone_into(place);
    }
}

fn text(SelinuxLabel { user, role, kind, level }: &SelinuxLabel) -> String {
    format!("{user}:{role}:{kind}:{level}")
}

/// The value of a `name = "value"` line.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
    let (_, value) = lines.find(|(known, _)| known.trim() == name)?;
    Some(value.trim().trim_matches('"')).filter(|value| !value.is_empty())
}

/// A pair of categories, smaller one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Categories(u16, u16);

impl Categories {
    /// The pair that belongs to a pod's id: one of half a million.
    pub fn of(id: &SandboxId) -> Self {
        // Ids are random hexadecimal digits.
        let number = u64::from_str_radix(id.as_str().get(..15).unwrap_or_default(), 16).unwrap_or_default();
        // Pairs in a row: (0,1), (0,2) (1,2), (0,3) (1,3) (2,3), …
        let mut rest = number % (CATEGORIES * (CATEGORIES - 1) / 2);
        let mut high = 1;
        while rest >= high {
            rest -= high;
            high += 1;
        }
        // Both are below 1024.
        Self(u16::try_from(rest).unwrap_or_default(), u16::try_from(high).unwrap_or_default())
    }
}

impl fmt::Display for Categories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{},c{}", self.0, self.1)
    }
}

#[cfg(test)]
pub(in crate::spec) mod tests {
    use super::*;

    const CONTEXTS: &str = "process = \"system_u:system_r:container_t:s0\"\ncontent = \"x\"\nfile = \"system_u:object_r:container_file_t:s0\"\n";

    pub(in crate::spec) fn policy() -> SelinuxPolicy {
        SelinuxPolicy::parse(CONTEXTS, OfNode::Free).unwrap()
    }

    fn pair(id: &str) -> Categories {
        Categories::of(&id.parse().unwrap())
    }

    fn options(user: &str, role: &str, kind: &str, level: &str) -> Option<SelinuxLabel> {
        Some(SelinuxLabel { user: user.into(), role: role.into(), kind: kind.into(), level: level.into() })
    }

    #[test]
    fn labels_are_the_policys_changed_by_pod_and_container() {
        let pod = Categories(5, 700);
        for (of_pod, of_container, process, mount) in [
            (
                None,
                None,
                "system_u:system_r:container_t:s0:c5,c700",
                "system_u:object_r:container_file_t:s0:c5,c700",
            ),
            (
                options("", "", "", "s0:c1,c2"),
                None,
                "system_u:system_r:container_t:s0:c1,c2",
                "system_u:object_r:container_file_t:s0:c1,c2",
            ),
            (
                options("u", "r", "t", "s1"),
                options("", "", "spc_t", ""),
                "u:r:spc_t:s1",
                "u:object_r:container_file_t:s1",
            ),
        ] {
            let mut sandbox = crate::spec::tests::sandbox();
            sandbox.selinux = of_pod;
            let container = ContainerSecurity { selinux: of_container, ..ContainerSecurity::default() };
            let labels = policy().of_container(&container, &sandbox, pod);
            assert_eq!((labels.process.as_deref(), labels.mount.as_deref()), (Some(process), Some(mount)));
        }
    }

    #[test]
    fn what_belongs_to_the_node_is_not_labelled() {
        let sandbox = crate::spec::tests::sandbox();
        let labelled = |change: &dyn Fn(&mut ContainerSecurity)| {
            let mut container = ContainerSecurity::default();
            change(&mut container);
            let labels = policy().of_container(&container, &sandbox, Categories(0, 1));
            (labels.process.is_some(), labels.mount.is_some())
        };
        assert_eq!(labelled(&|_| {}), (true, true));
        assert_eq!(labelled(&|c| c.privileged = true), (false, true));
        assert_eq!(labelled(&|c| c.namespaces.network = NamespaceMode::Node), (false, true));
        assert_eq!(labelled(&|c| c.namespaces.pid = NamespaceMode::Node), (false, false));
        assert_eq!(labelled(&|c| c.namespaces.ipc = NamespaceMode::Node), (false, false));
        let strict = SelinuxPolicy { network_of_node: OfNode::Labelled, ..policy() };
        let mut container = ContainerSecurity::default();
        container.namespaces.network = NamespaceMode::Node;
        assert!(strict.of_container(&container, &sandbox, Categories(0, 1)).process.is_some());
    }

    #[test]
    fn a_pair_is_two_different_categories_in_order_and_the_same_every_time() {
        for id in ["0".repeat(64), "f".repeat(64), "123456789abcdef0".repeat(4), "deadbeef".repeat(8)] {
            let Categories(low, high) = pair(&id);
            assert!(low < high && u64::from(high) < CATEGORIES, "{low} {high}");
            assert_eq!(pair(&id), Categories(low, high));
        }
        assert_eq!(pair(&"0".repeat(64)).to_string(), "c0,c1");
        assert_ne!(pair(&"1".repeat(64)), pair(&"2".repeat(64)));
    }

    #[test]
    fn a_policy_without_containers_is_none() {
        for text in
            ["", "process = \"a:b\"\nfile = \"a:b:c:d\"", "process = \"a:b:c:d\"", "file = \"a:b:c:d\""]
        {
            assert!(SelinuxPolicy::parse(text, OfNode::Free).is_none(), "{text}");
        }
    }
}
