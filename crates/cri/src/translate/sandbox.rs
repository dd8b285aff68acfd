//! RunPodSandbox's configuration.

use ochre_cri_api as api;
use ochre_pod::config::{DnsConfig, PortMapping, Protocol, SandboxConfig, SandboxMetadata, SecurityProfile};

use super::{check_map, resources, security};
use crate::failure::Failure;

/// The linux part in the engine's words.
#[derive(Default)]
struct Linux {
    cgroup_parent: String,
    sysctls: std::collections::BTreeMap<String, String>,
    overhead: Option<ochre_pod::config::Resources>,
    resources: Option<ochre_pod::config::Resources>,
    namespaces: ochre_pod::config::NamespaceOptions,
    privileged: bool,
    run_as: ochre_pod::config::RunAs,
    selinux: Option<ochre_pod::config::SelinuxLabel>,
    seccomp: Option<SecurityProfile>,
}

/// A pod's configuration and handler.
pub(crate) fn config(config: api::PodSandboxConfig, handler: String) -> Result<SandboxConfig, Failure> {
    let api::PodSandboxConfig {
        metadata,
        hostname,
        log_directory,
        dns_config,
        port_mappings,
        labels,
        annotations,
        linux,
        // Set by kubelets of Windows nodes only.
        windows: _,
    } = config;
    check_map("labels", &labels)?;
    check_map("annotations", &annotations)?;
    let linux = linux.map(linux_part).transpose()?.unwrap_or_default();
    Ok(SandboxConfig {
        metadata: self::metadata(metadata)?,
        handler,
        hostname,
        log_directory,
        dns: dns_config.map(dns).transpose()?,
        port_mappings: port_mappings
            .into_iter()
            .filter_map(|m| port_mapping(m).transpose())
            .collect::<Result<_, _>>()?,
        labels,
        annotations,
        cgroup_parent: linux.cgroup_parent,
        sysctls: linux.sysctls,
        namespaces: linux.namespaces,
        privileged: linux.privileged,
        run_as: linux.run_as,
        selinux: linux.selinux,
        seccomp: linux.seccomp,
        overhead: linux.overhead,
        resources: linux.resources,
    })
}

fn metadata(metadata: Option<api::PodSandboxMetadata>) -> Result<SandboxMetadata, Failure> {
    let api::PodSandboxMetadata { name, uid, namespace, attempt } =
        metadata.ok_or(Failure::Missing { field: "config.metadata" })?;
    Ok(SandboxMetadata { name, namespace, uid, attempt })
}

// The deprecated texts still come from older kubelets.
#[allow(deprecated)]
fn linux_part(linux: api::LinuxPodSandboxConfig) -> Result<Linux, Failure> {
    let api::LinuxPodSandboxConfig { cgroup_parent, security_context, sysctls, overhead, resources: sum } =
        linux;
    let api::LinuxSandboxSecurityContext {
        namespace_options,
        selinux_options,
        run_as_user,
        run_as_group,
        // The pause process has a read-only root in any case.
        readonly_rootfs: _,
        supplemental_groups,
        privileged,
        seccomp_profile_path,
        seccomp,
        // The pause process runs under the engine's own confinement.
        apparmor: _,
        supplemental_groups_policy,
    } = security_context.unwrap_or_default();
    check_map("sysctls", &sysctls)?;
    Ok(Linux {
        cgroup_parent,
        sysctls,
        overhead: overhead.map(resources::from_api).transpose()?,
        resources: sum.map(resources::from_api).transpose()?,
        namespaces: security::namespaces(namespace_options)?,
        privileged,
        run_as: security::run_as(security::Identity {
            user: run_as_user,
            group: run_as_group,
            username: String::new(),
            supplemental_groups,
            policy: supplemental_groups_policy,
        })?,
        selinux: security::selinux(selinux_options),
        seccomp: security::profile("seccomp profile", seccomp, &seccomp_profile_path)?,
    })
}

fn dns(config: api::DnsConfig) -> Result<DnsConfig, Failure> {
    let api::DnsConfig { servers, searches, options } = config;
    for (field, values) in [("dns server", &servers), ("dns search", &searches), ("dns option", &options)] {
        if values.len() > 256 {
            return Err(Failure::invalid(field, format!("list of {}", values.len()), "at most 256 entries"));
        }
        for value in values {
            // One value is one word of resolv.conf; a newline would add lines of the caller's choice.
            if value.len() > 1024 || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(Failure::invalid(
                    field,
                    format!("{value:?}"),
                    "one word of at most 1024 characters",
                ));
            }
        }
    }
    Ok(DnsConfig { servers, searches, options })
}

/// One mapping; host port 0 means none.
fn port_mapping(mapping: api::PortMapping) -> Result<Option<PortMapping>, Failure> {
    let api::PortMapping { protocol, container_port, host_port, host_ip } = mapping;
    if host_port == 0 {
        return Ok(None);
    }
    let port = |field, value: i32| match u16::try_from(value) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Failure::invalid(field, value, "from 1 to 65535")),
    };
    let protocol = match api::Protocol::try_from(protocol) {
        Ok(api::Protocol::Tcp) => Protocol::Tcp,
        Ok(api::Protocol::Udp) => Protocol::Udp,
        Ok(api::Protocol::Sctp) => Protocol::Sctp,
        Err(_) => {
            return Err(Failure::invalid("port mapping protocol", protocol, "TCP (0), UDP (1) or SCTP (2)"));
        }
    };
    let host_ip = match host_ip.as_str() {
        "" => None,
        text => match text.parse::<std::net::IpAddr>() {
            // 0.0.0.0 and :: stay what they are: every address of that family.
            Ok(address) => Some(address),
            Err(_) => {
                return Err(Failure::invalid("host_ip", format!("{host_ip:?}"), "an IPv4 or IPv6 address"));
            }
        },
    };
    Ok(Some(PortMapping {
        protocol,
        container_port: port("container_port", container_port)?,
        host_port: port("host_port", host_port)?,
        host_ip,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> api::PodSandboxConfig {
        api::PodSandboxConfig {
            metadata: Some(api::PodSandboxMetadata {
                name: "web".into(),
                uid: "u".into(),
                namespace: "default".into(),
                attempt: 1,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn host_port_zero_means_none_and_odd_ports_are_refused() {
        let with = |container_port, host_port, host_ip: &str| {
            let mut pod = request();
            let host_ip = host_ip.to_owned();
            pod.port_mappings = vec![api::PortMapping { protocol: 0, container_port, host_port, host_ip }];
            config(pod, String::new()).map(|config| config.port_mappings.len())
        };
        assert_eq!(with(80, 0, "").unwrap(), 0);
        assert_eq!(with(80, 8080, "127.0.0.1").unwrap(), 1);
        for (container_port, host_port, host_ip) in
            [(80, 65536, ""), (80, -1, ""), (0, 80, ""), (70000, 80, ""), (80, 80, "localhost")]
        {
            assert!(
                with(container_port, host_port, host_ip).is_err(),
                "{container_port} {host_port} {host_ip}"
            );
        }
    }

    #[test]
    fn a_dns_value_cannot_add_lines_to_resolv_conf() {
        let mut pod = request();
        pod.dns_config = Some(api::DnsConfig {
            servers: vec!["1.1.1.1\nnameserver 6.6.6.6".into()],
            ..Default::default()
        });
        assert!(config(pod, String::new()).is_err());
    }

    #[test]
    fn metadata_is_required() {
        assert!(config(api::PodSandboxConfig::default(), String::new()).is_err());
        assert_eq!(config(request(), "runc".into()).unwrap().handler, "runc");
    }
}
