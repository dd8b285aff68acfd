//! `pause` and `resume`: freeze and thaw.

use std::path::Path;

use crate::cli::Id;
use crate::container::{Container, Status};
use crate::error::Error;

pub(super) fn pause(root: &Path, id: &Id) -> Result<(), Error> {
    let container = Container::open(root, id)?;
    container.require(&[Status::Running, Status::Created], "running or created", "pause")?;
    Ok(container.record.groups.set_frozen(true)?)
}

pub(super) fn resume(root: &Path, id: &Id) -> Result<(), Error> {
    let container = Container::open(root, id)?;
    if !container.record.groups.is_frozen() {
        container.require(&[Status::Paused], "paused", "resume")?;
    }
    Ok(container.record.groups.set_frozen(false)?)
}
