//! `<dir>/<container id>.exit`: how a container ended, readable when its monitor is gone.
//!
//! One line of decimal numbers: `1 <code> <finished_at, ns since 1970> <oom: 0 or 1> <pid>\n`. The leading 1 is the format's
//! version. The file is written whole (temporary file, rename) before anybody is told of the exit, and removed when the
//! container is deleted.

use std::io;
use std::path::Path;

use ochre_types::{ContainerId, Exit, Timestamp};

/// No record is longer.
const LIMIT: u64 = 128;

/// The name of a container's record in the monitor's directory.
pub fn file_name(id: &ContainerId) -> String {
    format!("{id}.exit")
}

/// The record's content.
pub fn format(pid: i32, exit: &Exit) -> String {
    format!("1 {} {} {} {pid}\n", exit.code, exit.finished_at.nanos(), u8::from(exit.oom_killed))
}

/// Reads a record's content: the pid and the exit. `None` for anything [`format()`] did not write.
pub fn parse(content: &str) -> Option<(i32, Exit)> {
    let mut fields = content.strip_suffix('\n')?.split(' ');
    let mut field = || fields.next();
    if field()? != "1" {
        return None;
    }
    let code = field()?.parse().ok()?;
    let finished_at = Timestamp::from_nanos(field()?.parse().ok()?);
    let oom_killed = match field()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let pid = field()?.parse().ok()?;
    field().is_none().then_some((pid, Exit { code, finished_at, oom_killed }))
}

/// Reads the record of a container from its monitor's directory. `None` when there is none.
///
/// # Errors
/// `InvalidData` for a damaged record; otherwise the error of reading it.
pub fn read(dir: &Path, id: &ContainerId) -> io::Result<Option<(i32, Exit)>> {
    let file = match std::fs::File::open(dir.join(file_name(id))) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, LIMIT), &mut content)?;
    parse(&content).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "damaged exit record"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_damage_is_noticed() {
        let exit = Exit {
            code: 137,
            finished_at: Timestamp::from_nanos(1_700_000_000_123_456_789),
            oom_killed: true,
        };
        let text = format(4242, &exit);
        assert_eq!(text, "1 137 1700000000123456789 1 4242\n");
        assert_eq!(parse(&text), Some((4242, exit)));
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None, "{end}");
        }
        for bad in ["", "\n", "2 0 0 0 1\n", "1 0 0 2 1\n", "1 0 0 0 1 1\n", "1 x 0 0 1\n"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
