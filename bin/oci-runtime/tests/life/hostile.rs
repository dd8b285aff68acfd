//! Images and mounts that try to reach the host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::bundle::Bundle;

/// A tree that must look the same afterwards.
fn fingerprint(path: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            format!("{:?} {:?}", entry.path(), entry.metadata().unwrap().modified().unwrap())
        })
        .collect();
    found.sort();
    found
}

fn replace(bundle: &Bundle, name: &str, target: &Path) {
    let path = bundle.rootfs().join(name);
    fs::remove_dir_all(&path).unwrap();
    symlink(target, path).unwrap();
}

#[test]
fn directories_that_are_links_to_the_host_lead_nowhere() {
    let canary = tempfile::tempdir().unwrap();
    for inside in ["dev", "proc", "sys", "pts"] {
        fs::create_dir(canary.path().join(inside)).unwrap();
    }
    let before = fingerprint(canary.path());
    for name in ["dev", "proc", "sys", "etc", "tmp"] {
        for target in [
            canary.path().to_owned(),
            Path::new("../../../../../..").join(canary.path().strip_prefix("/").unwrap()),
        ] {
            let mut bundle = Bundle::new("true");
            replace(&bundle, name, &target);
            bundle.config["mounts"].as_array_mut().unwrap().push(
                json!({"destination": format!("/{name}/made/here"), "type": "tmpfs", "source": "tmpfs"}),
            );
            let created = bundle.create();
            if ["dev", "proc", "sys"].contains(&name) {
                let error = created.unwrap_err();
                assert!(error.contains("symbolic link"), "{name}: {error}");
            }
            assert_eq!(fingerprint(canary.path()), before, "{name} -> {}", target.display());
            assert_eq!(fs::read_dir(canary.path().join("dev")).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_link_to_proc_is_no_way_around_the_rules_of_proc() {
    for (destination, link) in [("/trap/sys", Some("/proc")), ("/proc/sys", None), ("/proc/self/attr", None)]
    {
        let mut bundle = Bundle::new("true");
        if let Some(target) = link {
            symlink(target, bundle.rootfs().join("trap")).unwrap();
        }
        bundle.config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": destination, "type": "tmpfs"}));
        let error = bundle.create().unwrap_err();
        assert!(error.contains("not allowed") || error.contains("preparing"), "{destination}: {error}");
    }
    for destination in ["/proc", "/sys", "/"] {
        let mut bundle = Bundle::new("true");
        bundle.config["mounts"] = json!([{"destination": destination, "type": "tmpfs", "source": "tmpfs"}]);
        assert!(bundle.create().unwrap_err().contains("not allowed"), "{destination}");
    }
}

#[test]
fn the_null_device_of_an_image_does_not_mask() {
    let mut bundle = Bundle::new("true");
    bundle.config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    fs::write(bundle.rootfs().join("dev/null"), "not a device").unwrap();
    let error = bundle.create().unwrap_err();
    assert!(error.contains("/dev/null") && error.contains("not the device"), "{error}");
}

#[test]
fn files_are_made_through_links_only_inside() {
    let canary = tempfile::tempdir().unwrap();
    fs::write(canary.path().join("file"), "untouched").unwrap();
    let mut bundle = Bundle::new("cat /etc/hosts; ls /etc");
    fs::remove_dir(bundle.rootfs().join("etc")).unwrap();
    symlink(canary.path(), bundle.rootfs().join("etc")).unwrap();
    let source = bundle.path().join("hosts");
    fs::write(&source, "from the engine\n").unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().push(
        json!({"destination": "/etc/hosts", "type": "bind", "source": source, "options": ["bind", "ro"]}),
    );
    // The link's target is looked for inside the root, where it does not exist.
    drop(bundle.create());
    assert_eq!(fs::read_dir(canary.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(canary.path().join("file")).unwrap(), "untouched");
}

#[test]
fn a_working_directory_outside_is_refused() {
    for cwd in ["/proc/self/fd/7", "/proc/self/cwd/../../..", "/no-dir/../.."] {
        let mut bundle = Bundle::new("ls");
        bundle.config["process"]["cwd"] = json!(cwd);
        match bundle.create() {
            Err(error) => assert!(error.contains("working directory"), "{cwd}: {error}"),
            Ok(()) => {
                bundle.start();
                let output = bundle.wait().output;
                assert!(output.contains("bin") && !output.contains("home"), "{cwd}: {output}");
            }
        }
    }
}

#[test]
fn read_only_binds_are_read_only_to_their_depth() {
    let mut bundle =
        Bundle::new("touch /m/x || echo kept; touch /m/x 2>/dev/null; touch /rw/x && echo written");
    let source = bundle.path().join("volume");
    fs::create_dir(&source).unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/m", "type": "bind", "source": source, "options": ["rbind", "rro", "rprivate"]}));
    mounts.push(json!({"destination": "/rw", "type": "bind", "source": source, "options": ["rbind", "rw"]}));
    assert_eq!(bundle.run_to_end().output, "kept\nwritten\n");
    assert!(source.join("x").exists());
}

#[test]
fn the_runtime_itself_cannot_be_written_from_inside() {
    let program = Path::new(env!("CARGO_BIN_EXE_ochre-runtime"));
    let before = fs::metadata(program).unwrap().modified().unwrap();
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["args"] = json!(["/proc/self/exe", "--version"]);
    // Whether it runs does not matter: what it would be is on a read-only mount.
    if bundle.create().is_ok() {
        bundle.start();
        bundle.wait();
    }
    assert_eq!(fs::metadata(program).unwrap().modified().unwrap(), before);
}
