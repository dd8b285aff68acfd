//! `state`: prints the state document.

use std::path::Path;

use crate::cli::Id;
use crate::container::Container;
use crate::error::Error;

pub(super) fn state(root: &Path, id: &Id) -> Result<(), Error> {
    let container = Container::open(root, id)?;
    let text = container.oci_state(container.status())?;
    super::print(&format!("{text}\n"))
}
