//! Finding a runtime and asking it, under a deadline and with a limit on what it may answer.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::{DEFAULT_ROOT, Handler, HandlerConfig, HandlerError, HandlerFeatures, HandlerType};
use crate::spec::seccomp::SeccompProfile;

const LIMIT: Duration = Duration::from_secs(2);
/// Most output kept of each stream; the rest is read and dropped. Real feature documents have 10 KiB.
const MAX_OUTPUT: usize = 1 << 20;
const MAX_ERROR_TEXT: usize = 300;

/// Finds and asks one handler.
pub(super) fn handler(
    name: &str,
    config: &HandlerConfig,
    search_path: &OsStr,
) -> Result<Handler, HandlerError> {
    if config.kind == HandlerType::Vm {
        return Err(HandlerError::UnsupportedType { name: name.to_owned(), kind: config.kind.name() });
    }
    let path = match &config.path {
        Some(path) if !path.is_absolute() => {
            return Err(HandlerError::NotAbsolute { name: name.to_owned(), path: path.clone() });
        }
        Some(path) => path.clone(),
        None => {
            find(name, search_path).ok_or_else(|| HandlerError::NotInstalled { name: name.to_owned() })?
        }
    };
    // A handler whose profile cannot be used would run its containers under another one: better not at all.
    let seccomp = config.seccomp_profile.as_deref().map(|file| seccomp(name, file)).transpose()?;
    let version = ask(name, &path, "--version", search_path)?;
    if !version.status.success() {
        return Err(failed(name, &path, "--version", &version));
    }
    // Old runtimes do not know the verb: they get no optional field.
    let features = ask(name, &path, "features", search_path)?;
    let features = HandlerFeatures::new(
        &String::from_utf8_lossy(&version.stdout),
        features.status.success().then_some(features.stdout.as_slice()),
        &rustix::system::uname().release().to_string_lossy(),
    );
    let root = config.root.clone().unwrap_or_else(|| DEFAULT_ROOT.into());
    Ok(Handler {
        name: name.to_owned(),
        path,
        root,
        features,
        seccomp,
        host_devices: config.host_devices,
        allowed_annotations: config.allowed_annotations.clone().unwrap_or_default(),
    })
}

fn seccomp(name: &str, file: &Path) -> Result<SeccompProfile, HandlerError> {
    SeccompProfile::read(&file.to_string_lossy())
        .map_err(|source| HandlerError::Seccomp { name: name.to_owned(), source: Box::new(source) })
}

/// The first executable file of this name in a list of directories as `$PATH` writes it.
pub(super) fn find(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let is_executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(search_path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(is_executable)
}

struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

fn failed(name: &str, path: &Path, argument: &'static str, answer: &Answer) -> HandlerError {
    let text = if answer.stderr.is_empty() { &answer.stdout } else { &answer.stderr };
    let text = String::from_utf8_lossy(text);
    let output = text.trim().chars().filter(|c| !c.is_control()).take(MAX_ERROR_TEXT).collect();
    HandlerError::Failed {
        name: name.to_owned(),
        path: path.to_path_buf(),
        argument,
        status: answer.status,
        output,
    }
}

fn ask(name: &str, path: &Path, argument: &'static str, search_path: &OsStr) -> Result<Answer, HandlerError> {
    let execute = |source| HandlerError::Execute { name: name.to_owned(), path: path.to_path_buf(), source };
    let mut child = Command::new(path)
        .arg(argument)
        .env_clear()
        .env("PATH", search_path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(execute)?;
    let collected = collect(&mut child, Instant::now() + LIMIT);
    if !matches!(collected, Ok(Some(_))) {
        // It may have ended just now; either way it is waited for.
        drop(child.kill());
    }
    let status = child.wait().map_err(execute)?;
    match collected.map_err(execute)? {
        Some((stdout, stderr)) => Ok(Answer { status, stdout, stderr }),
        None => Err(HandlerError::NoAnswer {
            name: name.to_owned(),
            path: path.to_path_buf(),
            argument,
            limit: LIMIT,
        }),
    }
}

/// Reads both streams until the child ends; `None` when the deadline came first. The end of the child counts and not
/// that of the streams: something it started may keep them open.
fn collect(child: &mut Child, deadline: Instant) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut stdout = Stream::new(child.stdout.take().map(OwnedFd::from))?;
    let mut stderr = Stream::new(child.stderr.take().map(OwnedFd::from))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let open = stdout.pipe.iter().chain(&stderr.pipe).map(|pipe| PollFd::new(pipe, PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> =
            std::iter::once(PollFd::new(&pidfd, PollFlags::IN)).chain(open).collect();
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_ended = !fds[0].revents().is_empty();
        drop(fds);
        stdout.drain()?;
        stderr.drain()?;
        if has_ended {
            return Ok(Some((stdout.content, stderr.content)));
        }
    }
}

struct Stream {
    /// `None` after its end.
    pipe: Option<OwnedFd>,
    content: Vec<u8>,
}

impl Stream {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe.as_fd(), true)?;
        }
        Ok(Self { pipe, content: Vec::new() })
    }

    /// Takes what is there now, at most so much that the deadline is looked at again soon.
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        for _ in 0..64 {
            let Some(pipe) = &self.pipe else { return Ok(()) };
            match rustix::io::read(pipe, &mut buffer[..]) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    let room = MAX_OUTPUT.saturating_sub(self.content.len());
                    self.content.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
