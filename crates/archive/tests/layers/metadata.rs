//! Owners, modes, times and kinds arrive as the archive has them.

use std::os::unix::fs::MetadataExt;

use crate::forge::{Forge, Header, gzip};
use crate::ground::Ground;

#[test]
fn modes_owners_and_capabilities_survive_each_other() {
    let ground = Ground::new();
    let mut suid = Header::new(b'0', "suid", 1);
    suid.mode(0o106_755).octal(108, 8, 33).octal(116, 8, 44);
    let mut sticky = Header::new(b'5', "sticky/", 0);
    sticky.mode(0o3777).octal(108, 8, 1000);
    let mut link = Header::new(b'2', "link", 0);
    link.link("suid").octal(108, 8, 5);
    let mut fifo = Header::new(b'6', "fifo", 0);
    fifo.mode(0o2666).octal(116, 8, 6);
    let capability = [&[1, 0, 0, 2, 0, 4, 0, 0][..], &[0; 12]].concat();
    let archive = Forge::default()
        .pax(&[("SCHILY.xattr.security.capability", &capability)])
        .member(&suid, b"x")
        .member(&sticky, b"")
        .member(&link, b"")
        .member(&fifo, b"")
        .member(Header::new(b'5', "closed", 0).mode(0), b"")
        .file("closed/inside", b"x")
        .end();
    ground.apply(&archive).unwrap();
    let seen = ground.at("suid");
    assert_eq!((seen.mode, seen.owner), (0o106_755, (33, 44)));
    assert_eq!(seen.xattrs.get("security.capability"), Some(&capability));
    assert_eq!((ground.at("sticky").mode, ground.at("sticky").owner), (0o043_777, (1000, 0)));
    assert_eq!((ground.at("link").owner, ground.at("link").content), ((5, 0), b"suid".to_vec()));
    assert_eq!((ground.at("fifo").mode, ground.at("fifo").owner), (0o012_666, (0, 6)));
    assert_eq!(ground.at("closed").mode, 0o040_000);
}

#[test]
fn the_umask_and_a_setgid_parent_change_nothing() {
    let ground = Ground::new();
    let archive = Forge::default()
        .member(Header::new(b'5', "shared", 0).mode(0o2777).octal(116, 8, 50), b"")
        .member(Header::new(b'0', "shared/file", 0).mode(0o666), b"")
        .member(Header::new(b'5', "shared/dir", 0).mode(0o777), b"")
        .file("shared/made/by/need", b"")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!((ground.at("shared/file").mode, ground.at("shared/file").owner), (0o100_666, (0, 0)));
    assert_eq!((ground.at("shared/dir").mode, ground.at("shared/dir").owner), (0o040_777, (0, 0)));
    assert_eq!((ground.at("shared/made").mode, ground.at("shared/made").owner), (0o040_755, (0, 0)));
}

#[test]
fn times_arrive_also_extreme_ones_and_those_of_filled_directories() {
    let ground = Ground::new();
    let mut early = Header::new(b'0', "early", 0);
    early.text(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    let archive = Forge::default()
        .dir("./")
        .dir("dir")
        .pax(&[("mtime", b"1234567890.987654321987")])
        .dir("dir/sub")
        .file("dir/sub/f", b"x")
        .file("dir/g", b"x")
        .pax(&[("mtime", b"4294967296")])
        .file("year2106", b"")
        .pax(&[("mtime", b"-1.5")])
        .symlink("before", "x")
        .member(&early, b"")
        .pax(&[("mtime", b"9223372036854775807")])
        .file("never", b"")
        .pax(&[("mtime", b"-9223372036854775807")])
        .file("always", b"")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(ground.at("").mtime, (1_000_000_000, 0));
    assert_eq!(ground.at("dir").mtime, (1_000_000_000, 0));
    assert_eq!(ground.at("dir/sub").mtime, (1_234_567_890, 987_654_321));
    assert_eq!(ground.at("year2106").mtime, (4_294_967_296, 0));
    // File systems keep what they can; ext4 holds 1901 to 2446.
    assert_eq!(ground.at("before").mtime, (-2, 500_000_000));
    assert_eq!(ground.at("early").mtime, (-1, 0));
    assert!(ground.at("never").mtime.0 > 1 << 33);
    assert!(ground.at("always").mtime.0 <= 0);
}

#[test]
fn the_root_directory_takes_the_attributes_of_its_member() {
    let ground = Ground::new();
    let mut root = Header::new(b'5', "./", 0);
    root.mode(0o750).octal(108, 8, 12);
    ground.apply(&Forge::default().member(&root, b"").end()).unwrap();
    assert_eq!((ground.at("").mode, ground.at("").owner), (0o040_750, (12, 0)));
    for forge in [
        Forge::default().file("./", b""),
        Forge::default().file(".", b""),
        Forge::default().symlink("/", "x"),
    ] {
        assert!(Ground::new().apply(&forge.end()).is_err());
    }
}

#[test]
fn later_members_win_and_directories_merge() {
    let ground = Ground::new();
    let archive = Forge::default()
        .file("f", b"old")
        .file("./f", b"new")
        .dir("d")
        .file("d/kept", b"x")
        .member(Header::new(b'5', "d", 0).mode(0o700), b"")
        .dir("gone")
        .dir("gone/deep")
        .file("gone/deep/file", b"x")
        .file("gone", b"a file now")
        .file("back", b"x")
        .dir("back")
        .file("back/inside", b"x")
        .hardlink("f2", "f")
        .file("f", b"newest")
        .end();
    let applied = ground.apply(&archive).unwrap();
    assert_eq!((ground.text("f"), ground.text("f2")), ("newest".into(), "new".into()));
    assert_eq!((ground.at("d").mode, ground.text("d/kept")), (0o040_700, "x".into()));
    assert_eq!((ground.text("gone"), ground.text("back/inside")), ("a file now".into(), "x".into()));
    assert_eq!(applied.replaced, 4);
}

#[test]
fn a_directory_replaced_while_it_is_in_use_is_not_used_any_more() {
    let ground = Ground::new();
    let archive = Forge::default()
        .dir("new")
        .file("d/first", b"1")
        .symlink("d", "new")
        .file("d/second", b"2")
        .hardlink("third", "d/second")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!(ground.names(), ["d", "new", "new/second", "third"]);
    let ground = Ground::new();
    let itself = Forge::default().dir("a").symlink("a/l", ".").dir("a/l/l").file("a/l/f", b"x").end();
    ground.apply(&itself).unwrap();
    assert_eq!(ground.names(), ["a", "a/l", "a/l/f"]);
    let ground = Ground::new();
    let targets = Forge::default()
        .file("d/f", b"old")
        .file("new/f", b"new")
        .hardlink("first", "d/f")
        .symlink("d", "new")
        .hardlink("second", "d/f")
        .end();
    ground.apply(&targets).unwrap();
    assert_eq!((ground.text("first"), ground.text("second")), ("old".into(), "new".into()));
}

#[test]
fn hard_links_are_one_file_and_symbolic_links_can_be_linked() {
    let ground = Ground::new();
    let archive = Forge::default()
        .file("a/first", b"x")
        .hardlink("b/second", "/a/first")
        .symlink("s", "nowhere")
        .hardlink("t", "s")
        .end();
    ground.apply(&gzip(&archive)).unwrap();
    let inode = |name: &str| std::fs::symlink_metadata(ground.layer().join(name)).unwrap().ino();
    assert_eq!(inode("a/first"), inode("b/second"));
    assert_eq!(inode("s"), inode("t"));
}

#[test]
fn sparse_files_keep_their_holes() {
    let ground = Ground::new();
    let mut old = Header::new(b'S', "old", 4);
    old.gnu().octal(483, 12, 64 << 20).octal(386, 12, 32 << 20).octal(398, 12, 4);
    old.octal(410, 12, 64 << 20).octal(422, 12, 0);
    let version = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"67108864"),
        ("GNU.sparse.name", b"new"),
    ];
    let mut content = format!("1\n{}\n4\n", 32 << 20).into_bytes();
    content.resize(512, 0);
    content.extend_from_slice(b"data");
    let pairs = [
        ("GNU.sparse.size", &b"67108864"[..]),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.offset", b"33554432"),
        ("GNU.sparse.numbytes", b"4"),
    ];
    let archive = Forge::default()
        .member(&old, b"data")
        .pax(&version)
        .file("GNUSparseFile.0/new", &content)
        .pax(&pairs)
        .file("oldest", b"data")
        .end();
    ground.apply(&archive).unwrap();
    for name in ["old", "new", "oldest"] {
        let seen = ground.at(name);
        assert_eq!(seen.content.len(), 64 << 20, "{name}");
        assert_eq!(&seen.content[32 << 20..][..4], b"data", "{name}");
        assert_eq!(seen.content.iter().filter(|byte| **byte != 0).count(), 4, "{name}");
        let blocks = std::fs::metadata(ground.layer().join(name)).unwrap().blocks();
        assert!(blocks < 1000, "{name} takes {blocks} blocks");
    }
    assert!(!ground.names().contains(&"GNUSparseFile.0".to_owned()));
}

#[test]
fn an_empty_layer_is_a_layer() {
    for (blob, size) in
        [(Vec::new(), 0), (Forge::default().end(), 1024), (gzip(&Forge::default().end()), 1024)]
    {
        let ground = Ground::new();
        let applied = ground.apply(&blob).unwrap();
        assert_eq!((applied.entries, applied.diff_size, ground.names().len()), (0, size, 0));
    }
}

#[test]
fn headers_never_apply_to_the_wrong_member() {
    let ground = Ground::new();
    let name = "n".repeat(200);
    let global = crate::forge::record("path", b"global");
    let archive = Forge::default()
        .member(&Header::new(b'g', "pax_global_header", global.len() as u64), &global)
        .pax(&[("uid", b"77")])
        .long(b'L', name.as_bytes())
        .long(b'K', b"target")
        .symlink("short", "t")
        .file("next", b"")
        .end();
    ground.apply(&archive).unwrap();
    assert_eq!((ground.at(&name).owner, ground.at(&name).content), ((77, 0), b"target".to_vec()));
    assert_eq!(ground.at("next").owner, (0, 0));
    assert_eq!(ground.names().len(), 2);
}
