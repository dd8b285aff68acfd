//! `start`: lets the program run.

use std::path::Path;

use crate::cli::Id;
use crate::container::{Container, Status};
use crate::error::{Error, describe};
use crate::hooks;
use crate::log::{Level, Log};

pub(super) fn start(root: &Path, id: &Id, log: &mut Log) -> Result<(), Error> {
    let container = Container::open(root, id)?;
    container.require(&[Status::Created], "created", "start")?;
    let spec = container.spec()?;
    container.release()?;
    if !spec.hooks.poststart.is_empty() {
        // The program runs already; the specification wants failures of these logged and nothing more.
        let state = container.oci_state(Status::Running)?;
        if let Err(error) = hooks::run("poststart", &spec.hooks.poststart, &state) {
            log.write(Level::Warning, &describe(&error));
        }
    }
    Ok(())
}
