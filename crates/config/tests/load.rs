//! Configurations as operators write them: what they become, and what is said about the wrong ones.

#![allow(clippy::unwrap_used, reason = "also outside of test functions: everything here is a test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use ochre_config::{
    CgroupManager, ConfigError, Loaded, LogLevel, Machine, MainFile, RuntimeType, Sources, Warning,
    annotated, definitions, load,
};

struct Setup {
    dir: tempfile::TempDir,
    environment: Vec<(String, String)>,
    flags: Vec<(String, String)>,
    machine: Machine,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, environment: Vec::new(), flags: Vec::new(), machine: Machine::default() }
    }

    fn with(main: &str) -> Self {
        let setup = Self::new();
        setup.write("crio.conf", main);
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push((name.into(), value.into()));
        self
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&Sources {
            main: MainFile::Default(self.path("crio.conf")),
            directory: Some(self.path("crio.conf.d")),
            environment: &self.environment,
            flags: &self.flags,
            machine: &self.machine,
        })
    }

    /// The error's text with the scratch directory taken out.
    fn refusal(&self) -> String {
        let error = self.load().unwrap_err();
        assert_eq!(error.kind(), ochre_types::ErrorKind::InvalidArgument, "{error}");
        error.to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn nothing_at_all_is_a_whole_configuration() {
    let loaded = Setup::new().load().unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.config, loaded.defaults);
    let config = loaded.config;
    assert_eq!(config.root.root, Path::new("/var/lib/containers/storage"));
    assert_eq!(config.root.storage_driver, "overlay");
    assert_eq!(config.api.listen, Path::new("/var/run/crio/crio.sock"));
    assert_eq!(config.runtime.default_runtime, "ochre");
    assert_eq!(config.runtime.cgroup_manager, CgroupManager::Cgroupfs);
    assert_eq!(config.runtime.log_level, LogLevel::Info);
    assert!(config.network.native_cni && config.runtime.runtimes.is_empty());
    assert_eq!(loaded.registries_conf, Path::new("/etc/containers/registries.conf"));
    let mut on_systemd = Setup::new();
    on_systemd.machine = Machine { has_systemd: true, has_selinux: true, ..Machine::default() };
    let runtime = on_systemd.load().unwrap().config.runtime;
    assert!(runtime.cgroup_manager == CgroupManager::Systemd && runtime.selinux);
}

#[test]
fn later_sources_win() {
    let setup = Setup::with(
        "[crio]\nlog_dir = \"/main\"\nstorage_option = [\"overlay.a=1\", \"overlay.b=1\"]\n\
         [crio.runtime]\nlog_level = \"debug\"\npids_limit = 1\nnamespaces_dir = \"/main\"\n\
         [crio.runtime.runtimes.a]\nruntime_path = \"/a\"\nruntime_root = \"/run/a\"\n\
         [crio.runtime.runtimes.b]\nruntime_path = \"/b\"\n",
    )
    .variable("CONTAINER_LISTEN", "/env.sock")
    .variable("CONTAINER_NAMESPACES_DIR", "")
    .variable("CONTAINER_PIDS_LIMIT", "3")
    .variable("CONTAINER_CNI_PLUGIN_DIR", "/x, /y")
    .variable("CONTAINERS_REGISTRIES_CONF", "/r.conf")
    .flag("listen", "/flag.sock")
    .flag("default-sysctls", "net.a=1,2")
    .flag("default-sysctls", "net.b=3");
    setup.write("crio.conf.d/10-a", "[crio.runtime]\nlog_level = \"warn\"\npids_limit = 2\n");
    setup.write("crio.conf.d/20/x.conf", "[crio]\nstorage_option = [\"overlay.a=1\", \"overlay.c=1\"]\n");
    setup.write(
        "crio.conf.d/30-z.txt",
        "[crio.runtime]\nlog_level = \"error\"\n[crio.runtime.runtimes.a]\nruntime_type = \"vm\"\n",
    );
    let loaded = setup.load().unwrap();
    let config = loaded.config;
    assert_eq!(config.root.log_dir, Path::new("/main"));
    assert_eq!(config.root.storage_option.0, ["overlay.b=1", "overlay.a=1", "overlay.c=1"]);
    assert_eq!(config.runtime.log_level, LogLevel::Error);
    assert_eq!(config.runtime.pids_limit, 3);
    assert_eq!(config.runtime.namespaces_dir, Path::new("/main"));
    assert_eq!(config.api.listen, Path::new("/flag.sock"));
    assert_eq!(config.network.plugin_dirs, [Path::new("/x"), Path::new("/y")]);
    assert_eq!(config.runtime.default_sysctls, ["net.a=1,2", "net.b=3"]);
    assert_eq!(loaded.registries_conf, Path::new("/r.conf"));
    // A later table replaces the whole entry and leaves others.
    let a = &config.runtime.runtimes["a"];
    assert_eq!((a.runtime_type, a.runtime_path.as_os_str().len()), (RuntimeType::Vm, 0));
    assert_eq!(config.runtime.runtimes["b"].runtime_path, Path::new("/b"));
}

#[test]
fn the_main_file_may_be_missing_only_when_nobody_asked_for_it() {
    let machine = Machine::default();
    let with =
        |main| load(&Sources { main, directory: None, environment: &[], flags: &[], machine: &machine });
    with(MainFile::Default("/no/such/file".into())).unwrap();
    with(MainFile::None).unwrap();
    let error = with(MainFile::Explicit("/no/such/file".into())).unwrap_err();
    assert_eq!(error.to_string(), "configuration file /no/such/file does not exist");
}

/// A main file and what is said about it.
const REFUSED: &[(&str, &str)] = &[
    ("[crio]\n\nroot = 5\n", "crio.conf:3: crio.root = 5: expected a path as a string, found an integer"),
    ("[crio]\nroot = \"a\"\n", "crio.conf:2: crio.root = \"a\": expected an absolute path"),
    (
        "[crio]\nstorage_driver = \"vfs\"\n",
        "crio.conf:2: crio.storage_driver = \"vfs\": the only storage driver is \"overlay\"",
    ),
    (
        "[crio]\nstorage_option = [1]\n",
        "crio.conf:2: crio.storage_option = […]: expected an array of strings, found an integer in it",
    ),
    (
        "[crio.runtime]\nlog_level = \"loud\"\n",
        "crio.conf:2: crio.runtime.log_level = \"loud\": not a valid logrus Level: \"loud\", expected one of fatal error warn info debug trace",
    ),
    (
        "[crio.runtime]\nlog_size_max = 5\n",
        "crio.conf:2: crio.runtime.log_size_max = 5: log size max should be negative or >= 8192",
    ),
    (
        "[crio.runtime]\npids_limit = 99999999999999999999\n",
        "crio.conf:2: crio.runtime.pids_limit = 99999999999999999999: value out of range",
    ),
    (
        "[crio.runtime]\nselinux = \"yes\"\n",
        "crio.conf:2: crio.runtime.selinux = \"yes\": expected true or false, found a string",
    ),
    (
        "[crio.runtime]\ncgroup_manager = \"x\"\n",
        "crio.conf:2: crio.runtime.cgroup_manager = \"x\": expected one of systemd cgroupfs",
    ),
    (
        "[crio.runtime]\ndefault_capabilities = [\"CAP_CHOWN\", \"FLY\"]\n",
        "crio.conf:2: crio.runtime.default_capabilities = […]: \"FLY\" is not a capability such as \"CHOWN\"",
    ),
    (
        "[crio.runtime]\ndefault_sysctls = [\"a = b\"]\n",
        "crio.conf:2: crio.runtime.default_sysctls = […]: \"a = b\" must have a key and a value and no blanks around the =",
    ),
    (
        "[crio.runtime]\ndefault_ulimits = [\"x=1:2\"]\n",
        "crio.conf:2: crio.runtime.default_ulimits = […]: invalid ulimit type: \"x\"",
    ),
    (
        "[crio.runtime]\ndefault_ulimits = [\"nofile=3:2\"]\n",
        "crio.conf:2: crio.runtime.default_ulimits = […]: ulimit soft limit must be less than or equal to hard limit: 3 > 2",
    ),
    (
        "[crio.runtime]\nadditional_devices = [\"fuse\"]\n",
        "crio.conf:2: crio.runtime.additional_devices = […]: \"fuse\" is not a valid device: expected /dev/source[:/dev/target][:rwm]",
    ),
    (
        "[crio.runtime]\nadditional_devices = [\"/dev/a:/dev/b:x\"]\n",
        "crio.conf:2: crio.runtime.additional_devices = […]: invalid device mode: \"x\", expected some of r, w and m",
    ),
    (
        "[crio.runtime.runtimes]\na = 1\n",
        "crio.conf:2: crio.runtime.runtimes.a = 1: expected a table, found an integer",
    ),
    (
        "[crio.runtime.runtimes.a]\nruntime_type = \"x\"\n",
        "crio.conf:2: crio.runtime.runtimes.a.runtime_type = \"x\": expected one of oci vm pod",
    ),
    (
        "[crio.image]\npull_progress_timeout = \"soon\"\n",
        "crio.conf:2: crio.image.pull_progress_timeout = \"soon\": expected a duration such as \"90s\" or \"1h30m\"",
    ),
    (
        "[crio.network]\nnative_subnets = [\"10.85.0.0\"]\n",
        "crio.conf:2: crio.network.native_subnets = […]: \"10.85.0.0\" is not a subnet such as \"10.85.0.0/16\" or \"fd85::/64\"",
    ),
    (
        "[crio.network]\nnative_subnets = [\"fd85::/64\", \"fd86::/64\"]\n",
        "crio.conf:2: crio.network.native_subnets = […]: expected at most one subnet of IPv4 and one of IPv6",
    ),
    (
        "[crio.network]\nnative_subnets = []\n",
        "crio.conf:2: crio.network.native_subnets = […]: expected at least one subnet",
    ),
    (
        "[crio.network]\nnative_bridge = \"a b\"\n",
        "crio.conf:2: crio.network.native_bridge = \"a b\": expected a device name of at most 15 letters, digits, `-`, `_` and `.`",
    ),
    (
        "[crio.metrics]\nmetrics_port = 70000\n",
        "crio.conf:2: crio.metrics.metrics_port = 70000: value out of range: expected an integer from 0 to 65535",
    ),
    (
        "[crio.stats]\nincluded_pod_metrics = [\"all\", \"cpu\"]\n",
        "crio.conf:2: crio.stats.included_pod_metrics = […]: \"all\" stands alone",
    ),
];

#[test]
fn wrong_values_are_refused_with_their_place_and_what_would_be_right() {
    for (text, expected) in REFUSED {
        assert_eq!(Setup::with(text).refusal(), *expected);
    }
    let syntax = Setup::with("[crio]\nroot = \"x\nrunroot = 1\n").refusal();
    assert!(syntax.starts_with("crio.conf:2: "), "{syntax}");
    let mut invalid = vec![b'#', 0xff];
    invalid.push(b'\n');
    let setup = Setup::new();
    std::fs::write(setup.path("crio.conf"), invalid).unwrap();
    assert!(matches!(setup.load().unwrap_err(), ConfigError::Read { .. }));
    assert!(matches!(Setup::with(&"#".repeat(2 << 20)).load().unwrap_err(), ConfigError::TooLarge { .. }));
}

#[test]
fn wrong_flags_and_variables_are_refused_by_their_own_name() {
    for (setup, expected) in [
        (
            Setup::new().flag("pids-limit", "x"),
            "flag --pids-limit: crio.runtime.pids_limit = \"x\": invalid value \"x\" for flag: expected an integer",
        ),
        (
            Setup::new().flag("pids-limit", "99999999999999999999"),
            "flag --pids-limit: crio.runtime.pids_limit = \"99999999999999999999\": invalid value \"99999999999999999999\" for flag: value out of range",
        ),
        (
            Setup::new().variable("CONTAINER_SELINUX", "maybe"),
            "environment variable CONTAINER_SELINUX: crio.runtime.selinux = \"maybe\": invalid value \"maybe\" for flag: expected true or false",
        ),
        (Setup::new().flag("no-such-thing", "x"), "flag --no-such-thing is not the name of an option"),
    ] {
        assert_eq!(setup.refusal(), expected);
    }
    let runtimes = Setup::new().flag("runtimes", "a:b").refusal();
    assert!(runtimes.contains("invalid value \"a:b\" for flag: expected name:path:root"), "{runtimes}");
    let setup = Setup::new().variable("CONTAINER_RUNTIMES", "a:/a:/run/a,b:/b:/run/b:vm:true:/conf:1MiB");
    let runtimes = setup.load().unwrap().config.runtime.runtimes;
    assert_eq!(runtimes["a"].runtime_root, Path::new("/run/a"));
    assert!(runtimes["b"].privileged_without_host_devices && runtimes["b"].container_min_memory == "1MiB");
}

#[test]
fn unknown_keys_and_idle_options_are_warned_about_once() {
    let setup = Setup::with(
        "top = 1\n[other]\nx = 1\n[crio]\nrooot = \"/\"\nversion_file = \"/v\"\n[crio.runtime]\nno_pivot = false\n\
         log_to_journald = true\n[crio.runtime.runtimes.r]\nfoo = 1\nno_sync_log = true\n[crio.extra]\ny = 2\n",
    );
    let warnings = setup.load().unwrap().warnings;
    let text: Vec<String> = warnings
        .iter()
        .map(|warning| warning.to_string().replace(&format!("{}/", setup.dir.path().display()), ""))
        .collect();
    assert_eq!(
        text,
        [
            "crio.conf:1: unknown option top is ignored",
            "crio.conf:2: unknown option other is ignored",
            "crio.conf:5: unknown option crio.rooot is ignored",
            "crio.conf:11: unknown option crio.runtime.runtimes.r.foo is ignored",
            "crio.conf:13: unknown option crio.extra is ignored",
            "these options are accepted but have no effect yet: crio.version_file, crio.runtime.log_to_journald, \
             crio.runtime.runtimes.r.no_sync_log",
        ]
    );
}

#[test]
fn storage_conf_fills_what_is_empty() {
    let mut setup = Setup::with("[crio]\nroot = \"\"\nstorage_driver = \"\"\nrunroot = \"/own\"\n");
    setup.write(
        "storage.conf",
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"/graph\"\nrunroot = \"/run/graph\"\n\
         [storage.options]\nadditionalimagestores = [\"/ro\"]\n[storage.options.overlay]\nmountopt = \"nodev\"\n",
    );
    setup.machine.storage_conf = vec!["/no/such".into(), setup.path("storage.conf")];
    let root = setup.load().unwrap().config.root;
    assert_eq!((root.root.as_path(), root.runroot.as_path()), (Path::new("/graph"), Path::new("/own")));
    assert_eq!(root.storage_option.0, ["overlay.imagestore=/ro", "overlay.mountopt=nodev"]);

    setup.write("storage.conf", "[storage]\ndriver = \"btrfs\"\n");
    assert_eq!(
        setup.refusal(),
        "storage.conf:2: storage.driver = \"btrfs\": the only storage driver is \"overlay\""
    );
    setup.write("crio.conf", "[crio]\nstorage_driver = \"overlay\"\n");
    assert_eq!(setup.load().unwrap().config.root.storage_driver, "overlay");
}

#[test]
fn minimums_are_kept_and_handlers_inherit() {
    let loaded = Setup::with(
        "[crio.api]\ngrpc_max_recv_msg_size = 0\nstream_idle_timeout = \"1h0m5s\"\n\
         [crio.runtime]\nctr_stop_timeout = 5\ndefault_runtime = \"a\"\n\
         [crio.runtime.runtimes.a]\nruntime_path = \"/a\"\nruntime_root = \"/run/a\"\n\
         [crio.runtime.runtimes.b]\ninherit_default_runtime = true\ncontainer_create_timeout = 1\n",
    )
    .load()
    .unwrap();
    assert_eq!(loaded.config.api.grpc_max_recv_msg_size, 83_886_080);
    assert_eq!(loaded.config.api.stream_idle_timeout, Duration::from_secs(3605));
    assert_eq!(loaded.config.runtime.ctr_stop_timeout, 30);
    let b = &loaded.config.runtime.runtimes["b"];
    assert_eq!((b.runtime_path.as_path(), b.runtime_root.as_path()), (Path::new("/a"), Path::new("/run/a")));
    assert_eq!(b.container_create_timeout, 30);
    let raised = loaded.warnings.iter().filter(|warning| matches!(warning, Warning::Raised { .. })).count();
    assert_eq!(raised, 2);
}

#[test]
fn the_sample_of_the_defaults_has_only_tables_and_reads_back() {
    let loaded = Setup::new().load().unwrap();
    let sample = annotated(&loaded.config, &loaded.defaults);
    for line in sample.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(line.starts_with('['), "{line}");
    }
    for table in [
        "crio",
        "crio.api",
        "crio.runtime",
        "crio.image",
        "crio.network",
        "crio.metrics",
        "crio.tracing",
        "crio.stats",
        "crio.nri",
        "crio.nri.default_validator",
    ] {
        assert!(
            sample.contains(&format!("\n[{table}]\n")) || sample.starts_with(&format!("[{table}]\n")),
            "{table}"
        );
    }
    // Every commented option, made active, is accepted and changes nothing.
    let is_option = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let active: String = sample
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(option) if is_option(option) || option.starts_with('[') => format!("{option}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let setup = Setup::with(&active);
    let again = setup.load().unwrap();
    assert!(
        again.warnings.iter().all(|warning| matches!(warning, Warning::NoEffect { .. })),
        "{:?}",
        again.warnings
    );
    let mut config = again.config;
    assert_eq!(config.runtime.runtimes.remove("runc"), Some(ochre_config::RuntimeHandlerConfig::default()));
    config.runtime.workloads.clear();
    assert_eq!(config, loaded.config);
}

#[test]
fn a_changed_configuration_reads_back_from_its_sample() {
    let loaded = Setup::with(
        "[crio]\nlog_dir = \"/a \\\"b\\\"\"\n[crio.runtime]\nhooks_dir = [\"/x\"]\n\
         [crio.runtime.runtimes.\"r.1\"]\nruntime_path = \"/r\"\ndefault_annotations = { \"a.b\" = \"c\" }\n\
         [crio.runtime.workloads.w]\nactivation_annotation = \"x\"\n[crio.runtime.workloads.w.resources]\ncpushares = 5\n",
    )
    .load()
    .unwrap();
    let sample = annotated(&loaded.config, &loaded.defaults);
    assert!(
        sample.contains("\nlog_dir = \"/a \\\"b\\\"\"\n") && sample.contains("\n# pids_limit = -1\n"),
        "{sample}"
    );
    assert_eq!(Setup::with(&sample).load().unwrap().config, loaded.config);
}

/// Options of CRI-O 1.36 by table.
const CRI_O: [(&str, &str); 10] = [
    (
        "crio",
        "root runroot imagestore storage_driver storage_option log_dir version_file version_file_persist clean_shutdown_file internal_wipe internal_repair",
    ),
    (
        "crio.api",
        "listen stream_address stream_port stream_enable_tls stream_tls_cert stream_tls_key stream_tls_ca stream_idle_timeout tls_min_version tls_cipher_suites grpc_max_send_msg_size grpc_max_recv_msg_size",
    ),
    (
        "crio.runtime",
        "default_runtime default_ulimits no_pivot decryption_keys_path additional_artifact_stores conmon conmon_cgroup conmon_env default_env min_injected_gomaxprocs selinux seccomp_profile privileged_seccomp_profile apparmor_profile blockio_config_file blockio_reload cdi_spec_dirs irqbalance_config_file irqbalance_config_restore_file rdt_config_file cgroup_manager separate_pull_cgroup default_capabilities add_inheritable_capabilities default_sysctls allowed_devices additional_devices device_ownership_from_security_context hooks_dir default_mounts_file pids_limit log_filter log_level log_size_max log_to_journald container_exits_dir container_attach_socket_dir bind_mount_prefix read_only uid_mappings gid_mappings minimum_mappable_uid minimum_mappable_gid ctr_stop_timeout drop_infra_ctr infra_ctr_cpuset shared_cpuset namespaces_dir pinns_path absent_mount_sources_to_reject enable_criu_support enable_pod_events hostnetwork_disable_selinux disable_hostport_mapping timezone",
    ),
    (
        "crio.runtime.runtimes.x",
        "runtime_path runtime_type runtime_root runtime_config_path inherit_default_runtime privileged_without_host_devices allowed_annotations monitor_path monitor_cgroup monitor_env monitor_exec_cgroup platform_runtime_paths runtime_pull_image container_min_memory no_sync_log default_annotations stream_websockets exec_cpu_affinity seccomp_profile container_create_timeout",
    ),
    (
        "crio.image",
        "default_transport global_auth_file namespaced_auth_dir pause_image pause_image_auth_file pause_command pinned_images signature_policy signature_policy_dir image_volumes insecure_registries big_files_temporary_dir auto_reload_registries pull_progress_timeout oci_artifact_mount_support short_name_mode",
    ),
    ("crio.network", "cni_default_network network_dir plugin_dirs plugin_dir cni_status_grace_period"),
    (
        "crio.metrics",
        "enable_metrics metrics_collectors metrics_host metrics_port metrics_socket metrics_cert metrics_key",
    ),
    ("crio.tracing", "enable_tracing tracing_endpoint tracing_sampling_rate_per_million"),
    ("crio.stats", "stats_collection_period collection_period included_pod_metrics"),
    (
        "crio.nri",
        "enable_nri nri_listen nri_plugin_dir nri_plugin_config_dir nri_plugin_registration_timeout nri_plugin_request_timeout nri_disable_connections",
    ),
];

#[test]
fn every_option_of_cri_o_is_known() {
    let known = definitions();
    for (table, names) in CRI_O {
        for name in names.split(' ') {
            let is_known = known.iter().any(|(of, definition)| *of == table && definition.name == name);
            // A date is no value of any option, so a known one is refused and an unknown one is warned about.
            let refused = Setup::with(&format!("[{table}]\n{name} = 2020-01-01\n")).load();
            assert!(refused.is_err() && (is_known || table.ends_with(".x")), "{table}.{name}");
        }
    }
    // Flags and variables go by bare names.
    let mut names: Vec<&str> = known.iter().map(|(_, definition)| definition.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
