//! Removing an image.

use std::sync::Arc;

use ochre_types::ErrorKind;

use crate::error::Error;
use crate::images::Images;

impl Images {
    /// Removes the image or artifact that `reference` means, with all its names, as CRI 1.36 says: by whichever name it was asked
    /// for. An image that is not here is removed already.
    ///
    /// # Errors
    /// A text that cannot be a reference; a container uses the image; errors of the store.
    pub async fn remove(&self, reference: &str) -> Result<(), Error> {
        let reference = reference.to_owned();
        let removed = self.service.with_store(move |service| {
            let Some(image) = service.find(&reference)? else {
                let Some(artifact) = service.find_artifact(&reference)? else { return Ok(()) };
                let failed = |source| Error::Artifacts { source: Arc::new(source) };
                return service
                    .unless_held(&artifact.id, || service.artifacts.remove(&artifact).map_err(failed));
            };
            service.details.lock().remove(&image.id);
            service.unless_held(&image.id, || match service.config.store.delete_image(&image.id) {
                // Somebody else was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                result => result.map_err(Error::store),
            })
        });
        let removed = removed.await;
        self.service.refresh_usage().await;
        removed
    }
}
