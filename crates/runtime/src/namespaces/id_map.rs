//! Id mappings of pods and volumes: what is legal, and which id on the node an id of the container is.
//!
//! A pod has one line for users and one for groups, both from id 0 on and of one length (CRI: the kubelet gives each pod
//! one contiguous block). A volume may have several lines, like a file in `/proc/<pid>/uid_map`.

use ochre_sys::user_namespace::IdRange;
use ochre_types::ErrorKind;

use crate::config::{IdMapping, NamespaceMode, NamespaceOptions, UserNamespace};

/// Most lines the kernel takes (user_namespaces(7)).
const MAX_LINES: usize = 340;

/// A mapping that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdMapError {
    /// A pod's namespace with no mapping, or with several.
    #[error("a user namespace needs exactly one {ids} id mapping, not {count}")]
    Count {
        /// `user` or `group`.
        ids: &'static str,
        /// How many there are.
        count: usize,
    },
    /// More lines than the kernel takes, or none for one of the two kinds of ids.
    #[error("a mount needs 1 to 340 {ids} id mappings, not {count}")]
    MountCount {
        /// `user` or `group`.
        ids: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The container's root would be nobody.
    #[error("{ids} id 0 of the container is not mapped: the mapping begins at {first}")]
    RootUnmapped {
        /// `user` or `group`.
        ids: &'static str,
        /// The first id that is mapped.
        first: u32,
    },
    /// A mapping of no ids, or of ids beyond the highest one.
    #[error("{ids} id mapping from {container_id} to {host_id}: {length} ids are none or too many")]
    Length {
        /// `user` or `group`.
        ids: &'static str,
        /// First id in the container.
        container_id: u32,
        /// First id on the node.
        host_id: u32,
        /// How many.
        length: u32,
    },
    /// Different numbers of users and groups.
    #[error("{users} user ids and {groups} group ids are mapped: a pod needs as many of each")]
    Unequal {
        /// Mapped users.
        users: u32,
        /// Mapped groups.
        groups: u32,
    },
    /// An id stands in two lines.
    #[error("two {ids} id mappings overlap")]
    Overlap {
        /// `user` or `group`.
        ids: &'static str,
    },
    /// Mappings for a pod in the node's user namespace.
    #[error("id mappings need the user namespace mode POD")]
    WithoutNamespace,
    /// A container wants another user namespace than its pod has.
    #[error("a container has the user namespace of its pod and cannot ask for another one")]
    NotThePods,
    /// What a pod with a user namespace cannot have.
    #[error("{what} cannot be used in a pod with a user namespace")]
    Excluded {
        /// What was asked for.
        what: &'static str,
    },
    /// Only a namespace of the pod's own, or the node's.
    #[error("user namespace mode {mode:?} is not allowed: a pod takes POD or NODE")]
    Mode {
        /// The mode.
        mode: NamespaceMode,
    },
}

impl IdMapError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Checks what a pod asks for.
///
/// # Errors
/// Every [`IdMapError`] but [`IdMapError::MountCount`], [`IdMapError::Overlap`] and [`IdMapError::NotThePods`].
pub fn check_pod(options: &NamespaceOptions) -> Result<(), IdMapError> {
    let Some(user) = &options.user else { return Ok(()) };
    match user.mode {
        NamespaceMode::Node if user.uids.is_empty() && user.gids.is_empty() => return Ok(()),
        NamespaceMode::Node => return Err(IdMapError::WithoutNamespace),
        mode @ (NamespaceMode::Container | NamespaceMode::Target) => return Err(IdMapError::Mode { mode }),
        NamespaceMode::Pod => {}
    }
    let users = one_line("user", &user.uids)?;
    let groups = one_line("group", &user.gids)?;
    if users.length != groups.length {
        return Err(IdMapError::Unequal { users: users.length, groups: groups.length });
    }
    if options.pid == NamespaceMode::Node {
        // A procfs of the node's processes belongs to the node's user namespace and cannot be mounted from another.
        return Err(IdMapError::Excluded { what: "the node's PID namespace" });
    }
    Ok(())
}

fn one_line(ids: &'static str, map: &[IdMapping]) -> Result<IdMapping, IdMapError> {
    let [line] = map else { return Err(IdMapError::Count { ids, count: map.len() }) };
    check_length(ids, line)?;
    if line.container_id != 0 {
        return Err(IdMapError::RootUnmapped { ids, first: line.container_id });
    }
    Ok(*line)
}

/// The highest number is no id, it means "none" to the kernel.
fn check_length(ids: &'static str, line: &IdMapping) -> Result<(), IdMapError> {
    let IdMapping { host_id, container_id, length } = *line;
    let fits = |first: u32| first.checked_add(length).is_some();
    if length > 0 && fits(host_id) && fits(container_id) {
        return Ok(());
    }
    Err(IdMapError::Length { ids, container_id, host_id, length })
}

/// Checks a container against its pod: it has the pod's user namespace, whether it says so or not.
///
/// # Errors
/// [`IdMapError::NotThePods`].
pub fn check_container(container: &NamespaceOptions, pod: &NamespaceOptions) -> Result<(), IdMapError> {
    let own =
        |options: &NamespaceOptions| options.user.clone().filter(|user| user.mode != NamespaceMode::Node);
    // Saying nothing is agreeing; saying NODE in a pod with a namespace is not.
    if container.user.is_none() || own(container) == own(pod) { Ok(()) } else { Err(IdMapError::NotThePods) }
}

/// Checks the mappings of a volume; none at all are fine.
///
/// # Errors
/// [`IdMapError::MountCount`], [`IdMapError::Length`] and [`IdMapError::Overlap`].
pub fn check_mount(uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), IdMapError> {
    if uids.is_empty() && gids.is_empty() {
        return Ok(());
    }
    for (ids, map) in [("user", uids), ("group", gids)] {
        if map.is_empty() || map.len() > MAX_LINES {
            return Err(IdMapError::MountCount { ids, count: map.len() });
        }
        map.iter().try_for_each(|line| check_length(ids, line))?;
        let side = |of: fn(&IdMapping) -> u32| {
            let mut starts: Vec<(u32, u32)> = map.iter().map(|line| (of(line), line.length)).collect();
            starts.sort_unstable();
            starts.windows(2).any(|pair| pair[1].0 - pair[0].0 < pair[0].1)
        };
        if side(|line| line.host_id) || side(|line| line.container_id) {
            return Err(IdMapError::Overlap { ids });
        }
    }
    Ok(())
}

/// The mappings of a pod with a user namespace of its own.
pub fn of_pod(options: &NamespaceOptions) -> Option<&UserNamespace> {
    options.user.as_ref().filter(|user| user.mode == NamespaceMode::Pod)
}

/// The node's number for an id of the container; `None` for one that is not mapped.
pub fn host_id(map: &[IdMapping], id: u32) -> Option<u32> {
    let line = map
        .iter()
        .find(|line| id.checked_sub(line.container_id).is_some_and(|offset| offset < line.length))?;
    line.host_id.checked_add(id - line.container_id)
}

/// User and group of the node that the container's root is; the node's own root without a user namespace.
pub fn root_of(options: &NamespaceOptions) -> (u32, u32) {
    let root = |map: &[IdMapping]| host_id(map, 0).unwrap_or(0);
    of_pod(options).map_or((0, 0), |user| (root(&user.uids), root(&user.gids)))
}

/// As the kernel takes them.
pub fn ranges(map: &[IdMapping]) -> Vec<IdRange> {
    map.iter()
        .map(|line| IdRange { inside: line.container_id, outside: line.host_id, count: line.length })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(container_id: u32, host_id: u32, length: u32) -> IdMapping {
        IdMapping { host_id, container_id, length }
    }

    fn asked(mode: NamespaceMode, uids: &[IdMapping], gids: &[IdMapping]) -> NamespaceOptions {
        let user = UserNamespace { mode, uids: uids.to_vec(), gids: gids.to_vec() };
        NamespaceOptions { user: Some(user), pid: NamespaceMode::Container, ..Default::default() }
    }

    #[test]
    fn a_pod_takes_one_line_of_each_kind_from_zero_on() {
        use NamespaceMode::{Container, Node, Pod, Target};
        let good = line(0, 100_000, 65_536);
        let last = line(0, u32::MAX - 1, 1);
        let cases: &[(NamespaceMode, &[IdMapping], &[IdMapping], &str)] = &[
            (Pod, &[good], &[good], ""),
            (Pod, &[good], &[line(0, 300_000, 65_536)], ""),
            (Pod, &[line(0, 0, 1)], &[line(0, 0, 1)], ""),
            (Pod, &[last], &[last], ""),
            (Node, &[], &[], ""),
            (Node, &[good], &[good], "need the user namespace mode POD"),
            (Container, &[], &[], "mode Container is not allowed"),
            (Target, &[good], &[good], "mode Target is not allowed"),
            (Pod, &[], &[], "exactly one user id mapping, not 0"),
            (Pod, &[good], &[], "exactly one group id mapping, not 0"),
            (Pod, &[good, line(65_536, 200_000, 1)], &[good], "exactly one user id mapping, not 2"),
            (Pod, &[good], &[good, good], "exactly one group id mapping, not 2"),
            (Pod, &[line(1, 100_000, 65_536)], &[good], "user id 0 of the container is not mapped"),
            (Pod, &[good], &[line(1, 100_000, 65_536)], "group id 0 of the container is not mapped"),
            (Pod, &[line(0, 100_000, 0)], &[line(0, 100_000, 0)], "0 ids are none or too many"),
            (Pod, &[line(0, u32::MAX, 1)], &[good], "1 ids are none or too many"),
            (Pod, &[line(0, 100_000, u32::MAX)], &[good], "ids are none or too many"),
            (Pod, &[good], &[line(0, 100_000, 1000)], "65536 user ids and 1000 group ids"),
        ];
        for (mode, uids, gids, expected) in cases {
            let said = check_pod(&asked(*mode, uids, gids))
                .map_or_else(|error| error.to_string(), |()| String::new());
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected}: {said}");
        }
        assert_eq!(check_pod(&NamespaceOptions::default()), Ok(()), "nothing said");
        let with_host_pids = NamespaceOptions { pid: Node, ..asked(Pod, &[good], &[good]) };
        assert!(matches!(check_pod(&with_host_pids), Err(IdMapError::Excluded { .. })));
        let in_host_network = NamespaceOptions { network: Node, ..asked(Pod, &[good], &[good]) };
        assert_eq!(check_pod(&in_host_network), Ok(()));
    }

    #[test]
    fn a_container_has_its_pods_namespace_or_none() {
        let good = [line(0, 100_000, 65_536)];
        let (pod, node) = (asked(NamespaceMode::Pod, &good, &good), asked(NamespaceMode::Node, &[], &[]));
        let silent = NamespaceOptions::default();
        let other = asked(NamespaceMode::Pod, &[line(0, 0, 1)], &[line(0, 0, 1)]);
        for (container, pod, fine) in [
            (&silent, &pod, true),
            (&pod, &pod, true),
            (&node, &node, true),
            (&node, &silent, true),
            (&node, &pod, false),
            (&other, &pod, false),
            (&pod, &node, false),
            (&pod, &silent, false),
        ] {
            assert_eq!(check_container(container, pod).is_ok(), fine, "{container:?} in {pod:?}");
        }
    }

    #[test]
    fn lines_of_a_volume_do_not_overlap_on_either_side() {
        let good = [line(0, 1000, 10), line(10, 5000, 10)];
        assert_eq!(check_mount(&[], &[]), Ok(()));
        assert_eq!(check_mount(&good, &good), Ok(()));
        let inside = [line(0, 1000, 10), line(9, 5000, 10)];
        let outside = [line(0, 1000, 10), line(10, 1009, 10)];
        assert_eq!(check_mount(&inside, &good), Err(IdMapError::Overlap { ids: "user" }));
        assert_eq!(check_mount(&good, &outside), Err(IdMapError::Overlap { ids: "group" }));
        assert!(matches!(check_mount(&good, &[]), Err(IdMapError::MountCount { ids: "group", count: 0 })));
        assert!(matches!(check_mount(&[line(0, 1, 0)], &good), Err(IdMapError::Length { .. })));
        let many: Vec<_> = (0..341).map(|n| line(n, n, 1)).collect();
        assert!(matches!(check_mount(&many, &good), Err(IdMapError::MountCount { count: 341, .. })));
    }

    #[test]
    fn an_id_is_found_in_its_line() {
        let map = [line(0, 100_000, 10), line(20, 300_000, 5)];
        for (id, expected) in
            [(0, Some(100_000)), (9, Some(100_009)), (10, None), (22, Some(300_002)), (25, None)]
        {
            assert_eq!(host_id(&map, id), expected, "{id}");
        }
        assert_eq!(root_of(&NamespaceOptions::default()), (0, 0));
        let pod = asked(NamespaceMode::Pod, &[line(0, 7, 9)], &[line(0, 8, 9)]);
        assert_eq!(root_of(&pod), (7, 8));
    }
}
