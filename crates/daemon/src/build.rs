//! From the configuration to a running engine, part by part, each from its own section.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ochre_config::{CgroupManager, Config, Loaded, RuntimeType};
use ochre_cri::{About, Service};
use ochre_image::{AuthFiles, ImageServiceConfig, Images, NamespacedAuth};
use ochre_network::{NativeConfig, Network, Subnets, Timeouts};
use ochre_pod::{Checkpoints, Node, Paths, Pods, Reports};
use ochre_runtime::cgroup::{Cgroups, Driver};
use ochre_runtime::clamp::Held;
use ochre_runtime::config::Device;
use ochre_runtime::handler::{BUILT_IN, HandlerConfig, HandlerSources, HandlerType, Handlers};
use ochre_runtime::metrics::Groups;
use ochre_runtime::spec::capabilities::{self, CapabilitySet};
use ochre_runtime::spec::{
    CgroupFacts, DeviceOwnership, DeviceRules, HostDevices, ImageVolumes, NodeDefaults, SourceRules, Ulimit,
};
use ochre_storage::{Store, StoreConfig};

use crate::error::{Error, with_causes};

/// libcni's cache directory; a constant of the field, not an option.
const CNI_CACHE: &str = "/var/lib/cni";

/// The engine's programs beside the daemon.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `ochre-monitor`.
    pub monitor: PathBuf,
    /// `ochre-runtime`.
    pub runtime: PathBuf,
}

impl Programs {
    /// Looks for them beside the running daemon, then in `/usr/libexec/ochre`.
    ///
    /// # Errors
    /// `MissingProgram`.
    pub fn find() -> Result<Self, Error> {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).unwrap_or(Path::new("/usr/bin")).to_owned();
        let find = |program: &'static str| {
            [beside.as_path(), Path::new("/usr/libexec/ochre")]
                .into_iter()
                .map(|directory| directory.join(program))
                .find(|path| path.is_file())
                .ok_or_else(|| Error::MissingProgram { program, directory: beside.clone() })
        };
        Ok(Self { monitor: find("ochre-monitor")?, runtime: find("ochre-runtime")? })
    }
}

/// Opens every part and brings back the pods of the last run.
///
/// # Errors
/// The first part that does not start.
pub async fn build(loaded: &Loaded, programs: &Programs, version: &str) -> Result<Service, Error> {
    let config = &loaded.config;
    let store = open_store(config)?;
    let images = open_images(loaded, store.clone())?;
    let network = open_network(config)?;
    let handlers = probe_handlers(config, programs)?;
    let (cgroups, driver) = detect_cgroups(config)?;
    let defaults = node_defaults(config, &cgroups)?;
    let node = Node {
        store,
        images: images.clone(),
        network,
        handlers,
        cgroups,
        driver,
        defaults,
        default_sysctls: pairs(&config.runtime.default_sysctls),
        paths: Paths {
            state_dir: config.root.root.join("ochre"),
            run_dir: config.root.runroot.join("ochre"),
            namespaces_dir: config.runtime.namespaces_dir.clone(),
            exits_dir: private(&config.runtime.container_exits_dir)?,
            log_dir: config.root.log_dir.clone(),
            monitor: programs.monitor.clone(),
        },
        reports: Reports {
            events: config.runtime.enable_pod_events,
            metrics: Groups::from_words(config.stats.included_pod_metrics.iter().map(String::as_str)),
            collection_period: Duration::from_secs(config.stats.collection_period.max(0).unsigned_abs()),
        },
        checkpoints: checkpoints(config),
    };
    let pods = Pods::open(node).await?;
    let about = About { version: version.to_owned(), config: ochre_config::values(config) };
    let streaming = crate::streaming::start(&config.api, ochre_cri::streams(&pods)).await?;
    Ok(Service::new(pods, images, about, streaming))
}

/// Checkpoints are made by `criu`, which the OCI runtimes look for in the usual places.
fn checkpoints(config: &Config) -> Checkpoints {
    const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    if !config.runtime.enable_criu_support {
        return Checkpoints::Off;
    }
    let found = PLACES.iter().any(|place| Path::new(place).join("criu").is_file());
    if found { Checkpoints::On } else { Checkpoints::NoCriu }
}

/// Opens the image store, for the daemon and for verbs that work without it.
///
/// # Errors
/// That of the store.
pub fn open_store(config: &Config) -> Result<Store, Error> {
    Ok(Store::open(StoreConfig {
        root: config.root.root.clone(),
        runroot: config.root.runroot.clone(),
        mount_options: storage_options(config, &["overlay.mountopt", "mountopt"]),
        additional_image_stores: storage_options(config, &["overlay.imagestore", "additionalimagestore"])
            .into_iter()
            .map(PathBuf::from)
            .collect(),
    })?)
}

/// Opens the image service over a store.
///
/// # Errors
/// That of the service.
pub fn open_images(loaded: &Loaded, store: Store) -> Result<Images, Error> {
    let config = &loaded.config;
    let scratch = private(&config.root.runroot.join("ochre/import"))?;
    let mut service = ImageServiceConfig::new(store, scratch);
    service.registries.file.clone_from(&loaded.registries_conf);
    service.policy.file = given(&config.image.signature_policy);
    service.policy.namespaces = given(&config.image.signature_policy_dir);
    if let Some(file) = given(&config.image.global_auth_file) {
        service.auth_files = AuthFiles::only(file);
    }
    // This very binary, also when a newer one has taken its place on the disk.
    service.unpacker = Some("/proc/self/exe".into());
    service.namespaced_auth = given(&config.image.namespaced_auth_dir).map(NamespacedAuth::open);
    service.pinned.clone_from(&config.image.pinned_images);
    service.artifacts = config.image.oci_artifact_mount_support;
    service.short_names = Some(match config.image.short_name_mode {
        ochre_config::ShortNameMode::Enforcing => ochre_image::ShortNameMode::Enforcing,
        ochre_config::ShortNameMode::Disabled => ochre_image::ShortNameMode::Disabled,
    });
    if !config.image.pull_progress_timeout.is_zero() {
        service.progress_timeout = config.image.pull_progress_timeout;
    }
    Ok(Images::new(service)?)
}

/// The values of a storage option that goes by several names, such as `overlay.mountopt=nodev,metacopy=on`.
fn storage_options(config: &Config, names: &[&str]) -> Vec<String> {
    let options = config.root.storage_option.0.iter().filter_map(|option| option.split_once('='));
    options
        .filter(|(name, _)| names.contains(&name.trim()))
        .flat_map(|(_, values)| values.split(',').map(|value| value.trim().to_owned()))
        .filter(|value| !value.is_empty())
        .collect()
}

/// A path that may be left empty.
fn given(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}

/// `source[:target][:permissions]`; the configuration has checked the form.
fn device(text: &str) -> Device {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let (mut target, mut permissions) = (source, "rwm");
    for part in parts {
        if part.starts_with('/') {
            target = part;
        } else {
            permissions = part;
        }
    }
    Device {
        container_path: target.to_owned(),
        host_path: source.to_owned(),
        permissions: permissions.to_owned(),
    }
}

/// `key=value` texts, taken apart; the configuration has checked their form.
fn pairs(texts: &[String]) -> Vec<(String, String)> {
    texts
        .iter()
        .filter_map(|text| text.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn open_network(config: &Config) -> Result<Network, Error> {
    Ok(Network::open(ochre_network::Config {
        network_dir: config.network.network_dir.clone(),
        plugin_dirs: config.network.plugin_dirs.clone(),
        default_network: Some(config.network.cni_default_network.clone()).filter(|name| !name.is_empty()),
        cache_dir: CNI_CACHE.into(),
        state_dir: private(&config.root.root.join("ochre/network"))?,
        native: native_network(config)?,
        host_ports: !config.runtime.disable_hostport_mapping,
        timeouts: Timeouts::default(),
    })?)
}

fn native_network(config: &Config) -> Result<NativeConfig, Error> {
    let network = &config.network;
    Ok(NativeConfig {
        enabled: network.native_cni,
        bridge: network.native_bridge.clone(),
        subnets: Subnets::parse(&network.native_subnets).map_err(|invalid| Error::Option {
            option: "crio.network.native_subnets",
            reason: invalid.to_string(),
        })?,
        ..NativeConfig::default()
    })
}

fn probe_handlers(config: &Config, programs: &Programs) -> Result<Handlers, Error> {
    let mut configured: BTreeMap<String, HandlerConfig> = config
        .runtime
        .runtimes
        .iter()
        .map(|(name, table)| {
            let kind = match table.runtime_type {
                RuntimeType::Oci => HandlerType::Oci,
                RuntimeType::Vm => HandlerType::Vm,
                RuntimeType::Pod => HandlerType::Pod,
            };
            (
                name.clone(),
                HandlerConfig {
                    path: given(&table.runtime_path),
                    root: given(&table.runtime_root),
                    kind,
                    seccomp_profile: given(&table.seccomp_profile),
                    host_devices: match table.privileged_without_host_devices {
                        true => HostDevices::None,
                        false => HostDevices::All,
                    },
                    allowed_annotations: Some(table.allowed_annotations.clone()),
                },
            )
        })
        .collect();
    // Our own runtime's state belongs to this engine alone, unlike that of runtimes that others use as well.
    let own = configured.entry(BUILT_IN.to_owned()).or_default();
    own.root.get_or_insert_with(|| config.root.runroot.join("ochre/runtime"));
    let (handlers, left_out) = Handlers::probe(HandlerSources {
        configured: &configured,
        default: Some(&config.runtime.default_runtime),
        built_in: &programs.runtime,
        search_path: &std::env::var_os("PATH").unwrap_or_default(),
    })?;
    for error in left_out {
        tracing::warn!("handler left out: {}", with_causes(&error));
    }
    Ok(handlers)
}

fn detect_cgroups(config: &Config) -> Result<(Cgroups, Driver), Error> {
    let driver = match config.runtime.cgroup_manager {
        CgroupManager::Systemd => Driver::Systemd,
        CgroupManager::Cgroupfs => Driver::Cgroupfs,
    };
    driver.check()?;
    Ok((Cgroups::detect()?, driver))
}

fn node_defaults(config: &Config, cgroups: &Cgroups) -> Result<NodeDefaults, Error> {
    let held = Held::detect()?;
    for warning in held.warnings() {
        tracing::warn!("{warning}");
    }
    let mut granted = CapabilitySet::EMPTY;
    for name in &config.runtime.default_capabilities {
        let refused = |error: ochre_runtime::spec::Error| Error::Option {
            option: "crio.runtime.default_capabilities",
            reason: error.to_string(),
        };
        granted.insert(capabilities::parse(name).map_err(refused)?);
    }
    Ok(NodeDefaults {
        capabilities: granted,
        add_inheritable: config.runtime.add_inheritable_capabilities,
        env: config.runtime.default_env.clone(),
        ulimits: config.runtime.default_ulimits.iter().filter_map(|text| Ulimit::parse(text)).collect(),
        devices: device_rules(config),
        image_volumes: match config.image.image_volumes {
            ochre_config::ImageVolumes::Mkdir => ImageVolumes::Mkdir,
            ochre_config::ImageVolumes::Bind => ImageVolumes::Bind,
            ochre_config::ImageVolumes::Ignore => ImageVolumes::Ignore,
        },
        pids_limit: config.runtime.pids_limit,
        read_only: config.runtime.read_only,
        sources: SourceRules {
            prefix: given(&config.runtime.bind_mount_prefix),
            never_create: config.runtime.absent_mount_sources_to_reject.clone(),
            storage_root: Some(config.root.root.clone()),
        },
        security: crate::security::defaults(&config.runtime)?,
        cgroup: CgroupFacts::detect(cgroups.version()),
        held,
        passed_annotations: Vec::new(),
    })
}

fn device_rules(config: &Config) -> DeviceRules {
    let runtime = &config.runtime;
    DeviceRules {
        additional: runtime.additional_devices.iter().map(|text| device(text)).collect(),
        allowed: runtime.allowed_devices.iter().map(|text| device(text).host_path.into()).collect(),
        ownership: match runtime.device_ownership_from_security_context {
            true => DeviceOwnership::SecurityContext,
            false => DeviceOwnership::Node,
        },
        cdi_dirs: runtime.cdi_spec_dirs.clone(),
    }
}

/// Makes a directory of the engine's own, for nobody else's eyes.
fn private(path: &Path) -> Result<PathBuf, Error> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::Directory { path: path.to_owned(), source })?;
    Ok(path.to_owned())
}
