//! Pulling an image: the story of one request.
//!
//! ```text
//! reference ─► candidates ─► policy ─► sources (mirrors, registry) + credentials ─► manifest ─► signatures
//!                                                                                                   │
//!   record ◄─ commit bottom-up ◄─ all digests match ◄─ missing layers, three at a time ◄─ configuration
//! ```
//!
//! Equal requests share one pull. The pull belongs to the service: a caller that goes away leaves it running, and a
//! retry joins it. Nothing is visible before everything is verified; what was staged goes away with a failure.

pub(crate) mod commit;
pub(crate) mod error;
pub(crate) mod join;
pub(crate) mod layer;
pub(crate) mod progress;
pub(crate) mod resolve;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use ochre_types::ImageId;

use crate::auth::{AuthConfig, Credentials};
use crate::error::Error;
use crate::images::{Images, Service};
use crate::policy::PolicyError;
use crate::reference::{Parsed, Reference};
use crate::registry::client::{RegistryClient, Timing};
use crate::registry::transport::Trust;
use crate::trust::{self, Demand, Kept, Looked, SignaturePlaces};
use error::PullError;
use layer::{Origin, Wanted};
use progress::Progress;
use resolve::Resolved;

/// Layers of one image that are downloaded at the same time.
const PARALLEL: usize = 3;

/// What to pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullRequest {
    /// The reference, as the user wrote it.
    pub reference: String,
    /// Credentials of the request; they win over those of files, for the reference's own registry.
    pub auth: Option<AuthConfig>,
    /// Namespace of the pod it is for: selects the signature policy.
    pub namespace: Option<String>,
}

/// What makes two pulls the same. Credentials count: who has none must not profit from who has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PullKey {
    pub(crate) reference: String,
    namespace: Option<String>,
    credentials: Option<[u8; 32]>,
}

impl Images {
    /// Pulls an image and returns its id. Dropping the future leaves the pull running.
    ///
    /// # Errors
    /// A reference that is none, and [`Error::Pull`] for everything else.
    pub async fn pull(&self, request: PullRequest) -> Result<ImageId, Error> {
        Parsed::parse(&request.reference)?;
        let key = PullKey {
            reference: request.reference.clone(),
            namespace: request.namespace.clone(),
            credentials: request.auth.as_ref().map(fingerprint),
        };
        let service = Arc::clone(&self.service);
        let reference = request.reference.clone();
        let start = move |progress| async move {
            service.pull(&request, progress).await.map_err(|source| match source {
                Failure::Early(error) => error,
                Failure::Pull(source) => Error::Pull { reference, source: Arc::new(source) },
            })
        };
        self.service.pulls.join(key, Progress::default, start).await.unwrap_or(Err(Error::Stopped))
    }

    /// The pulls that run now.
    pub fn pulls(&self) -> Vec<progress::PullProgress> {
        self.service.pulls.running(|key, progress| progress.snapshot(&key.reference))
    }
}

/// What the policy and the registries configuration make of a reference.
struct Admitted {
    /// In the order to try.
    sources: Vec<Arc<RegistryClient>>,
    /// Where the signatures of what each source has are looked for.
    looked: Vec<Looked>,
    /// The signatures that the manifest must have.
    demands: Vec<Demand>,
}

impl Admitted {
    /// Holds what was found at the first of `left`, the sources from there on, against the policy.
    async fn verify(
        &self,
        left: &[Arc<RegistryClient>],
        found: &resolve::Found,
    ) -> Result<Vec<Kept>, PullError> {
        let answered = self.sources.len().saturating_sub(left.len());
        if let (Some(source), Some(looked)) = (self.sources.get(answered), self.looked.get(answered)) {
            return Ok(trust::verify(&self.demands, (source, *looked), &found.chosen.1).await?);
        }
        // Something was found, so it was found somewhere.
        Err(PullError::Stopped)
    }
}

enum Failure {
    Early(Error),
    Pull(PullError),
}

impl<E: Into<PullError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Pull(error.into())
    }
}

impl Service {
    async fn pull(
        self: Arc<Self>,
        request: &PullRequest,
        progress: Arc<Progress>,
    ) -> Result<ImageId, Failure> {
        let candidates =
            match Parsed::parse(&request.reference).map_err(|source| Failure::Early(source.into()))? {
                Parsed::Qualified(reference) => vec![reference],
                Parsed::Short(name) => self.registries().candidates(&name, self.config.short_names)?,
            };
        let mut result = Err(Failure::Pull(PullError::Stopped));
        for candidate in &candidates {
            let mut pulled = self.pull_one(candidate, request, &progress).await;
            if pulled.as_ref().is_err_and(PullError::is_lost_layer) {
                pulled = self.pull_one(candidate, request, &progress).await;
            }
            result = pulled.map_err(Failure::Pull);
            if result.is_ok() {
                break;
            }
        }
        self.refresh_usage().await;
        result
    }

    async fn pull_one(
        &self,
        reference: &Reference,
        request: &PullRequest,
        progress: &Arc<Progress>,
    ) -> Result<ImageId, PullError> {
        let admitted = self.admitted_sources(reference, request).await?;
        let kind = (&self.config.platform, self.config.artifacts);
        let (mut found, sources) = resolve::find(&admitted.sources, &reference.selector(), kind).await?;
        found.signatures = admitted.verify(&sources, &found).await?;
        if found.manifest.is_artifact() {
            return self.pull_artifact(found, &sources, reference.recorded_name(), progress).await;
        }
        let resolved = match self.stored_config(found.image_id()?).await? {
            Some(bytes) => found.with_config(bytes)?,
            None => {
                let bytes = config_from(&sources, &found).await?;
                found.with_config(bytes)?
            }
        };
        let store = self.config.store.clone();
        let (resolved, missing) = blocking(move || {
            let missing = resolved.missing(&store)?;
            Ok((resolved, missing))
        })
        .await?;
        progress.expect(missing.iter().map(|layer| layer.size).sum(), resolved.layers.len());
        progress.add_layers(resolved.layers.len() - missing.len());
        self.fetch_and_commit(
            resolved,
            missing,
            Origin {
                store: self.config.store.clone(),
                sources,
                progress: Arc::clone(progress),
                unpacker: self.config.unpacker.clone(),
            },
            reference.recorded_name(),
        )
        .await
    }

    async fn fetch_and_commit(
        &self,
        resolved: Resolved,
        missing: Vec<Wanted>,
        origin: Origin,
        name: String,
    ) -> Result<ImageId, PullError> {
        let fetches = &self.fetches;
        let origin = &origin;
        // Unordered, so that the first failure ends the pull whatever the others are waiting for.
        let mut staged: Vec<_> = stream::iter(missing.into_iter().enumerate())
            .map(|(number, wanted)| async move {
                fetches.stage(&wanted, origin).await.map(|staged| (number, wanted, staged))
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        staged.sort_by_key(|(number, ..)| *number);
        let (store, artifacts) = (self.config.store.clone(), Arc::clone(&self.artifacts));
        blocking(move || {
            // The fetches are held until here: whoever joins meanwhile finds the staged layer.
            let (layers, fetches): (Vec<_>, Vec<_>) =
                staged.into_iter().map(|(_, wanted, (staged, fetch))| ((wanted, staged), fetch)).unzip();
            let result = commit::commit(&store, resolved, &layers, vec![name.clone()]);
            if result.is_ok() {
                artifacts.forget_name(&name)?;
            }
            drop(fetches);
            result
        })
        .await
    }

    /// Policy first: a forbidden image causes no request at all.
    async fn admitted_sources(
        &self,
        reference: &Reference,
        request: &PullRequest,
    ) -> Result<Admitted, PullError> {
        let (config, registries) = (self.config.clone(), self.registries());
        let (reference, request) = (reference.clone(), request.clone());
        let (sources, looked, demands) = blocking(move || {
            let policy = config.policy.load(request.namespace.as_deref())?;
            let demands = policy.map(|policy| policy.admit(&reference)).transpose()?.unwrap_or_default();
            let sources = registries.sources(&reference)?;
            let places = match demands.is_empty() {
                true => SignaturePlaces::default(),
                false => SignaturePlaces::load(&config.signature_places).map_err(PolicyError::from)?,
            };
            let looked = sources.iter().map(|source| places.of(&source.reference)).collect();
            let own = request.auth.map(|auth| auth.credentials_for(&reference)).transpose()?.flatten();
            let namespace = request.namespace.as_deref().zip(config.namespaced_auth.as_ref());
            let taken = match namespace.filter(|_| own.is_none()) {
                Some((namespace, auth)) => auth.take(namespace, &reference)?,
                None => None,
            };
            let with_credentials = sources.into_iter().map(|source| {
                let found = match (own.clone().filter(|_| !source.mirror), &taken) {
                    (Some(own), _) => Some(own),
                    (None, Some(taken)) => taken.lookup(&source.reference)?,
                    (None, None) => {
                        config.auth_files.lookup(&source.reference, registries.credential_helpers())?
                    }
                };
                Ok((source, found))
            });
            let sources = with_credentials.collect::<Result<Vec<(_, Option<Credentials>)>, PullError>>()?;
            Ok((sources, looked, demands))
        })
        .await?;
        let timing = Timing { progress: self.config.progress(), retry: self.config.retry };
        let client = |(source, credentials): (crate::registries::PullSource, _)| {
            let trust = if source.insecure { Trust::Insecure } else { Trust::Verified };
            let transport = Arc::clone(&self.transport);
            Arc::new(RegistryClient::new(transport, &source.reference, trust, credentials, timing))
        };
        Ok(Admitted { sources: sources.into_iter().map(client).collect(), looked, demands })
    }

    /// The configuration of an image that is here already.
    async fn stored_config(&self, id: ImageId) -> Result<Option<Vec<u8>>, PullError> {
        let store = self.config.store.clone();
        blocking(move || {
            if store.image(&id)?.is_none() {
                return Ok(None);
            }
            // The store is shared with other programs; what lies in it is verified like anything else.
            let bytes = store.big_data(&id, &format!("sha256:{id}")).unwrap_or_default();
            Ok((crate::images::sha256(&bytes).hex() == id.as_str()).then_some(bytes))
        })
        .await
    }
}

async fn config_from(sources: &[Arc<RegistryClient>], found: &resolve::Found) -> Result<Vec<u8>, PullError> {
    let config = &found.manifest.config;
    let mut result = Err(PullError::Stopped);
    for source in sources {
        result = source.small_blob(&config.digest, config.size).await.map_err(PullError::from);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(PullError::Stopped))
}

fn fingerprint(auth: &AuthConfig) -> [u8; 32] {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let secrets = [&auth.password, &auth.auth, &auth.identity_token, &auth.registry_token];
    for text in
        [auth.username.as_str(), auth.server_address.as_str()].into_iter().chain(secrets.map(|s| s.reveal()))
    {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}
