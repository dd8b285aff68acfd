//! CheckpointContainer, the story: check → work directory → pause → the runtime calls CRIU → pack → resume.
//!
//! ```text
//!   <state>/checkpoints/<container>/     the intent: whoever finds it resumes the container and removes it
//!     location                           where the archive goes: what a killed engine had written of it is removed
//!     checkpoint/                        CRIU's images, by `<runtime> checkpoint --leave-running`
//!     dump.log, stats-dump               CRIU's own
//!     rootfs-diff.tar                    what the container has changed
//!   <location>                           everything in one archive, 0600, in place by a rename
//! ```
//!
//! The container is resumed on every way out, also at the next start of an engine that was killed meanwhile. The driver
//! serves nothing else for this container until then: a stop waits, at most for the deadline.
//!
//! Restoring is off, for good reasons: what comes from a checkpoint was confined by somebody else, once.

mod archive;
mod pack;
mod program;

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ochre_image::ImageSummary;
use ochre_sys::atomic::{self, Durability};
use ochre_types::ContainerId;
use rustix::fs::{FileType, lstat};

use crate::container::{Container, ContainerState};
use crate::disk::make_private;
use crate::engine::{Engine, Pods, blocking};
use crate::error::{Error, Shared};
use crate::sandbox::run::invalid;
use program::Runtime;

/// In the work directory: the archive's place.
const LOCATION: &str = "location";
/// Longest place that is read back, bytes (PATH_MAX).
const MAX_LOCATION: u64 = 4096;
/// The deadline of a request that names none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest deadline: a container is paused meanwhile, and its stop waits.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
/// Annotations and labels that mark an image as a checkpoint, by CRI-O and by the newer convention.
const IMAGE_MARKS: [&str; 2] =
    ["io.kubernetes.cri-o.annotations.checkpoint.name", "org.criu.checkpoint.container.name"];

/// Whether containers can be checkpointed on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoints {
    /// `enable_criu_support` is off.
    Off,
    /// There is no `criu`.
    NoCriu,
    /// They can, by handlers whose runtime knows CRIU.
    On,
}

impl Pods {
    /// Writes a checkpoint of a running container into an archive at `location`; the container goes on running. A timeout
    /// of zero means two minutes.
    ///
    /// # Errors
    /// `NoCheckpoint` for what this node, the handler or the state does not allow, `Invalid` for a bad location,
    /// `CheckpointFailed` with the runtime's words, `CheckpointTimedOut`. Nothing is left of a failed one.
    pub async fn checkpoint(
        &self,
        container: &Arc<Container>,
        location: &str,
        timeout: Duration,
    ) -> Result<(), Shared> {
        check(&self.engine, container).map_err(Arc::new)?;
        let location = place(location).map_err(Arc::new)?;
        container.ask_checkpoint(location, timeout).await
    }
}

/// What needs no look at the container's files.
fn check(engine: &Engine, container: &Container) -> Result<(), Error> {
    let refused = |reason: String| Err(Error::NoCheckpoint { id: container.id.clone(), reason });
    match engine.node.checkpoints {
        Checkpoints::Off => return refused("crio.runtime.enable_criu_support is off".to_owned()),
        Checkpoints::NoCriu => return refused("the program criu is not installed".to_owned()),
        Checkpoints::On => {}
    }
    let handler = engine.node.handlers.get(&container.sandbox.handler)?;
    let version = &handler.features.version;
    if !["runc", "crun"].iter().any(|known| version.starts_with(known)) {
        return refused(format!("handler {} has no checkpoints, runc and crun have", handler.name));
    }
    match container.state() {
        ContainerState::Running { .. } => Ok(()),
        state => Err(Error::ContainerNotRunning { id: container.id.clone(), state: state.name() }),
    }
}

/// The archive's place: an absolute path to nothing, or to a file that is replaced.
fn place(location: &str) -> Result<PathBuf, Error> {
    let path = Path::new(location);
    let wrong = |reason| Err(invalid("location", location, reason));
    let plain = path
        .components()
        .all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
    if !path.is_absolute() || !plain || location.ends_with('/') || path.file_name().is_none() {
        return wrong("an absolute path of a file, without `..`");
    }
    if !path.parent().is_some_and(Path::is_dir) {
        return wrong("a path in a directory that exists");
    }
    match lstat(path).map(|found| FileType::from_raw_mode(found.st_mode)) {
        Ok(FileType::RegularFile) | Err(rustix::io::Errno::NOENT) => Ok(path.to_owned()),
        Ok(_) => wrong("a path to nothing or to a regular file"),
        Err(error) => Err(Error::io("looking at", path)(error.into())),
    }
}

/// Performs it; the container's driver is the only caller.
pub(crate) async fn perform(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    location: PathBuf,
    timeout: Duration,
) -> Result<(), Error> {
    check(engine, container)?;
    let timeout = if timeout.is_zero() { DEFAULT_TIMEOUT } else { timeout.min(LONGEST_TIMEOUT) };
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    blocking(container.id.to_string(), move || {
        let runtime = Runtime::of(&engine, &container, Instant::now() + timeout, timeout)?;
        let work = Work::make(&engine, &container.id, &location)?;
        let packed = runtime
            .call("pause", &[])
            .and_then(|()| dump(&runtime, &work))
            .and_then(|()| pack::pack(&engine, &container, &work.path, &location));
        // Whatever happened, and whatever is left of the deadline.
        match (packed, runtime.resume()) {
            (Err(error), Err(second)) => {
                tracing::warn!("{second}");
                Err(error)
            }
            (packed, resumed) => packed.and(resumed),
        }
    })
    .await
}

fn dump(runtime: &Runtime, work: &Work) -> Result<(), Error> {
    let images = work.path.join(pack::IMAGES);
    make_private(&images)?;
    runtime.call(
        "checkpoint",
        &[
            "--file-locks".as_ref(),
            "--image-path".as_ref(),
            images.as_os_str(),
            "--work-path".as_ref(),
            work.path.as_os_str(),
            "--leave-running".as_ref(),
        ],
    )
}

/// The work directory; it goes with the value.
#[derive(Debug)]
struct Work {
    path: PathBuf,
}

impl Work {
    fn make(engine: &Engine, id: &ContainerId, location: &Path) -> Result<Self, Error> {
        let path = root(engine).join(id.as_str());
        make_private(&path)?;
        let work = Self { path };
        let dir = std::fs::File::open(&work.path).map_err(Error::io("opening", &work.path))?;
        atomic::write(&dir, LOCATION, location.as_os_str().as_bytes(), 0o600, Durability::Synced)
            .map_err(Error::io("writing", work.path.join(LOCATION)))?;
        Ok(work)
    }

    /// Removes what was written of the archive; fine when nothing was.
    fn remove_part(&self, id: &ContainerId) -> Result<(), Error> {
        let place = self.path.join(LOCATION);
        let read = || {
            let mut bytes = Vec::new();
            std::fs::File::open(&place)?.take(MAX_LOCATION).read_to_end(&mut bytes)?;
            std::io::Result::Ok(bytes)
        };
        let location = match read() {
            Ok(bytes) => PathBuf::from(OsString::from_vec(bytes)),
            // Killed before the first byte.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("reading", place)(error)),
        };
        let part = pack::part(&location, id);
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("removing the unfinished checkpoint", part)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            // The next start tries again.
            tracing::warn!("removing {}: {error}", self.path.display());
        }
    }
}

fn root(engine: &Engine) -> PathBuf {
    engine.node.paths.state_dir.join("checkpoints")
}

/// Resumes containers that an engine paused and left, and removes what it had written.
pub(crate) fn recover(engine: &Engine) {
    for entry in std::fs::read_dir(root(engine)).into_iter().flatten().flatten() {
        let work = Work { path: entry.path() };
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|id| id.parse::<ContainerId>().ok()) else { continue };
        if let Err(error) = work.remove_part(&id) {
            tracing::warn!(container = %id, "{error}");
        }
        let Ok(container) = engine.registry.container(id.as_str()) else { continue };
        if container.state().process().is_none() {
            continue;
        }
        let deadline = Instant::now() + DEFAULT_TIMEOUT;
        let resumed =
            Runtime::of(engine, &container, deadline, DEFAULT_TIMEOUT).and_then(|runtime| runtime.resume());
        match resumed {
            Ok(()) => tracing::info!(container = %container.id, "a checkpoint was interrupted; it runs on"),
            Err(error) => tracing::warn!("{error}"),
        }
        drop(work);
    }
}

/// Refuses to make a container from an archive on this node.
pub(crate) fn refuse_archive(image: &str) -> Result<(), Error> {
    if Path::new(image).is_absolute() { Err(restore_off(image)) } else { Ok(()) }
}

/// Refuses to make a container from an image that holds a checkpoint.
pub(crate) fn refuse_image(asked: &str, image: &ImageSummary) -> Result<(), Error> {
    let marked = IMAGE_MARKS
        .iter()
        .any(|mark| image.annotations().contains_key(*mark) || image.labels().contains_key(*mark));
    if marked { Err(restore_off(asked)) } else { Ok(()) }
}

fn restore_off(image: &str) -> Error {
    Error::RestoreOff { image: image.chars().take(300).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_goes_to_a_plain_path_in_a_directory_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("old.tar");
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        let inside = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        for good in ["new.tar", "old.tar"] {
            assert!(place(&inside(good)).is_ok(), "{good}");
        }
        for bad in ["link", "none/x.tar", "../x.tar", "x/", "."] {
            assert!(place(&inside(bad)).is_err(), "{bad}");
        }
        for bad in ["", "x.tar", "/", "/tmp"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_written_of_an_archive_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let id = ContainerId::generate();
        let work = Work { path: dir.path().join("work") };
        std::fs::create_dir(&work.path).unwrap();
        // Killed before the place was noted, and before the archive was begun.
        work.remove_part(&id).unwrap();
        let archive = dir.path().join("one.tar");
        std::fs::write(work.path.join(LOCATION), archive.as_os_str().as_bytes()).unwrap();
        work.remove_part(&id).unwrap();
        let (part, other) = (pack::part(&archive, &id), pack::part(&archive, &ContainerId::generate()));
        for path in [&archive, &part, &other] {
            std::fs::write(path, "x").unwrap();
        }
        work.remove_part(&id).unwrap();
        assert!(!part.exists() && archive.exists() && other.exists());
    }

    #[test]
    fn a_path_is_no_image() {
        assert!(refuse_archive("/var/lib/kubelet/checkpoints/x.tar").is_err());
        assert!(refuse_archive("example.test/a/b:1").is_ok());
    }
}
