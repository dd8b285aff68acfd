use super::*;
use crate::config::{self, Propagation};
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

/// The options of a mount without those that only say what its source's mount holds back on this machine.
fn options_at(fixture: &Fixture, path: &str) -> Vec<String> {
    let mut options = mount_at(fixture, path).options().clone().unwrap();
    options.retain(|option| !["nosuid", "nodev", "noexec"].contains(&option.as_str()));
    options
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
    asked.options = vec!["noexec".into()];
    asked.host_path = fixture.dir.path().to_str().unwrap().into();
    fixture.container.mounts = vec![asked];
    let options = mount_at(&fixture, "/v").options().clone().unwrap();
    assert_eq!(options[..3], ["rbind", "rslave", "ro"]);
    assert_eq!(options.last().unwrap(), "noexec");
    let spec = fixture.build().unwrap().spec;
    assert_eq!(spec.linux().as_ref().unwrap().rootfs_propagation().as_deref(), Some("rslave"));
}

#[test]
fn a_private_mount_that_holds_the_image_store_does_not_keep_it_busy() {
    let mut fixture = Fixture::new();
    fixture.node.sources.storage_root = Some("/tmp/store".into());
    fixture.container.mounts = vec![volume("/tmp", "/v")];
    assert_eq!(options_at(&fixture, "/v"), ["rbind", "rslave"]);
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
    assert_eq!(options_at(&fixture, "/v"), ["rbind", "rprivate", "ro", "rro"]);
    let file = fixture.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    fixture.container.mounts[0].host_path = file.to_str().unwrap().into();
    assert_eq!(options_at(&fixture, "/v"), ["rbind", "rprivate", "ro"], "nothing can be below a file");
}

#[test]
fn impossible_volumes_are_refused_by_name() {
    let mut fixture = Fixture::new();
    let mut mapped = volume("/tmp", "/v");
    mapped.uid_mappings = vec![crate::config::IdMapping { host_id: 1, container_id: 0, length: 1 }];
    let mut option = volume("/tmp", "/v");
    option.options = vec!["exec".into()];
    let mut part = volume("/tmp", "/v");
    part.image_sub_path = "sub".into();
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
        (option, "is none of"),
        (part, "needs an image"),
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

#[test]
fn a_refused_request_makes_no_directory_for_its_other_volumes() {
    let mut fixture = Fixture::new();
    let missing = fixture.dir.path().join("new");
    let good = volume(missing.to_str().unwrap(), "/good");
    let rejected = fixture.dir.path().join("precious");
    fixture.node.sources.never_create = vec![rejected.clone()];
    for bad in
        [volume("/tmp", "/proc/self/attr"), volume(rejected.to_str().unwrap(), "/v"), volume("/x\0", "/v")]
    {
        fixture.container.mounts = vec![good.clone(), bad];
        fixture.build().unwrap_err();
        assert!(!missing.exists());
    }
    fixture.container.mounts = vec![good];
    fixture.build().unwrap();
    assert!(missing.is_dir());
}

#[test]
fn of_two_volumes_at_one_place_the_later_one_is_seen() {
    let mut fixture = Fixture::new();
    fixture.container.mounts = vec![volume("/tmp", "/v"), volume("/usr", "/v/below"), volume("/var", "//v/")];
    assert_eq!(destinations(&fixture).iter().filter(|path| *path == "/v").count(), 1);
    assert_eq!(mount_at(&fixture, "/v").source().as_deref(), Some(Path::new("/var")));
    assert_eq!(mount_at(&fixture, "/v/below").source().as_deref(), Some(Path::new("/usr")));
}

#[test]
fn files_and_links_are_sources_like_directories() {
    let mut fixture = Fixture::new();
    let (file, link) = (fixture.dir.path().join("file"), fixture.dir.path().join("link"));
    std::fs::write(&file, "x").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    fixture.container.mounts = vec![volume(link.to_str().unwrap(), "/v")];
    assert_eq!(mount_at(&fixture, "/v").source().as_deref(), Some(file.as_path()));
}

/// A volume from an image.
fn of_image(path: &str, sub_path: &str) -> config::Mount {
    let mut asked = volume("", path);
    asked.image =
        Some(config::VolumeImage { reference: "example.test/data:1".into(), user_specified: String::new() });
    asked.image_sub_path = sub_path.into();
    asked.readonly = true;
    asked
}

#[test]
fn fields_of_an_image_volume_must_fit_together() {
    let mut fixture = Fixture::new();
    let good = of_image("/v", "");
    for (asked, words) in [
        (config::Mount { host_path: "/tmp".into(), ..good.clone() }, "host_path must be empty"),
        (config::Mount { readonly: false, ..good.clone() }, "readonly is false"),
        (config::Mount { propagation: Propagation::HostToContainer, ..good.clone() }, "private propagation"),
        (of_image("/v", "/etc"), "relative path"),
        (of_image("/v", "a/../../b"), "relative path"),
        (of_image("/", ""), "must not be the root"),
        (config::Mount { options: vec!["rw".into()], ..good.clone() }, "another field"),
    ] {
        fixture.container.mounts = vec![asked];
        let error = crate::spec::check(&fixture.container, fixture.features).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    fixture.container.mounts = vec![good];
    crate::spec::check(&fixture.container, fixture.features).unwrap();
}

#[test]
fn an_image_volume_shows_a_part_of_the_image_and_nothing_of_the_node() {
    let mut fixture = Fixture::new();
    let image = fixture.dir.path().join("image");
    std::fs::create_dir_all(image.join("deep/er")).unwrap();
    std::fs::write(image.join("file"), "x").unwrap();
    std::fs::write(fixture.dir.path().join("outside"), "secret").unwrap();
    for (link, target) in
        [("inner", "deep"), ("absolute", "/deep/er"), ("up", "../outside"), ("host", "/etc/passwd")]
    {
        std::os::unix::fs::symlink(target, image.join(link)).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, image.join("fifo"), rustix::fs::Mode::from_raw_mode(0o644))
        .unwrap();
    fixture.volumes.insert(0, crate::spec::VolumeDirectory { path: image.clone(), id_mapped: false });
    for (sub_path, shown) in [
        ("", Some("")),
        (".", Some("")),
        ("deep/er", Some("deep/er")),
        ("inner/er", Some("deep/er")),
        ("absolute", Some("deep/er")),
        ("file", Some("file")),
        ("missing", None),
        ("file/below", None),
        ("up", None),
        ("host", None),
        ("fifo", None),
    ] {
        fixture.container.mounts = vec![of_image("/v", sub_path)];
        match shown {
            Some(shown) => {
                let mount = mount_at(&fixture, "/v");
                let expected: std::path::PathBuf = image.join(shown).components().collect();
                assert_eq!(mount.source().as_deref(), Some(expected.as_path()), "{sub_path}");
                assert_eq!(mount.options().as_deref().unwrap(), ["rbind", "rprivate", "ro", "nodev"]);
            }
            None => {
                let error = fixture.build().unwrap_err();
                assert!(matches!(error, Error::ImageSubPath { .. }), "{sub_path}: {error}");
            }
        }
    }
}

#[test]
fn volumes_of_the_image_are_directories_mounts_or_nothing() {
    use crate::spec::ImageVolumes;
    let mut fixture = Fixture::new();
    fixture.image.volumes = vec!["/data".into(), "/data/".into(), "/covered/deep".into(), "/old".into()];
    fixture.container.mounts = vec![volume("/tmp", "/covered")];
    fixture.container.security.run_as.user = Some(1000);
    std::fs::create_dir(fixture.root().join("old")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
    std::fs::set_permissions(fixture.root().join("old"), mode).unwrap();

    fixture.node.image_volumes = ImageVolumes::Ignore;
    assert!(!destinations(&fixture).contains(&"/data".to_owned()));
    assert!(!fixture.root().join("data").exists());

    fixture.node.image_volumes = ImageVolumes::Bind;
    let order = destinations(&fixture);
    assert_eq!(order.iter().filter(|path| *path == "/data").count(), 1);
    assert!(!order.contains(&"/covered/deep".to_owned()));
    assert!(!fixture.root().join("data").exists(), "the runtime makes the place, not we");
    let attributes = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(mount_at(&fixture, path).source().clone().unwrap()).unwrap();
        (found.uid(), found.mode() & 0o7777)
    };
    assert_eq!(attributes("/data"), (1000, 0o755));
    assert_eq!(attributes("/old"), (0, 0o1777));
    fixture.image.volumes = vec!["/proc/self".into()];
    assert!(matches!(fixture.build(), Err(Error::Path { field: "volume of the image", .. })));

    fixture.image.volumes = vec!["/data".into()];
    fixture.node.image_volumes = ImageVolumes::Mkdir;
    assert!(!destinations(&fixture).contains(&"/data".to_owned()));
    assert!(fixture.root().join("data").is_dir());
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
    assert_eq!(mount_at(&fixture, "/v").options().as_deref().unwrap(), ["rbind", "rshared"]);
    drop(tmpfs);
}

#[test]
fn a_volume_keeps_what_its_mount_holds_back() {
    use rustix::mount::{MountFlags, MountPropagationFlags};
    let mut fixture = Fixture::new();
    let path = fixture.dir.path().join("tmpfs");
    let tmpfs = Tmpfs::mount(&path, MountPropagationFlags::PRIVATE);
    rustix::mount::mount_remount(&path, MountFlags::NOSUID | MountFlags::NOEXEC, "").unwrap();
    let mut asked = volume(path.to_str().unwrap(), "/v");
    fixture.container.mounts = vec![asked.clone()];
    let held = ["rbind", "rprivate", "nosuid", "noexec"];
    assert_eq!(mount_at(&fixture, "/v").options().as_deref().unwrap(), held);
    asked.readonly = true;
    fixture.container.mounts = vec![asked];
    let options = mount_at(&fixture, "/v").options().clone().unwrap();
    assert_eq!(options, ["rbind", "rprivate", "ro", "nosuid", "noexec"]);
    rustix::mount::mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
    fixture.container.mounts[0].readonly = false;
    let options = mount_at(&fixture, "/v").options().clone().unwrap();
    assert_eq!(options, ["rbind", "rprivate", "ro"], "not writable because somebody else asks");
    drop(tmpfs);
}

/// A node with SELinux, whose labels are kept in an attribute that every kernel has.
fn labelled_node(fixture: &mut Fixture) {
    let mut policy = crate::spec::selinux::tests::policy();
    policy.attribute = LABEL_ATTRIBUTE;
    fixture.node.security.selinux = Some(policy);
}

const LABEL_ATTRIBUTE: &str = "trusted.ochre-label";

fn label_of(path: &Path) -> Option<String> {
    let mut value = [0; 100];
    let length = rustix::fs::lgetxattr(path, LABEL_ATTRIBUTE, &mut value).ok()?;
    Some(String::from_utf8_lossy(&value[..length]).into_owned())
}

#[test]
fn a_volume_to_relabel_gets_the_mount_label_of_the_container_and_others_do_not() {
    let mut fixture = Fixture::new();
    labelled_node(&mut fixture);
    let top = fixture.dir.path().to_path_buf();
    std::fs::create_dir_all(top.join("asked/deep")).unwrap();
    std::fs::create_dir(top.join("left")).unwrap();
    let of = |name: &str| volume(top.join(name).to_str().unwrap(), &format!("/{name}"));
    let relabelled = |name| config::Mount { selinux_relabel: true, ..of(name) };
    fixture.container.mounts = vec![relabelled("asked"), of("left"), relabelled("missing")];
    let label = fixture.build().unwrap().spec.linux().as_ref().unwrap().mount_label().clone();
    assert!(label.as_deref().unwrap().starts_with("system_u:object_r:container_file_t:s0:c"), "{label:?}");
    for name in ["asked", "asked/deep", "missing"] {
        assert_eq!(label_of(&top.join(name)), label, "{name}");
    }
    assert_eq!(label_of(&top.join("left")), None);
}

#[test]
fn nothing_is_relabelled_for_the_super_privileged_the_nodes_own_and_without_selinux() {
    let type_of =
        |kind: &str| Some(config::SelinuxLabel { kind: kind.into(), ..config::SelinuxLabel::default() });
    type Change = fn(&mut Fixture);
    let cases: [(&str, Change, bool); 4] = [
        ("confined", |_| {}, true),
        ("host pid", |fixture| fixture.container.security.namespaces.pid = NamespaceMode::Node, false),
        ("no policy", |fixture| fixture.node.security.selinux = None, false),
        (
            "privileged",
            |fixture| {
                fixture.sandbox.privileged = true;
                fixture.container.security.privileged = true;
            },
            true,
        ),
    ];
    for (what, change, labelled) in cases {
        for (kind, confined) in [("container_t", true), ("spc_t", false)] {
            let mut fixture = Fixture::new();
            labelled_node(&mut fixture);
            change(&mut fixture);
            fixture.sandbox.selinux = type_of(kind);
            let source = fixture.dir.path().join("v");
            std::fs::create_dir(&source).unwrap();
            let asked = volume(source.to_str().unwrap(), "/v");
            fixture.container.mounts = vec![config::Mount { selinux_relabel: true, ..asked }];
            fixture.build().unwrap();
            assert_eq!(label_of(&source).is_some(), labelled && confined, "{what} {kind}");
        }
    }
}

#[test]
fn relabelling_the_node_is_refused_before_anything_is_made() {
    let mut fixture = Fixture::new();
    labelled_node(&mut fixture);
    let missing = fixture.dir.path().join("missing");
    let link = fixture.dir.path().join("link");
    std::os::unix::fs::symlink("/usr", &link).unwrap();
    for host_path in ["/usr", "/home/../etc", link.to_str().unwrap()] {
        let asked = config::Mount { selinux_relabel: true, ..volume(host_path, "/v") };
        fixture.container.mounts = vec![volume(missing.to_str().unwrap(), "/w"), asked];
        let refused = fixture.build().unwrap_err();
        assert!(matches!(&refused, Error::Relabel { path, .. } if path == "/v"), "{host_path}: {refused:?}");
        assert_eq!(refused.kind(), ochre_types::ErrorKind::InvalidArgument);
        assert!(!missing.exists());
    }
    // The same volume without relabelling is fine.
    fixture.container.mounts = vec![volume("/usr", "/v")];
    fixture.build().unwrap();
}

#[test]
fn the_try_skip_annotation_counts_where_the_handler_allows_it() {
    for (value, allowed, skipped) in [("true", true, true), ("true", false, false), ("yes", true, false)] {
        let mut fixture = Fixture::new();
        labelled_node(&mut fixture);
        let source = fixture.dir.path().join("v");
        std::fs::create_dir_all(source.join("below")).unwrap();
        let asked = volume(source.to_str().unwrap(), "/v");
        fixture.container.mounts = vec![config::Mount { selinux_relabel: true, ..asked }];
        let annotation = "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel";
        fixture.sandbox.annotations.insert(annotation.into(), value.into());
        if allowed {
            fixture.allowed_annotations.push(annotation.into());
        }
        fixture.build().unwrap();
        let below = source.join("below");
        rustix::fs::setxattr(&below, LABEL_ATTRIBUTE, b"own", rustix::fs::XattrFlags::empty()).unwrap();
        fixture.build().unwrap();
        assert_eq!(label_of(&below).as_deref() == Some("own"), skipped, "{value} {allowed}");
    }
}
