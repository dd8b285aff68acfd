//! The second look at the signature policy: when a container is to run an image that is here already.
//!
//! The policy may have changed since the pull, and the namespace may be another one than that of the pod that the image
//! was pulled for. No registry is asked.

use std::sync::Arc;

use ochre_types::ImageId;

use crate::error::Error;
use crate::images::{Images, Service};
use crate::pull::error::PullError;
use crate::reference::{Parsed, Reference};
use crate::trust::verify_stored;

impl Images {
    /// Whether the policy for pods of `namespace` lets a container run the image `id`, which the user named `reference`
    /// (CRI's `user_specified_image`): as for a pull, with the signatures kept with the image.
    ///
    /// # Errors
    /// A reference that is none, and [`Error::NotAdmitted`], whose [`pull_reason`](Error::pull_reason) is
    /// `SignatureValidationFailed` when the policy says no.
    pub async fn admit(&self, reference: &str, id: &ImageId, namespace: Option<&str>) -> Result<(), Error> {
        let parsed = Parsed::parse(reference)?;
        let (written, id, namespace) = (reference.to_owned(), id.clone(), namespace.map(str::to_owned));
        let look = move |service: &Service| {
            let result = service.admit(&parsed, &id, namespace.as_deref());
            result.map_err(|source| Error::NotAdmitted { reference: written, source: Arc::new(source) })
        };
        self.service.with_store(look).await
    }
}

impl Service {
    fn admit(&self, parsed: &Parsed, id: &ImageId, namespace: Option<&str>) -> Result<(), PullError> {
        let Some(policy) = self.config.policy.load(namespace)? else { return Ok(()) };
        let reference = match parsed {
            Parsed::Qualified(reference) => reference.clone(),
            Parsed::Short(name) => {
                // The one of its meanings that the image has; it may also be an id, which is none of them.
                let image = self.config.store.image(id)?;
                let names = image.map(|image| image.names.clone()).unwrap_or_default();
                let candidates = self.registries().local_candidates(name);
                let has = |candidate: &&Reference| names.contains(&candidate.recorded_name());
                let named = || names.iter().find_map(|name| Reference::parse(name).ok());
                let chosen = candidates.iter().find(has).cloned().or_else(named);
                chosen.or_else(|| candidates.first().cloned()).ok_or(PullError::Stopped)?
            }
        };
        let demands = policy.admit(&reference)?;
        if demands.is_empty() {
            return Ok(());
        }
        verify_stored(&self.config.store, id, &demands)
    }
}
