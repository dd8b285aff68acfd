//! What an attacker would put into a layer, with a canary outside of it.

use std::io::{self, Read};
use std::time::Duration;

use ochre_archive::tar::{Fault, TarError};
use ochre_archive::{
    ApplyOptions, DecompressError, Error, Limits, VerifyError, VerifyingReader, apply_layer,
};
use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;

use crate::forge::{BLOCK, Forge, Header, gzip, record};
use crate::ground::Ground;

fn refused(name: &str, archive: &[u8]) -> Error {
    let ground = Ground::new();
    match ground.apply(archive) {
        Ok(applied) => panic!("{name} was accepted: {applied:?}, {:?}", ground.names()),
        Err(error) => error,
    }
}

#[test]
fn names_that_climb_are_refused_and_name_the_path() {
    for name in ["../outside/new", "a/../../outside/new", "/../outside/secret", "..", "./.."] {
        let archive = Forge::default().file(name, b"owned").end();
        assert!(matches!(refused(name, &archive), Error::Escapes { path } if path.to_str() == Some(name)));
        let link = Forge::default().file("f", b"x").hardlink("l", name).end();
        assert!(matches!(refused(name, &link), Error::Escapes { .. }));
        let long = Forge::default().long(b'L', name.as_bytes()).file("short", b"x").end();
        assert!(matches!(refused(name, &long), Error::Escapes { .. }));
        let pax = Forge::default().pax(&[("path", name.as_bytes())]).file("short", b"x").end();
        assert!(matches!(refused(name, &pax), Error::Escapes { .. }));
    }
}

#[test]
fn absolute_names_and_links_stay_inside() {
    let ground = Ground::new();
    let outside = ground.outside();
    let outside = outside.to_str().unwrap();
    let inside = outside.trim_start_matches('/');
    let archive = Forge::default()
        .file(&format!("{outside}/secret"), b"inside")
        .symlink("absolute", outside)
        .file("absolute/secret", b"through the link")
        .dir("absolute/dir")
        .hardlink("hard", &format!("{outside}/secret"))
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(ground.text(&format!("{inside}/secret")), "through the link");
    assert_eq!(ground.text("hard"), "through the link");
}

#[test]
fn links_in_the_middle_of_a_path_never_leave() {
    let ground = Ground::new();
    let archive = Forge::default()
        .dir("deep")
        .dir("outside")
        .symlink("up", "../../../outside")
        .symlink("deep/up", "../../../../outside")
        .symlink("chain", "deep/up")
        .file("up/secret", b"1")
        .file("deep/up/dir", b"2")
        .file("chain/third", b"3")
        .file("up/.wh.gone", b"")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(ground.text("outside/secret"), "1");
    assert_eq!(ground.text("outside/dir"), "2");
    assert_eq!(ground.text("outside/third"), "3");
    assert!(ground.at("outside/gone").is_whiteout());
}

#[test]
fn the_last_component_is_replaced_and_never_followed() {
    let ground = Ground::new();
    let outside = ground.outside();
    let (secret, dir) = (outside.join("secret"), outside.join("dir"));
    let (secret, dir) = (secret.to_str().unwrap(), dir.to_str().unwrap());
    let archive = Forge::default()
        .symlink("a", secret)
        .file("a", b"new")
        .symlink("b", dir)
        .member(Header::new(b'5', "b", 0).mode(0o777), b"")
        .file("b/file", b"new")
        .symlink("c", secret)
        .member(Header::new(b'6', "c", 0).mode(0o4777), b"")
        .symlink("d", secret)
        .hardlink("e", "d")
        .member(Header::new(b'0', "e", 0).mode(0o777), b"")
        .pax(&[("SCHILY.xattr.user.x", b"1")])
        .symlink("f", secret)
        .symlink("g", dir)
        .file("g/../.wh..wh..opq", b"")
        .end();
    let applied = ground.apply(&archive).unwrap();
    assert_eq!(applied.replaced, 4);
    assert_eq!((ground.text("a"), ground.text("b/file")), ("new".into(), "new".into()));
    assert_eq!(ground.at("c").mode, 0o014_777);
    assert_eq!(ground.at("d").content, secret.as_bytes());
    assert_eq!(ground.at("e").mode, 0o100_777);
}

#[test]
fn links_to_nowhere_and_loops_are_errors() {
    for (name, forge) in [
        ("dangling parent", Forge::default().symlink("a", "nowhere").file("a/f", b"x")),
        ("self loop", Forge::default().symlink("a", "a").file("a/f", b"x")),
        ("file as parent", Forge::default().file("a", b"").file("a/f", b"x")),
        ("magic link", Forge::default().symlink("a", "/proc/self/root").file("a/f", b"x")),
    ] {
        assert!(matches!(refused(name, &forge.end()), Error::Filesystem { .. }), "{name}");
    }
}

#[test]
fn hard_links_reach_only_files_of_the_layer() {
    for (name, forge) in [
        ("missing", Forge::default().hardlink("l", "lower/file")),
        ("directory", Forge::default().dir("d").hardlink("l", "d")),
        ("root", Forge::default().hardlink("l", "/")),
        ("whiteout", Forge::default().file(".wh.gone", b"").hardlink("l", "gone")),
        ("outside", Forge::default().symlink("o", "../outside").hardlink("l", "o/secret")),
        ("itself", Forge::default().hardlink("l", "l")),
    ] {
        let error = refused(name, &forge.end());
        assert!(
            matches!(&error, Error::LinkTarget { path, .. } if path.to_str() == Some("l")),
            "{name}: {error}"
        );
    }
    let ground = Ground::new();
    ground.apply(&Forge::default().file("f", b"kept").hardlink("f", "./f").end()).unwrap();
    assert_eq!(ground.text("f"), "kept");
}

#[test]
fn device_nodes_are_refused_unless_allowed() {
    let node = |flag, major, minor| {
        Forge::default().member(Header::new(flag, "d", 0).device(major, minor), b"").end()
    };
    for (flag, major, minor) in [(b'3', 1, 3), (b'4', 8, 0), (b'4', 0, 0), (b'3', 0, 1)] {
        let error = refused("device", &node(flag, major, minor));
        assert!(matches!(error, Error::Device { .. }) && error.kind() == ErrorKind::Denied);
    }
    let ground = Ground::new();
    ground.apply(&node(b'3', 0, 0)).unwrap();
    assert!(ground.at("d").is_whiteout());
    let options = ApplyOptions { device_nodes: true, ..Default::default() };
    let ground = Ground::new();
    ground.apply_with(&node(b'3', 1, 3), &options).unwrap();
    assert_eq!((ground.at("d").mode, ground.at("d").device), (0o020_644, rustix::fs::makedev(1, 3)));
}

fn fault(name: &str, archive: &[u8]) -> Fault {
    match refused(name, archive) {
        Error::Tar(TarError::Malformed { fault, .. }) => fault,
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn headers_with_two_meanings_are_refused() {
    let file = || Header::new(b'0', "f", 4);
    let conflict = |size: &[u8]| Forge::default().pax(&[("size", size)]).member(&file(), b"abcd").end();
    assert_eq!(fault("smaller", &conflict(b"0")), Fault::SizeConflict { header: 4, pax: 0 });
    assert_eq!(fault("larger", &conflict(b"1024")), Fault::SizeConflict { header: 4, pax: 1024 });
    let hidden = Forge::default().pax(&[("size", b"512")]).file("outer", b"").file("inner", b"").end();
    assert_eq!(fault("hidden member", &hidden), Fault::SizeConflict { header: 0, pax: 512 });
    for flag in *b"123456" {
        let archive =
            Forge::default().file("t", b"").member(Header::new(flag, "f", 512).link("t"), &[0; 512]).end();
        assert_eq!(
            fault("content", &archive),
            Fault::UnexpectedContent { size: 512 },
            "{}",
            char::from(flag)
        );
    }
    for (name, archive, expected) in [
        ("slash", Forge::default().file("dir/", b"x"), Fault::FileNamedAsDirectory),
        (
            "old slash",
            Forge::default().member(&Header::new(0, "d/", 1), b"x"),
            Fault::UnexpectedContent { size: 1 },
        ),
        (
            "names",
            Forge::default().long(b'L', b"a").pax(&[("path", b"b")]).file("c", b""),
            Fault::Repeated { field: "name" },
        ),
        (
            "L twice",
            Forge::default().long(b'L', b"a").long(b'L', b"b").file("c", b""),
            Fault::Repeated { field: "name" },
        ),
        ("x twice", Forge::default().pax(&[]).pax(&[]).file("c", b""), Fault::Repeated { field: "records" }),
        (
            "key twice",
            Forge::default().pax(&[("path", b"a"), ("path", b"b")]).file("c", b""),
            Fault::PaxKey { key: "path".into() },
        ),
        (
            "volume",
            Forge::default().pax(&[("GNU.volume.size", b"1")]).file("c", b""),
            Fault::PaxKey { key: "GNU.volume.size".into() },
        ),
        ("NUL", Forge::default().pax(&[("path", b"a\0b")]).file("c", b""), Fault::PaxRecord { at: 0 }),
        ("no name", Forge::default().file("", b""), Fault::Empty { field: "name" }),
        ("no target", Forge::default().symlink("l", ""), Fault::Empty { field: "link" }),
        ("kind", Forge::default().member(&Header::new(b'7', "f", 0), b""), Fault::MemberType { flag: '7' }),
        (
            "solaris",
            Forge::default().member(&Header::new(b'X', "f", 0), b""),
            Fault::MemberType { flag: 'X' },
        ),
    ] {
        assert_eq!(fault(name, &archive.end()), expected, "{name}");
    }
}

#[test]
fn absurd_numbers_and_sizes_are_refused() {
    let bent = |at: usize, bytes: &[u8]| {
        let mut header = Header::new(b'0', "f", 0);
        header.text(at, bytes);
        Forge::default().member(&header, b"").end()
    };
    let negative = b"\xff\xff\xff\xff\xff\xff\xff\xff";
    for (at, bytes, field) in [
        (124, &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], "size"),
        (124, b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "size"),
        (124, b"-0000000001\0", "size"),
        (124, b"9", "size"),
        (100, negative, "mode"),
        (108, negative, "uid"),
        (116, b"\x80\0\0\x01\0\0\0\0", "gid"),
        (108, b"\x80\0\0\0\xff\xff\xff\xff", "uid"),
    ] {
        assert_eq!(fault(field, &bent(at, bytes)), Fault::Number { field }, "{bytes:?}");
    }
    let huge = bent(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert!(matches!(refused("8 EiB", &huge), Error::TooLarge { .. }));
    let promised = Forge::default().member(&Header::new(b'0', "f", 1 << 30), b"little").end();
    let error = refused("cut short", &promised);
    assert!(
        matches!(error, Error::Tar(TarError::Truncated { .. })) && error.kind() == ErrorKind::Unavailable
    );
    let extension = Forge::default().member(&Header::new(b'x', "x", 1 << 32), b"").end();
    assert!(matches!(fault("PAX of 4 GiB", &extension), Fault::TooMuchMetadata { .. }));
    let long = Forge::default().member(Header::new(b'L', "x", 1 << 20).gnu(), b"").end();
    assert!(matches!(fault("name of 1 MiB", &long), Fault::TooMuchMetadata { .. }));
    let chain = (0..20).fold(Forge::default(), |forge, _| {
        let comment = record("comment", &vec![b'x'; 1_000_000]);
        forge.member(&Header::new(b'g', "g", comment.len() as u64), &comment)
    });
    assert!(matches!(fault("chain of g", &chain.file("f", b"").end()), Fault::TooMuchMetadata { .. }));
    let path = format!("{}/x", "y".repeat(256));
    let component = Forge::default().pax(&[("path", path.as_bytes())]).file("c", b"").end();
    assert!(matches!(fault("component", &component), Fault::TooLong { length: 256, .. }));
    let path = "y/".repeat(2049);
    let component = Forge::default().pax(&[("path", path.as_bytes())]).file("c", b"").end();
    assert!(matches!(fault("path", &component), Fault::TooLong { length: 4098, .. }));
}

#[test]
fn what_follows_the_end_marker_is_refused() {
    let good = Forge::default().file("f", b"x");
    let smuggled = [good.clone().end(), Forge::default().file("g", b"y").end()].concat();
    assert!(matches!(refused("second archive", &smuggled), Error::Tar(TarError::AfterEnd { .. })));
    let gap = [good.0.clone(), vec![0; BLOCK], good.0.clone()].concat();
    assert!(matches!(refused("lone zero block", &gap), Error::Tar(TarError::AfterEnd { .. })));
    let mut flipped = good.clone().end();
    flipped[3] ^= 1;
    assert_eq!(fault("checksum", &flipped), Fault::Checksum);
    let dangling = Forge::default().pax(&[("path", b"a")]).end();
    assert!(matches!(refused("dangling x", &dangling), Error::Tar(TarError::Truncated { .. })));
    for cut in [1, 100, BLOCK + 1, 2 * BLOCK + 7] {
        let error = refused("cut", &good.clone().end()[..cut]);
        assert!(matches!(error, Error::Tar(TarError::Truncated { .. })), "{cut}: {error}");
    }
    for ending in [0, 1, 2, 20, 21, 5000] {
        let ground = Ground::new();
        let applied = ground.apply(&[good.0.clone(), vec![0; ending * BLOCK]].concat()).unwrap();
        assert_eq!(applied.diff_size as usize, good.0.len() + ending * BLOCK);
    }
}

#[test]
fn sparse_files_cannot_lie_about_their_map() {
    let pax = |map: &[u8], blocks: &[u8], real: &[u8]| {
        let records = [("GNU.sparse.map", map), ("GNU.sparse.numblocks", blocks), ("GNU.sparse.size", real)];
        Forge::default().pax(&records).file("f", b"data").end()
    };
    for (map, blocks, real) in [
        (&b"0,4"[..], &b"2"[..], &b"8"[..]),
        (b"0,5", b"1", b"8"),
        (b"6,4", b"1", b"8"),
        (b"0,3", b"1", b"8"),
        (b"4,2,0,2", b"2", b"8"),
        (b"0,2,1,2", b"2", b"8"),
        (b"9223372036854775807,4", b"1", b"9223372036854775807"),
    ] {
        assert_eq!(
            fault("map", &pax(map, blocks, real)),
            Fault::SparseMap,
            "{}",
            String::from_utf8_lossy(map)
        );
    }
    let huge = pax(b"0,4", b"1", b"9223372036854775807");
    assert!(matches!(refused("8 EiB of hole", &huge), Error::TooLarge { .. }));
    let ground = Ground::new();
    ground.apply(&pax(b"2,4", b"1", b"8")).unwrap();
    assert_eq!(ground.at("f").content, b"\0\0data\0\0");
    let version =
        [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"8")];
    let endless = [b"100000\n".to_vec(), b"0\n".repeat(5000)].concat();
    let archive = Forge::default().pax(&version).file("f", &endless).end();
    assert_eq!(fault("endless map", &archive), Fault::SparseMap);
    let mut old = Header::new(b'S', "f", 0);
    old.gnu().octal(483, 12, 10).text(482, b"\x01");
    let extension = {
        let mut block = [0; BLOCK];
        block[504] = 1;
        block
    };
    let chain = (0..3000).fold(Forge::default().member(&old, b""), |forge, _| forge.padded(&extension));
    assert!(matches!(fault("endless extensions", &chain.end()), Fault::TooMuchMetadata { .. }));
}

#[test]
fn bombs_and_damaged_blobs_are_refused() {
    let zeros = Forge::default().file("zeros", &vec![0; 64 << 20]).end();
    let options = |max_ratio, max_bytes| {
        let limits = Limits { max_ratio, max_bytes, ..Default::default() };
        ApplyOptions { limits, ..Default::default() }
    };
    let packed = gzip(&zeros);
    let ground = Ground::new();
    let error = ground.apply_with(&packed, &options(100, u64::MAX)).unwrap_err();
    assert!(matches!(error, Error::Decompress(DecompressError::Bomb { limit: 100, .. })), "{error}");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
    assert!(matches!(refused("zstd bomb", &zstd), Error::Decompress(DecompressError::Bomb { .. })));
    let error = Ground::new().apply_with(&packed, &options(u64::MAX, 1 << 20)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. } | Error::Decompress(DecompressError::TooLarge { .. })));
    let cut = &packed[..packed.len() / 2];
    assert!(matches!(refused("cut gzip", cut), Error::Decompress(DecompressError::Corrupt { .. })));
    let few = gzip(&Forge::default().file("f", b"x").end());
    assert!(matches!(
        refused("cut trailer", &few[..few.len() - 4]),
        Error::Decompress(DecompressError::Corrupt { .. })
    ));
    let many = (0..11).fold(Forge::default(), |forge, n| forge.file(&n.to_string(), b"")).end();
    let limits = Limits { max_entries: 10, ..Default::default() };
    let error = Ground::new().apply_with(&many, &ApplyOptions { limits, ..Default::default() }).unwrap_err();
    assert!(matches!(error, Error::TooManyEntries { limit: 10 }));
    let deep = Forge::default().pax(&[("path", "d/".repeat(2000).as_bytes())]).dir("x").file("f", b"").end();
    let error = Ground::new().apply_with(&deep, &ApplyOptions { limits, ..Default::default() }).unwrap_err();
    assert!(matches!(error, Error::TooManyEntries { limit: 10 }));
}

#[test]
fn attributes_that_steer_the_engine_are_left_out() {
    let ground = Ground::new();
    let capability = [&[1, 0, 0, 2][..], &[0; 16]].concat();
    let records = [
        ("SCHILY.xattr.trusted.overlay.opaque", &b"y"[..]),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.other", b"1"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.user.empty", b""),
    ];
    let archive = Forge::default().pax(&records).file("f", b"x").pax(&records[..4]).dir("d").end();
    ground.apply(&archive).unwrap();
    let names: Vec<_> = ground.at("f").xattrs.into_keys().collect();
    assert_eq!(names, ["security.capability", "user.empty", "user.overlay.opaque"]);
    assert_eq!(ground.at("d").xattrs.into_keys().collect::<Vec<_>>(), ["user.overlay.opaque"]);
}

#[test]
fn impossible_attributes_are_refused() {
    for (key, value) in [
        ("SCHILY.xattr.security.capability", &b""[..]),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02 too short"),
        ("SCHILY.xattr.user.", b"x"),
        ("SCHILY.xattr.user.large", &[0; 65537]),
    ] {
        let archive = Forge::default().pax(&[(key, value)]).file("f", b"").end();
        assert!(matches!(refused(key, &archive), Error::InvalidXattr { .. }), "{key}");
    }
    let names: Vec<String> = (0..65).map(|n| format!("SCHILY.xattr.user.{n}")).collect();
    let records: Vec<_> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let archive = Forge::default().pax(&records).file("f", b"").end();
    assert!(matches!(refused("many", &archive), Error::TooManyXattrs { count: 65, limit: 64, .. }));
}

#[test]
fn a_renamer_racing_with_the_unpacking_gains_nothing() {
    let ground = Ground::new();
    let layer = ground.layer();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let forge = (0..400).fold(Forge::default(), |forge, n| {
        forge
            .dir("d")
            .file(&format!("d/secret{}", n % 3), b"x")
            .file("d/secret", b"owned")
            .file("d/dir/file", b"owned")
    });
    let archive = forge.end();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Each of these fails whenever the other side is quicker; that is the race.
                std::fs::rename(layer.join("d"), layer.join("aside")).ok();
                std::os::unix::fs::symlink(ground.outside(), layer.join("d")).ok();
                std::thread::sleep(Duration::from_micros(50));
                std::fs::remove_file(layer.join("d")).ok();
                std::fs::rename(layer.join("aside"), layer.join("d")).ok();
                std::fs::remove_dir_all(layer.join("aside")).ok();
            }
        });
        let root = Root::open(&layer).unwrap();
        for _ in 0..20 {
            // Whether it fails depends on the race; that the canary lives does not.
            apply_layer(&archive[..], &root, None, &ApplyOptions::default()).ok();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    ground.check_canary();
}

#[test]
fn surplus_bytes_of_a_blob_are_told_by_their_own_error() {
    let archive = Forge::default().file("f", b"x").end();
    let digest: ochre_types::Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let ground = Ground::new();
    let root = Root::open(&ground.layer()).unwrap();
    let reader = VerifyingReader::new(
        io::Cursor::new(archive.clone()).chain(io::repeat(0)),
        digest.clone(),
        Some(2048),
    );
    let error = apply_layer(reader, &root, None, &ApplyOptions::default()).unwrap_err();
    let Error::Decompress(DecompressError::Input { source }) = &error else { panic!("{error}") };
    assert!(source.get_ref().unwrap().downcast_ref::<VerifyError>().is_some());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let mut reader = VerifyingReader::new(&archive[..], digest, Some(2048));
    let applied = apply_layer(&mut reader, &root, None, &ApplyOptions::default()).unwrap();
    let Err(VerifyError::Mismatch { actual, read: 2048, .. }) = reader.finish() else { panic!() };
    assert_eq!(actual, applied.diff_id.hex());
}
