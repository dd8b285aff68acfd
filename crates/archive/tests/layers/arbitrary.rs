//! No bytes whatever make the reader panic, hang or write outside; a bent archive is refused or unpacked, no third.

use std::io::Cursor;

use ochre_archive::tar::{Entry, Reader};
use ochre_archive::{ApplyOptions, Decompressor, apply_layer};
use ochre_sys::rooted::Root;
use proptest::prelude::*;

use crate::forge::{BLOCK, Forge, Header, gzip};
use crate::ground::Ground;

/// Reads to the end or to the first error; returns how many members there were.
fn walk(bytes: &[u8]) -> usize {
    let mut reader = Reader::keeping_raw(Cursor::new(bytes));
    let (mut entry, mut count) = (Entry::default(), 0);
    while let Ok(true) = reader.next(&mut entry) {
        count += 1;
        reader.clear_raw();
        while let Ok(Some(piece)) = reader.content() {
            let length = piece.len();
            assert!(length > 0);
            reader.advance(length);
        }
    }
    count
}

fn ordinary() -> Vec<u8> {
    let sparse = [("GNU.sparse.map", &b"1,3"[..]), ("GNU.sparse.numblocks", b"1"), ("GNU.sparse.size", b"9")];
    let mut old = Header::new(b'S', "old", 4);
    old.gnu().octal(483, 12, 64).octal(386, 12, 32).octal(398, 12, 4);
    Forge::default()
        .dir("d")
        .file("d/f", b"content")
        .pax(&[("path", b"d/other"), ("size", b"4"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", b"four")
        .long(b'L', b"d/long")
        .symlink("l", "../../outside")
        .pax(&sparse)
        .file("s", b"run")
        .member(&old, b"data")
        .hardlink("h", "d/f")
        .file(".wh.gone", b"")
        .end()
}

/// Changes bytes, and seals the header blocks again so that more than the checksum is tested.
fn bend(archive: &mut [u8], changes: &[(prop::sample::Index, u8)], seal: bool) {
    for (index, byte) in changes {
        let at = index.index(archive.len());
        archive[at] = *byte;
    }
    if seal {
        for block in archive.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
            let header = Header(block.try_into().unwrap());
            block.copy_from_slice(&header.sealed());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        walk(&bytes);
        if let Ok(mut decompressor) = Decompressor::new(&bytes[..]) {
            let mut buffer = [0; 512];
            while matches!(decompressor.decompress(&mut buffer), Ok(1..)) {}
        }
    }

    #[test]
    fn arbitrary_headers_never_panic(
        mut block in prop::collection::vec(any::<u8>(), 2 * BLOCK..8 * BLOCK),
        flag in prop::sample::select(&b"0123456SxgLK\0"[..]),
        size in 0..2048u64,
    ) {
        block[257..265].copy_from_slice(if flag == b'S' { b"ustar  \0" } else { b"ustar\x0000" });
        let mut header = Header(block[..BLOCK].try_into().unwrap());
        header.0[156] = flag;
        header.octal(100, 8, 0o644).octal(108, 8, 0).octal(116, 8, 0).octal(124, 12, size).octal(136, 12, 0);
        header.octal(329, 8, 0).octal(337, 8, 0);
        block[..BLOCK].copy_from_slice(&header.sealed());
        walk(&block);
    }

    #[test]
    fn bent_archives_stay_inside(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        seal in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        packed in any::<bool>(),
    ) {
        let mut archive = ordinary();
        bend(&mut archive, &changes, seal);
        archive.truncate(cut.map_or(archive.len(), |cut| cut.index(archive.len())));
        let blob = if packed { gzip(&archive) } else { archive };
        let ground = Ground::new();
        let root = Root::open(&ground.layer()).unwrap();
        // Refused or not, whatever was bent; only the canary counts.
        apply_layer(&blob[..], &root, Some(&mut Vec::new()), &ApplyOptions::default()).ok();
        ground.check_canary();
    }
}

#[test]
fn the_ordinary_archive_is_read_whole() {
    assert_eq!(walk(&ordinary()), 8);
    Ground::new().apply(&ordinary()).unwrap();
}
