//! A layer directory with a canary beside it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ochre_archive::{Applied, ApplyOptions, Error, apply_layer};
use ochre_sys::rooted::Root;

/// Everything one can see of a file. Inodes tell hard links.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    pub(crate) links: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

pub(crate) struct Ground {
    scratch: tempfile::TempDir,
    canary: BTreeMap<PathBuf, Seen>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        assert!(rustix::process::geteuid().is_root(), "layers can only be applied by root");
        let outside = scratch.path().join("outside");
        fs::create_dir_all(outside.join("dir")).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(outside.join("dir/file"), "file").unwrap();
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::create_dir(scratch.path().join("layer")).unwrap();
        let canary = survey(scratch.path());
        Self { scratch, canary }
    }

    pub(crate) fn layer(&self) -> PathBuf {
        self.scratch.path().join("layer")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.scratch.path().join("outside")
    }

    pub(crate) fn apply(&self, blob: &[u8]) -> Result<Applied, Error> {
        self.apply_with(blob, &ApplyOptions::default())
    }

    pub(crate) fn apply_with(&self, blob: &[u8], options: &ApplyOptions) -> Result<Applied, Error> {
        let root = Root::open(&self.layer()).unwrap();
        let result = apply_layer(blob, &root, None, options);
        self.check_canary();
        result
    }

    /// Applies and writes the tar-split; returns that unpacked, as lines.
    pub(crate) fn apply_split(&self, blob: &[u8]) -> (Applied, String) {
        let root = Root::open(&self.layer()).unwrap();
        let mut split = Vec::new();
        let applied = apply_layer(blob, &root, Some(&mut split), &ApplyOptions::default()).unwrap();
        self.check_canary();
        let mut lines = String::new();
        flate2::read::GzDecoder::new(&split[..]).read_to_string(&mut lines).unwrap();
        (applied, lines)
    }

    pub(crate) fn check_canary(&self) {
        let mut now = survey(self.scratch.path());
        now.retain(|path, _| !path.starts_with("layer") && !path.as_os_str().is_empty());
        let mut before = self.canary.clone();
        before.retain(|path, _| !path.starts_with("layer") && !path.as_os_str().is_empty());
        assert_eq!(now, before, "something outside the layer changed");
    }

    pub(crate) fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        survey(&self.layer())
    }

    pub(crate) fn at(&self, path: &str) -> Seen {
        look(&self.layer().join(path))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.layer().join(path)).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.seen().into_keys().map(|path| path.to_string_lossy().into_owned());
        names.filter(|name| !name.is_empty()).collect()
    }
}

impl Seen {
    pub(crate) fn is_whiteout(&self) -> bool {
        self.mode & 0o170_000 == 0o020_000 && self.device == 0
    }

    pub(crate) fn is_opaque(&self) -> bool {
        self.xattrs.get("trusted.overlay.opaque").is_some_and(|value| value == b"y")
    }
}

pub(crate) fn survey(top: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path.strip_prefix(top).unwrap().to_path_buf(), look(&path));
    }
    all
}

fn look(path: &Path) -> Seen {
    let meta = fs::symlink_metadata(path).unwrap();
    let content = match meta.file_type() {
        kind if kind.is_file() => fs::read(path).unwrap(),
        kind if kind.is_symlink() => fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    Seen {
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        device: meta.rdev(),
        links: if meta.is_dir() { 0 } else { meta.nlink() },
        content,
        xattrs: xattrs(path),
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, &name, &mut value).unwrap();
            (name, value[..length].to_vec())
        })
        .collect()
}
