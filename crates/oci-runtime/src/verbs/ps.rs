//! `ps`: lists the processes of a container.

use std::path::Path;

use crate::cli::Id;
use crate::container::Container;
use crate::error::{Error, step};

pub(super) fn ps(root: &Path, id: &Id) -> Result<(), Error> {
    let processes = Container::open(root, id)?.record.groups.processes()?;
    let text =
        serde_json::to_string(&processes).map_err(std::io::Error::from).map_err(step("writing the list"))?;
    super::print(&format!("{text}\n"))
}
