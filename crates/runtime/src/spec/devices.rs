//! Device nodes of a container and the cgroup rules that open them.
//!
//! Everything is denied first, then single devices are allowed; the runtime adds the harmless standard ones
//! (`/dev/null` and so on). A privileged container may use any device.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use crate::config::Device;

use super::error::shortened;
use super::mounts::absolute;
use super::{ContainerInput, DeviceOwnership, Error, HostDevices, allowed};

/// Deepest directory below a device directory that is looked into.
const MAX_DEPTH: usize = 8;
/// Most device nodes taken from one directory.
const MAX_NODES: usize = 4096;
/// The field of a device's place in the container, and the same of an annotation.
const TARGET: &str = "container path of a device";
const ANNOTATED: &str = "container path of an annotated device";
/// Parts of `/dev` that a container has of its own.
const OWN: [&str; 8] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/fd",
    "/dev/console",
    "/dev/ptmx",
    "/dev/.lxc",
    "/dev/.udev",
];

/// Nodes and rules for the spec.
#[derive(Debug, Default)]
pub(super) struct Devices {
    pub(super) nodes: Vec<LinuxDevice>,
    pub(super) rules: Vec<LinuxDeviceCgroup>,
}

/// Collects the host's (privileged), the node's, an annotation's and the request's devices. A later one replaces an
/// earlier one at the same path.
///
/// # Errors
/// [`Error::Device`], [`Error::NotADevice`], [`Error::DeviceNotAllowed`] and [`Error::Path`].
pub(super) fn devices(input: &ContainerInput<'_>) -> Result<Devices, Error> {
    let privileged = input.container.security.privileged;
    let mut devices = Devices::default();
    devices.rules.push(everything(false));
    if privileged {
        devices.rules.push(everything(true));
        if input.features.host_devices == HostDevices::All {
            for path in nodes_below(Path::new("/dev"))? {
                match devices.add(&path, path.clone(), ("rwm", Owner::default())) {
                    // Unplugged since the directory was read.
                    Err(Error::Device { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    added => added?,
                }
            }
        }
    }
    for device in &input.node.devices.additional {
        one_device(&mut devices, device, Owner::default())?;
    }
    for device in annotated(input)? {
        one_device(&mut devices, &device, Owner::default())?;
    }
    let owner = Owner::of_request(input);
    for device in &input.container.devices {
        if privileged && input.features.host_devices == HostDevices::All {
            refuse_hidden(device)?;
        }
        one_device(&mut devices, device, owner)?;
    }
    Ok(devices)
}

/// The pod's devices by annotation, `source[:target][:permissions]` each, as the configuration allows.
fn annotated(input: &ContainerInput<'_>) -> Result<Vec<Device>, Error> {
    let Some(text) = allowed::DEVICES.value(&input.sandbox.annotations, input.allowed_annotations) else {
        return Ok(Vec::new());
    };
    let one = |text: &str| {
        let mut parts = text.trim().splitn(3, ':');
        let source = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let (target, permissions) = match rest.as_slice() {
            [] => (source, "rwm"),
            [target] if target.starts_with('/') => (*target, "rwm"),
            [permissions] => (source, *permissions),
            [target, permissions, ..] => (*target, *permissions),
        };
        if !input.node.devices.allowed.iter().any(|known| known == Path::new(source)) {
            return Err(Error::DeviceNotAllowed { path: shortened(source) });
        }
        if !absolute(ANNOTATED, target)?.starts_with("/dev/") {
            let reason = "must be below /dev";
            return Err(Error::Path { field: ANNOTATED, path: shortened(target), reason });
        }
        Ok(Device {
            container_path: target.to_owned(),
            host_path: source.to_owned(),
            permissions: permissions.to_owned(),
        })
    };
    text.split(',').filter(|text| !text.trim().is_empty()).take(MAX_NODES).map(one).collect()
}

/// A privileged container has the host's devices at their own paths; another device in such a place would hide one.
fn refuse_hidden(device: &Device) -> Result<(), Error> {
    let target = absolute(TARGET, &device.container_path)?;
    if device.container_path == device.host_path || std::fs::symlink_metadata(&target).is_err() {
        return Ok(());
    }
    Err(Error::NotADevice {
        path: target,
        reason: "is a path of the node's own, and a privileged container sees the node's devices there",
    })
}

/// Who owns a node in the container; `None` as on the node.
#[derive(Debug, Clone, Copy, Default)]
struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Owner {
    fn of_request(input: &ContainerInput<'_>) -> Self {
        let run_as = &input.container.security.run_as;
        let wanted = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != 0);
        match input.node.devices.ownership {
            DeviceOwnership::Node => Self::default(),
            DeviceOwnership::SecurityContext => Self { uid: wanted(run_as.user), gid: wanted(run_as.group) },
        }
    }
}

fn one_device(devices: &mut Devices, device: &Device, owner: Owner) -> Result<(), Error> {
    let host = absolute("host path of a device", &device.host_path)?;
    let container = absolute(TARGET, &device.container_path)?;
    let distinct: BTreeSet<u8> = device.permissions.bytes().collect();
    if distinct.len() != device.permissions.len() || !distinct.iter().all(|b| b"rwm".contains(b)) {
        return Err(Error::NotADevice { path: host, reason: "permissions must be some of `r`, `w`, `m`" });
    }
    let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
    let found = std::fs::metadata(&host).map_err(|source| Error::Device { path: host.clone(), source })?;
    if !found.is_dir() {
        return devices.add(&host, container, (access, owner));
    }
    for path in nodes_below(&host)? {
        let below = path.strip_prefix(&host).unwrap_or(&path);
        devices.add(&path, container.join(below), (access, owner))?;
    }
    Ok(())
}

impl Devices {
    fn add(&mut self, host: &Path, container: PathBuf, (access, owner): (&str, Owner)) -> Result<(), Error> {
        let found = match std::fs::metadata(host) {
            Ok(found) => found,
            Err(source) => {
                return Err(Error::Device {
                    path: PathBuf::from(shortened(&host.to_string_lossy())),
                    source,
                });
            }
        };
        let kind = if found.file_type().is_char_device() {
            LinuxDeviceType::C
        } else if found.file_type().is_block_device() {
            LinuxDeviceType::B
        } else {
            return Err(Error::NotADevice { path: host.to_path_buf(), reason: "is not a device node" });
        };
        let (major, minor) =
            (i64::from(rustix::fs::major(found.rdev())), i64::from(rustix::fs::minor(found.rdev())));
        let mut node = LinuxDevice::default();
        node.set_path(container.clone())
            .set_typ(kind)
            .set_major(major)
            .set_minor(minor)
            .set_file_mode(Some(found.mode() & 0o7777))
            .set_uid(Some(owner.uid.unwrap_or(found.uid())))
            .set_gid(Some(owner.gid.unwrap_or(found.gid())));
        self.nodes.retain(|known| *known.path() != container);
        self.nodes.push(node);
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(Some(major))
            .set_minor(Some(minor))
            .set_access(Some(access.to_owned()));
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
        Ok(())
    }
}

/// Device nodes in a directory and below, sorted. Links are not followed: their targets are found on their own.
fn nodes_below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| Error::Device { path, source }
    };
    let mut nodes = Vec::new();
    let mut open = vec![(directory.to_path_buf(), 0)];
    while let Some((directory, depth)) = open.pop() {
        for entry in std::fs::read_dir(&directory).map_err(failed(&directory))? {
            let entry = entry.map_err(failed(&directory))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(failed(&path))?;
            if OWN.iter().any(|own| path == Path::new(own)) {
                continue;
            }
            if kind.is_dir() && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if kind.is_char_device() || kind.is_block_device() {
                nodes.push(path);
            }
            if nodes.len() > MAX_NODES {
                return Err(Error::NotADevice { path: directory, reason: "holds too many device nodes" });
            }
        }
    }
    nodes.sort();
    Ok(nodes)
}

/// The rule about every device there is.
pub(super) fn everything(allow: bool) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_access(Some("rwm".to_owned()));
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::Fixture;

    fn device(host: &str, container: &str, permissions: &str) -> Device {
        Device { container_path: container.into(), host_path: host.into(), permissions: permissions.into() }
    }

    #[test]
    fn a_device_gets_a_node_and_a_rule_after_everything_is_denied() {
        let mut fixture = Fixture::new();
        fixture.node.devices.additional = vec![device("/dev/zero", "/dev/x", "rwm")];
        fixture.container.devices =
            vec![device("/dev/null", "/dev/x", "r"), device("/dev/full", "/dev/full", "")];
        let devices = devices(&fixture.input()).unwrap();
        let rules: Vec<String> =
            devices.rules.iter().map(|rule| format!("{} {rule}", rule.allow())).collect();
        assert_eq!(rules, ["false a *:* rwm", "true c 1:5 rwm", "true c 1:3 r", "true c 1:7 rwm"]);
        let nodes: Vec<_> = devices.nodes.iter().map(|node| (node.path().clone(), node.minor())).collect();
        assert_eq!(nodes, [("/dev/x".into(), 3), ("/dev/full".into(), 7)]);
    }

    #[test]
    fn a_directory_stands_for_the_nodes_in_it() {
        let mut fixture = Fixture::new();
        let directory = fixture.dir.path().join("devices/deep");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("file"), "").unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.join("link")).unwrap();
        let top = fixture.dir.path().join("devices");
        fixture.container.devices = vec![device(top.to_str().unwrap(), "/dev/many", "rw")];
        assert!(devices(&fixture.input()).unwrap().nodes.is_empty());
        let node = directory.join("node");
        let kind = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, rustix::fs::makedev(1, 3)).unwrap();
        let found = devices(&fixture.input()).unwrap().nodes;
        assert_eq!(
            found.iter().map(|node| node.path().clone()).collect::<Vec<_>>(),
            [Path::new("/dev/many/deep/node")]
        );
    }

    #[test]
    fn what_is_no_device_or_no_permission_is_refused() {
        let mut fixture = Fixture::new();
        for (asked, words) in [
            (device("/etc/passwd", "/dev/x", "r"), "not a device node"),
            (device("/dev/null", "/dev/x", "rwx"), "permissions"),
            (device("/dev/null", "/dev/x", "rr"), "permissions"),
            (device("/dev/does-not-exist", "/dev/x", "r"), "cannot be used"),
            (device("null", "/dev/x", "r"), "not absolute"),
            (device("/dev/null", "/dev/../x", "r"), "`..`"),
        ] {
            fixture.container.devices = vec![asked];
            let error = devices(&fixture.input()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn an_annotation_gives_devices_only_where_handler_and_configuration_allow_it() {
        let mut fixture = Fixture::new();
        let key = "io.kubernetes.cri-o.Devices".to_owned();
        let ask = |fixture: &mut Fixture, text: &str| {
            fixture.sandbox.annotations.insert(key.clone(), text.to_owned());
        };
        fixture.node.devices.allowed = vec!["/dev/null".into(), "/dev/zero".into()];
        ask(&mut fixture, "/dev/null:/dev/x:r");
        assert!(devices(&fixture.input()).unwrap().nodes.is_empty(), "the handler acts on none");
        fixture.allowed_annotations = vec![key.clone()];
        ask(&mut fixture, "/dev/null:/dev/x:r, /dev/zero,/dev/null:rw,/dev/zero:/dev/x:m");
        let found = devices(&fixture.input()).unwrap();
        let nodes: Vec<_> = found.nodes.iter().map(|node| (node.path().clone(), node.minor())).collect();
        let expected = [("/dev/zero", 5), ("/dev/null", 3), ("/dev/x", 5)];
        assert_eq!(nodes, expected.map(|(path, minor)| (PathBuf::from(path), minor)));
        for (text, words) in [
            ("/dev/full", "allowed_devices"),
            ("/dev/../dev/null", "allowed_devices"),
            ("/dev/null:/etc/x:r", "below /dev"),
            ("/dev/null:/dev/../etc/x:r", "`..`"),
            ("/dev/null:/dev/x:rwx", "permissions"),
            ("/dev/null:/dev/x:r:w", "permissions"),
        ] {
            ask(&mut fixture, text);
            let error = devices(&fixture.input()).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn requested_devices_belong_to_the_containers_user_where_that_is_configured() {
        let mut fixture = Fixture::new();
        let node = fixture.dir.path().join("node");
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, rustix::fs::makedev(1, 3)).unwrap();
        let node = node.to_str().unwrap();
        fixture.container.devices = vec![device(node, "/dev/x", "r")];
        fixture.node.devices.additional = vec![device(node, "/dev/y", "r")];
        let owners = |fixture: &Fixture| {
            let found = devices(&fixture.input()).unwrap().nodes;
            found.iter().map(|node| (node.uid(), node.gid())).collect::<Vec<_>>()
        };
        let run_as = |user, group| crate::config::RunAs { user, group, ..Default::default() };
        fixture.container.security.run_as = run_as(Some(1000), Some(2000));
        let of_node = (Some(0), Some(0));
        assert_eq!(owners(&fixture), [of_node, of_node]);
        fixture.node.devices.ownership = DeviceOwnership::SecurityContext;
        assert_eq!(owners(&fixture), [of_node, (Some(1000), Some(2000))]);
        fixture.container.security.run_as = run_as(Some(0), None);
        assert_eq!(owners(&fixture), [of_node, of_node]);
    }

    #[test]
    fn a_privileged_container_has_the_hosts_devices_unless_the_handler_says_otherwise() {
        let mut fixture = Fixture::new();
        (fixture.sandbox.privileged, fixture.container.security.privileged) = (true, true);
        let has_null = |found: &Devices| found.nodes.iter().any(|node| node.path() == Path::new("/dev/null"));
        let all = devices(&fixture.input()).unwrap();
        assert!(has_null(&all) && all.rules.iter().any(|rule| rule.allow() && rule.major().is_none()));
        fixture.container.devices = vec![device("/dev/null", "/dev/zero", "r")];
        let error = devices(&fixture.input()).unwrap_err();
        assert!(error.to_string().contains("path of the node's own"), "{error}");
        fixture.container.devices = vec![device("/dev/null", "/dev/null", "r")];
        assert!(devices(&fixture.input()).is_ok());
        fixture.features.host_devices = HostDevices::None;
        fixture.container.devices = vec![device("/dev/null", "/dev/zero", "r")];
        let few = devices(&fixture.input()).unwrap();
        assert!(!has_null(&few) && few.nodes.len() == 1);
    }
}
