//! Who uses an image or artifact as a volume.
//!
//! The image store knows which image a container was made from, not what is mounted into it. The holds are kept in
//! memory: the engine notes them again from its own records when it starts. A hold and a removal exclude each other, so
//! an image is never removed between the look at it and its mount.

use std::collections::HashMap;

use ochre_types::ImageId;
use parking_lot::Mutex;

use crate::error::Error;
use crate::images::{Images, Service};

/// The users of each image.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<HashMap<ImageId, Vec<String>>>);

impl Images {
    /// Keeps an image or artifact from being removed as long as `user` holds it. Blocking: waits for a removal that runs.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not here (any more); it is held all the same, for a user that has it mounted.
    pub fn hold(&self, id: &ImageId, user: &str) -> Result<(), Error> {
        let service = &self.service;
        let mut holds = service.holds.0.lock();
        let users = holds.entry(id.clone()).or_default();
        if !users.iter().any(|known| known == user) {
            users.push(user.to_owned());
        }
        // Asked under the lock, so that a removal is either over or sees the hold.
        let image = service.config.store.image(id).map_err(Error::store)?;
        if image.is_some() || service.find_artifact(id.as_str())?.is_some() {
            return Ok(());
        }
        Err(Error::NotFound { reference: id.to_string() })
    }

    /// Lets go of everything `user` holds. Blocking, shortly.
    pub fn release(&self, user: &str) {
        self.service.holds.0.lock().retain(|_, users| {
            users.retain(|known| known != user);
            !users.is_empty()
        });
    }
}

impl Service {
    /// Removes an image unless somebody holds it.
    pub(crate) fn unless_held(
        &self,
        id: &ImageId,
        remove: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let holds = self.holds.0.lock();
        if let Some(user) = holds.get(id).and_then(|users| users.first()) {
            return Err(Error::HeldAsVolume { id: id.clone(), user: user.clone() });
        }
        remove()
    }
}
