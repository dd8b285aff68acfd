//! The pause process after its start: handed to the next monitor, and removed where there is no monitor to do it.

use std::process::{Command, Stdio};
use std::time::Duration;

use ochre_monitor_api::{Adopt, Create, StdinMode, Stdio as ContainerStdio};
use ochre_runtime::cgroup::OwnedGroup;

use super::Sandbox;
use super::run::{pause_id, runtime_command};
use crate::engine::Engine;
use crate::error::Error;

/// How long the runtime may take to make the pause process.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long its group may take to become empty and to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the monitor is told to make it, and to treat it ever after.
pub(super) fn creation(engine: &Engine, sandbox: &Sandbox) -> Result<Create, Error> {
    let id = pause_id(&sandbox.id);
    let handler = engine.node.handlers.get(&sandbox.handler)?;
    Ok(Create {
        runtime: runtime_command(engine, handler),
        bundle: engine.bundle(sandbox, &id),
        id,
        stdio: ContainerStdio { terminal: false, stdin: StdinMode::Closed },
        log_path: None,
        exit_dir: None,
        timeout: TIMEOUT,
    })
}

/// What a new monitor needs to take it over; `None` for a pod without one.
///
/// # Errors
/// Also when its process has ended: the number may belong to another process by now.
pub(crate) fn adoption(engine: &Engine, sandbox: &Sandbox) -> Result<Option<Adopt>, Error> {
    let Some(pid) = sandbox.state().live().and_then(|live| live.pause_pid) else { return Ok(None) };
    if !engine.node.cgroups.pids(group(engine, sandbox)?.path())?.contains(&pid) {
        return Err(Error::Interrupted { object: format!("pause process of pod {}", sandbox.id) });
    }
    let container = creation(engine, sandbox)?;
    // A member of its group just now; the record has no room for its start time.
    Ok(Some(Adopt { container, pid, start_time: 0, started_at: sandbox.created_at }))
}

/// Removes it without a monitor: by its runtime, and then whatever the runtime knows nothing of. Fine when there is none.
pub(super) fn remove(engine: &Engine, sandbox: &Sandbox) -> Result<(), Error> {
    if let Ok(handler) = engine.node.handlers.get(&sandbox.handler) {
        let runtime = runtime_command(engine, handler);
        let mut command = Command::new(&runtime.path);
        command.arg("--root").arg(&runtime.root);
        if runtime.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.args(["delete", "--force", pause_id(&sandbox.id).as_str()]);
        // Some runtimes fail where there is nothing to delete; what counts is what is left.
        drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
    let group = group(engine, sandbox)?;
    engine.node.cgroups.kill_all(&group, PATIENCE)?;
    Ok(engine.node.cgroups.remove(&group, PATIENCE)?)
}

fn group(engine: &Engine, sandbox: &Sandbox) -> Result<OwnedGroup, Error> {
    let parent = &sandbox.config.cgroup_parent;
    Ok(OwnedGroup::of_container(engine.node.driver, parent, &pause_id(&sandbox.id))?)
}
