//! A layer directory and its tar-split together are the archive again, byte for byte.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ochre_archive::Applied;
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

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn round_trip(archive: &[u8], what: &str) -> (Applied, String) {
    let ground = Ground::new();
    let (applied, lines) = ground.apply_split(&gzip(archive));
    assert_eq!(applied.diff_id.hex(), hex(archive), "{what}");
    assert_eq!(applied.diff_size, archive.len() as u64, "{what}");
    assert_eq!(hex(&reassemble(&lines, &ground.layer())), applied.diff_id.hex(), "{what}");
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
