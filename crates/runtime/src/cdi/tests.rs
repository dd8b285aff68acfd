use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxResources, Spec};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// Two directories of specifications, the second with priority.
struct Node {
    dir: TempDir,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["low", "high"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn put(&self, name: &str, text: impl ToString) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text.to_string()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn resolve(&self, names: &[&str]) -> Result<Injection, CdiError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let missing = self.dir.path().join("missing");
        let dirs = [missing, self.dir.path().join("low"), self.dir.path().join("high")];
        resolve(&dirs, &names, &BTreeMap::new())
    }

    /// What the environment becomes.
    fn env(&self, names: &[&str]) -> Vec<String> {
        let mut spec = spec();
        self.resolve(names).unwrap().apply(&mut spec).unwrap();
        spec.process().as_ref().unwrap().env().clone().unwrap()
    }

    fn refusal(&self, names: &[&str]) -> String {
        self.resolve(names).unwrap_err().to_string()
    }
}

/// A specification as the engine makes it: no devices, one variable.
fn spec() -> Spec {
    let mut spec: Spec = serde_json::from_value(json!({
        "ociVersion": "1.0.2",
        "process": { "cwd": "/", "user": { "uid": 1000, "gid": 0, "additionalGids": [5] }, "env": ["A=own"] },
        "mounts": [{ "destination": "/lib", "type": "bind", "source": "/old", "options": ["rbind"] }],
    }))
    .unwrap();
    let mut linux = Linux::default();
    linux.set_resources(Some(LinuxResources::default())).set_devices(None);
    spec.set_linux(Some(linux)).set_hooks(None);
    spec
}

fn document(kind: &str, devices: Value) -> Value {
    json!({ "cdiVersion": "0.6.0", "kind": kind, "devices": devices })
}

fn with_env(name: &str, value: &str) -> Value {
    json!({ "name": name, "containerEdits": { "env": [value] } })
}

#[test]
fn every_edit_reaches_the_specification() {
    let node = Node::new();
    node.put(
        "low/all.json",
        json!({
            "cdiVersion": "1.0.0", "kind": "vendor.example/thing", "annotations": { "a": "b" },
            "containerEdits": { "env": ["COMMON=1", "A=common"] },
            "devices": [{ "name": "one", "annotations": {}, "containerEdits": {
                "env": ["A=device"],
                "deviceNodes": [
                    { "path": "/dev/given", "type": "b", "major": 7, "minor": 8, "permissions": "rw", "fileMode": 432, "uid": 3, "gid": 4 },
                    { "path": "/dev/found", "hostPath": "/dev/null" },
                    { "path": "/dev/pipe", "type": "p" },
                ],
                "mounts": [
                    { "hostPath": "/host/lib", "containerPath": "/lib", "options": ["ro", "nosuid"] },
                    { "hostPath": "tmpfs-but-absolute", "containerPath": "/x" },
                ],
                "hooks": [{ "hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"], "timeout": 3 }],
                "additionalGids": [0, 5, 44],
                "intelRdt": { "closID": "gold", "l3CacheSchema": "L3:0=f" },
            } }],
        })
        .to_string()
        .replace("tmpfs-but-absolute", "/host/x"),
    );
    let mut spec = spec();
    node.resolve(&["vendor.example/thing=one"]).unwrap().apply(&mut spec).unwrap();
    let spec = serde_json::to_value(spec).unwrap();
    assert_eq!(spec["process"]["env"], json!(["A=device", "COMMON=1"]));
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([5, 44]));
    assert_eq!(
        spec["linux"]["devices"],
        json!([
            { "path": "/dev/given", "type": "b", "major": 7, "minor": 8, "fileMode": 432, "uid": 3, "gid": 4 },
            { "path": "/dev/found", "type": "c", "major": 1, "minor": 3, "uid": 1000 },
            { "path": "/dev/pipe", "type": "p", "major": 0, "minor": 0, "uid": 1000 },
        ])
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([
            { "allow": true, "type": "b", "major": 7, "minor": 8, "access": "rw" },
            { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        ])
    );
    assert_eq!(spec["mounts"].as_array().unwrap().len(), 2);
    assert_eq!(spec["mounts"][0]["source"], "/host/lib");
    assert_eq!(spec["mounts"][0]["options"], json!(["ro", "nosuid", "rbind"]));
    assert_eq!(
        spec["hooks"],
        json!({ "createContainer": [{ "path": "/bin/hook", "args": ["hook", "x"], "timeout": 3 }] })
    );
    assert_eq!(spec["linux"]["intelRdt"], json!({ "closID": "gold", "l3CacheSchema": "L3:0=f" }));
}

#[test]
fn yaml_says_the_same_as_json() {
    let node = Node::new();
    node.put(
        "low/device.yaml",
        "---\ncdiVersion: 0.5.0\nkind: vendor.example/yaml\ncontainerEdits:\n  env:\n  - COMMON=yes\ndevices:\n\
         - name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/x\n      type: c\n      major: 1\n      \
         minor: 3\n      fileMode: 0660\n    env: [\"B=no\"]\n",
    );
    assert_eq!(node.env(&["vendor.example/yaml=0"]), ["A=own", "COMMON=yes", "B=no"]);
    let mut spec = spec();
    node.resolve(&["vendor.example/yaml=0"]).unwrap().apply(&mut spec).unwrap();
    assert_eq!(spec.linux().as_ref().unwrap().devices().as_ref().unwrap()[0].file_mode(), Some(0o660));
    let bomb: String = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [*a{}, *a{}, *a{}, *a{}]\n", n - 1, n - 1, n - 1, n - 1)
    });
    node.put("low/bomb.yaml", bomb);
    assert!(node.refusal(&["vendor.example/none=0"]).contains("bomb.yaml"));
    assert_eq!(node.env(&["vendor.example/yaml=0"]).len(), 3, "a bad file hides no other");
}

#[test]
fn directories_have_priorities_and_equals_conflict() {
    let node = Node::new();
    let one = |value: &str| {
        document(
            "v.example/c",
            json!([with_env("d", value), with_env(&format!("own-{}", &value[2..]), value)]),
        )
    };
    node.put("low/a.json", one("X=low"));
    assert_eq!(node.env(&["v.example/c=d"]), ["A=own", "X=low"]);
    node.put("high/a.json", one("X=high"));
    assert_eq!(node.env(&["v.example/c=d"]), ["A=own", "X=high"]);
    assert_eq!(node.env(&["v.example/c=own-low"]), ["A=own", "X=low"]);
    node.put("high/b.json", one("X=rival"));
    let refusal = node.refusal(&["v.example/c=d"]);
    assert!(refusal.contains("a.json") && refusal.contains("b.json"), "{refusal}");
    assert_eq!(node.env(&["v.example/c=own-rival"]), ["A=own", "X=rival"]);
    // A conflict below is over as soon as somebody above decides.
    std::fs::rename(node.dir.path().join("high/b.json"), node.dir.path().join("low/b.json")).unwrap();
    assert_eq!(node.env(&["v.example/c=d"]), ["A=own", "X=high"]);
}

#[test]
fn common_edits_come_once_and_devices_once_whoever_names_them() {
    let node = Node::new();
    let mut text = document("v.example/c", json!([with_env("a", "N=a"), with_env("b", "N=b")]));
    text["containerEdits"] = json!({ "hooks": [{ "hookName": "prestart", "path": "/bin/once" }] });
    node.put("low/a.json", text);
    let annotations = BTreeMap::from(
        [
            ("cdi.k8s.io/plugin", "v.example/c=b,v.example/c=a"),
            ("cdi.k8s.io/", "v.example/c=a"),
            ("other", "not/a device"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let dirs = [node.dir.path().join("low")];
    let mut spec = spec();
    resolve(&dirs, &["v.example/c=a".to_owned()], &annotations).unwrap().apply(&mut spec).unwrap();
    let spec = serde_json::to_value(spec).unwrap();
    assert_eq!(spec["hooks"]["prestart"].as_array().unwrap().len(), 1);
    assert_eq!(spec["process"]["env"], json!(["A=own", "N=b"]), "the last edit of a variable wins");
}

#[test]
fn what_is_unknown_or_malformed_is_refused_by_name() {
    let node = Node::new();
    node.put("low/a.json", document("v.example/c", json!([with_env("a", "N=a")])));
    for name in ["v.example/c=b", "v.example/d=a", "other/c=a"] {
        assert_eq!(node.refusal(&[name]), format!("CDI device {name} is unknown"));
    }
    for name in ["a", "v.example/c", "/dev/null", ""] {
        assert!(matches!(node.resolve(&[name]), Err(CdiError::Name { .. })), "{name:?}");
    }
    let many: Vec<String> = (0..1001).map(|n| format!("v/c=d{n}")).collect();
    assert!(matches!(check(&many, &BTreeMap::new()), Err(CdiError::TooMany { .. })));
}

#[test]
fn a_file_with_anything_the_engine_does_not_understand_is_left_out() {
    let node = Node::new();
    let good = || document("v.example/c", json!([with_env("a", "N=a")]));
    let edit = |edits: Value| document("v.example/c", json!([{ "name": "a", "containerEdits": edits }]));
    let mut cases: Vec<(Value, &str)> = Vec::new();
    let mut change = |field: &str, value: Value, words: &'static str| {
        let mut text = good();
        text[field] = value;
        cases.push((text, words));
    };
    change("cdiVersion", json!("1.1.0"), "cdiVersion");
    change("cdiVersion", json!("99"), "cdiVersion");
    change("kind", json!("novendor"), "vendor/class");
    change("devices", json!([]), "no device");
    change("devices", json!([with_env("a", "N=a"), with_env("a", "N=b")]), "twice");
    change("devices", json!([with_env("-", "N=a")]), "not the name");
    change("surprise", json!(1), "surprise");
    for (edits, words) in [
        (json!({ "netDevices": [] }), "netDevices"),
        (json!({ "env": ["NOVALUE"] }), "NAME=value"),
        (json!({ "deviceNodes": [{ "path": "relative" }] }), "absolute path"),
        (json!({ "deviceNodes": [{ "path": "/dev/x", "type": "z" }] }), "type of a device node"),
        (json!({ "deviceNodes": [{ "path": "/dev/x", "permissions": "rwx" }] }), "permissions"),
        (json!({ "deviceNodes": [{ "path": "/dev/x", "major": -1 }] }), "out of range"),
        (json!({ "mounts": [{ "hostPath": "/x", "containerPath": "/" }] }), "root"),
        (json!({ "mounts": [{ "hostPath": "/x", "containerPath": "/a/../.." }] }), "absolute path"),
        (json!({ "hooks": [{ "hookName": "whenever", "path": "/x" }] }), "hookName"),
        (json!({ "intelRdt": { "closID": "../x" } }), "closID"),
    ] {
        cases.push((edit(edits), words));
    }
    for (text, words) in cases {
        node.put("low/a.json", &text);
        let refusal = node.refusal(&["v.example/c=a"]);
        assert!(refusal.contains("a.json was left out") && refusal.contains(words), "{words}: {refusal}");
    }
    node.put("low/a.json", format!("{},", good()));
    assert!(node.refusal(&["v.example/c=a"]).contains("a.json"));
    node.put("low/a.json", good());
    assert!(node.resolve(&["v.example/c=a"]).is_ok());
}

#[test]
fn files_that_others_could_have_written_are_left_out() {
    let node = Node::new();
    let text = document("v.example/c", json!([with_env("a", "N=a")]));
    let path = node.put("low/a.json", &text);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for wrong in [0o664, 0o646, 0o666] {
        mode(&path, wrong);
        assert!(node.refusal(&["v.example/c=a"]).contains("can write"), "{wrong:o}");
    }
    mode(&path, 0o600);
    assert!(node.resolve(&["v.example/c=a"]).is_ok());
    chown(&path, Some(1000), None).unwrap();
    assert!(node.refusal(&["v.example/c=a"]).contains("belongs to user 1000"));
    chown(&path, Some(0), None).unwrap();
    mode(&node.dir.path().join("low"), 0o777);
    assert!(node.refusal(&["v.example/c=a"]).contains("can write"));
    mode(&node.dir.path().join("low"), 0o755);

    // What is no file of reasonable size is not waited for.
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(node.refusal(&["v.example/c=a"]).contains("regular file"));
    std::fs::remove_file(&path).unwrap();
    let elsewhere = node.put("real", &text);
    symlink(&elsewhere, &path).unwrap();
    assert!(node.resolve(&["v.example/c=a"]).is_ok());
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(5 << 20).unwrap();
    assert!(node.refusal(&["v.example/c=a"]).contains("larger than"));
    // Other names are not looked at.
    std::fs::rename(&path, path.with_extension("txt")).unwrap();
    assert_eq!(node.refusal(&["v.example/c=a"]), "CDI device v.example/c=a is unknown");
}

#[test]
fn a_node_that_is_not_there_fails_the_container_and_nothing_else() {
    let node = Node::new();
    let of = |node: Value| {
        document("v.example/c", json!([{ "name": "a", "containerEdits": { "deviceNodes": [node] } }]))
    };
    for (described, words) in [
        (json!({ "path": "/dev/does-not-exist" }), "is not there"),
        (json!({ "path": "/dev/x", "hostPath": "/etc/passwd" }), "no device node"),
        (json!({ "path": "/dev/x", "hostPath": "/dev/null", "type": "b" }), "another type"),
    ] {
        node.put("low/a.json", of(described));
        let error = node.resolve(&["v.example/c=a"]).unwrap().apply(&mut spec()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
