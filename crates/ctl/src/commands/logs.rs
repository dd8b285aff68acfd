//! `logs`: reads the container's log file on this machine.
//!
//! ```text
//! find the start (--tail) -> line by line: parse, --since, --stream, --limit-bytes, print
//!   end of file: done, or with --follow: wait; the file was replaced: open the new one; the container ended: read on
//!   to the end once more, done
//! ```

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ochre_cri_api as api;

use super::{Outcome, present};
use crate::engine::{Runtime, Session};
use crate::error::Error;
use crate::{say, units};

/// The longest line that is kept; the rest of it counts as the next one.
const MAX_LINE: u64 = 1 << 20;
/// Between two looks at a log that is followed.
const LOOK: Duration = Duration::from_millis(100);
/// So many looks between two questions whether the container runs.
const LOOKS: u32 = 10;

pub(super) async fn logs(session: &Session) -> Result<Outcome, Error> {
    let given = &session.given;
    let id = given.first();
    if id.is_empty() {
        return Err(Error::arguments("ID cannot be empty"));
    }
    if given.arguments.len() > 1 {
        return Ok(Outcome::Help);
    }
    let mut runtime = session.runtime().await?;
    if given.on("reopen") {
        let request = api::ReopenContainerLogRequest { container_id: id.to_owned() };
        session.call("reopen container logs", runtime.reopen_container_log(request)).await?;
        say::note("Container logs reopened");
    }
    let mut printer = Printer::new(session)?;
    let status = status(session, &mut runtime, id).await?;
    let path = path(&status, given.on("previous"))?;
    let mut log = Log::open(&path)?;
    let tail = usize::try_from(given.number("tail")).ok();
    if let Some(tail) = tail {
        log.seek_to_last(tail).map_err(|source| Error::File { path: path.clone(), source })?;
    }
    let follow = given.on("follow");
    let mut left = tail.filter(|_| !follow).unwrap_or(usize::MAX);
    let mut running = true;
    loop {
        while left > 0 {
            let Some(line) = log.line(!follow || !running)? else { break };
            if !printer.print(&line)? {
                return Ok(Outcome::Done);
            }
            left -= 1;
        }
        if !follow || !running {
            return Ok(Outcome::Done);
        }
        running = wait(session, &mut runtime, &status.id, &mut log).await?;
    }
}

async fn status(session: &Session, runtime: &mut Runtime, id: &str) -> Result<api::ContainerStatus, Error> {
    let request = api::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let answer = session.call("getting container status", runtime.container_status(request)).await?;
    present(answer.status, "status")
}

/// Until the log grows or is replaced, or the container ends (false).
async fn wait(session: &Session, runtime: &mut Runtime, id: &str, log: &mut Log) -> Result<bool, Error> {
    loop {
        for _ in 0..LOOKS {
            if log.changed()? {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        match status(session, runtime, id).await {
            Ok(status) if status.state() == api::ContainerState::ContainerRunning => {}
            Ok(_) => return Ok(false),
            // The engine may restart meanwhile; the container goes on.
            Err(error) if error.kind() == ochre_types::ErrorKind::Unavailable => {}
            Err(error) if error.kind() == ochre_types::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// The log's path; the one of the attempt before lies beside it.
fn path(status: &api::ContainerStatus, previous: bool) -> Result<PathBuf, Error> {
    if status.log_path.is_empty() {
        return Err(Error::arguments("the container has not set log path"));
    }
    let path = PathBuf::from(&status.log_path);
    if !previous {
        return Ok(path);
    }
    let metadata = status.metadata.clone().unwrap_or_default();
    let before = metadata.attempt.checked_sub(1).ok_or_else(|| {
        Error::arguments(format!("previous terminated container {} not found", metadata.name))
    })?;
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    Ok(path.with_file_name(format!("{before}{}", extension.unwrap_or_default())))
}

struct Log {
    path: PathBuf,
    reader: BufReader<File>,
    inode: u64,
}

impl Log {
    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        Ok(Self { path: path.to_owned(), reader: BufReader::new(file), inode })
    }

    /// Moves to the beginning of the last so many lines; an incomplete line is none.
    fn seek_to_last(&mut self, lines: usize) -> std::io::Result<()> {
        let mut end = self.reader.seek(SeekFrom::End(0))?;
        let mut block = vec![0; 1 << 16];
        let mut seen = 0;
        while end > 0 {
            let length = end.min(block.len() as u64);
            let start = end - length;
            self.reader.seek(SeekFrom::Start(start))?;
            // Never more than the block.
            block.truncate(usize::try_from(length).unwrap_or(block.len()));
            let bytes = &mut block[..];
            self.reader.read_exact(bytes)?;
            for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                seen += 1;
                if seen > lines {
                    return self.reader.seek(SeekFrom::Start(start + at as u64 + 1)).map(drop);
                }
            }
            end = start;
        }
        self.reader.seek(SeekFrom::Start(0)).map(drop)
    }

    /// The next line; one without its end only when no more can come.
    fn line(&mut self, last: bool) -> Result<Option<Vec<u8>>, Error> {
        let failed = |source| Error::File { path: self.path.clone(), source };
        let mut line = Vec::new();
        (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed)?;
        let whole = line.ends_with(b"\n") || line.len() as u64 == MAX_LINE;
        if line.is_empty() {
            return Ok(None);
        }
        if !whole && !last {
            let back = i64::try_from(line.len()).unwrap_or(0);
            self.reader.seek(SeekFrom::Current(-back)).map_err(failed)?;
            return Ok(None);
        }
        Ok(Some(line))
    }

    /// Whether there is more to read. A file that took this one's place is opened.
    fn changed(&mut self) -> Result<bool, Error> {
        let failed = |source| Error::File { path: self.path.clone(), source };
        let at = self.reader.stream_position().map_err(failed)?;
        if self.reader.get_ref().metadata().map_err(failed)?.len() > at {
            let mut probe = Vec::new();
            (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut probe).map_err(failed)?;
            self.reader.seek(SeekFrom::Start(at)).map_err(failed)?;
            if probe.ends_with(b"\n") {
                return Ok(true);
            }
        }
        match std::fs::metadata(&self.path) {
            Ok(now) if now.ino() != self.inode => {
                *self = Self::open(&self.path)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// What is printed of a log, and how.
#[allow(clippy::struct_excessive_bools)] // The command's own switches.
struct Printer {
    since: Option<Timestamp>,
    times: bool,
    stdout: bool,
    stderr: bool,
    left: usize,
    new_line: bool,
}

impl Printer {
    fn new(session: &Session) -> Result<Self, Error> {
        let given = &session.given;
        let stream = given.text("stream");
        if !matches!(stream, "" | "stdout" | "stderr") {
            let possible = "stdout, stderr";
            return Err(Error::Choice { what: "stream", value: stream.to_owned(), possible });
        }
        if given.is_set("tail") && given.is_set("stream") {
            return Err(Error::arguments("--tail and --stream are mutually exclusive"));
        }
        Ok(Self {
            since: since(given.text("since"))?,
            times: given.on("timestamps"),
            stdout: stream != "stderr",
            stderr: stream != "stdout",
            left: usize::try_from(given.number("limit-bytes")).unwrap_or(usize::MAX),
            new_line: true,
        })
    }

    /// False: the limit is reached.
    fn print(&mut self, line: &[u8]) -> Result<bool, Error> {
        let Some(entry) = Entry::parse(line) else {
            say::failure(&format!(
                "not a log line: {:?}",
                String::from_utf8_lossy(&line[..line.len().min(200)])
            ));
            return Ok(true);
        };
        let wanted = if entry.stderr { self.stderr } else { self.stdout };
        let begins =
            std::mem::replace(&mut self.new_line, entry.text.last().is_none_or(|last| *last == b'\n'));
        if !wanted || self.since.is_some_and(|since| entry.time < since) {
            return Ok(true);
        }
        let mut out = Vec::new();
        if self.times && begins {
            out.extend_from_slice(stamp(entry.time, &entry.zone).as_bytes());
        }
        out.extend_from_slice(&entry.text);
        out.truncate(self.left);
        self.left -= out.len();
        if entry.stderr {
            std::io::stderr().write_all(&out).map_err(Error::Output)?;
        } else {
            say::bytes(&out)?;
        }
        Ok(self.left > 0)
    }
}

/// Nine digits of the second and the zone that the log has, then a blank.
fn stamp(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    let zone = zoned.strftime("%:z").to_string();
    let zone = if zone == "+00:00" { "Z" } else { &zone };
    format!("{}{zone} ", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

/// The zone at the end of an RFC 3339 time; UTC for `Z`.
fn zone_of(time: &str) -> TimeZone {
    let offset = || {
        let (sign, rest) = time.get(time.len().checked_sub(6)?..)?.split_at_checked(1)?;
        let (hours, minutes) = rest.split_once(':')?;
        let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
        let seconds = match sign {
            "+" => seconds,
            "-" => -seconds,
            _ => return None,
        };
        jiff::tz::Offset::from_seconds(seconds).ok()
    };
    offset().map_or(TimeZone::UTC, TimeZone::fixed)
}

/// One line of a log.
struct Entry {
    time: Timestamp,
    zone: TimeZone,
    stderr: bool,
    text: Vec<u8>,
}

impl Entry {
    /// CRI's format, or Docker's JSON.
    fn parse(line: &[u8]) -> Option<Self> {
        if line.starts_with(b"{") {
            return Self::docker(line);
        }
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let text = std::str::from_utf8(parts.next()?).ok()?;
        let (time, zone) = (text.parse().ok()?, zone_of(text));
        let stderr = match parts.next()? {
            b"stdout" => false,
            b"stderr" => true,
            _ => return None,
        };
        let tags = parts.next()?;
        let mut text = parts.next()?.to_vec();
        if tags.split(|byte| *byte == b':').next() == Some(b"P") && text.ends_with(b"\n") {
            text.pop();
        }
        Some(Self { time, zone, stderr, text })
    }

    fn docker(line: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(line).ok()?;
        let time = value["time"].as_str()?;
        Some(Self {
            time: time.parse().ok()?,
            zone: zone_of(time),
            stderr: value["stream"] == "stderr",
            text: value["log"].as_str()?.as_bytes().to_vec(),
        })
    }
}

/// A duration back from now, a time with or without its zone, or seconds since 1970.
fn since(text: &str) -> Result<Option<Timestamp>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let back = units::duration(text)
        .and_then(|back| jiff::SignedDuration::try_from(back).ok())
        .and_then(|back| Timestamp::now().checked_sub(back).ok());
    let time = || text.parse::<Timestamp>().ok();
    let local = || text.parse::<DateTime>().ok().and_then(|time| time.to_zoned(TimeZone::system()).ok());
    let seconds = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let nanoseconds = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
        Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
    };
    let found = back.or_else(time).or_else(|| local().map(|time| time.timestamp())).or_else(seconds);
    found
        .map(Some)
        .ok_or_else(|| Error::arguments(format!("--since {text:?} is neither a duration nor a time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_formats_are_read() {
        let full = Entry::parse(b"2026-01-02T03:04:05.5Z stderr F a b\n").unwrap();
        assert!(full.stderr && full.text == b"a b\n");
        assert_eq!(stamp(full.time, &full.zone), "2026-01-02T03:04:05.500000000Z ");
        let elsewhere = Entry::parse(b"2026-01-02T03:04:05.5-02:30 stdout F a\n").unwrap();
        assert_eq!(stamp(elsewhere.time, &elsewhere.zone), "2026-01-02T03:04:05.500000000-02:30 ");
        assert_eq!(Entry::parse(b"2026-01-02T03:04:05Z stdout P:x part\n").unwrap().text, b"part");
        let docker =
            Entry::parse(br#"{"log":"x\n","stream":"stderr","time":"2026-01-02T03:04:05Z"}"#).unwrap();
        assert!(docker.stderr && docker.text == b"x\n");
        for wrong in [&b"x"[..], b"2026 stdout F x", b"2026-01-02T03:04:05Z other F x", b"{}"] {
            assert!(Entry::parse(wrong).is_none());
        }
    }

    #[test]
    fn the_tail_starts_at_a_line_and_does_not_count_an_incomplete_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1\n2\n3\npart").unwrap();
        for (tail, said) in [(0, "part"), (1, "3\n"), (2, "2\n"), (9, "1\n")] {
            let mut log = Log::open(file.path()).unwrap();
            log.seek_to_last(tail).unwrap();
            assert_eq!(log.line(true).unwrap().unwrap(), said.as_bytes());
        }
    }

    #[test]
    fn since_takes_durations_times_and_seconds() {
        assert!(since("").unwrap().is_none());
        for right in
            ["42m", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02", "1700000000", "1700000000.5"]
        {
            assert!(since(right).is_ok(), "{right}");
        }
        assert!(since("yesterday").is_err());
    }
}
