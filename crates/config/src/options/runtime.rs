//! `[crio.runtime]`: how containers run, the table of handlers and the workloads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{check, effect, environment, options, reload};
use crate::value::list;
use crate::value::{CgroupManager, LogLevel, RuntimeType};

options! {
    /// How containers run.
    pub struct RuntimeConfig as "crio.runtime" {
        /// Handler of pods that name none. `ochre` is the built-in one.
        default_runtime: String = "ochre".to_owned(), now live;
        /// Resource limits of all containers, `name=soft:hard` each.
        default_ulimits: Vec<String> = Vec::new(), now restart, check ulimits;
        /// Move mounts where `pivot_root` does not work, as on a RAM disk.
        no_pivot: bool = false, later restart;
        /// Directory of private keys for encrypted images.
        decryption_keys_path: PathBuf = PathBuf::from("/etc/crio/keys/"), later live, check absolute_or_empty;
        /// Read-only stores of artifacts.
        additional_artifact_stores: Vec<PathBuf> = Vec::new(), later restart, check absolutes;
        /// Deprecated: the monitor is part of the engine.
        conmon: String = String::new(), later restart;
        /// Deprecated: see `monitor_cgroup` of the handlers.
        conmon_cgroup: String = String::new(), later restart;
        /// Deprecated: see `monitor_env` of the handlers.
        conmon_env: Vec<String> = Vec::new(), later restart;
        /// Environment of all containers, `NAME=value` each; images and pods override it.
        default_env: Vec<String> = Vec::new(), now restart, check environment;
        /// Least GOMAXPROCS given to containers with a CPU request; 0 gives none.
        min_injected_gomaxprocs: i64 = 0, later restart, check not_negative, environment "CONTAINER_INJECT_GOMAXPROCS";
        /// Label containers for SELinux. The default is whether the node uses SELinux.
        selinux: bool = false, now restart;
        /// Seccomp profile of containers with the runtime default; empty is the built-in one.
        seccomp_profile: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// Seccomp profile of privileged containers; empty is none.
        privileged_seccomp_profile: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// AppArmor profile of containers with the runtime default.
        apparmor_profile: String = "crio-default".to_owned(), now live;
        /// Classes of block I/O.
        blockio_config_file: PathBuf = PathBuf::new(), later live, check absolute_or_empty;
        /// Read that file again for every container.
        blockio_reload: bool = false, later live;
        /// Directories of CDI device specifications.
        cdi_spec_dirs: Vec<PathBuf> = vec![PathBuf::from("/etc/cdi"), PathBuf::from("/var/run/cdi")], now live, check absolutes;
        /// Configuration of irqbalance that is kept in step with CPUs given to pods.
        irqbalance_config_file: PathBuf = PathBuf::from("/etc/sysconfig/irqbalance"), later restart, check absolute_or_empty;
        /// Where the original CPU mask is kept; "disable" keeps none.
        irqbalance_config_restore_file: String = "/etc/sysconfig/orig_irq_banned_cpus".to_owned(), later restart;
        /// Classes of Intel RDT.
        rdt_config_file: PathBuf = PathBuf::new(), later live, check absolute_or_empty;
        /// Who makes the control groups of containers. The default is systemd where it runs.
        cgroup_manager: CgroupManager = CgroupManager::Systemd, now restart;
        /// Control group for pulls: a slice or "pod".
        separate_pull_cgroup: String = String::new(), later restart, environment "PULL_IN_A_CGROUP";
        /// Capabilities of containers that ask for none.
        default_capabilities: Vec<String> = list(&["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE", "KILL"]), now restart, check capabilities;
        /// Also put them into the inheritable set.
        add_inheritable_capabilities: bool = false, now restart;
        /// Kernel parameters of all pods, `key=value` each.
        default_sysctls: Vec<String> = Vec::new(), now restart, check sysctls;
        /// Devices that pods may ask for by annotation.
        allowed_devices: Vec<String> = list(&["/dev/fuse", "/dev/net/tun"]), now restart, check devices;
        /// Devices of all containers, `source:target:rwm` each.
        additional_devices: Vec<String> = Vec::new(), now restart, check devices;
        /// Give device nodes to the user the container runs as.
        device_ownership_from_security_context: bool = false, now restart;
        /// Directories of OCI hooks.
        hooks_dir: Vec<PathBuf> = vec![PathBuf::from("/usr/share/containers/oci/hooks.d")], later live, check absolutes;
        /// File of mounts for all containers, `host:container` a line.
        default_mounts_file: PathBuf = PathBuf::new(), later restart, check absolute_or_empty;
        /// Most processes of a container; -1 leaves it to the kubelet.
        pids_limit: i64 = -1, now restart;
        /// Regular expression; only messages that match are logged.
        log_filter: String = String::new(), later live;
        /// Least severe messages that are logged.
        log_level: LogLevel = LogLevel::Info, now live;
        /// Size at which a container log starts anew, bytes; negative leaves it to the kubelet.
        log_size_max: i64 = -1, later restart, check log_size_max;
        /// Also write container logs to the journal.
        log_to_journald: bool = false, later restart, environment "CONTAINER_LOG_JOURNALD";
        /// Directory of the exit records of containers.
        container_exits_dir: PathBuf = PathBuf::from("/var/run/crio/exits"), now restart, check absolute;
        /// Directory of sockets for attaching.
        container_attach_socket_dir: PathBuf = PathBuf::from("/var/run/crio"), later restart, check absolute;
        /// Put in front of the source of every mount.
        bind_mount_prefix: PathBuf = PathBuf::new(), now restart, check absolute_or_empty;
        /// Make every root file system read-only, with temporary file systems where programs write.
        read_only: bool = false, now restart;
        /// Deprecated: user id mappings of all containers.
        uid_mappings: String = String::new(), later restart;
        /// Deprecated: group id mappings of all containers.
        gid_mappings: String = String::new(), later restart;
        /// Deprecated: lowest user id of the host that may be mapped.
        minimum_mappable_uid: i64 = -1, later restart;
        /// Deprecated: lowest group id of the host that may be mapped.
        minimum_mappable_gid: i64 = -1, later restart;
        /// Least time containers get to stop when the engine stops them, seconds; at least 30.
        ctr_stop_timeout: i64 = 30, later restart, environment "CONTAINER_STOP_TIMEOUT";
        /// Run no pause process in pods that need none.
        drop_infra_ctr: bool = true, later restart;
        /// CPUs of pause processes.
        infra_ctr_cpuset: String = String::new(), later restart;
        /// CPUs that containers may share by annotation.
        shared_cpuset: String = String::new(), later restart;
        /// Directory in which the namespaces of pods are pinned.
        namespaces_dir: PathBuf = PathBuf::from("/var/run"), now restart, check absolute;
        /// Program of CRI-O that pins namespaces; this engine needs none.
        pinns_path: String = String::new(), later restart;
        /// Mount sources that fail a container when they are missing, instead of being made.
        absent_mount_sources_to_reject: Vec<PathBuf> = Vec::new(), now live, check absolutes;
        /// Checkpoint and restore by CRIU.
        enable_criu_support: bool = true, now restart;
        /// Send the kubelet events of containers.
        enable_pod_events: bool = false, now restart, environment "ENABLE_POD_EVENTS";
        /// Do not confine containers of the host network by SELinux.
        hostnetwork_disable_selinux: bool = true, now restart;
        /// Leave host ports to somebody else.
        disable_hostport_mapping: bool = false, now restart, environment "DISABLE_HOSTPORT_MAPPING";
        /// Time zone of containers: a name, or "Local" for the node's.
        timezone: String = String::new(), later restart, environment "CONTAINER_TIME_ZONE";
    }
    with {
        /// `[crio.runtime.runtimes.<name>]`
        runtimes: BTreeMap<String, RuntimeHandlerConfig>;
        /// `[crio.runtime.workloads.<name>]`
        workloads: BTreeMap<String, WorkloadConfig>;
    }
}

options! {
    /// A runtime handler.
    pub struct RuntimeHandlerConfig as "crio.runtime.runtimes.*" {
        /// The runtime; empty searches $PATH for the name of the handler.
        runtime_path: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// How it is driven.
        runtime_type: RuntimeType = RuntimeType::Oci, now live;
        /// Directory of the state of the runtime; empty is /run/crun.
        runtime_root: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// Configuration of a virtual machine runtime.
        runtime_config_path: PathBuf = PathBuf::new(), later live, check absolute_or_empty;
        /// Take path, type, configuration and root from the default handler.
        inherit_default_runtime: bool = false, now live;
        /// Do not give host devices to privileged containers.
        privileged_without_host_devices: bool = false, now live;
        /// Annotations that are acted on.
        allowed_annotations: Vec<String> = Vec::new(), now live;
        /// Monitor program; this engine brings its own.
        monitor_path: String = String::new(), later live;
        /// Control group of the monitor.
        monitor_cgroup: String = String::new(), later live;
        /// Environment of the monitor.
        monitor_env: Vec<String> = Vec::new(), later live;
        /// Control group of execs: empty or "container".
        monitor_exec_cgroup: String = String::new(), later live;
        /// Runtimes by platform, such as `"linux/arm64" = "/usr/bin/crun-arm64"`.
        platform_runtime_paths: BTreeMap<String, String> = BTreeMap::new(), later live;
        /// The guest of a virtual machine runtime pulls the image.
        runtime_pull_image: bool = false, later live;
        /// Smallest memory limit that is accepted, such as "12MiB".
        container_min_memory: String = String::new(), later live;
        /// Do not sync logs when a container ends.
        no_sync_log: bool = false, later live;
        /// Annotations that pods get where they have none of that name.
        default_annotations: BTreeMap<String, String> = BTreeMap::new(), later live;
        /// Let the monitor serve streams itself.
        stream_websockets: bool = false, later live;
        /// Where execs run: empty or "first" for the first CPU of the container.
        exec_cpu_affinity: String = String::new(), later live;
        /// Seccomp profile of the handler's containers with the runtime default.
        seccomp_profile: PathBuf = PathBuf::new(), now live, check absolute_or_empty;
        /// Longest time for making a container, seconds; at least 30.
        container_create_timeout: i64 = 240, later live, check not_negative;
    }
}

options! {
    /// A class of pods with resources of their own.
    pub struct WorkloadConfig as "crio.runtime.workloads.*" {
        /// A pod with this annotation belongs to the workload.
        activation_annotation: String = String::new(), later live;
        /// In front of annotations that change the resources of one container.
        annotation_prefix: String = String::new(), later live;
        /// Further annotations that are acted on.
        allowed_annotations: Vec<String> = Vec::new(), later live;
    }
    with {
        /// `[crio.runtime.workloads.<name>.resources]`
        resources: WorkloadResources;
    }
}

options! {
    /// Default resources of the containers of a workload.
    pub struct WorkloadResources as "crio.runtime.workloads.*.resources" {
        /// CPU shares.
        cpushares: i64 = 0, later live, check not_negative;
        /// CPU quota, microseconds.
        cpuquota: i64 = 0, later live;
        /// CPU period, microseconds.
        cpuperiod: i64 = 0, later live, check not_negative;
        /// CPUs.
        cpuset: String = String::new(), later live;
        /// CPU limit, thousandths of a CPU.
        cpulimit: i64 = 0, later live, check not_negative;
    }
}
