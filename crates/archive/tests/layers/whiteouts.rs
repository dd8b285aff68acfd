//! Whiteouts, as overlayfs shall see them.

use ochre_archive::Error;

use crate::forge::{Forge, Header};
use crate::ground::Ground;

#[test]
fn whiteouts_become_devices_and_opaque_marks_attributes() {
    let ground = Ground::new();
    let archive = Forge::default()
        .dir("etc")
        .file("etc/.wh.passwd", b"")
        .file("etc/.wh.withcontent", b"ignored")
        .dir("var")
        .file("var/.wh..wh..opq", b"")
        .file("var/kept", b"x")
        .file("new/.wh.gone", b"")
        .member(Header::new(b'1', "etc/.wh.aufs", 0).link("/.wh..wh.aufs"), b"")
        .file(".wh..wh.aufs", b"")
        .dir(".wh..wh.plnk")
        .file(".wh..wh.plnk/1.2", b"x")
        .end();
    let applied = ground.apply(&archive).unwrap();
    assert_eq!(applied.entries, 11);
    let names = ["etc", "etc/aufs", "etc/passwd", "etc/withcontent", "new", "new/gone", "var", "var/kept"];
    assert_eq!(ground.names(), names);
    for name in ["etc/aufs", "etc/passwd", "etc/withcontent", "new/gone"] {
        assert!(ground.at(name).is_whiteout(), "{name}");
    }
    assert!(ground.at("var").is_opaque() && !ground.at("etc").is_opaque());
    assert_eq!((ground.at("new").mode, ground.at("new").owner), (0o040_755, (0, 0)));
}

#[test]
fn a_whiteout_and_a_new_member_of_that_name_hide_what_is_below() {
    for (name, forge) in [
        ("whiteout first", Forge::default().file(".wh.a", b"").dir("a").file(".wh.b", b"").file("b", b"new")),
        ("whiteout last", Forge::default().dir("a").file("b", b"new").file(".wh.a", b"").file(".wh.b", b"")),
        (
            "unnamed parent",
            Forge::default().file(".wh.a", b"").file("a/f", b"").file("b", b"new").file(".wh.b", b""),
        ),
    ] {
        let ground = Ground::new();
        let applied = ground.apply(&forge.end()).unwrap();
        assert!(ground.at("a").is_opaque(), "{name}");
        assert_eq!(ground.text("b"), "new", "{name}");
        assert_eq!(applied.replaced, 0, "{name}");
    }
}

#[test]
fn whiteout_tricks_are_refused() {
    for (name, forge) in [
        ("opaque directory", Forge::default().dir("a/.wh..wh..opq")),
        ("opaque link", Forge::default().symlink("a/.wh..wh..opq", "/")),
        ("of nothing", Forge::default().file("a/.wh.", b"")),
        ("of dot", Forge::default().file("a/.wh..", b"")),
        ("of dots", Forge::default().file("a/.wh...", b"")),
        ("as directory", Forge::default().dir("a/.wh.b")),
        ("in the middle", Forge::default().file("a/.wh.b/c", b"")),
        ("as device", Forge::default().member(&Header::new(b'3', ".wh.b", 0), b"")),
    ] {
        let error = Ground::new().apply(&forge.end()).unwrap_err();
        assert!(matches!(error, Error::Whiteout { .. }), "{name}: {error}");
    }
}

#[test]
fn owners_of_whiteouts_do_not_count() {
    let ground = Ground::new();
    let owned = |name: &str, uid, gid| {
        let mut header = Header::new(b'0', name, 0);
        header.octal(108, 8, uid).octal(116, 8, gid);
        header
    };
    let archive = Forge::default()
        .member(&owned("c", 7, 70), b"")
        .member(&owned("a", 1000, 5), b"")
        .member(&owned("b", 7, 5), b"")
        .member(&owned(".wh.x", 99, 99), b"")
        .end();
    let applied = ground.apply(&archive).unwrap();
    assert_eq!((applied.uids, applied.gids), (vec![7, 1000], vec![5, 70]));
}
