//! The image service: its configuration and the handle that everything else is a method of.
//!
//! The verbs are in files of their own: `pull`, `list`, `status` (and resolve), `remove`, `import`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ochre_storage::Store;
use ochre_types::{Digest, ErrorKind, ImageId, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::artifact::layout::Layout;
use crate::auth::{AuthFiles, NamespacedAuth};
use crate::error::Error;
use crate::holds::Holds;
use crate::list::Details;
use crate::platform::Platform;
use crate::policy::PolicyPaths;
use crate::pull::PullKey;
use crate::pull::join::Shared;
use crate::pull::layer::Fetches;
use crate::pull::progress::Progress;
use crate::registries::{Registries, RegistriesPaths, ShortNameMode};
use crate::registry::transport::Transport;
use crate::registry::{Proxies, RetryPolicy};

/// All that the image service needs to know.
#[derive(Clone)]
pub struct ImageServiceConfig {
    /// Where images live.
    pub store: Store,
    /// `registries.conf` and its drop-ins.
    pub registries: RegistriesPaths,
    /// CRI-O's `short_name_mode`; `None` leaves it to `registries.conf`.
    pub short_names: Option<ShortNameMode>,
    /// The signature policies.
    pub policy: PolicyPaths,
    /// `registries.d`: where signatures are kept.
    pub signature_places: PathBuf,
    /// Where credentials are looked up.
    pub auth_files: AuthFiles,
    /// Credentials by Kubernetes namespace; they go before the files.
    pub namespaced_auth: Option<NamespacedAuth>,
    /// Directories with one directory per registry (`certs.d`).
    pub certs_dirs: Vec<PathBuf>,
    /// CRI-O's `pinned_images`: exact names, `prefix*` or `*keyword*`.
    pub pinned: Vec<String>,
    /// Longest time without a byte from a registry; zero for ever.
    pub progress_timeout: Duration,
    /// Longest time for opening a connection, TLS included.
    pub connect_timeout: Duration,
    /// Proxies between the node and registries.
    pub proxies: Proxies,
    /// How requests are repeated.
    pub retry: RetryPolicy,
    /// Which images run here.
    pub platform: Platform,
    /// Whether artifacts are pulled and listed (CRI-O's `oci_artifact_mount_support`).
    pub artifacts: bool,
    /// Where archives are unpacked for an import; made if missing.
    pub temp_dir: PathBuf,
    /// The program that unpacks layers in a sandbox ([`crate::unpack_worker`] is its `main`); without one, layers are
    /// unpacked in this process, which is good enough for tests.
    pub unpacker: Option<PathBuf>,
}

impl ImageServiceConfig {
    /// The defaults of a node: `/etc/containers`, both `certs.d`, a progress timeout of 10 s; authentication files and
    /// proxies as the environment of this process says.
    pub fn new(store: Store, temp_dir: PathBuf) -> Self {
        let directory =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let (runtime, config, home) =
            (directory("XDG_RUNTIME_DIR"), directory("XDG_CONFIG_HOME"), directory("HOME"));
        Self {
            store,
            registries: RegistriesPaths::default(),
            short_names: None,
            policy: PolicyPaths::default(),
            signature_places: "/etc/containers/registries.d".into(),
            auth_files: AuthFiles::standard(runtime.as_deref(), config.as_deref(), home.as_deref()),
            namespaced_auth: None,
            certs_dirs: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            pinned: Vec::new(),
            progress_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            proxies: Proxies::from_variables(|name| std::env::var(name).ok()),
            retry: RetryPolicy::default(),
            platform: Platform::default(),
            artifacts: true,
            temp_dir,
            unpacker: None,
        }
    }

    pub(crate) fn progress(&self) -> Option<Duration> {
        Some(self.progress_timeout).filter(|timeout| !timeout.is_zero())
    }
}

/// How old the usage may be before a question makes it be measured again, in nanoseconds.
const USAGE_AGE: i64 = 1_000_000_000;

/// What the images occupy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsUsage {
    /// The directory that names the file system.
    pub mountpoint: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Inodes; 0: the store does not record them.
    pub inodes: u64,
    /// When this was true.
    pub timestamp: Timestamp,
}

/// A handle of the image service. Cloning is cheap. Methods need a tokio runtime around them.
#[derive(Clone)]
pub struct Images {
    pub(crate) service: Arc<Service>,
}

/// What all handles share.
pub(crate) struct Service {
    pub(crate) config: ImageServiceConfig,
    registries: ArcSwap<Registries>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) pulls: Shared<PullKey, Result<ImageId, Error>, Progress>,
    pub(crate) fetches: Fetches,
    pub(crate) artifacts: Arc<Layout>,
    pub(crate) holds: Holds,
    usage: ArcSwap<FsUsage>,
    /// Whether somebody measures it at the moment.
    measuring: AtomicBool,
    /// What was read of each image; an id stands for its content, so nothing here goes stale.
    pub(crate) details: Mutex<std::collections::HashMap<ImageId, Arc<Details>>>,
}

impl Images {
    /// Starts the service: removes what broken-off imports left, reads the registries configuration and the store's
    /// usage. Blocking.
    ///
    /// # Errors
    /// A configuration that cannot be used; errors of the store.
    pub fn new(config: ImageServiceConfig) -> Result<Self, Error> {
        crate::import::sweep(&config.temp_dir);
        let registries = load(&config.registries)?;
        let artifacts = Arc::new(Layout::new(config.store.root()));
        let usage = measure(&config.store, &artifacts).map_err(Error::store)?;
        let service = Service {
            registries: ArcSwap::from_pointee(registries),
            transport: Arc::new(Transport::new(
                config.certs_dirs.clone(),
                config.proxies.clone(),
                config.connect_timeout,
            )),
            pulls: Shared::new(),
            fetches: Fetches::default(),
            artifacts,
            holds: Holds::default(),
            usage: ArcSwap::from_pointee(usage),
            measuring: AtomicBool::new(false),
            details: Mutex::default(),
            config,
        };
        Ok(Self { service: Arc::new(service) })
    }

    /// Reads the registries configuration again and forgets connections and certificates. What runs goes on with the
    /// old ones. Blocking.
    ///
    /// # Errors
    /// A configuration that cannot be used; the old one stays in force.
    pub fn reload_registries(&self) -> Result<(), Error> {
        let registries = load(&self.service.config.registries)?;
        self.service.registries.store(Arc::new(registries));
        self.service.transport.forget();
        Ok(())
    }

    /// What the images occupied when it was last measured. From memory: never blocks. Other programs write to the store
    /// as well, so a number that is older than [`USAGE_AGE`] is measured again behind the caller's back.
    pub fn usage(&self) -> FsUsage {
        let usage = FsUsage::clone(&self.service.usage.load());
        let age = Timestamp::now().nanos().saturating_sub(usage.timestamp.nanos());
        if !(0..USAGE_AGE).contains(&age) && !self.service.measuring.swap(true, Ordering::AcqRel) {
            let service = Arc::clone(&self.service);
            tokio::spawn(async move {
                service.refresh_usage().await;
                service.measuring.store(false, Ordering::Release);
            });
        }
        usage
    }
}

impl Service {
    pub(crate) fn registries(&self) -> Arc<Registries> {
        self.registries.load_full()
    }

    /// Runs `work` on the store where it may block.
    pub(crate) async fn with_store<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let service = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&service)).await.unwrap_or(Err(Error::Stopped))
    }

    /// Measures again after a change.
    pub(crate) async fn refresh_usage(self: &Arc<Self>) {
        let measured = self
            .with_store(|service| measure(&service.config.store, &service.artifacts).map_err(Error::store))
            .await;
        match measured {
            Ok(usage) => self.usage.store(Arc::new(usage)),
            Err(error) => {
                tracing::warn!(error = %error, "the usage of the image store could not be measured")
            }
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::sha256(&Sha256::digest(bytes).into())
}

fn load(paths: &RegistriesPaths) -> Result<Registries, Error> {
    Registries::load(paths).map_err(|source| Error::Registries { source: Arc::new(source) })
}

fn measure(store: &Store, artifacts: &Layout) -> Result<FsUsage, ochre_storage::Error> {
    // An image that another program removes while we look is no failure.
    let usage = match store.image_usage() {
        Err(error) if error.kind() == ErrorKind::NotFound => store.image_usage()?,
        usage => usage?,
    };
    Ok(FsUsage {
        mountpoint: store.root().join("overlay-images"),
        // Artifacts that cannot be listed occupy something, but nobody knows how much.
        bytes: usage.bytes.saturating_add(artifacts.bytes().unwrap_or_default()),
        inodes: usage.inodes,
        timestamp: Timestamp::now(),
    })
}
