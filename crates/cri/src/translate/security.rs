//! Namespaces, identities, profiles and capabilities.

use ochre_cri_api as api;
use ochre_pod::config::{
    Capabilities, ContainerSecurity, GroupsPolicy, IdMapping, NamespaceMode, NamespaceOptions, RunAs,
    SecurityProfile, SelinuxLabel, UserNamespace,
};

use crate::failure::Failure;

fn mode(field: &'static str, value: i32) -> Result<NamespaceMode, Failure> {
    match api::NamespaceMode::try_from(value) {
        Ok(api::NamespaceMode::Pod) => Ok(NamespaceMode::Pod),
        Ok(api::NamespaceMode::Container) => Ok(NamespaceMode::Container),
        Ok(api::NamespaceMode::Node) => Ok(NamespaceMode::Node),
        Ok(api::NamespaceMode::Target) => Ok(NamespaceMode::Target),
        Err(_) => Err(Failure::invalid(field, value, "POD (0), CONTAINER (1), NODE (2) or TARGET (3)")),
    }
}

fn mode_to_api(mode: NamespaceMode) -> i32 {
    let mode = match mode {
        NamespaceMode::Pod => api::NamespaceMode::Pod,
        NamespaceMode::Container => api::NamespaceMode::Container,
        NamespaceMode::Node => api::NamespaceMode::Node,
        NamespaceMode::Target => api::NamespaceMode::Target,
    };
    mode as i32
}

/// Namespace options; absent ones are all POD, as the API's zero values say.
pub(crate) fn namespaces(options: Option<api::NamespaceOption>) -> Result<NamespaceOptions, Failure> {
    let api::NamespaceOption { network, pid, ipc, target_id, userns_options } = options.unwrap_or_default();
    Ok(NamespaceOptions {
        network: mode("network namespace mode", network)?,
        pid: mode("pid namespace mode", pid)?,
        ipc: mode("ipc namespace mode", ipc)?,
        target_id,
        user: userns_options.map(user_namespace).transpose()?,
    })
}

/// Those of a container. Of network and IPC there is one for all of a pod: a mode that asks for another is refused, for
/// the container would not get what it says.
fn container_namespaces(options: Option<api::NamespaceOption>) -> Result<NamespaceOptions, Failure> {
    let options = namespaces(options)?;
    for (field, mode) in [("network namespace mode", options.network), ("ipc namespace mode", options.ipc)] {
        if !matches!(mode, NamespaceMode::Pod | NamespaceMode::Node) {
            return Err(Failure::invalid(field, format!("{mode:?}"), "a container takes POD or NODE"));
        }
    }
    Ok(options)
}

fn user_namespace(options: api::UserNamespace) -> Result<UserNamespace, Failure> {
    let api::UserNamespace { mode: value, uids, gids } = options;
    Ok(UserNamespace {
        mode: mode("user namespace mode", value)?,
        uids: id_mappings(uids),
        gids: id_mappings(gids),
    })
}

pub(crate) fn id_mappings(mappings: Vec<api::IdMapping>) -> Vec<IdMapping> {
    mappings
        .into_iter()
        .map(|api::IdMapping { host_id, container_id, length }| IdMapping { host_id, container_id, length })
        .collect()
}

pub(crate) fn id_mappings_to_api(mappings: &[IdMapping]) -> Vec<api::IdMapping> {
    mappings
        .iter()
        .map(|m| api::IdMapping { host_id: m.host_id, container_id: m.container_id, length: m.length })
        .collect()
}

/// Namespace options for a status.
pub(crate) fn namespaces_to_api(options: &NamespaceOptions) -> api::NamespaceOption {
    api::NamespaceOption {
        network: mode_to_api(options.network),
        pid: mode_to_api(options.pid),
        ipc: mode_to_api(options.ipc),
        target_id: options.target_id.clone(),
        userns_options: options.user.as_ref().map(|user| api::UserNamespace {
            mode: mode_to_api(user.mode),
            uids: id_mappings_to_api(&user.uids),
            gids: id_mappings_to_api(&user.gids),
        }),
    }
}

pub(crate) fn selinux(options: Option<api::SeLinuxOption>) -> Option<SelinuxLabel> {
    options.map(|api::SeLinuxOption { user, role, r#type, level }| SelinuxLabel {
        user,
        role,
        kind: r#type,
        level,
    })
}

/// The structured profile, or the deprecated text where only that is given.
pub(crate) fn profile(
    field: &'static str,
    structured: Option<api::SecurityProfile>,
    deprecated: &str,
) -> Result<Option<SecurityProfile>, Failure> {
    use api::security_profile::ProfileType;
    let Some(api::SecurityProfile { profile_type, localhost_ref }) = structured else {
        return match deprecated {
            "" => Ok(None),
            "runtime/default" | "docker/default" => Ok(Some(SecurityProfile::RuntimeDefault)),
            "unconfined" => Ok(Some(SecurityProfile::Unconfined)),
            text => match text.strip_prefix("localhost/") {
                Some(name) => localhost(field, name).map(Some),
                None => {
                    Err(Failure::invalid(field, text, "runtime/default, unconfined or localhost/<profile>"))
                }
            },
        };
    };
    match ProfileType::try_from(profile_type) {
        Ok(ProfileType::RuntimeDefault) => Ok(Some(SecurityProfile::RuntimeDefault)),
        Ok(ProfileType::Unconfined) => Ok(Some(SecurityProfile::Unconfined)),
        Ok(ProfileType::Localhost) => {
            localhost(field, localhost_ref.strip_prefix("localhost/").unwrap_or(&localhost_ref)).map(Some)
        }
        Err(_) => {
            Err(Failure::invalid(field, profile_type, "RuntimeDefault (0), Unconfined (1) or Localhost (2)"))
        }
    }
}

fn localhost(field: &'static str, name: &str) -> Result<SecurityProfile, Failure> {
    // CVE-2023-2431: an empty reference must never end up unconfined.
    if name.is_empty() {
        return Err(Failure::invalid(field, "Localhost", "localhost_ref names no profile"));
    }
    Ok(SecurityProfile::Localhost(name.to_owned()))
}

fn groups_policy(value: i32) -> Result<GroupsPolicy, Failure> {
    match api::SupplementalGroupsPolicy::try_from(value) {
        Ok(api::SupplementalGroupsPolicy::Merge) => Ok(GroupsPolicy::Merge),
        Ok(api::SupplementalGroupsPolicy::Strict) => Ok(GroupsPolicy::Strict),
        Err(_) => Err(Failure::invalid("supplemental_groups_policy", value, "Merge (0) or Strict (1)")),
    }
}

/// The identity fields that pods and containers share.
pub(crate) struct Identity {
    pub(crate) user: Option<api::Int64Value>,
    pub(crate) group: Option<api::Int64Value>,
    pub(crate) username: String,
    pub(crate) supplemental_groups: Vec<i64>,
    pub(crate) policy: i32,
}

pub(crate) fn run_as(identity: Identity) -> Result<RunAs, Failure> {
    let user = identity.user.map(|value| value.value);
    let group = identity.group.map(|value| value.value);
    if group.is_some() && user.is_none() && identity.username.is_empty() {
        return Err(Failure::invalid(
            "run_as_group",
            group.unwrap_or_default(),
            "it needs run_as_user or run_as_username",
        ));
    }
    if user.is_some() && !identity.username.is_empty() {
        return Err(Failure::invalid("run_as_username", identity.username, "it excludes run_as_user"));
    }
    Ok(RunAs {
        user,
        group,
        username: identity.username,
        supplemental_groups: identity.supplemental_groups,
        groups_policy: groups_policy(identity.policy)?,
    })
}

/// A container's security context.
// The deprecated texts still come from older kubelets.
#[allow(deprecated)]
pub(crate) fn container(context: api::LinuxContainerSecurityContext) -> Result<ContainerSecurity, Failure> {
    let api::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options,
        selinux_options,
        run_as_user,
        run_as_group,
        run_as_username,
        readonly_rootfs,
        supplemental_groups,
        apparmor_profile,
        seccomp_profile_path,
        no_new_privs,
        masked_paths,
        readonly_paths,
        seccomp,
        apparmor,
        supplemental_groups_policy,
    } = context;
    let api::Capability { add_capabilities, drop_capabilities, add_ambient_capabilities } =
        capabilities.unwrap_or_default();
    Ok(ContainerSecurity {
        privileged,
        readonly_rootfs,
        no_new_privs,
        capabilities: Capabilities {
            add: add_capabilities,
            drop: drop_capabilities,
            add_ambient: add_ambient_capabilities,
        },
        namespaces: container_namespaces(namespace_options)?,
        run_as: run_as(Identity {
            user: run_as_user,
            group: run_as_group,
            username: run_as_username,
            supplemental_groups,
            policy: supplemental_groups_policy,
        })?,
        selinux: selinux(selinux_options),
        seccomp: profile("seccomp profile", seccomp, &seccomp_profile_path)?,
        apparmor: profile("apparmor profile", apparmor, &apparmor_profile)?,
        masked_paths,
        readonly_paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_localhost_profile_without_a_name_is_refused_and_never_unconfined() {
        let empty = api::SecurityProfile { profile_type: 2, localhost_ref: String::new() };
        assert!(profile("seccomp profile", Some(empty), "").is_err());
        assert!(profile("seccomp profile", None, "localhost/").is_err());
        assert_eq!(profile("seccomp profile", None, "").unwrap(), None);
        let default =
            profile("seccomp profile", Some(api::SecurityProfile::default()), "unconfined").unwrap();
        assert_eq!(default, Some(SecurityProfile::RuntimeDefault), "the structured field wins");
    }

    #[test]
    fn a_group_needs_a_user() {
        let identity = |user, username: &str| Identity {
            user,
            group: Some(api::Int64Value { value: 5 }),
            username: username.into(),
            supplemental_groups: vec![],
            policy: 0,
        };
        assert!(run_as(identity(None, "")).is_err());
        assert!(run_as(identity(None, "nobody")).is_ok());
        assert!(run_as(identity(Some(api::Int64Value { value: 1 }), "nobody")).is_err());
    }

    #[test]
    fn namespace_options_come_back_as_they_were_given() {
        let given =
            api::NamespaceOption { network: 2, pid: 3, ipc: 0, target_id: "x".into(), userns_options: None };
        assert_eq!(namespaces_to_api(&namespaces(Some(given.clone())).unwrap()), given);
        assert!(namespaces(Some(api::NamespaceOption { pid: 4, ..Default::default() })).is_err());
    }
}
