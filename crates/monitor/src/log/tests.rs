use proptest::prelude::*;

use super::line::{Tag, push_record, stamp};
use super::*;

#[test]
fn times_are_rfc_3339_in_utc() {
    for (seconds, nanos, text) in [
        (0, 0, "1970-01-01T00:00:00.000000000Z"),
        (1, 1, "1970-01-01T00:00:01.000000001Z"),
        (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999999Z"),
        (951_782_400, 0, "2000-02-29T00:00:00.000000000Z"),
        (1_709_251_199, 5, "2024-02-29T23:59:59.000000005Z"),
        (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
        (-1, 0, "1969-12-31T23:59:59.000000000Z"),
        (i64::MAX, 0, "9999-12-31T23:59:59.000000000Z"),
        (i64::MIN, 0, "0000-01-01T00:00:00.000000000Z"),
    ] {
        assert_eq!(std::str::from_utf8(&stamp(seconds, nanos)).unwrap(), text);
    }
}

#[test]
fn a_record_is_time_stream_tag_and_content() {
    let mut out = Vec::new();
    push_record(&mut out, &stamp(0, 0), Stream::Stderr, Tag::Partial, &[b"a", b"b"]);
    assert_eq!(out, b"1970-01-01T00:00:00.000000000Z stderr P ab\n");
}

/// Stream, tag and content of every record of a log file.
fn records(path: &Path) -> Vec<(String, String, Vec<u8>)> {
    let content = std::fs::read(path).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    content
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let line = line.strip_suffix(b"\n").expect("no record is torn");
            let fields: Vec<&[u8]> = line.splitn(4, |byte| *byte == b' ').collect();
            assert_eq!(fields[0].len(), 30);
            (text(fields[1]), text(fields[2]), fields[3].to_vec())
        })
        .collect()
}

fn written(pieces: &[(Stream, &[u8])]) -> Vec<(String, String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::open(Some(path.clone())).unwrap();
    for (stream, bytes) in pieces {
        log.write(*stream, bytes);
    }
    log.end(Stream::Stdout);
    log.end(Stream::Stderr);
    records(&path)
}

fn record(stream: &str, tag: &str, content: &[u8]) -> (String, String, Vec<u8>) {
    (stream.into(), tag.into(), content.into())
}

#[test]
fn lines_are_joined_cut_and_ended() {
    use Stream::{Stderr, Stdout};
    let long = vec![b'x'; LONGEST];
    let with_newline = [&long[..], b"\n"].concat();
    let longer = [&long[..], b"y\n"].concat();
    for (pieces, expected) in [
        (
            vec![(Stdout, &b"one\ntwo\n"[..])],
            vec![record("stdout", "F", b"one"), record("stdout", "F", b"two")],
        ),
        (vec![(Stdout, b"\n")], vec![record("stdout", "F", b"")]),
        (vec![(Stdout, b"on"), (Stdout, b"e\n")], vec![record("stdout", "F", b"one")]),
        (
            vec![(Stdout, b"ou"), (Stderr, b"er"), (Stdout, b"t\n"), (Stderr, b"r\n")],
            vec![record("stdout", "F", b"out"), record("stderr", "F", b"err")],
        ),
        (vec![(Stdout, b"end")], vec![record("stdout", "P", b"end")]),
        (vec![(Stdout, b"a\r\n")], vec![record("stdout", "F", b"a\r")]),
        (vec![(Stdout, &with_newline)], vec![record("stdout", "F", &long)]),
        (vec![(Stdout, &longer)], vec![record("stdout", "P", &long), record("stdout", "F", b"y")]),
        (vec![(Stdout, b"z"), (Stdout, &longer)], {
            let first = [b"z", &long[1..]].concat();
            vec![record("stdout", "P", &first), record("stdout", "F", b"xy")]
        }),
        (vec![(Stdout, b"a\0\xff\n")], vec![record("stdout", "F", b"a\0\xff")]),
    ] {
        assert_eq!(written(&pieces), expected);
    }
}

proptest! {
    #[test]
    fn the_content_of_all_records_is_what_was_written(
        pieces in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..20_000), 0..6),
    ) {
        let writes: Vec<_> = pieces.iter().map(|piece| (Stream::Stdout, &piece[..])).collect();
        let mut content = Vec::new();
        for (_, tag, text) in written(&writes) {
            prop_assert!(text.len() <= LONGEST);
            content.extend(text);
            if tag == "F" {
                content.push(b'\n');
            }
        }
        prop_assert_eq!(content, pieces.concat());
    }
}

#[test]
fn only_regular_files_are_opened_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("target"), "").unwrap();
    std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    let reader = rustix::fs::open(at("fifo"), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    for hostile in ["link", "fifo", "."] {
        assert!(Log::open(Some(at(hostile))).is_err(), "{hostile}");
    }
    drop(reader);
    assert!(Log::open(Some("/dev/null".into())).is_err());
}

#[test]
fn a_failed_reopen_keeps_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, rotated) = (dir.path().join("log"), dir.path().join("log.1"));
    let mut log = Log::open(Some(path.clone())).unwrap();
    log.write(Stream::Stdout, b"one\n");
    std::fs::rename(&path, &rotated).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(log.reopen().is_err());
    log.write(Stream::Stdout, b"two\n");
    assert_eq!(records(&rotated).len(), 2);
    std::fs::remove_dir(&path).unwrap();
    log.reopen().unwrap();
    log.write(Stream::Stdout, b"three\n");
    assert_eq!(records(&path), [record("stdout", "F", b"three")]);
}

#[test]
fn a_full_disk_drops_lines_whole_and_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    rustix::mount::mount("tmpfs", &mount, "tmpfs", rustix::mount::MountFlags::empty(), c"size=64k").unwrap();
    let unmount = Unmount(mount.clone());
    let path = mount.join("log");
    let mut log = Log::open(Some(path.clone())).unwrap();
    let line = [vec![b'x'; 999], b"\n".to_vec()].concat();
    for _ in 0..100 {
        log.write(Stream::Stdout, &line);
    }
    let full = records(&path);
    assert!(full.len() < 70 && full.len() > 50, "{}", full.len());
    // Rotation frees the space.
    std::fs::remove_file(&path).unwrap();
    log.reopen().unwrap();
    log.write(Stream::Stdout, b"back\n");
    log.write(Stream::Stdout, b"again\n");
    let after = records(&path);
    assert_eq!(after.len(), 3);
    let marker = String::from_utf8(after[0].2.clone()).unwrap();
    let expected = (100 - full.len()) * (1000 + 30 + 10);
    assert!(marker.starts_with(&format!("ochre: {expected} bytes of log were lost: ")), "{marker}");
    assert_eq!(after[1..], [record("stdout", "F", b"back"), record("stdout", "F", b"again")]);
    drop((log, unmount));
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}
