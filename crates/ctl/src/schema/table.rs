//! The messages and enums of CRI v1; written by `cargo xtask gen`, do not edit.

use super::{Enumeration, Field, Kind, Message};

pub(super) static MESSAGES: &[Message] = &[
    Message { name: "VersionRequest", fields: &[
        Field { name: "version", json: "version", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "VersionResponse", fields: &[
        Field { name: "version", json: "version", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "runtime_name", json: "runtimeName", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "runtime_version", json: "runtimeVersion", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "runtime_api_version", json: "runtimeApiVersion", number: 4, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "DNSConfig", fields: &[
        Field { name: "servers", json: "servers", number: 1, kind: Kind::String, repeated: true, later: false },
        Field { name: "searches", json: "searches", number: 2, kind: Kind::String, repeated: true, later: false },
        Field { name: "options", json: "options", number: 3, kind: Kind::String, repeated: true, later: false },
    ] },
    Message { name: "PortMapping", fields: &[
        Field { name: "protocol", json: "protocol", number: 1, kind: Kind::Enum(0), repeated: false, later: false },
        Field { name: "container_port", json: "containerPort", number: 2, kind: Kind::Int32, repeated: false, later: false },
        Field { name: "host_port", json: "hostPort", number: 3, kind: Kind::Int32, repeated: false, later: false },
        Field { name: "host_ip", json: "hostIp", number: 4, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "Mount", fields: &[
        Field { name: "container_path", json: "containerPath", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "host_path", json: "hostPath", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "readonly", json: "readonly", number: 3, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "selinux_relabel", json: "selinuxRelabel", number: 4, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "propagation", json: "propagation", number: 5, kind: Kind::Enum(1), repeated: false, later: false },
        Field { name: "uidMappings", json: "uidMappings", number: 6, kind: Kind::Message(5), repeated: true, later: false },
        Field { name: "gidMappings", json: "gidMappings", number: 7, kind: Kind::Message(5), repeated: true, later: false },
        Field { name: "recursive_read_only", json: "recursiveReadOnly", number: 8, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "image", json: "image", number: 9, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "image_sub_path", json: "imageSubPath", number: 10, kind: Kind::String, repeated: false, later: false },
        Field { name: "mount_options", json: "mountOptions", number: 11, kind: Kind::String, repeated: true, later: true },
    ] },
    Message { name: "IDMapping", fields: &[
        Field { name: "host_id", json: "hostId", number: 1, kind: Kind::Uint32, repeated: false, later: false },
        Field { name: "container_id", json: "containerId", number: 2, kind: Kind::Uint32, repeated: false, later: false },
        Field { name: "length", json: "length", number: 3, kind: Kind::Uint32, repeated: false, later: false },
    ] },
    Message { name: "UserNamespace", fields: &[
        Field { name: "mode", json: "mode", number: 1, kind: Kind::Enum(2), repeated: false, later: false },
        Field { name: "uids", json: "uids", number: 2, kind: Kind::Message(5), repeated: true, later: false },
        Field { name: "gids", json: "gids", number: 3, kind: Kind::Message(5), repeated: true, later: false },
    ] },
    Message { name: "NamespaceOption", fields: &[
        Field { name: "network", json: "network", number: 1, kind: Kind::Enum(2), repeated: false, later: false },
        Field { name: "pid", json: "pid", number: 2, kind: Kind::Enum(2), repeated: false, later: false },
        Field { name: "ipc", json: "ipc", number: 3, kind: Kind::Enum(2), repeated: false, later: false },
        Field { name: "target_id", json: "targetId", number: 4, kind: Kind::String, repeated: false, later: false },
        Field { name: "userns_options", json: "usernsOptions", number: 5, kind: Kind::Message(6), repeated: false, later: false },
    ] },
    Message { name: "Int64Value", fields: &[
        Field { name: "value", json: "value", number: 1, kind: Kind::Int64, repeated: false, later: false },
    ] },
    Message { name: "LinuxSandboxSecurityContext", fields: &[
        Field { name: "namespace_options", json: "namespaceOptions", number: 1, kind: Kind::Message(7), repeated: false, later: false },
        Field { name: "selinux_options", json: "selinuxOptions", number: 2, kind: Kind::Message(55), repeated: false, later: false },
        Field { name: "run_as_user", json: "runAsUser", number: 3, kind: Kind::Message(8), repeated: false, later: false },
        Field { name: "run_as_group", json: "runAsGroup", number: 8, kind: Kind::Message(8), repeated: false, later: false },
        Field { name: "readonly_rootfs", json: "readonlyRootfs", number: 4, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "supplemental_groups", json: "supplementalGroups", number: 5, kind: Kind::Int64, repeated: true, later: false },
        Field { name: "supplemental_groups_policy", json: "supplementalGroupsPolicy", number: 11, kind: Kind::Enum(3), repeated: false, later: false },
        Field { name: "privileged", json: "privileged", number: 6, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "seccomp", json: "seccomp", number: 9, kind: Kind::Message(10), repeated: false, later: false },
        Field { name: "apparmor", json: "apparmor", number: 10, kind: Kind::Message(10), repeated: false, later: false },
        Field { name: "seccomp_profile_path", json: "seccompProfilePath", number: 7, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "SecurityProfile", fields: &[
        Field { name: "profile_type", json: "profileType", number: 1, kind: Kind::Enum(10), repeated: false, later: false },
        Field { name: "localhost_ref", json: "localhostRef", number: 2, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "LinuxPodSandboxConfig", fields: &[
        Field { name: "cgroup_parent", json: "cgroupParent", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "security_context", json: "securityContext", number: 2, kind: Kind::Message(9), repeated: false, later: false },
        Field { name: "sysctls", json: "sysctls", number: 3, kind: Kind::Map, repeated: false, later: false },
        Field { name: "overhead", json: "overhead", number: 4, kind: Kind::Message(53), repeated: false, later: false },
        Field { name: "resources", json: "resources", number: 5, kind: Kind::Message(53), repeated: false, later: false },
    ] },
    Message { name: "PodSandboxMetadata", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "uid", json: "uid", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "namespace", json: "namespace", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "attempt", json: "attempt", number: 4, kind: Kind::Uint32, repeated: false, later: false },
    ] },
    Message { name: "PodSandboxConfig", fields: &[
        Field { name: "metadata", json: "metadata", number: 1, kind: Kind::Message(12), repeated: false, later: false },
        Field { name: "hostname", json: "hostname", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "log_directory", json: "logDirectory", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "dns_config", json: "dnsConfig", number: 4, kind: Kind::Message(2), repeated: false, later: false },
        Field { name: "port_mappings", json: "portMappings", number: 5, kind: Kind::Message(3), repeated: true, later: false },
        Field { name: "labels", json: "labels", number: 6, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 7, kind: Kind::Map, repeated: false, later: false },
        Field { name: "linux", json: "linux", number: 8, kind: Kind::Message(11), repeated: false, later: false },
        Field { name: "windows", json: "windows", number: 9, kind: Kind::Message(62), repeated: false, later: false },
    ] },
    Message { name: "RunPodSandboxRequest", fields: &[
        Field { name: "config", json: "config", number: 1, kind: Kind::Message(13), repeated: false, later: false },
        Field { name: "runtime_handler", json: "runtimeHandler", number: 2, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RunPodSandboxResponse", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "StopPodSandboxRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "StopPodSandboxResponse", fields: &[
    ] },
    Message { name: "RemovePodSandboxRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RemovePodSandboxResponse", fields: &[
    ] },
    Message { name: "PodSandboxStatusRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "verbose", json: "verbose", number: 2, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "PodIP", fields: &[
        Field { name: "ip", json: "ip", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "PodSandboxNetworkStatus", fields: &[
        Field { name: "ip", json: "ip", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "additional_ips", json: "additionalIps", number: 2, kind: Kind::Message(21), repeated: true, later: false },
    ] },
    Message { name: "Namespace", fields: &[
        Field { name: "options", json: "options", number: 2, kind: Kind::Message(7), repeated: false, later: false },
    ] },
    Message { name: "LinuxPodSandboxStatus", fields: &[
        Field { name: "namespaces", json: "namespaces", number: 1, kind: Kind::Message(23), repeated: false, later: false },
    ] },
    Message { name: "PodSandboxStatus", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metadata", json: "metadata", number: 2, kind: Kind::Message(12), repeated: false, later: false },
        Field { name: "state", json: "state", number: 3, kind: Kind::Enum(4), repeated: false, later: false },
        Field { name: "created_at", json: "createdAt", number: 4, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "network", json: "network", number: 5, kind: Kind::Message(22), repeated: false, later: false },
        Field { name: "linux", json: "linux", number: 6, kind: Kind::Message(24), repeated: false, later: false },
        Field { name: "labels", json: "labels", number: 7, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 8, kind: Kind::Map, repeated: false, later: false },
        Field { name: "runtime_handler", json: "runtimeHandler", number: 9, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "PodSandboxStatusResponse", fields: &[
        Field { name: "status", json: "status", number: 1, kind: Kind::Message(25), repeated: false, later: false },
        Field { name: "info", json: "info", number: 2, kind: Kind::Map, repeated: false, later: false },
        Field { name: "containers_statuses", json: "containersStatuses", number: 3, kind: Kind::Message(87), repeated: true, later: false },
        Field { name: "timestamp", json: "timestamp", number: 4, kind: Kind::Int64, repeated: false, later: false },
    ] },
    Message { name: "PodSandboxStateValue", fields: &[
        Field { name: "state", json: "state", number: 1, kind: Kind::Enum(4), repeated: false, later: false },
    ] },
    Message { name: "PodSandboxFilter", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "state", json: "state", number: 2, kind: Kind::Message(27), repeated: false, later: false },
        Field { name: "label_selector", json: "labelSelector", number: 3, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "ListPodSandboxRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(28), repeated: false, later: false },
    ] },
    Message { name: "PodSandbox", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metadata", json: "metadata", number: 2, kind: Kind::Message(12), repeated: false, later: false },
        Field { name: "state", json: "state", number: 3, kind: Kind::Enum(4), repeated: false, later: false },
        Field { name: "created_at", json: "createdAt", number: 4, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "labels", json: "labels", number: 5, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 6, kind: Kind::Map, repeated: false, later: false },
        Field { name: "runtime_handler", json: "runtimeHandler", number: 7, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "ListPodSandboxResponse", fields: &[
        Field { name: "items", json: "items", number: 1, kind: Kind::Message(30), repeated: true, later: false },
    ] },
    Message { name: "StreamPodSandboxesRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(28), repeated: false, later: false },
    ] },
    Message { name: "StreamPodSandboxesResponse", fields: &[
        Field { name: "pod_sandboxes", json: "podSandboxes", number: 1, kind: Kind::Message(30), repeated: true, later: false },
    ] },
    Message { name: "PodSandboxStatsRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "PodSandboxStatsResponse", fields: &[
        Field { name: "stats", json: "stats", number: 1, kind: Kind::Message(42), repeated: false, later: false },
    ] },
    Message { name: "PodSandboxStatsFilter", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "label_selector", json: "labelSelector", number: 2, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "ListPodSandboxStatsRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(36), repeated: false, later: false },
    ] },
    Message { name: "ListPodSandboxStatsResponse", fields: &[
        Field { name: "stats", json: "stats", number: 1, kind: Kind::Message(42), repeated: true, later: false },
    ] },
    Message { name: "StreamPodSandboxStatsRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(36), repeated: false, later: false },
    ] },
    Message { name: "StreamPodSandboxStatsResponse", fields: &[
        Field { name: "pod_sandbox_stats", json: "podSandboxStats", number: 1, kind: Kind::Message(42), repeated: true, later: false },
    ] },
    Message { name: "PodSandboxAttributes", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metadata", json: "metadata", number: 2, kind: Kind::Message(12), repeated: false, later: false },
        Field { name: "labels", json: "labels", number: 3, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 4, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "PodSandboxStats", fields: &[
        Field { name: "attributes", json: "attributes", number: 1, kind: Kind::Message(41), repeated: false, later: false },
        Field { name: "linux", json: "linux", number: 2, kind: Kind::Message(43), repeated: false, later: false },
        Field { name: "windows", json: "windows", number: 3, kind: Kind::Message(44), repeated: false, later: false },
    ] },
    Message { name: "LinuxPodSandboxStats", fields: &[
        Field { name: "cpu", json: "cpu", number: 1, kind: Kind::Message(143), repeated: false, later: false },
        Field { name: "memory", json: "memory", number: 2, kind: Kind::Message(145), repeated: false, later: false },
        Field { name: "network", json: "network", number: 3, kind: Kind::Message(45), repeated: false, later: false },
        Field { name: "process", json: "process", number: 4, kind: Kind::Message(49), repeated: false, later: false },
        Field { name: "containers", json: "containers", number: 5, kind: Kind::Message(139), repeated: true, later: false },
        Field { name: "io", json: "io", number: 6, kind: Kind::Message(146), repeated: false, later: false },
    ] },
    Message { name: "WindowsPodSandboxStats", fields: &[
        Field { name: "cpu", json: "cpu", number: 1, kind: Kind::Message(144), repeated: false, later: false },
        Field { name: "memory", json: "memory", number: 2, kind: Kind::Message(148), repeated: false, later: false },
        Field { name: "network", json: "network", number: 3, kind: Kind::Message(46), repeated: false, later: false },
        Field { name: "process", json: "process", number: 4, kind: Kind::Message(50), repeated: false, later: false },
        Field { name: "containers", json: "containers", number: 5, kind: Kind::Message(140), repeated: true, later: false },
    ] },
    Message { name: "NetworkUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "default_interface", json: "defaultInterface", number: 2, kind: Kind::Message(47), repeated: false, later: false },
        Field { name: "interfaces", json: "interfaces", number: 3, kind: Kind::Message(47), repeated: true, later: false },
    ] },
    Message { name: "WindowsNetworkUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "default_interface", json: "defaultInterface", number: 2, kind: Kind::Message(48), repeated: false, later: false },
        Field { name: "interfaces", json: "interfaces", number: 3, kind: Kind::Message(48), repeated: true, later: false },
    ] },
    Message { name: "NetworkInterfaceUsage", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "rx_bytes", json: "rxBytes", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "rx_errors", json: "rxErrors", number: 3, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "tx_bytes", json: "txBytes", number: 4, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "tx_errors", json: "txErrors", number: 5, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "WindowsNetworkInterfaceUsage", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "rx_bytes", json: "rxBytes", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "rx_packets_dropped", json: "rxPacketsDropped", number: 3, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "tx_bytes", json: "txBytes", number: 4, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "tx_packets_dropped", json: "txPacketsDropped", number: 5, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "ProcessUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "process_count", json: "processCount", number: 2, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "WindowsProcessUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "process_count", json: "processCount", number: 2, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "ImageSpec", fields: &[
        Field { name: "image", json: "image", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 2, kind: Kind::Map, repeated: false, later: false },
        Field { name: "user_specified_image", json: "userSpecifiedImage", number: 18, kind: Kind::String, repeated: false, later: false },
        Field { name: "runtime_handler", json: "runtimeHandler", number: 19, kind: Kind::String, repeated: false, later: false },
        Field { name: "image_ref", json: "imageRef", number: 20, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "KeyValue", fields: &[
        Field { name: "key", json: "key", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "value", json: "value", number: 2, kind: Kind::Bytes, repeated: false, later: false },
    ] },
    Message { name: "LinuxContainerResources", fields: &[
        Field { name: "cpu_period", json: "cpuPeriod", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "cpu_quota", json: "cpuQuota", number: 2, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "cpu_shares", json: "cpuShares", number: 3, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "memory_limit_in_bytes", json: "memoryLimitInBytes", number: 4, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "oom_score_adj", json: "oomScoreAdj", number: 5, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "cpuset_cpus", json: "cpusetCpus", number: 6, kind: Kind::String, repeated: false, later: false },
        Field { name: "cpuset_mems", json: "cpusetMems", number: 7, kind: Kind::String, repeated: false, later: false },
        Field { name: "hugepage_limits", json: "hugepageLimits", number: 8, kind: Kind::Message(54), repeated: true, later: false },
        Field { name: "unified", json: "unified", number: 9, kind: Kind::Map, repeated: false, later: false },
        Field { name: "memory_swap_limit_in_bytes", json: "memorySwapLimitInBytes", number: 10, kind: Kind::Int64, repeated: false, later: false },
    ] },
    Message { name: "HugepageLimit", fields: &[
        Field { name: "page_size", json: "pageSize", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "limit", json: "limit", number: 2, kind: Kind::Uint64, repeated: false, later: false },
    ] },
    Message { name: "SELinuxOption", fields: &[
        Field { name: "user", json: "user", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "role", json: "role", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "type", json: "type", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "level", json: "level", number: 4, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "Capability", fields: &[
        Field { name: "add_capabilities", json: "addCapabilities", number: 1, kind: Kind::String, repeated: true, later: false },
        Field { name: "drop_capabilities", json: "dropCapabilities", number: 2, kind: Kind::String, repeated: true, later: false },
        Field { name: "add_ambient_capabilities", json: "addAmbientCapabilities", number: 3, kind: Kind::String, repeated: true, later: false },
    ] },
    Message { name: "LinuxContainerSecurityContext", fields: &[
        Field { name: "capabilities", json: "capabilities", number: 1, kind: Kind::Message(56), repeated: false, later: false },
        Field { name: "privileged", json: "privileged", number: 2, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "namespace_options", json: "namespaceOptions", number: 3, kind: Kind::Message(7), repeated: false, later: false },
        Field { name: "selinux_options", json: "selinuxOptions", number: 4, kind: Kind::Message(55), repeated: false, later: false },
        Field { name: "run_as_user", json: "runAsUser", number: 5, kind: Kind::Message(8), repeated: false, later: false },
        Field { name: "run_as_group", json: "runAsGroup", number: 12, kind: Kind::Message(8), repeated: false, later: false },
        Field { name: "run_as_username", json: "runAsUsername", number: 6, kind: Kind::String, repeated: false, later: false },
        Field { name: "readonly_rootfs", json: "readonlyRootfs", number: 7, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "supplemental_groups", json: "supplementalGroups", number: 8, kind: Kind::Int64, repeated: true, later: false },
        Field { name: "supplemental_groups_policy", json: "supplementalGroupsPolicy", number: 17, kind: Kind::Enum(3), repeated: false, later: false },
        Field { name: "no_new_privs", json: "noNewPrivs", number: 11, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "masked_paths", json: "maskedPaths", number: 13, kind: Kind::String, repeated: true, later: false },
        Field { name: "readonly_paths", json: "readonlyPaths", number: 14, kind: Kind::String, repeated: true, later: false },
        Field { name: "seccomp", json: "seccomp", number: 15, kind: Kind::Message(10), repeated: false, later: false },
        Field { name: "apparmor", json: "apparmor", number: 16, kind: Kind::Message(10), repeated: false, later: false },
        Field { name: "apparmor_profile", json: "apparmorProfile", number: 9, kind: Kind::String, repeated: false, later: false },
        Field { name: "seccomp_profile_path", json: "seccompProfilePath", number: 10, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "LinuxContainerConfig", fields: &[
        Field { name: "resources", json: "resources", number: 1, kind: Kind::Message(53), repeated: false, later: false },
        Field { name: "security_context", json: "securityContext", number: 2, kind: Kind::Message(57), repeated: false, later: false },
    ] },
    Message { name: "LinuxContainerUser", fields: &[
        Field { name: "uid", json: "uid", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "gid", json: "gid", number: 2, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "supplemental_groups", json: "supplementalGroups", number: 3, kind: Kind::Int64, repeated: true, later: false },
    ] },
    Message { name: "WindowsNamespaceOption", fields: &[
        Field { name: "network", json: "network", number: 1, kind: Kind::Enum(2), repeated: false, later: false },
    ] },
    Message { name: "WindowsSandboxSecurityContext", fields: &[
        Field { name: "run_as_username", json: "runAsUsername", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "credential_spec", json: "credentialSpec", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "host_process", json: "hostProcess", number: 3, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "namespace_options", json: "namespaceOptions", number: 4, kind: Kind::Message(60), repeated: false, later: false },
    ] },
    Message { name: "WindowsPodSandboxConfig", fields: &[
        Field { name: "security_context", json: "securityContext", number: 1, kind: Kind::Message(61), repeated: false, later: false },
    ] },
    Message { name: "WindowsContainerSecurityContext", fields: &[
        Field { name: "run_as_username", json: "runAsUsername", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "credential_spec", json: "credentialSpec", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "host_process", json: "hostProcess", number: 3, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "WindowsContainerConfig", fields: &[
        Field { name: "resources", json: "resources", number: 1, kind: Kind::Message(65), repeated: false, later: false },
        Field { name: "security_context", json: "securityContext", number: 2, kind: Kind::Message(63), repeated: false, later: false },
    ] },
    Message { name: "WindowsContainerResources", fields: &[
        Field { name: "cpu_shares", json: "cpuShares", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "cpu_count", json: "cpuCount", number: 2, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "cpu_maximum", json: "cpuMaximum", number: 3, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "memory_limit_in_bytes", json: "memoryLimitInBytes", number: 4, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "rootfs_size_in_bytes", json: "rootfsSizeInBytes", number: 5, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "affinity_cpus", json: "affinityCpus", number: 6, kind: Kind::Message(66), repeated: true, later: false },
    ] },
    Message { name: "WindowsCpuGroupAffinity", fields: &[
        Field { name: "cpu_mask", json: "cpuMask", number: 1, kind: Kind::Uint64, repeated: false, later: false },
        Field { name: "cpu_group", json: "cpuGroup", number: 2, kind: Kind::Uint32, repeated: false, later: false },
    ] },
    Message { name: "ContainerMetadata", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "attempt", json: "attempt", number: 2, kind: Kind::Uint32, repeated: false, later: false },
    ] },
    Message { name: "Device", fields: &[
        Field { name: "container_path", json: "containerPath", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "host_path", json: "hostPath", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "permissions", json: "permissions", number: 3, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "CDIDevice", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "ContainerConfig", fields: &[
        Field { name: "metadata", json: "metadata", number: 1, kind: Kind::Message(67), repeated: false, later: false },
        Field { name: "image", json: "image", number: 2, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "command", json: "command", number: 3, kind: Kind::String, repeated: true, later: false },
        Field { name: "args", json: "args", number: 4, kind: Kind::String, repeated: true, later: false },
        Field { name: "working_dir", json: "workingDir", number: 5, kind: Kind::String, repeated: false, later: false },
        Field { name: "envs", json: "envs", number: 6, kind: Kind::Message(52), repeated: true, later: false },
        Field { name: "mounts", json: "mounts", number: 7, kind: Kind::Message(4), repeated: true, later: false },
        Field { name: "devices", json: "devices", number: 8, kind: Kind::Message(68), repeated: true, later: false },
        Field { name: "labels", json: "labels", number: 9, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 10, kind: Kind::Map, repeated: false, later: false },
        Field { name: "log_path", json: "logPath", number: 11, kind: Kind::String, repeated: false, later: false },
        Field { name: "stdin", json: "stdin", number: 12, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "stdin_once", json: "stdinOnce", number: 13, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "tty", json: "tty", number: 14, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "linux", json: "linux", number: 15, kind: Kind::Message(58), repeated: false, later: false },
        Field { name: "windows", json: "windows", number: 16, kind: Kind::Message(64), repeated: false, later: false },
        Field { name: "CDI_devices", json: "CDIDevices", number: 17, kind: Kind::Message(69), repeated: true, later: false },
        Field { name: "stop_signal", json: "stopSignal", number: 18, kind: Kind::Enum(5), repeated: false, later: false },
    ] },
    Message { name: "CreateContainerRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "config", json: "config", number: 2, kind: Kind::Message(70), repeated: false, later: false },
        Field { name: "sandbox_config", json: "sandboxConfig", number: 3, kind: Kind::Message(13), repeated: false, later: false },
    ] },
    Message { name: "CreateContainerResponse", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "StartContainerRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "StartContainerResponse", fields: &[
    ] },
    Message { name: "StopContainerRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "timeout", json: "timeout", number: 2, kind: Kind::Int64, repeated: false, later: false },
    ] },
    Message { name: "StopContainerResponse", fields: &[
    ] },
    Message { name: "RemoveContainerRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RemoveContainerResponse", fields: &[
    ] },
    Message { name: "ContainerStateValue", fields: &[
        Field { name: "state", json: "state", number: 1, kind: Kind::Enum(6), repeated: false, later: false },
    ] },
    Message { name: "ContainerFilter", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "state", json: "state", number: 2, kind: Kind::Message(79), repeated: false, later: false },
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "label_selector", json: "labelSelector", number: 4, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "ListContainersRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(80), repeated: false, later: false },
    ] },
    Message { name: "Container", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "metadata", json: "metadata", number: 3, kind: Kind::Message(67), repeated: false, later: false },
        Field { name: "image", json: "image", number: 4, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "image_ref", json: "imageRef", number: 5, kind: Kind::String, repeated: false, later: false },
        Field { name: "state", json: "state", number: 6, kind: Kind::Enum(6), repeated: false, later: false },
        Field { name: "created_at", json: "createdAt", number: 7, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "labels", json: "labels", number: 8, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 9, kind: Kind::Map, repeated: false, later: false },
        Field { name: "image_id", json: "imageId", number: 10, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "ListContainersResponse", fields: &[
        Field { name: "containers", json: "containers", number: 1, kind: Kind::Message(82), repeated: true, later: false },
    ] },
    Message { name: "StreamContainersRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(80), repeated: false, later: false },
    ] },
    Message { name: "StreamContainersResponse", fields: &[
        Field { name: "containers", json: "containers", number: 1, kind: Kind::Message(82), repeated: true, later: false },
    ] },
    Message { name: "ContainerStatusRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "verbose", json: "verbose", number: 2, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "ContainerStatus", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metadata", json: "metadata", number: 2, kind: Kind::Message(67), repeated: false, later: false },
        Field { name: "state", json: "state", number: 3, kind: Kind::Enum(6), repeated: false, later: false },
        Field { name: "created_at", json: "createdAt", number: 4, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "started_at", json: "startedAt", number: 5, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "finished_at", json: "finishedAt", number: 6, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "exit_code", json: "exitCode", number: 7, kind: Kind::Int32, repeated: false, later: false },
        Field { name: "image", json: "image", number: 8, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "image_ref", json: "imageRef", number: 9, kind: Kind::String, repeated: false, later: false },
        Field { name: "reason", json: "reason", number: 10, kind: Kind::String, repeated: false, later: false },
        Field { name: "message", json: "message", number: 11, kind: Kind::String, repeated: false, later: false },
        Field { name: "labels", json: "labels", number: 12, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 13, kind: Kind::Map, repeated: false, later: false },
        Field { name: "mounts", json: "mounts", number: 14, kind: Kind::Message(4), repeated: true, later: false },
        Field { name: "log_path", json: "logPath", number: 15, kind: Kind::String, repeated: false, later: false },
        Field { name: "resources", json: "resources", number: 16, kind: Kind::Message(89), repeated: false, later: false },
        Field { name: "image_id", json: "imageId", number: 17, kind: Kind::String, repeated: false, later: false },
        Field { name: "user", json: "user", number: 18, kind: Kind::Message(90), repeated: false, later: false },
        Field { name: "stop_signal", json: "stopSignal", number: 19, kind: Kind::Enum(5), repeated: false, later: false },
    ] },
    Message { name: "ContainerStatusResponse", fields: &[
        Field { name: "status", json: "status", number: 1, kind: Kind::Message(87), repeated: false, later: false },
        Field { name: "info", json: "info", number: 2, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "ContainerResources", fields: &[
        Field { name: "linux", json: "linux", number: 1, kind: Kind::Message(53), repeated: false, later: false },
        Field { name: "windows", json: "windows", number: 2, kind: Kind::Message(65), repeated: false, later: false },
    ] },
    Message { name: "ContainerUser", fields: &[
        Field { name: "linux", json: "linux", number: 1, kind: Kind::Message(59), repeated: false, later: false },
    ] },
    Message { name: "UpdateContainerResourcesRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "linux", json: "linux", number: 2, kind: Kind::Message(53), repeated: false, later: false },
        Field { name: "windows", json: "windows", number: 3, kind: Kind::Message(65), repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 4, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "UpdateContainerResourcesResponse", fields: &[
    ] },
    Message { name: "ExecSyncRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "cmd", json: "cmd", number: 2, kind: Kind::String, repeated: true, later: false },
        Field { name: "timeout", json: "timeout", number: 3, kind: Kind::Int64, repeated: false, later: false },
    ] },
    Message { name: "ExecSyncResponse", fields: &[
        Field { name: "stdout", json: "stdout", number: 1, kind: Kind::Bytes, repeated: false, later: false },
        Field { name: "stderr", json: "stderr", number: 2, kind: Kind::Bytes, repeated: false, later: false },
        Field { name: "exit_code", json: "exitCode", number: 3, kind: Kind::Int32, repeated: false, later: false },
    ] },
    Message { name: "ExecRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "cmd", json: "cmd", number: 2, kind: Kind::String, repeated: true, later: false },
        Field { name: "tty", json: "tty", number: 3, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "stdin", json: "stdin", number: 4, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "stdout", json: "stdout", number: 5, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "stderr", json: "stderr", number: 6, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "ExecResponse", fields: &[
        Field { name: "url", json: "url", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "AttachRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "stdin", json: "stdin", number: 2, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "tty", json: "tty", number: 3, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "stdout", json: "stdout", number: 4, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "stderr", json: "stderr", number: 5, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "AttachResponse", fields: &[
        Field { name: "url", json: "url", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "PortForwardRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "port", json: "port", number: 2, kind: Kind::Int32, repeated: true, later: false },
    ] },
    Message { name: "PortForwardResponse", fields: &[
        Field { name: "url", json: "url", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "ImageFilter", fields: &[
        Field { name: "image", json: "image", number: 1, kind: Kind::Message(51), repeated: false, later: false },
    ] },
    Message { name: "ListImagesRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(101), repeated: false, later: false },
    ] },
    Message { name: "Image", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "repo_tags", json: "repoTags", number: 2, kind: Kind::String, repeated: true, later: false },
        Field { name: "repo_digests", json: "repoDigests", number: 3, kind: Kind::String, repeated: true, later: false },
        Field { name: "size", json: "size", number: 4, kind: Kind::Uint64, repeated: false, later: false },
        Field { name: "uid", json: "uid", number: 5, kind: Kind::Message(8), repeated: false, later: false },
        Field { name: "username", json: "username", number: 6, kind: Kind::String, repeated: false, later: false },
        Field { name: "spec", json: "spec", number: 7, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "pinned", json: "pinned", number: 8, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "ListImagesResponse", fields: &[
        Field { name: "images", json: "images", number: 1, kind: Kind::Message(103), repeated: true, later: false },
    ] },
    Message { name: "StreamImagesRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(101), repeated: false, later: false },
    ] },
    Message { name: "StreamImagesResponse", fields: &[
        Field { name: "images", json: "images", number: 1, kind: Kind::Message(103), repeated: true, later: false },
    ] },
    Message { name: "ImageStatusRequest", fields: &[
        Field { name: "image", json: "image", number: 1, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "verbose", json: "verbose", number: 2, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "ImageStatusResponse", fields: &[
        Field { name: "image", json: "image", number: 1, kind: Kind::Message(103), repeated: false, later: false },
        Field { name: "info", json: "info", number: 2, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "AuthConfig", fields: &[
        Field { name: "username", json: "username", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "password", json: "password", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "auth", json: "auth", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "server_address", json: "serverAddress", number: 4, kind: Kind::String, repeated: false, later: false },
        Field { name: "identity_token", json: "identityToken", number: 5, kind: Kind::String, repeated: false, later: false },
        Field { name: "registry_token", json: "registryToken", number: 6, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "PullImageRequest", fields: &[
        Field { name: "image", json: "image", number: 1, kind: Kind::Message(51), repeated: false, later: false },
        Field { name: "auth", json: "auth", number: 2, kind: Kind::Message(109), repeated: false, later: false },
        Field { name: "sandbox_config", json: "sandboxConfig", number: 3, kind: Kind::Message(13), repeated: false, later: false },
    ] },
    Message { name: "PullImageResponse", fields: &[
        Field { name: "image_ref", json: "imageRef", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RemoveImageRequest", fields: &[
        Field { name: "image", json: "image", number: 1, kind: Kind::Message(51), repeated: false, later: false },
    ] },
    Message { name: "RemoveImageResponse", fields: &[
    ] },
    Message { name: "NetworkConfig", fields: &[
        Field { name: "pod_cidr", json: "podCidr", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RuntimeConfig", fields: &[
        Field { name: "network_config", json: "networkConfig", number: 1, kind: Kind::Message(114), repeated: false, later: false },
    ] },
    Message { name: "UpdateRuntimeConfigRequest", fields: &[
        Field { name: "runtime_config", json: "runtimeConfig", number: 1, kind: Kind::Message(115), repeated: false, later: false },
    ] },
    Message { name: "UpdateRuntimeConfigResponse", fields: &[
    ] },
    Message { name: "RuntimeCondition", fields: &[
        Field { name: "type", json: "type", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "status", json: "status", number: 2, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "reason", json: "reason", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "message", json: "message", number: 4, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RuntimeStatus", fields: &[
        Field { name: "conditions", json: "conditions", number: 1, kind: Kind::Message(118), repeated: true, later: false },
    ] },
    Message { name: "StatusRequest", fields: &[
        Field { name: "verbose", json: "verbose", number: 1, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "RuntimeHandlerFeatures", fields: &[
        Field { name: "recursive_read_only_mounts", json: "recursiveReadOnlyMounts", number: 1, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "user_namespaces", json: "userNamespaces", number: 2, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "RuntimeHandler", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "features", json: "features", number: 2, kind: Kind::Message(121), repeated: false, later: false },
    ] },
    Message { name: "RuntimeFeatures", fields: &[
        Field { name: "supplemental_groups_policy", json: "supplementalGroupsPolicy", number: 1, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "user_namespaces_host_network", json: "userNamespacesHostNetwork", number: 2, kind: Kind::Bool, repeated: false, later: false },
        Field { name: "mount_options", json: "mountOptions", number: 3, kind: Kind::Bool, repeated: false, later: false },
    ] },
    Message { name: "StatusResponse", fields: &[
        Field { name: "status", json: "status", number: 1, kind: Kind::Message(119), repeated: false, later: false },
        Field { name: "info", json: "info", number: 2, kind: Kind::Map, repeated: false, later: false },
        Field { name: "runtime_handlers", json: "runtimeHandlers", number: 3, kind: Kind::Message(122), repeated: true, later: false },
        Field { name: "features", json: "features", number: 4, kind: Kind::Message(123), repeated: false, later: false },
    ] },
    Message { name: "ImageFsInfoRequest", fields: &[
    ] },
    Message { name: "UInt64Value", fields: &[
        Field { name: "value", json: "value", number: 1, kind: Kind::Uint64, repeated: false, later: false },
    ] },
    Message { name: "FilesystemIdentifier", fields: &[
        Field { name: "mountpoint", json: "mountpoint", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "FilesystemUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "fs_id", json: "fsId", number: 2, kind: Kind::Message(127), repeated: false, later: false },
        Field { name: "used_bytes", json: "usedBytes", number: 3, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "inodes_used", json: "inodesUsed", number: 4, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "WindowsFilesystemUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "fs_id", json: "fsId", number: 2, kind: Kind::Message(127), repeated: false, later: false },
        Field { name: "used_bytes", json: "usedBytes", number: 3, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "ImageFsInfoResponse", fields: &[
        Field { name: "image_filesystems", json: "imageFilesystems", number: 1, kind: Kind::Message(128), repeated: true, later: false },
        Field { name: "container_filesystems", json: "containerFilesystems", number: 2, kind: Kind::Message(128), repeated: true, later: false },
    ] },
    Message { name: "ContainerStatsRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "ContainerStatsResponse", fields: &[
        Field { name: "stats", json: "stats", number: 1, kind: Kind::Message(139), repeated: false, later: false },
    ] },
    Message { name: "ListContainerStatsRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(134), repeated: false, later: false },
    ] },
    Message { name: "ContainerStatsFilter", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "label_selector", json: "labelSelector", number: 3, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "ListContainerStatsResponse", fields: &[
        Field { name: "stats", json: "stats", number: 1, kind: Kind::Message(139), repeated: true, later: false },
    ] },
    Message { name: "StreamContainerStatsRequest", fields: &[
        Field { name: "filter", json: "filter", number: 1, kind: Kind::Message(134), repeated: false, later: false },
    ] },
    Message { name: "StreamContainerStatsResponse", fields: &[
        Field { name: "container_stats", json: "containerStats", number: 1, kind: Kind::Message(139), repeated: true, later: false },
    ] },
    Message { name: "ContainerAttributes", fields: &[
        Field { name: "id", json: "id", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metadata", json: "metadata", number: 2, kind: Kind::Message(67), repeated: false, later: false },
        Field { name: "labels", json: "labels", number: 3, kind: Kind::Map, repeated: false, later: false },
        Field { name: "annotations", json: "annotations", number: 4, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "ContainerStats", fields: &[
        Field { name: "attributes", json: "attributes", number: 1, kind: Kind::Message(138), repeated: false, later: false },
        Field { name: "cpu", json: "cpu", number: 2, kind: Kind::Message(143), repeated: false, later: false },
        Field { name: "memory", json: "memory", number: 3, kind: Kind::Message(145), repeated: false, later: false },
        Field { name: "writable_layer", json: "writableLayer", number: 4, kind: Kind::Message(128), repeated: false, later: false },
        Field { name: "swap", json: "swap", number: 5, kind: Kind::Message(147), repeated: false, later: false },
        Field { name: "io", json: "io", number: 6, kind: Kind::Message(146), repeated: false, later: false },
    ] },
    Message { name: "WindowsContainerStats", fields: &[
        Field { name: "attributes", json: "attributes", number: 1, kind: Kind::Message(138), repeated: false, later: false },
        Field { name: "cpu", json: "cpu", number: 2, kind: Kind::Message(144), repeated: false, later: false },
        Field { name: "memory", json: "memory", number: 3, kind: Kind::Message(148), repeated: false, later: false },
        Field { name: "writable_layer", json: "writableLayer", number: 4, kind: Kind::Message(129), repeated: false, later: false },
    ] },
    Message { name: "PsiStats", fields: &[
        Field { name: "Full", json: "Full", number: 1, kind: Kind::Message(142), repeated: false, later: false },
        Field { name: "Some", json: "Some", number: 2, kind: Kind::Message(142), repeated: false, later: false },
    ] },
    Message { name: "PsiData", fields: &[
        Field { name: "Total", json: "Total", number: 1, kind: Kind::Uint64, repeated: false, later: false },
        Field { name: "Avg10", json: "Avg10", number: 2, kind: Kind::Double, repeated: false, later: false },
        Field { name: "Avg60", json: "Avg60", number: 3, kind: Kind::Double, repeated: false, later: false },
        Field { name: "Avg300", json: "Avg300", number: 4, kind: Kind::Double, repeated: false, later: false },
    ] },
    Message { name: "CpuUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "usage_core_nano_seconds", json: "usageCoreNanoSeconds", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "usage_nano_cores", json: "usageNanoCores", number: 3, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "psi", json: "psi", number: 4, kind: Kind::Message(141), repeated: false, later: false },
    ] },
    Message { name: "WindowsCpuUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "usage_core_nano_seconds", json: "usageCoreNanoSeconds", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "usage_nano_cores", json: "usageNanoCores", number: 3, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "MemoryUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "working_set_bytes", json: "workingSetBytes", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "available_bytes", json: "availableBytes", number: 3, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "usage_bytes", json: "usageBytes", number: 4, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "rss_bytes", json: "rssBytes", number: 5, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "page_faults", json: "pageFaults", number: 6, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "major_page_faults", json: "majorPageFaults", number: 7, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "psi", json: "psi", number: 8, kind: Kind::Message(141), repeated: false, later: false },
    ] },
    Message { name: "IoUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "psi", json: "psi", number: 2, kind: Kind::Message(141), repeated: false, later: false },
    ] },
    Message { name: "SwapUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "swap_available_bytes", json: "swapAvailableBytes", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "swap_usage_bytes", json: "swapUsageBytes", number: 3, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "WindowsMemoryUsage", fields: &[
        Field { name: "timestamp", json: "timestamp", number: 1, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "working_set_bytes", json: "workingSetBytes", number: 2, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "available_bytes", json: "availableBytes", number: 3, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "page_faults", json: "pageFaults", number: 4, kind: Kind::Message(126), repeated: false, later: false },
        Field { name: "commit_memory_bytes", json: "commitMemoryBytes", number: 5, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "ReopenContainerLogRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "ReopenContainerLogResponse", fields: &[
    ] },
    Message { name: "CheckpointContainerRequest", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "location", json: "location", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "timeout", json: "timeout", number: 3, kind: Kind::Int64, repeated: false, later: false },
    ] },
    Message { name: "CheckpointContainerResponse", fields: &[
    ] },
    Message { name: "CheckpointPodRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "output_path", json: "outputPath", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "container_ids", json: "containerIds", number: 3, kind: Kind::String, repeated: true, later: false },
        Field { name: "options", json: "options", number: 4, kind: Kind::Map, repeated: false, later: false },
    ] },
    Message { name: "CheckpointPodResponse", fields: &[
    ] },
    Message { name: "RestorePodRequest", fields: &[
        Field { name: "checkpoint_path", json: "checkpointPath", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "config", json: "config", number: 2, kind: Kind::Message(13), repeated: false, later: false },
        Field { name: "runtime_handler", json: "runtimeHandler", number: 3, kind: Kind::String, repeated: false, later: false },
        Field { name: "options", json: "options", number: 4, kind: Kind::Map, repeated: false, later: false },
        Field { name: "container_configs", json: "containerConfigs", number: 5, kind: Kind::Message(70), repeated: true, later: false },
    ] },
    Message { name: "RestoredContainer", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "container_id", json: "containerId", number: 2, kind: Kind::String, repeated: false, later: false },
    ] },
    Message { name: "RestorePodResponse", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "restored_containers", json: "restoredContainers", number: 2, kind: Kind::Message(156), repeated: true, later: false },
    ] },
    Message { name: "GetEventsRequest", fields: &[
    ] },
    Message { name: "ContainerEventResponse", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "container_event_type", json: "containerEventType", number: 2, kind: Kind::Enum(7), repeated: false, later: false },
        Field { name: "created_at", json: "createdAt", number: 3, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "pod_sandbox_status", json: "podSandboxStatus", number: 4, kind: Kind::Message(25), repeated: false, later: false },
        Field { name: "containers_statuses", json: "containersStatuses", number: 5, kind: Kind::Message(87), repeated: true, later: false },
    ] },
    Message { name: "ListMetricDescriptorsRequest", fields: &[
    ] },
    Message { name: "ListMetricDescriptorsResponse", fields: &[
        Field { name: "descriptors", json: "descriptors", number: 1, kind: Kind::Message(162), repeated: true, later: false },
    ] },
    Message { name: "MetricDescriptor", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "help", json: "help", number: 2, kind: Kind::String, repeated: false, later: false },
        Field { name: "label_keys", json: "labelKeys", number: 3, kind: Kind::String, repeated: true, later: false },
    ] },
    Message { name: "ListPodSandboxMetricsRequest", fields: &[
    ] },
    Message { name: "ListPodSandboxMetricsResponse", fields: &[
        Field { name: "pod_metrics", json: "podMetrics", number: 1, kind: Kind::Message(167), repeated: true, later: false },
    ] },
    Message { name: "StreamPodSandboxMetricsRequest", fields: &[
    ] },
    Message { name: "StreamPodSandboxMetricsResponse", fields: &[
        Field { name: "pod_sandbox_metrics", json: "podSandboxMetrics", number: 1, kind: Kind::Message(167), repeated: true, later: false },
    ] },
    Message { name: "PodSandboxMetrics", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metrics", json: "metrics", number: 2, kind: Kind::Message(169), repeated: true, later: false },
        Field { name: "container_metrics", json: "containerMetrics", number: 3, kind: Kind::Message(168), repeated: true, later: false },
    ] },
    Message { name: "ContainerMetrics", fields: &[
        Field { name: "container_id", json: "containerId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "metrics", json: "metrics", number: 2, kind: Kind::Message(169), repeated: true, later: false },
    ] },
    Message { name: "Metric", fields: &[
        Field { name: "name", json: "name", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "timestamp", json: "timestamp", number: 2, kind: Kind::Int64, repeated: false, later: false },
        Field { name: "metric_type", json: "metricType", number: 3, kind: Kind::Enum(8), repeated: false, later: false },
        Field { name: "label_values", json: "labelValues", number: 4, kind: Kind::String, repeated: true, later: false },
        Field { name: "value", json: "value", number: 5, kind: Kind::Message(126), repeated: false, later: false },
    ] },
    Message { name: "RuntimeConfigRequest", fields: &[
    ] },
    Message { name: "RuntimeConfigResponse", fields: &[
        Field { name: "linux", json: "linux", number: 1, kind: Kind::Message(172), repeated: false, later: false },
    ] },
    Message { name: "LinuxRuntimeConfiguration", fields: &[
        Field { name: "cgroup_driver", json: "cgroupDriver", number: 1, kind: Kind::Enum(9), repeated: false, later: false },
    ] },
    Message { name: "UpdatePodSandboxResourcesRequest", fields: &[
        Field { name: "pod_sandbox_id", json: "podSandboxId", number: 1, kind: Kind::String, repeated: false, later: false },
        Field { name: "overhead", json: "overhead", number: 2, kind: Kind::Message(53), repeated: false, later: false },
        Field { name: "resources", json: "resources", number: 3, kind: Kind::Message(53), repeated: false, later: false },
    ] },
    Message { name: "UpdatePodSandboxResourcesResponse", fields: &[
    ] },
];

pub(super) static ENUMS: &[Enumeration] = &[
    Enumeration { values: &[
        (0, "TCP"),
        (1, "UDP"),
        (2, "SCTP"),
    ] },
    Enumeration { values: &[
        (0, "PROPAGATION_PRIVATE"),
        (1, "PROPAGATION_HOST_TO_CONTAINER"),
        (2, "PROPAGATION_BIDIRECTIONAL"),
    ] },
    Enumeration { values: &[
        (0, "POD"),
        (1, "CONTAINER"),
        (2, "NODE"),
        (3, "TARGET"),
    ] },
    Enumeration { values: &[
        (0, "Merge"),
        (1, "Strict"),
    ] },
    Enumeration { values: &[
        (0, "SANDBOX_READY"),
        (1, "SANDBOX_NOTREADY"),
    ] },
    Enumeration { values: &[
        (0, "RUNTIME_DEFAULT"),
        (1, "SIGABRT"),
        (2, "SIGALRM"),
        (3, "SIGBUS"),
        (4, "SIGCHLD"),
        (5, "SIGCLD"),
        (6, "SIGCONT"),
        (7, "SIGFPE"),
        (8, "SIGHUP"),
        (9, "SIGILL"),
        (10, "SIGINT"),
        (11, "SIGIO"),
        (12, "SIGIOT"),
        (13, "SIGKILL"),
        (14, "SIGPIPE"),
        (15, "SIGPOLL"),
        (16, "SIGPROF"),
        (17, "SIGPWR"),
        (18, "SIGQUIT"),
        (19, "SIGSEGV"),
        (20, "SIGSTKFLT"),
        (21, "SIGSTOP"),
        (22, "SIGSYS"),
        (23, "SIGTERM"),
        (24, "SIGTRAP"),
        (25, "SIGTSTP"),
        (26, "SIGTTIN"),
        (27, "SIGTTOU"),
        (28, "SIGURG"),
        (29, "SIGUSR1"),
        (30, "SIGUSR2"),
        (31, "SIGVTALRM"),
        (32, "SIGWINCH"),
        (33, "SIGXCPU"),
        (34, "SIGXFSZ"),
        (35, "SIGRTMIN"),
        (36, "SIGRTMINPLUS1"),
        (37, "SIGRTMINPLUS2"),
        (38, "SIGRTMINPLUS3"),
        (39, "SIGRTMINPLUS4"),
        (40, "SIGRTMINPLUS5"),
        (41, "SIGRTMINPLUS6"),
        (42, "SIGRTMINPLUS7"),
        (43, "SIGRTMINPLUS8"),
        (44, "SIGRTMINPLUS9"),
        (45, "SIGRTMINPLUS10"),
        (46, "SIGRTMINPLUS11"),
        (47, "SIGRTMINPLUS12"),
        (48, "SIGRTMINPLUS13"),
        (49, "SIGRTMINPLUS14"),
        (50, "SIGRTMINPLUS15"),
        (51, "SIGRTMAXMINUS14"),
        (52, "SIGRTMAXMINUS13"),
        (53, "SIGRTMAXMINUS12"),
        (54, "SIGRTMAXMINUS11"),
        (55, "SIGRTMAXMINUS10"),
        (56, "SIGRTMAXMINUS9"),
        (57, "SIGRTMAXMINUS8"),
        (58, "SIGRTMAXMINUS7"),
        (59, "SIGRTMAXMINUS6"),
        (60, "SIGRTMAXMINUS5"),
        (61, "SIGRTMAXMINUS4"),
        (62, "SIGRTMAXMINUS3"),
        (63, "SIGRTMAXMINUS2"),
        (64, "SIGRTMAXMINUS1"),
        (65, "SIGRTMAX"),
    ] },
    Enumeration { values: &[
        (0, "CONTAINER_CREATED"),
        (1, "CONTAINER_RUNNING"),
        (2, "CONTAINER_EXITED"),
        (3, "CONTAINER_UNKNOWN"),
    ] },
    Enumeration { values: &[
        (0, "CONTAINER_CREATED_EVENT"),
        (1, "CONTAINER_STARTED_EVENT"),
        (2, "CONTAINER_STOPPED_EVENT"),
        (3, "CONTAINER_DELETED_EVENT"),
    ] },
    Enumeration { values: &[
        (0, "COUNTER"),
        (1, "GAUGE"),
    ] },
    Enumeration { values: &[
        (0, "SYSTEMD"),
        (1, "CGROUPFS"),
    ] },
    Enumeration { values: &[
        (0, "RuntimeDefault"),
        (1, "Unconfined"),
        (2, "Localhost"),
    ] },
];
