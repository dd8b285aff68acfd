//! ReopenContainerLog: the monitor swaps the file; the new one exists when this returns.

use super::Container;
use crate::error::Error;

impl Container {
    /// Makes the monitor write to a new file at the same path.
    ///
    /// # Errors
    /// `ContainerNotRunning`, or the monitor's failure to open the file (it keeps the old one).
    pub async fn reopen_log(&self) -> Result<(), Error> {
        if !self.state().is_running() {
            return Err(Error::ContainerNotRunning { id: self.id.clone(), state: self.state().name() });
        }
        Ok(self.monitor()?.reopen_log(&self.id).await?)
    }
}
