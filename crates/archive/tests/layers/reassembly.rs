//! A layer directory and its tar-split together are the archive again, byte for byte.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ochre_archive::{Applied, RebuildError, Rebuilt};
use ochre_sys::rooted::Root;
use sha2::{Digest, Sha256};

use crate::differential::{GNU_FORMATS, PYTHON_FORMATS, gnu_tar, plant, python_tar};
use crate::forge::{Forge, Header, gzip};
use crate::ground::Ground;

/// Puts an archive together as the readers of the format do, with their checks: names once, positions in order, the
/// whole file with the size that is written down, its checksum.
fn reassemble(lines: &str, layer: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (position, line) in lines.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["position"], position);
        let payload = || STANDARD.decode(line["payload"].as_str().unwrap()).unwrap();
        if line["type"] == 2 {
            archive.extend(payload());
            continue;
        }
        assert_eq!(line["type"], 1);
        let name = match line["name_raw"].as_str() {
            Some(raw) => STANDARD.decode(raw).unwrap(),
            None => line["name"].as_str().unwrap().as_bytes().to_vec(),
        };
        let name = std::path::PathBuf::from(std::ffi::OsString::from_vec(name));
        let clean: std::path::PathBuf =
            name.components().filter(|part| *part != std::path::Component::CurDir).collect();
        assert!(names.insert(clean), "{} twice", name.display());
        let Some(size) = line["size"].as_u64() else {
            assert!(line["payload"].is_null());
            continue;
        };
        let content = fs::read(layer.join(name.strip_prefix("/").unwrap_or(&name))).unwrap();
        assert_eq!(content.len() as u64, size);
        assert_eq!(payload(), crc64_bitwise(&content).to_be_bytes(), "{}", name.display());
        archive.extend(content);
    }
    archive
}

/// CRC-64/ISO straight from its definition, for comparison.
fn crc64_bitwise(content: &[u8]) -> u64 {
    let crc = content.iter().fold(!0u64, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xd8 << 56 } else { 0 })
    });
    !crc
}

/// The same by the library.
fn rebuild(lines: &str, ground: &Ground, output: &mut Vec<u8>) -> Result<Rebuilt, RebuildError> {
    let root = Root::open(&ground.layer()).unwrap();
    ochre_archive::reassemble(&gzip(lines.as_bytes())[..], &root, output)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn round_trip(archive: &[u8], what: &str) -> (Applied, String) {
    let ground = Ground::new();
    let (applied, lines) = ground.apply_split(&gzip(archive));
    assert_eq!(applied.diff_id.hex(), hex(archive), "{what}");
    assert_eq!(applied.diff_size, archive.len() as u64, "{what}");
    assert_eq!(hex(&reassemble(&lines, &ground.layer())), applied.diff_id.hex(), "{what}");
    let mut again = Vec::new();
    let rebuilt = rebuild(&lines, &ground, &mut again).unwrap();
    assert!(again == archive, "{what}");
    assert_eq!((rebuilt.diff_id, rebuilt.size), (applied.diff_id.clone(), applied.diff_size), "{what}");
    (applied, lines)
}

#[test]
fn archives_of_other_programs_come_back() {
    let (tree, short) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(tree.path(), true);
    plant(short.path(), false);
    for format in GNU_FORMATS {
        let tree = if format == ["--format=ustar"] { &short } else { &tree };
        round_trip(&gnu_tar(tree.path(), format), &format.join(" "));
    }
    for format in PYTHON_FORMATS {
        let tree = if format == "USTAR_FORMAT" { &short } else { &tree };
        round_trip(&python_tar(tree.path(), format), format);
    }
}

#[test]
fn odd_archives_come_back() {
    let odd_padding = |mut forge: Forge| {
        let end = forge.0.len();
        forge.0[end - 100..].fill(b'#');
        forge
    };
    let mut latin = Header::new(b'0', "", 3);
    latin.text(0, b"stra\xdfe");
    for (what, archive) in [
        ("no end", Forge::default().file("f", b"x").0),
        ("one zero block", [Forge::default().file("f", b"x").0, vec![0; 512]].concat()),
        ("much padding", [Forge::default().file("f", b"x").0, vec![0; 3_000_000]].concat()),
        ("dirty padding", odd_padding(Forge::default().file("f", b"x")).end()),
        (
            "whiteouts with content",
            Forge::default().file(".wh.a", b"text").file("d/.wh..wh..opq", b"more").end(),
        ),
        ("AUFS", Forge::default().dir(".wh..wh.plnk").file(".wh..wh.plnk/1", b"text").end()),
        ("links", Forge::default().file("a", b"text").hardlink("b", "a").symlink("c", "a").end()),
        (
            "behind a link",
            Forge::default().dir("d").symlink("l", "/d").file("l/f", b"text").file("l/g", b"x").end(),
        ),
        ("names not UTF-8", Forge::default().member(&latin, b"abc").end()),
        (
            "global",
            Forge::default()
                .member(&Header::new(b'g', "g", 0), b"")
                .file("/abs", b"x")
                .file("./b//c", b"y")
                .end(),
        ),
        ("directories twice", Forge::default().dir("d").dir("./d/").file("d/f", b"x").end()),
        ("nothing", Vec::new()),
    ] {
        let (applied, _) = round_trip(&archive, what);
        assert_eq!(applied.replaced, 0, "{what}");
    }
}

#[test]
fn a_replaced_file_is_reported_since_it_cannot_come_back() {
    let ground = Ground::new();
    let archive = Forge::default().file("f", b"old").file("f", b"new").end();
    let (applied, lines) = ground.apply_split(&archive);
    assert_eq!(applied.replaced, 1);
    assert_eq!(lines.lines().filter(|line| line.contains("\"name\"")).count(), 1);
}

#[test]
fn a_large_layer_crosses_every_buffer_and_comes_back() {
    let mut forge = Forge::default();
    for n in 0..600usize {
        let content: Vec<u8> = (0..n * 37 % 9000).map(|i| (i * n) as u8).collect();
        forge = forge.file(&format!("dir{}/file{n}", n % 7), &content);
    }
    let large: Vec<u8> = (0..5_000_000u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    round_trip(&forge.file("large", &large).end(), "large");
}

#[test]
fn a_layer_that_was_changed_or_a_tar_split_that_lies_is_refused() {
    let ground = Ground::new();
    let (_, lines) = ground.apply_split(&Forge::default().dir("d").file("d/f", b"text").end());
    let refused = |lines: &str| rebuild(lines, &ground, &mut Vec::new()).unwrap_err();
    let file = lines.lines().find(|line| line.contains("d/f\"")).unwrap();
    for (from, to) in [
        ("\"size\":4", "\"size\":3"),
        ("\"size\":4", "\"size\":5"),
        ("\"size\":4", "\"size\":18446744073709551615"),
        ("\"d/f\"", "\"d\""),
        ("\"d/f\"", "\"../outside/secret\""),
        ("\"d/f\"", "\"/proc/self/environ\""),
        ("\"position\"", "\"place\""),
        ("\"type\":1", "\"type\":3"),
        ("\"payload\":\"", "\"payload\":\"!"),
    ] {
        let lying = lines.replace(file, &file.replace(from, to));
        assert_ne!(lying, lines, "{to}");
        refused(&lying);
    }
    let swapped: Vec<_> = lines.lines().rev().collect();
    assert!(matches!(refused(&swapped.join("\n")), RebuildError::Line { position: 0, .. }));
    refused(&format!("{{\"type\":2,\"payload\":\"{}", "A".repeat(17 << 20)));
    fs::write(ground.layer().join("d/f"), "tent").unwrap();
    assert!(matches!(refused(&lines), RebuildError::Changed { .. }));
    fs::remove_file(ground.layer().join("d/f")).unwrap();
    std::os::unix::fs::symlink(ground.outside().join("secret"), ground.layer().join("d/f")).unwrap();
    assert!(matches!(refused(&lines), RebuildError::File { .. }));
}

/// The archive made from the files of a layer.
fn created(ground: &Ground) -> Vec<u8> {
    let mut archive = Vec::new();
    let rebuilt = ochre_archive::create_archive(&Root::open(&ground.layer()).unwrap(), &mut archive).unwrap();
    assert_eq!((rebuilt.diff_id.hex(), rebuilt.size), (hex(&archive).as_str(), archive.len() as u64));
    archive
}

#[test]
fn an_archive_made_from_the_files_is_the_same_layer_and_always_the_same_archive() {
    let (first, second) = (Ground::new(), Ground::new());
    let tree = tempfile::tempdir().unwrap();
    plant(tree.path(), true);
    first.apply(&gnu_tar(tree.path(), GNU_FORMATS[0])).unwrap();
    let layer = first.layer();
    fs::create_dir_all(layer.join("opaque/in")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(layer.join("opaque"), "trusted.overlay.opaque", b"y", flags).unwrap();
    rustix::fs::setxattr(layer.join("opaque/in"), "security.capability", &[1, 0, 0, 2], flags).ok();
    let mode = rustix::fs::Mode::from_raw_mode(0);
    rustix::fs::mknodat(rustix::fs::CWD, layer.join("gone"), rustix::fs::FileType::CharacterDevice, mode, 0)
        .unwrap();
    fs::write(layer.join(format!("{}-ö", "long".repeat(60))), "x").unwrap();
    let archive = created(&first);
    assert!(archive == created(&first));
    second.apply(&archive).unwrap();
    assert!(created(&second) == archive, "what it unpacks to makes the same archive");
    let names = second.names();
    assert!(names.contains(&"gone".to_owned()) && names.contains(&"opaque/in".to_owned()), "{names:?}");
    let (mut one, mut other) = (first.seen(), second.seen());
    // The directory above has its own times, which no member carries, and sub-second times of directories come last.
    for seen in [&mut one, &mut other] {
        seen.remove(Path::new(""));
        seen.remove(Path::new("gone"));
    }
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (path, seen) in one {
        assert_eq!(seen, other[&path], "{}", path.display());
    }
}

#[test]
fn a_file_that_refers_to_another_layer_makes_no_archive() {
    let ground = Ground::new();
    fs::write(ground.layer().join("f"), "").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(ground.layer().join("f"), "trusted.overlay.metacopy", b"", flags).unwrap();
    let root = Root::open(&ground.layer()).unwrap();
    let error = ochre_archive::create_archive(&root, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, RebuildError::Refers { .. }), "{error}");
}
