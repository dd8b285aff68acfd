//! Snapshots, rewrites and damaged files.

use super::*;
use crate::disk::images::{FILES, ImageRecord, LOCK};

fn id(digit: char) -> String {
    String::from(digit).repeat(64)
}

fn record(digit: char, name: &str) -> ImageRecord {
    ImageRecord { id: id(digit), names: vec![name.into()], ..ImageRecord::default() }
}

fn open(dir: &Path) -> Table<ImageRecord> {
    Table::open(dir.to_owned(), LOCK, FILES).unwrap()
}

#[test]
fn another_program_s_write_is_seen_and_ours_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let mut writer = one.write().unwrap();
    writer.push(0, record('a', "x"));
    writer.save(0).unwrap();
    drop(writer);
    assert_eq!(two.current().unwrap().view.all.len(), 1);
    let mut writer = two.write().unwrap();
    writer.push(0, record('b', "y"));
    writer.save(0).unwrap();
    drop(writer);
    assert_eq!(one.current().unwrap().view.all.len(), 2);
}

#[test]
fn a_reader_is_served_the_last_snapshot_while_somebody_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = (open(dir.path()), open(dir.path()));
    let mut held = writer.write().unwrap();
    held.push(0, record('a', "x"));
    held.save(0).unwrap();
    assert_eq!(reader.current().unwrap().view.all.len(), 0);
    drop(held);
    assert_eq!(reader.current().unwrap().view.all.len(), 1);
}

#[test]
fn unknown_fields_and_foreign_records_survive_a_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        r#"[{{"id":"not-hexadecimal","names":null,"future":{{"a":[1,2.5]}}}},{{"id":"{}","flags":{{"x":true}},"created":"0001-01-01T00:00:00Z"}}]"#,
        id('c')
    );
    std::fs::write(dir.path().join("images.json"), &text).unwrap();
    let table = open(dir.path());
    assert_eq!(table.current().unwrap().view.all.len(), 1);
    let mut writer = table.write().unwrap();
    writer.push(0, record('a', "x"));
    writer.save(0).unwrap();
    let written = std::fs::read_to_string(dir.path().join("images.json")).unwrap();
    for kept in [
        r#""future":{"a":[1,2.5]}"#,
        r#""flags":{"x":true}"#,
        r#""created":"0001-01-01T00:00:00Z""#,
        "not-hexadecimal",
    ] {
        assert!(written.contains(kept), "{kept} is missing in {written}");
    }
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    let path = dir.path().join("images.json");
    std::fs::write(&path, r#"[{"id":"a"#).unwrap();
    for result in [table.current().map(drop), table.write().map(drop)] {
        assert!(matches!(result, Err(Error::Corrupt { path: named, .. }) if named == path));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), r#"[{"id":"a"#);
    std::fs::write(&path, "").unwrap();
    assert_eq!(table.current().unwrap().view.all.len(), 0);
}

#[test]
fn temporary_files_of_a_dead_writer_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    std::fs::write(dir.path().join(".images.json.7.0.tmp"), "[").unwrap();
    std::fs::write(dir.path().join("keep"), "").unwrap();
    table.write().unwrap().sweep_temporary_files().unwrap();
    assert!(!dir.path().join(".images.json.7.0.tmp").exists() && dir.path().join("keep").exists());
}
