//! The same archive unpacked by GNU tar, by Python and by us gives the same files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::forge::gzip;
use crate::ground::{Ground, survey};

/// Every dialect GNU tar writes that layers may use.
pub(crate) const GNU_FORMATS: [&[&str]; 6] = [
    &["--format=gnu"],
    &["--format=oldgnu", "--sparse"],
    &["--format=ustar"],
    &["--format=posix"],
    &["--format=posix", "--sparse", "--sparse-version=1.0", "--xattrs", "--xattrs-include=user.*"],
    &["--format=posix", "--sparse", "--sparse-version=0.1"],
];

pub(crate) const PYTHON_FORMATS: [&str; 3] = ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"];

/// A tree with everything an ordinary layer has. ustar cannot write names without a slash near its middle, so
/// `long_names` is left out there.
pub(crate) fn plant(top: &Path, long_names: bool) {
    fs::create_dir_all(top.join("usr/lib/deep")).unwrap();
    fs::write(top.join("usr/lib/library"), (0..300_000u32).map(|n| (n / 7) as u8).collect::<Vec<_>>())
        .unwrap();
    fs::write(top.join("usr/lib/empty"), "").unwrap();
    fs::write(top.join("usr/lib/block"), [7; 512]).unwrap();
    fs::hard_link(top.join("usr/lib/library"), top.join("usr/lib/deep/again")).unwrap();
    symlink("usr/lib", top.join("lib")).unwrap();
    symlink("/nowhere/at/all", top.join("dangling")).unwrap();
    fs::write(top.join("suid"), "x").unwrap();
    rustix::fs::chown(top.join("suid"), Some(rustix::fs::Uid::from_raw(70_000)), None).unwrap();
    fs::set_permissions(top.join("suid"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::write(top.join("späße ☃"), "utf-8").unwrap();
    let fifo = rustix::fs::Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(rustix::fs::CWD, top.join("fifo"), rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    for n in 0..40u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", n * 200_000 + 3).unwrap();
    }
    sparse.set_len(9_000_000).unwrap();
    rustix::fs::setxattr(top.join("suid"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    if long_names {
        let deep = top.join("d".repeat(120)).join("e".repeat(200));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f".repeat(250)), "long").unwrap();
        symlink("t".repeat(300), deep.join("link")).unwrap();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn gnu_tar(tree: &Path, format: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    run(Command::new("tar")
        .args(format)
        .arg("--numeric-owner")
        .arg("-cf")
        .arg(file.path())
        .arg("-C")
        .arg(tree)
        .arg("."));
    fs::read(file.path()).unwrap()
}

pub(crate) fn python_tar(tree: &Path, format: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = "import sys,tarfile\nt=tarfile.open(sys.argv[1],'w',format=getattr(tarfile,sys.argv[3]))\n\
                  t.add(sys.argv[2],arcname='.')\nt.close()";
    run(Command::new("python3").args(["-c", script]).arg(file.path()).arg(tree).arg(format));
    fs::read(file.path()).unwrap()
}

fn compare(archive: &[u8], keep_xattrs: bool, what: &str) {
    let ground = Ground::new();
    ground
        .apply(&gzip(archive))
        .unwrap_or_else(|error| panic!("{what}: {error}, {:?}", std::error::Error::source(&error)));
    let theirs = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), archive).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "-p", "--same-owner", "--xattrs", "--xattrs-include=user.*", "-xf"]);
    run(tar.arg(file.path()).arg("-C").arg(theirs.path()));
    let (mut ours, mut theirs) = (ground.seen(), survey(theirs.path()));
    assert!(ours.len() > 12, "{what}: only {} files", ours.len());
    for seen in ours.values_mut().chain(theirs.values_mut()).filter(|_| !keep_xattrs) {
        seen.xattrs.clear();
    }
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    for (path, seen) in &ours {
        assert!(*seen == theirs[path], "{what}: {} differs", path.display());
    }
}

#[test]
fn archives_of_gnu_tar_unpack_as_gnu_tar_does() {
    for format in GNU_FORMATS {
        let tree = tempfile::tempdir().unwrap();
        plant(tree.path(), format != ["--format=ustar"]);
        let archive = gnu_tar(tree.path(), format);
        compare(&archive, true, &format.join(" "));
    }
}

#[test]
fn archives_of_python_unpack_as_gnu_tar_does() {
    for format in PYTHON_FORMATS {
        let tree = tempfile::tempdir().unwrap();
        plant(tree.path(), format != "USTAR_FORMAT");
        compare(&python_tar(tree.path(), format), true, format);
    }
}

#[test]
fn archives_of_gnu_tar_unpack_as_python_does() {
    let tree = tempfile::tempdir().unwrap();
    plant(tree.path(), true);
    let script = "import sys,tarfile\ntarfile.open(sys.argv[1]).extractall(sys.argv[2],numeric_owner=True)";
    for format in [&["--format=gnu"][..], &["--format=posix", "--sparse"]] {
        let archive = gnu_tar(tree.path(), format);
        let ground = Ground::new();
        ground.apply(&archive).unwrap();
        let theirs = tempfile::tempdir().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &archive).unwrap();
        run(Command::new("python3").args(["-c", script]).arg(file.path()).arg(theirs.path()));
        let theirs = survey(theirs.path());
        for (path, seen) in ground.seen() {
            let other = &theirs[&path];
            assert!(seen.content == other.content, "{}", path.display());
            // Python keeps no nanoseconds of links and no attributes.
            assert_eq!((seen.mode, seen.owner), (other.mode, other.owner), "{}", path.display());
        }
    }
}
