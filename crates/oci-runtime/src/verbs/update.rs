//! `update`: changes limits.

use std::path::Path;

use crate::cli::Id;
use crate::config;
use crate::container::{Container, Status};
use crate::error::Error;
use crate::log::{Level, Log};

pub(super) fn update(root: &Path, id: &Id, file: &Path, log: &mut Log) -> Result<(), Error> {
    let resources = config::load_resources(file)?;
    let container = Container::open(root, id)?;
    container.require(
        &[Status::Created, Status::Running, Status::Paused],
        "created, running or paused",
        "update",
    )?;
    let groups = &container.record.groups;
    groups.update_scope(&resources)?;
    let mut warnings = groups.apply(&resources)?;
    if !resources.devices.is_empty() {
        warnings.extend(groups.restrict_devices(&resources)?);
    }
    for warning in warnings {
        log.write(Level::Warning, &warning);
    }
    Ok(())
}
