use super::*;
use crate::config::Propagation;
use crate::spec::tests::{Fixture, volume};

fn destinations(fixture: &Fixture) -> Vec<String> {
    let spec = fixture.build().unwrap().spec;
    let list = spec.mounts().clone().unwrap();
    list.iter().map(|mount| mount.destination().display().to_string()).collect()
}

fn mount_at(fixture: &Fixture, path: &str) -> Mount {
    let spec = fixture.build().unwrap().spec;
    let found = spec.mounts().iter().flatten().find(|mount| mount.destination() == Path::new(path)).cloned();
    found.unwrap()
}

#[test]
fn parents_come_before_what_is_mounted_inside_them() {
    let mut fixture = Fixture::new();
    fixture.container.mounts = vec![volume("/tmp", "/a/b/c/d"), volume("/tmp", "/a"), volume("/tmp", "/a/b")];
    let order = destinations(&fixture);
    let at = |path: &str| order.iter().position(|known| known == path).unwrap();
    assert!(at("/a") < at("/a/b") && at("/a/b") < at("/a/b/c/d"));
    assert!(at("/dev") < at("/dev/pts") && at("/sys") < at("/sys/fs/cgroup"));
}

#[test]
fn a_volume_replaces_the_default_mount_it_covers() {
    let mut fixture = Fixture::new();
    fixture.container.mounts = vec![volume("/tmp", "/etc/hosts"), volume("/tmp", "/dev/shm/")];
    let order = destinations(&fixture);
    for path in ["/etc/hosts", "/dev/shm"] {
        assert_eq!(order.iter().filter(|known| *known == path).count(), 1, "{path}");
        assert_eq!(mount_at(&fixture, path).source().as_deref(), Some(Path::new("/tmp")));
    }
    fixture.container.mounts = vec![volume("/dev", "/dev"), volume("/sys", "/sys")];
    let order = destinations(&fixture);
    assert!(!order.iter().any(|path| path.starts_with("/dev/") || path.starts_with("/sys/")), "{order:?}");
}

#[test]
fn options_follow_the_request() {
    let mut fixture = Fixture::new();
    let mut asked = volume("/tmp", "/v");
    asked.readonly = true;
    asked.propagation = Propagation::HostToContainer;
    fixture.container.mounts = vec![asked];
    assert_eq!(mount_at(&fixture, "/v").options().as_deref().unwrap(), ["rbind", "rslave", "ro"]);
    let spec = fixture.build().unwrap().spec;
    assert_eq!(spec.linux().as_ref().unwrap().rootfs_propagation().as_deref(), Some("rslave"));
}

#[test]
fn a_private_mount_that_holds_the_image_store_does_not_keep_it_busy() {
    let mut fixture = Fixture::new();
    fixture.node.sources.storage_root = Some("/tmp/store".into());
    fixture.container.mounts = vec![volume("/tmp", "/v")];
    assert_eq!(mount_at(&fixture, "/v").options().as_deref().unwrap(), ["rbind", "rslave", "rw"]);
}

#[test]
fn recursive_read_only_needs_its_companions_and_a_handler() {
    let mut fixture = Fixture::new();
    for (readonly, propagation, rro, outcome) in [
        (false, Propagation::Private, true, "conflict"),
        (true, Propagation::HostToContainer, true, "conflict"),
        (true, Propagation::Private, false, "unsupported"),
        (true, Propagation::Private, true, "works"),
    ] {
        let mut asked = volume("/tmp", "/v");
        (asked.readonly, asked.propagation, asked.recursive_readonly) = (readonly, propagation, true);
        fixture.container.mounts = vec![asked];
        fixture.features.rro = rro;
        let got = match fixture.build() {
            Err(Error::RroConflict { .. }) => "conflict",
            Err(Error::RroUnsupported { .. }) => "unsupported",
            Ok(built) => {
                assert_eq!(built.spec.version(), "1.1.0");
                "works"
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, outcome);
    }
    assert_eq!(mount_at(&fixture, "/v").options().as_deref().unwrap(), ["rbind", "rprivate", "ro", "rro"]);
}

#[test]
fn impossible_volumes_are_refused_by_name() {
    let mut fixture = Fixture::new();
    let mut image = volume("", "/v");
    image.image = Some("example.test/data:1".into());
    let mut mapped = volume("/tmp", "/v");
    mapped.uid_mappings = vec![crate::config::IdMapping { host_id: 1, container_id: 0, length: 1 }];
    for (asked, words) in [
        (volume("/tmp", "relative"), "not absolute"),
        (volume("/tmp", "/a/../b"), "`..`"),
        (volume("/tmp", "/"), "must not be the root"),
        (volume("/tmp", "/a\0b"), "NUL"),
        (volume("relative", "/v"), "not absolute"),
        (volume("", "/v"), "neither a host path nor an image"),
        (volume("/tmp", "/proc"), "kernel's own"),
        (volume("/tmp", "/proc/self/attr"), "kernel's own"),
        (volume("/tmp", "/sys"), "kernel's own"),
        (image, "not supported yet"),
        (mapped, "id mappings"),
    ] {
        fixture.container.mounts = vec![asked];
        let error = fixture.build().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    fixture.container.mounts = vec![volume("/proc", "/proc"), volume("/proc/stat", "/proc/stat")];
    assert!(fixture.build().is_ok());
}

#[test]
fn missing_sources_are_made_reported_and_sometimes_refused() {
    let mut fixture = Fixture::new();
    let missing = fixture.dir.path().join("new/volume");
    fixture.container.mounts = vec![volume(missing.to_str().unwrap(), "/v")];
    fixture.node.sources.never_create = vec![missing.clone()];
    assert!(matches!(fixture.build(), Err(Error::SourceRejected { .. })));
    assert!(!missing.exists());
    fixture.node.sources.never_create.clear();
    assert_eq!(fixture.build().unwrap().mounts_created, std::slice::from_ref(&missing));
    assert!(missing.is_dir());
    assert!(fixture.build().unwrap().mounts_created.is_empty());
}

/// A tmpfs of the test's own; unmounted when dropped.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(path: &Path, propagation: rustix::mount::MountPropagationFlags) -> Self {
        std::fs::create_dir(path).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", none, None).unwrap();
        let mounted = Self(path.to_path_buf());
        rustix::mount::mount_change(path, propagation).unwrap();
        mounted
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _unmounted = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn bidirectional_propagation_needs_a_shared_mount() {
    use rustix::mount::MountPropagationFlags;
    let mut fixture = Fixture::new();
    let path = fixture.dir.path().join("tmpfs");
    let tmpfs = Tmpfs::mount(&path, MountPropagationFlags::PRIVATE);
    std::fs::create_dir(path.join("inside")).unwrap();
    let mut asked = volume(path.join("inside").to_str().unwrap(), "/v");
    asked.propagation = Propagation::Bidirectional;
    fixture.container.mounts = vec![asked];
    let error = fixture.build().unwrap_err();
    assert!(matches!(&error, Error::NotShared { mount_point, .. } if *mount_point == path), "{error}");
    assert!(error.to_string().contains("not a shared mount"));

    rustix::mount::mount_change(&path, MountPropagationFlags::SHARED).unwrap();
    let built = fixture.build().unwrap();
    assert_eq!(built.spec.linux().as_ref().unwrap().rootfs_propagation().as_deref(), Some("rshared"));
    assert_eq!(mount_at(&fixture, "/v").options().as_deref().unwrap(), ["rbind", "rshared", "rw"]);
    drop(tmpfs);
}
