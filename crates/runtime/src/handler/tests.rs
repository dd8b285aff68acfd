use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;

const FEATURES: &str = r#"{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.0","mountOptions":["ro","rro"],
    "linux":{"mountExtensions":{"idmap":{"enabled":true}}}}"#;

#[test]
fn features_are_read_from_what_runtimes_print() {
    let full =
        HandlerFeatures::new("runc version 1.2\ncommit: x\n", Some(FEATURES.as_bytes()), "6.1.0-13-amd64");
    assert_eq!(full.version, "runc version 1.2");
    assert!(full.idmap_mounts && full.recursive_read_only);
    assert_eq!(full.oci_version_max, "1.2.0");
    let old_kernel = HandlerFeatures::new("x", Some(FEATURES.as_bytes()), "5.11.22-generic");
    assert!(old_kernel.idmap_mounts && !old_kernel.recursive_read_only);
    for nothing in
        [None, Some(&b""[..]), Some(b"unknown command features"), Some(b"[]"), Some(b"{\"mountOptions\":7}")]
    {
        let features = HandlerFeatures::new("v", nothing, "6.1");
        assert_eq!(features, HandlerFeatures { version: "v".into(), ..HandlerFeatures::default() });
    }
}

#[test]
fn a_crun_without_the_verb_features_still_mounts_recursively_read_only() {
    for (version, features, kernel, expected) in [
        ("crun version 1.8.1\ncommit: x\n", None, "6.1.0", true),
        ("crun version 1.4", None, "6.1.0", true),
        ("crun version 1.3", None, "6.1.0", false),
        ("crun version 0.21", None, "6.1.0", false),
        ("crun version 1.8.1", None, "5.11.0", false),
        ("crun version 1.14", Some(&b"{}"[..]), "6.1.0", false),
        ("runc version 1.8.1", None, "6.1.0", false),
    ] {
        let features = HandlerFeatures::new(version, features, kernel);
        assert_eq!(features.recursive_read_only, expected, "{version:?} on {kernel}");
    }
}

struct Bin(tempfile::TempDir);

impl Bin {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn probe(
        &self,
        configured: &[(&str, HandlerConfig)],
        default: Option<&str>,
    ) -> Result<(Handlers, Vec<HandlerError>), HandlerError> {
        let built_in = self.script("built-in", "echo built-in 1");
        let configured =
            configured.iter().map(|(name, config)| ((*name).to_owned(), config.clone())).collect();
        let search_path = format!("{}:/usr/bin:/bin", self.0.path().display());
        let sources = HandlerSources {
            configured: &configured,
            default,
            built_in: &built_in,
            search_path: if default == Some("search") {
                search_path.as_ref()
            } else {
                self.0.path().as_os_str()
            },
        };
        Handlers::probe(sources)
    }
}

fn at(path: &Path) -> HandlerConfig {
    HandlerConfig { path: Some(path.into()), ..HandlerConfig::default() }
}

#[test]
fn without_configuration_the_built_in_handler_is_the_default() {
    let bin = Bin::new();
    bin.script("runc", &format!("case $1 in features) echo '{FEATURES}';; *) echo runc 9;; esac"));
    let (handlers, left_out) = bin.probe(&[], None).unwrap();
    assert!(left_out.is_empty(), "{left_out:?}");
    assert_eq!(handlers.default_handler().name, BUILT_IN);
    assert_eq!(handlers.default_handler().root, Path::new("/run/ochre-runtime"));
    let runc = handlers.get("runc").unwrap();
    assert_eq!((runc.root.as_path(), runc.features.version.as_str()), (Path::new("/run/runc"), "runc 9"));
    assert!(runc.features.idmap_mounts);
    let error = handlers.get("kata").unwrap_err();
    assert_eq!(error.to_string(), "unknown runtime handler \"kata\", known are: ochre, runc");
    assert_eq!(error.kind(), ochre_types::ErrorKind::InvalidArgument);
}

#[test]
fn a_configured_handler_replaces_its_path_and_root() {
    let bin = Bin::new();
    let path = bin.script("mine", "echo mine");
    let config = HandlerConfig { root: Some("/run/mine".into()), ..at(&path) };
    let (handlers, _) =
        bin.probe(&[("x", config), ("ochre", at(&path)), ("crun", at(&path))], Some("x")).unwrap();
    assert_eq!(handlers.get("").unwrap().root, Path::new("/run/mine"));
    assert_eq!(handlers.get("ochre").unwrap().path, path);
    assert_eq!(handlers.get("crun").unwrap().root, Path::new("/run/crun"));
}

#[test]
fn broken_handlers_are_left_out_and_a_broken_default_is_an_error() {
    let bin = Bin::new();
    let broken = bin.script("broken", "echo out of order >&2; exit 3");
    let data = bin.0.path().join("data");
    std::fs::write(&data, "text").unwrap();
    let vm = HandlerConfig { kind: HandlerType::Vm, ..at(&broken) };
    let table = [
        ("broken", at(&broken)),
        ("gone", at(Path::new("/no/such/runtime"))),
        ("data", at(&data)),
        ("relative", at(Path::new("bin/runc"))),
        ("nowhere", HandlerConfig::default()),
        ("vm", vm),
    ];
    let (handlers, left_out) = bin.probe(&table, None).unwrap();
    assert_eq!(handlers.iter().count(), 1);
    assert_eq!(left_out.len(), table.len());
    let text = left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(text.contains("exit status: 3): out of order"), "{text}");
    for (name, _) in &table {
        assert!(text.contains(&format!("runtime handler {name}:")), "{name}: {text}");
        let error = bin.probe(&table, Some(name)).unwrap_err();
        assert!(matches!(error, HandlerError::Default { .. }), "{error}");
    }
    assert!(matches!(bin.probe(&table, Some("never")).unwrap_err(), HandlerError::Unknown { .. }));
}

#[test]
fn hanging_and_flooding_runtimes_are_ended() {
    let bin = Bin::new();
    let path =
        bin.script("search", "case $1 in features) exec yes;; *) sleep 600 & echo fast; exit 0;; esac");
    let hang = bin.script("hang", "exec sleep 600");
    let start = Instant::now();
    let error = bin.probe(&[("search", at(&path)), ("hang", at(&hang))], Some("search")).unwrap_err();
    let HandlerError::Default { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, HandlerError::NoAnswer { argument: "features", .. }), "{source}");
    assert!(start.elapsed() < Duration::from_secs(15));
    // Nothing of them is left, not even what `--version` had started beside.
    let own = i32::try_from(std::process::id()).unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let of_the_test = String::from_utf8_lossy(&environment).contains(bin.0.path().to_str().unwrap());
        assert!(!of_the_test || pid == own, "{pid} is left");
    }
}

#[test]
fn the_machines_own_runtimes_answer() {
    let bin = Bin::new();
    let built_in = bin.script("built-in", "echo built-in 1");
    let configured = BTreeMap::new();
    let sources = HandlerSources {
        configured: &configured,
        default: None,
        built_in: &built_in,
        search_path: OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    };
    let (handlers, left_out) = Handlers::probe(sources).unwrap();
    assert!(left_out.is_empty(), "{left_out:?}");
    for (name, says) in [("runc", "runc version"), ("crun", "crun version")] {
        if let Ok(handler) = handlers.get(name) {
            assert!(handler.features.version.starts_with(says), "{:?}", handler.features);
        }
    }
}
