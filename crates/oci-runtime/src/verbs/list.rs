//! `list --format json`: the state documents of all containers.

use std::path::Path;

use crate::container::{Container, StateError};
use crate::error::{Error, step};

pub(super) fn list(root: &Path) -> Result<(), Error> {
    let mut documents = Vec::new();
    for id in Container::ids(root).map_err(step("reading the state directory"))? {
        match Container::open(root, &id) {
            Ok(container) => documents.push(container.oci_state(container.status())?),
            // Removed meanwhile.
            Err(StateError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    super::print(&format!("[{}]\n", documents.join(",")))
}
