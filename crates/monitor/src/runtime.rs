//! Calling an OCI runtime: `runc`'s command line, which crun and ours share.
//!
//! Each call has its own files `op.<serial>.*` in the monitor's directory, removed when it is over:
//! `log` (the runtime's own JSON log, where the text of a failure is), `pid`, `sock` (console socket), `json` (process).
//! What the runtime prints goes into a sealed memory file of fixed size, which bounds it without anybody reading along.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ochre_monitor_api::RuntimeCommand;
use ochre_monitor_api::wire::MAX_TEXT;
use ochre_sys::spawn::{Child, Program};
use rustix::fs::{AtFlags, MemfdFlags, Mode, OFlags, SealFlags};

/// What a runtime may print.
const PRINTED: u64 = 16 * 1024;
/// How much of a runtime's log is read for the text of a failure.
const LOG_LIMIT: usize = 64 * 1024;
/// The suffixes of a call's files.
const FILES: [&str; 4] = ["log", "pid", "sock", "json"];

/// The files of one call.
#[derive(Debug, Clone)]
pub(crate) struct CallFiles {
    dir: PathBuf,
    serial: u32,
}

impl CallFiles {
    pub(crate) fn new(dir: PathBuf, serial: u32) -> Self {
        Self { dir, serial }
    }

    fn name(&self, suffix: &str) -> String {
        format!("op.{}.{suffix}", self.serial)
    }

    /// The absolute path of one of the files.
    pub(crate) fn path(&self, suffix: &str) -> OsString {
        self.dir.join(self.name(suffix)).into()
    }

    pub(crate) fn remove(&self, dir: &OwnedFd) {
        for suffix in FILES {
            // Most of them were never made.
            rustix::fs::unlinkat(dir, self.name(suffix), AtFlags::empty()).ok();
        }
    }

    /// Writes the `json` file.
    pub(crate) fn write_json(&self, dir: &OwnedFd, content: &[u8]) -> io::Result<()> {
        ochre_sys::atomic::write(
            dir,
            &self.name("json"),
            content,
            0o600,
            ochre_sys::atomic::Durability::Volatile,
        )
    }

    /// The pid the runtime wrote.
    pub(crate) fn read_pid(&self, dir: &OwnedFd) -> Option<i32> {
        let text = self.read(dir, "pid", 32)?;
        std::str::from_utf8(&text).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
    }

    /// The text of the last error in the runtime's log.
    pub(crate) fn read_error(&self, dir: &OwnedFd) -> Option<String> {
        last_error(&String::from_utf8_lossy(&self.read(dir, "log", LOG_LIMIT)?))
    }

    fn read(&self, dir: &OwnedFd, suffix: &str, limit: usize) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, self.name(suffix), flags, Mode::empty()).ok()?;
        let mut content = vec![0; limit];
        let mut filled = 0;
        while let Some(room) = content.get_mut(filled..).filter(|room| !room.is_empty()) {
            match rustix::io::read(&file, room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        content.truncate(filled);
        Some(content)
    }
}

/// Removes the files of calls that a killed predecessor in the same directory was making.
pub(crate) fn remove_leftovers(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let text = name.as_bytes();
        if text.starts_with(b"op.") && FILES.iter().any(|suffix| text.ends_with(suffix.as_bytes())) {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// What a call's descriptors 0, 1 and 2 are; absent ones become `/dev/null` (stdin) or the bounded memory file.
#[derive(Default)]
pub(crate) struct CallStdio<'a> {
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: Option<BorrowedFd<'a>>,
    pub(crate) stderr: Option<BorrowedFd<'a>>,
}

/// Starts the runtime with its global flags and `arguments`. Returns the child and what it prints into.
pub(crate) fn start(
    runtime: &RuntimeCommand,
    files: &CallFiles,
    arguments: &[&OsStr],
    stdio: &CallStdio<'_>,
) -> io::Result<(Child, OwnedFd)> {
    let log = files.path("log");
    let mut all: Vec<&OsStr> = vec![runtime.path.as_os_str(), "--root".as_ref(), runtime.root.as_os_str()];
    if runtime.systemd_cgroup {
        all.push("--systemd-cgroup".as_ref());
    }
    all.extend(["--log".as_ref(), log.as_os_str(), "--log-format".as_ref(), "json".as_ref()]);
    all.extend(arguments);
    let text = |text: &OsStr| {
        CString::new(text.as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    };
    let args = all.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let env = [c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    let printed = memory_file(&[])?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let descriptors = [
        stdio.stdin.unwrap_or(null.as_fd()),
        stdio.stdout.unwrap_or(printed.as_fd()),
        stdio.stderr.unwrap_or(printed.as_fd()),
    ];
    let path = text(runtime.path.as_os_str())?;
    let child = Program { path: &path, args: &args, env: &env, descriptors: &descriptors }.spawn()?;
    Ok((child, printed))
}

/// A memory file: with `content` to be read from its start, or empty and of the fixed size that may be printed.
pub(crate) fn memory_file(content: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("ochre-monitor", flags)?;
    rustix::fs::ftruncate(&file, if content.is_empty() { PRINTED } else { content.len() as u64 })?;
    let mut at = 0;
    while let Some(rest) = content.get(at..).filter(|rest| !rest.is_empty()) {
        at += rustix::io::pwrite(&file, rest, at as u64)?;
    }
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

/// What was printed into a memory file, as text.
pub(crate) fn printed(file: &OwnedFd) -> String {
    let mut content = vec![0; PRINTED as usize];
    let read = rustix::io::pread(file, &mut content[..], 0).unwrap_or(0);
    content.truncate(read);
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(read);
    content.truncate(end);
    String::from_utf8_lossy(&content).trim().to_owned()
}

/// The first of several texts that says anything, cut to what a reply may carry.
pub(crate) fn message(texts: impl IntoIterator<Item = String>) -> Option<String> {
    let mut text = texts.into_iter().find(|text| !text.trim().is_empty())?;
    text.truncate(text.floor_char_boundary(MAX_TEXT.min(4096)));
    Some(text)
}

/// The `msg` of the last line with level error or fatal.
fn last_error(log: &str) -> Option<String> {
    let is_error =
        |line: &&str| ["error", "fatal"].iter().any(|level| member(line, "level").as_deref() == Some(*level));
    log.lines().rev().filter(is_error).find_map(|line| member(line, "msg"))
}

/// A string member of a flat JSON object. Enough for the one line that all runtimes write; anything else is `None`.
fn member(object: &str, name: &str) -> Option<String> {
    let mut rest = object.trim_start().strip_prefix('{')?;
    loop {
        let (key, after) = string(rest.trim_start())?;
        let (value, after) = string(after.trim_start().strip_prefix(':')?.trim_start())?;
        if key == name {
            return Some(value);
        }
        rest = after.trim_start().strip_prefix(',')?;
    }
}

/// A JSON string at the start of the text, and what follows it.
fn string(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                'u' => {
                    let digits = chars.as_str().get(..4)?;
                    value.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?).unwrap_or('\u{fffd}'));
                    chars = chars.as_str().get(4..)?.chars();
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// A path for `bind`, which takes 107 bytes: through our own descriptor of the directory when it is longer. The result is
/// valid in every process that may look into `/proc`.
pub(crate) fn socket_path(files: &CallFiles, dir: &OwnedFd) -> OsString {
    let path = files.path("sock");
    if path.len() < 108 {
        return path;
    }
    use std::os::fd::AsRawFd;
    let through = format!("/proc/{}/fd/{}/", crate::process::own_pid(), dir.as_raw_fd());
    OsString::from_vec([through.into_bytes(), files.name("sock").into_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_runtime_log_is_found() {
        let log = r#"{"level":"warning","msg":"odd","time":"t"}
{"level":"error","msg":"first","time":"t"}
{"level":"error","msg":"exec: \"nope\": not found\n\u0041\tend","time":"t"}
{"msg":"later","level":"debug"}
{"level":"error","msg":"cut of"#;
        assert_eq!(last_error(log).unwrap(), "exec: \"nope\": not found\nA\tend");
        for garbage in [
            "",
            "{",
            "{}",
            "null",
            "{\"level\":\"error\"}",
            "{\"level\":{}}",
            "{\"level\":\"error\",\"msg\":\"\\u00",
        ] {
            assert_eq!(last_error(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn printing_is_bounded_by_the_file_itself() {
        let file = memory_file(&[]).unwrap();
        let much = vec![b'x'; 3 * PRINTED as usize];
        rustix::io::write(&file, b"hello ").unwrap();
        rustix::io::write(&file, &much).ok();
        rustix::io::write(&file, &much).ok();
        assert!(rustix::fs::fstat(&file).unwrap().st_size as u64 == PRINTED);
        assert!(printed(&file).starts_with("hello "));
        assert_eq!(printed(&memory_file(&[]).unwrap()), "");
    }
}
