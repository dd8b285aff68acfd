//! Volumes and devices: what a container sees of the node, in every handler.

use std::path::Path;

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::{
    HANDLERS, Node, Tmpfs, bind, busybox, check_refusal, container, pod, pod_linux, security, traces,
};
use ochre_test_support::layout::Entry;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde_json::json;
use tonic::Code;

/// A container that stays until it is removed.
fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

#[tokio::test]
async fn mounts_travel_between_node_and_container_as_the_propagation_says() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let mut config = pod(&node, handler);
        pod_linux(&mut config).security_context.get_or_insert_default().privileged = true;
        let sandbox = node.run_pod_with(&config, handler).await?;
        // private, slave, shared: does the container see the node's later mounts, and the node the container's?
        for (propagation, inward, outward) in [(0, false, false), (1, true, false), (2, true, true)] {
            let name = format!("{handler}-{propagation}");
            let shared = Tmpfs::mount(node.path(&name), MountPropagationFlags::SHARED)?;
            for directory in ["from-node", "from-container"] {
                std::fs::create_dir(shared.0.join(directory))?;
            }
            let mut asked = idle(&name);
            security(&mut asked).privileged = true;
            asked.mounts = vec![api::Mount { propagation, ..bind(&shared.0, "/v") }];
            let app = node.launch(&sandbox, asked).await.with_context(|| name.clone())?;
            let inner = Tmpfs::mount(shared.0.join("from-node"), MountPropagationFlags::PRIVATE)?;
            std::fs::write(inner.0.join("marker"), "node")?;
            let seen = node.said(&app, "cat /v/from-node/marker 2>/dev/null || echo none").await?;
            assert_eq!(seen == "node", inward, "{name}: {seen}");
            let script = "mount -t tmpfs none /v/from-container && echo container > /v/from-container/marker";
            assert_eq!(node.said(&app, script).await?, "", "{name}");
            let marker = std::fs::read_to_string(shared.0.join("from-container/marker"));
            assert_eq!(marker.is_ok(), outward, "{name}: {marker:?}");
            let status = node.status(&app).await?;
            assert_eq!(status.mounts.len(), 1, "{name}");
            assert_eq!(status.mounts[0].propagation, propagation, "{name}");
            node.remove_container(&app).await?;
            rustix::mount::unmount(shared.0.join("from-container"), UnmountFlags::DETACH).ok();
        }
        node.remove_pod(&sandbox).await?;
    }
    node.finish()
}

#[tokio::test]
async fn volumes_that_cannot_be_are_refused_and_nothing_is_made() -> anyhow::Result<()> {
    let mut node =
        Node::configured("[crio.runtime]\nabsent_mount_sources_to_reject = [\"{dir}/precious\"]\n").await?;
    let private = Tmpfs::mount(node.path("private"), MountPropagationFlags::PRIVATE)?;
    let config = pod(&node, "pod");
    let sandbox = node.run_pod_with(&config, "ochre").await?;
    let before = traces(&node);
    let missing = node.path("missing");
    let tmp = Path::new("/tmp");
    let with_options = |options: &[&str]| api::Mount {
        mount_options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..bind(tmp, "/v")
    };
    let cases: [(&str, api::Mount, &[&str]); 15] = [
        ("root", bind(tmp, "/"), &["must not be the root"]),
        ("root in disguise", bind(tmp, "//./"), &["must not be the root"]),
        ("relative target", bind(tmp, "v"), &["not absolute"]),
        ("dots", bind(tmp, "/a/../../v"), &["`..`"]),
        ("relative source", bind(Path::new("tmp"), "/v"), &["host path", "not absolute"]),
        ("no source", bind(Path::new(""), "/v"), &["neither a host path nor an image"]),
        ("precious", bind(&node.path("precious"), "/v"), &["must not be created"]),
        ("in proc", bind(tmp, "/proc/self"), &["kernel's own"]),
        ("not shared", api::Mount { propagation: 2, ..bind(&private.0, "/v") }, &["not a shared mount"]),
        ("propagation", api::Mount { propagation: 9, ..bind(tmp, "/v") }, &["propagation"]),
        (
            "rro and writable",
            api::Mount { recursive_read_only: true, ..bind(tmp, "/v") },
            &["recursive read-only"],
        ),
        (
            "rro and slave",
            api::Mount { recursive_read_only: true, readonly: true, propagation: 1, ..bind(tmp, "/v") },
            &["recursive read-only"],
        ),
        ("unknown option", with_options(&["exec"]), &["\"exec\"", "is none of"]),
        ("contradiction", with_options(&["noatime", "relatime"]), &["contradicts"]),
        ("sub path", api::Mount { image_sub_path: "x".into(), ..bind(tmp, "/v") }, &["needs an image"]),
    ];
    for (name, mount, words) in cases {
        let mut asked = idle("app");
        asked.mounts = vec![bind(&missing, "/good"), mount];
        let refused = node.create(&sandbox, asked).await.unwrap_err();
        check_refusal(name, &refused, Code::InvalidArgument, words);
        assert!(!missing.exists(), "{name}: made a directory");
        assert_eq!(traces(&node), before, "{name}");
    }
    node.remove_pod(&sandbox).await?;
    drop(private);
    node.finish()
}

#[tokio::test]
async fn sources_links_files_options_and_order_are_what_they_look_like() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let real = node.path("real");
    std::fs::create_dir_all(real.join("inner"))?;
    std::fs::write(real.join("file"), "content")?;
    std::os::unix::fs::symlink(&real, node.path("link"))?;
    std::os::unix::fs::symlink("real/file", node.path("file-link"))?;
    let held = Tmpfs::mount(node.path("held"), MountPropagationFlags::PRIVATE)?;
    rustix::mount::mount_remount(&held.0, MountFlags::NOSUID | MountFlags::NODEV, "")?;
    let closed = Tmpfs::mount(node.path("closed"), MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(&closed.0, flags, "")?;
    std::fs::create_dir(node.path("other"))?;
    std::fs::write(node.path("other/which"), "other")?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let sandbox = node.run_pod_with(&config, handler).await?;
        let made = node.path(&format!("made-{handler}/deep"));
        let mut asked = idle("app");
        asked.mounts = vec![
            bind(&node.path("other"), "/a/b/below"),
            bind(&node.path("link"), "/a"),
            api::Mount { selinux_relabel: true, ..bind(&made, "/made") },
            bind(&node.path("file-link"), "/file"),
            api::Mount { mount_options: vec!["noexec".into(), "nosuid".into()], ..bind(&real, "/options") },
            api::Mount { readonly: true, ..bind(&held.0, "/held") },
            bind(&closed.0, "/closed"),
            bind(&real, "/twice"),
            bind(&node.path("other"), "/twice"),
        ];
        let app = node.launch(&sandbox, asked.clone()).await.with_context(|| handler.to_owned())?;
        for (script, said) in [
            ("cat /a/file /a/b/below/which /file", "contentothercontent"),
            ("cat /twice/which", "other"),
            ("stat -c '%a %u' /made", "755 0"),
            ("cp /bin/busybox /options/x; /options/x true 2>/dev/null || echo no", "no"),
            ("rm /options/x; grep ' /options ' /proc/mounts | grep -c nosuid.*noexec", "1"),
            ("grep ' /held ' /proc/mounts | grep nosuid | grep nodev | grep -c ro,", "1"),
            ("touch /held/x 2>/dev/null || echo read-only", "read-only"),
            ("touch /closed/x 2>/dev/null || echo read-only", "read-only"),
        ] {
            assert_eq!(node.said(&app, script).await?, said, "{handler}: {script}");
        }
        assert!(made.is_dir());
        assert_eq!(node.status(&app).await?.mounts, asked.mounts, "{handler}");
        node.remove_pod(&sandbox).await?;
    }
    let features = node.client.runtime.status(api::StatusRequest::default()).await?.into_inner().features;
    assert!(features.context("features")?.mount_options);
    drop((held, closed));
    node.finish()
}

#[tokio::test]
async fn volumes_of_the_image_are_what_the_configuration_says() -> anyhow::Result<()> {
    let mut image = busybox()?;
    image.entries.push(Entry::Directory("old".into(), 0o1777));
    image.config = json!({ "User": "app", "Volumes": { "/fresh": {}, "/old": {}, "/covered": {} } });
    for (mode, fresh, mounted) in [("mkdir", "app", "0"), ("bind", "app", "2"), ("ignore", "none", "0")] {
        let mut node = Node::configured(&format!("[crio.image]\nimage_volumes = \"{mode}\"\n")).await?;
        node.import(&image, "localhost/volumes:latest")?;
        for handler in HANDLERS {
            let config = pod(&node, handler);
            let sandbox = node.run_pod_with(&config, handler).await?;
            let mut asked = idle("app");
            asked.image.as_mut().context("an image")?.image = "localhost/volumes:latest".into();
            asked.mounts = vec![bind(Path::new("/tmp"), "/covered")];
            security(&mut asked).readonly_rootfs = mode == "bind";
            let app = node.launch(&sandbox, asked).await.with_context(|| format!("{mode} {handler}"))?;
            let owner = node.said(&app, "stat -c %U /fresh 2>/dev/null || echo none").await?;
            assert_eq!(owner, fresh, "{mode} {handler}");
            let count = node.said(&app, "grep -cE ' /(fresh|old) ' /proc/mounts").await?;
            assert_eq!(count, mounted, "{mode} {handler}");
            let written = node.said(&app, "touch /old/x && echo written").await?;
            assert_eq!(written, "written", "{mode} {handler}");
            assert_eq!(node.path(&format!("root/ochre/volumes/{app}")).exists(), mode == "bind");
            node.remove_pod(&sandbox).await?;
        }
        let left = std::fs::read_dir(node.path("root/ochre/volumes")).into_iter().flatten().count();
        assert_eq!(left, 0, "{mode}");
        node.finish()?;
    }
    Ok(())
}

#[tokio::test]
async fn cdi_devices_come_with_everything_their_specification_says() -> anyhow::Result<()> {
    let conf = "[crio.runtime]\ncdi_spec_dirs = [\"{dir}/cdi-low\", \"{dir}/cdi-high\"]\n";
    let mut node = Node::prepared(conf, |dir| {
        for name in ["cdi-low", "cdi-high"] {
            std::fs::create_dir(dir.join(name))?;
        }
        std::fs::create_dir(dir.join("driver"))?;
        std::fs::write(dir.join("driver/lib"), "library")?;
        let json = json!({
            "cdiVersion": "0.6.0", "kind": "vendor.example/thing",
            "containerEdits": { "env": ["THING=common"] },
            "devices": [{ "name": "one", "containerEdits": {
                "env": ["ONE=1"],
                "deviceNodes": [{ "path": "/dev/thing", "hostPath": "/dev/full", "permissions": "rw" }],
                "mounts": [{ "hostPath": dir.join("driver"), "containerPath": "/driver", "options": ["ro", "rbind"] }],
            } }],
        });
        std::fs::write(dir.join("cdi-low/thing.json"), json.to_string())?;
        let yaml = "cdiVersion: 0.5.0\nkind: vendor.example/other\ndevices:\n- name: two\n  containerEdits:\n    \
                    env: [TWO=yes]\n    deviceNodes:\n    - {path: /dev/two, type: c, major: 1, minor: 5, fileMode: 0666}\n";
        Ok(std::fs::write(dir.join("cdi-high/other.yaml"), yaml)?)
    })
    .await?;
    let named = |name: &str| api::CdiDevice { name: name.into() };
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let sandbox = node.run_pod_with(&config, handler).await?;
        let mut asked = idle("app");
        asked.cdi_devices = vec![named("vendor.example/thing=one")];
        asked
            .annotations
            .insert("cdi.k8s.io/plugin".into(), "vendor.example/thing=one,vendor.example/other=two".into());
        let app = node.launch(&sandbox, asked).await.with_context(|| handler.to_owned())?;
        for (script, said) in [
            ("echo $THING $ONE $TWO", "common 1 yes"),
            ("cat /driver/lib; touch /driver/x 2>/dev/null || echo :ro", "library:ro"),
            ("echo x 2>/dev/null > /dev/thing || echo full", "full"),
            ("head -c 3 /dev/two | wc -c", "3"),
            ("stat -c '%t %T' /dev/thing /dev/two", "1 7\n1 5"),
        ] {
            assert_eq!(node.said(&app, script).await?, said, "{handler}: {script}");
        }
        let before = traces(&node);
        for (device, words) in [
            ("vendor.example/thing=none", "vendor.example/thing=none"),
            ("not a device", "vendor/class=device"),
        ] {
            let mut asked = idle("refused");
            asked.cdi_devices = vec![named(device)];
            let refused = node.create(&sandbox, asked).await.unwrap_err();
            check_refusal(device, &refused, Code::InvalidArgument, &[words]);
            assert_eq!(traces(&node), before, "{handler}: {device}");
        }
        node.remove_pod(&sandbox).await?;
    }
    node.finish()
}

#[tokio::test]
async fn devices_follow_handler_annotation_and_security_context() -> anyhow::Result<()> {
    let conf = "[crio.runtime]\nallowed_devices = [\"/dev/full\"]\ndevice_ownership_from_security_context = true\n\
        [crio.runtime.runtimes.runc]\nruntime_path = \"/usr/sbin/runc\"\nruntime_root = \"{dir}/runc-root\"\n\
        privileged_without_host_devices = true\nallowed_annotations = [\"devices.crio.io\"]\n";
    let mut node = Node::configured(conf).await?;
    let key = |handler| if handler == "runc" { "devices.crio.io" } else { "io.kubernetes.cri-o.Devices" };
    for (handler, annotated) in [("ochre", true), ("runc", true), ("crun", false)] {
        let mut config = pod(&node, handler);
        config.annotations.insert(key(handler).into(), "/dev/full:/dev/by-annotation:rw".into());
        let sandbox = node.run_pod_with(&config, handler).await?;
        let mut asked = idle("app");
        security(&mut asked).run_as_user = Some(api::Int64Value { value: 1000 });
        security(&mut asked).run_as_group = Some(api::Int64Value { value: 2000 });
        asked.devices = vec![api::Device {
            host_path: "/dev/zero".into(),
            container_path: "/dev/by-request".into(),
            permissions: "r".into(),
        }];
        let app = node.launch(&sandbox, asked).await.with_context(|| handler.to_owned())?;
        assert_eq!(node.said(&app, "stat -c '%u %g' /dev/by-request").await?, "1000 2000", "{handler}");
        assert_eq!(node.said(&app, "head -c 2 /dev/by-request | wc -c").await?, "2", "{handler}");
        let found = node.said(&app, "test -c /dev/by-annotation && echo there").await?;
        assert_eq!(found == "there", annotated, "{handler}");
        node.remove_pod(&sandbox).await?;

        let name = format!("privileged-{handler}");
        let mut config = pod(&node, &name);
        pod_linux(&mut config).security_context.get_or_insert_default().privileged = true;
        let sandbox = node.run_pod_with(&config, handler).await?;
        let mut asked = idle("app");
        security(&mut asked).privileged = true;
        let app = node.launch(&sandbox, asked).await?;
        let has_host_devices = node.said(&app, "test -c /dev/kmsg && echo there").await? == "there";
        assert_eq!(has_host_devices, handler != "runc", "{handler}");
        node.remove_pod(&sandbox).await?;
    }
    // What the annotation asks for and the configuration does not allow fails the container.
    let mut config = pod(&node, "refused");
    config.annotations.insert(key("runc").into(), "/dev/kmsg".into());
    let sandbox = node.run_pod_with(&config, "runc").await?;
    let refused = node.create(&sandbox, idle("app")).await.unwrap_err();
    check_refusal("annotation", &refused, Code::InvalidArgument, &["/dev/kmsg", "allowed_devices"]);
    node.remove_pod(&sandbox).await?;
    node.finish()
}
