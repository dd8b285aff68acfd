//! Version, Status, RuntimeConfig, UpdateRuntimeConfig.

use ochre_cri_api as api;

use crate::failure::Failure;
use crate::service::Service;

/// What CRI-O answers as well; clients only check that it is there.
const KUBELET_API_VERSION: &str = "0.1.0";

pub(crate) async fn version(
    service: &Service,
    _: api::VersionRequest,
) -> Result<api::VersionResponse, Failure> {
    Ok(api::VersionResponse {
        version: KUBELET_API_VERSION.to_owned(),
        runtime_name: "ochre".to_owned(),
        runtime_version: service.about.version.clone(),
        runtime_api_version: "v1".to_owned(),
    })
}

pub(crate) async fn status(
    service: &Service,
    request: api::StatusRequest,
) -> Result<api::StatusResponse, Failure> {
    let node = service.pods.node();
    let ready = |kind: &str, failure: Option<(&str, String)>| {
        let (reason, message) = failure.unwrap_or_default();
        api::RuntimeCondition {
            r#type: kind.to_owned(),
            status: reason.is_empty(),
            reason: reason.to_owned(),
            message,
        }
    };
    let network = node.network.status().err();
    let network = network
        .map(|down| ("NetworkPluginNotReady", format!("the pod network is not ready: {}", down.reason)));
    // The default handler has answered at start; a binary that went away since makes every pod fail.
    let default = node.handlers.default_handler();
    let runtime = std::fs::symlink_metadata(&default.path).err().map(|error| {
        (
            "RuntimeNotReady",
            format!(
                "the OCI runtime {} of handler {} is gone: {error}",
                default.path.display(),
                default.name
            ),
        )
    });
    let mut info = std::collections::BTreeMap::new();
    if request.verbose {
        let mut config = service.about.config.clone();
        config["network"] = node.network.describe();
        // Where containerd keeps its state; critest asks the file system around it for id-mapped mounts.
        config["stateDir"] = node.paths.state_dir.to_string_lossy().into();
        info.insert("config".to_owned(), config.to_string());
    }
    Ok(api::StatusResponse {
        status: Some(api::RuntimeStatus {
            conditions: vec![ready("RuntimeReady", runtime), ready("NetworkReady", network)],
        }),
        info,
        runtime_handlers: handlers(service),
        features: Some(api::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: true,
            mount_options: true,
        }),
    })
}

/// One entry per handler, and the default once more under the empty name, as CRI asks.
fn handlers(service: &Service) -> Vec<api::RuntimeHandler> {
    let handlers = &service.pods.node().handlers;
    let entry = |name: &str, handler: &ochre_runtime::handler::Handler| api::RuntimeHandler {
        name: name.to_owned(),
        features: Some(api::RuntimeHandlerFeatures {
            recursive_read_only_mounts: handler.features.recursive_read_only,
            user_namespaces: service.pods.check_user_namespaces(handler).is_ok(),
        }),
    };
    let mut entries = vec![entry("", handlers.default_handler())];
    entries.extend(handlers.iter().map(|handler| entry(&handler.name, handler)));
    entries
}

pub(crate) async fn runtime_config(
    service: &Service,
    _: api::RuntimeConfigRequest,
) -> Result<api::RuntimeConfigResponse, Failure> {
    let driver = match service.pods.node().driver {
        ochre_runtime::cgroup::Driver::Systemd => api::CgroupDriver::Systemd,
        ochre_runtime::cgroup::Driver::Cgroupfs => api::CgroupDriver::Cgroupfs,
    };
    Ok(api::RuntimeConfigResponse {
        linux: Some(api::LinuxRuntimeConfiguration { cgroup_driver: driver as i32 }),
    })
}

/// The pod CIDR is for kubenet, which is gone; CRI-O accepts and ignores it, and so does every engine with CNI.
pub(crate) async fn update_runtime_config(
    _: &Service,
    _: api::UpdateRuntimeConfigRequest,
) -> Result<api::UpdateRuntimeConfigResponse, Failure> {
    Ok(api::UpdateRuntimeConfigResponse {})
}
