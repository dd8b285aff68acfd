//! Directories of layers: made in a staging area, moved into place whole, moved out into the trash whole.
//!
//! ```text
//!   <area>/staging/<name>.lock     held while somebody unpacks
//!   <area>/staging/<name>/layer/   --install-->  overlay/<layer>/  --discard-->  <area>/trash/<name>/ --> gone
//! ```
//!
//! A layer is not unpacked in `overlay/<layer>` because podman removes every layer flagged incomplete as soon as it can
//! take the lock, and holding the lock while unpacking would serialise pulls and block podman. The area is
//! `<root>/ochre`, which no other program looks into. `overlay` may be bind-mounted on itself, and `rename` refuses to
//! cross mounts even of one file system; hence both ends are reached through a detached copy of the mount that holds
//! `<root>`. When `overlay` is a file system of its own, the area is `overlay/tempdirs/ochre`.
//!
//! All paths here consist of the engine's own directories, identifiers and random names.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use ochre_sys::atomic;
use ochre_sys::lock::{self, Kind};
use ochre_types::LayerId;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use crate::{Error, IdMaps};

/// Mode of a base layer's `diff`; the archive's own entry for `/` replaces it. The same in containers/storage.
const DIFF_MODE: u32 = 0o555;

/// Length of the names in `l/`.
const LINK_LENGTH: usize = 26;

/// A `lower` file names at most 500 layers of 28 bytes.
const LOWER_LIMIT: u64 = 500 * 29;

/// The directories of all layers, including those of additional stores.
pub(crate) struct Dirs {
    home: PathBuf,
    additional: Vec<PathBuf>,
    area: PathBuf,
    /// A detached copy of the mount below `home` and `area`.
    tree: OwnedFd,
    home_in_tree: &'static str,
    area_in_tree: &'static str,
}

/// A layer directory outside the store. Removed when dropped, unless it was installed.
#[derive(Debug)]
pub(crate) struct Staged {
    name: String,
    dir: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

/// A layer directory that is out of the store and waits for its removal.
#[derive(Debug)]
#[must_use]
pub(crate) struct Discarded(Option<PathBuf>);

/// Owner and mode of a `diff` directory, which is what `/` shows in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiffShape {
    mode: u32,
    owner: (u32, u32),
}

impl Dirs {
    /// Makes `overlay`, `overlay/l` and the area below `root`.
    pub(crate) fn open(root: &Path, additional: &[PathBuf]) -> Result<Self, Error> {
        let home = root.join("overlay");
        make_dir(&home, 0o700)?;
        make_dir(&home.join("l"), 0o755)?;
        let tree = clone_mount(root)?;
        let seen = rustix::fs::statat(&tree, "overlay", rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        let real = fs::metadata(&home).map_err(Error::io("read", &home))?;
        let same = seen.is_ok_and(|seen| (seen.st_dev, seen.st_ino) == (real.dev(), real.ino()));
        let (tree, home_in_tree, area_in_tree, area) = if same {
            (tree, "overlay", "ochre", root.join("ochre"))
        } else {
            make_dir(&home.join("tempdirs"), 0o700)?;
            (clone_mount(&home)?, ".", "tempdirs/ochre", home.join("tempdirs/ochre"))
        };
        for dir in [&area, &area.join("staging"), &area.join("trash")] {
            make_dir(dir, 0o700)?;
        }
        let additional = additional.iter().map(|root| root.join("overlay")).collect();
        Ok(Self { home, additional, area, tree, home_in_tree, area_in_tree })
    }

    /// The directory of a layer of this store.
    pub(crate) fn own(&self, id: &LayerId) -> PathBuf {
        self.home.join(id.as_str())
    }

    /// The directory of a layer, wherever it lies.
    pub(crate) fn find(&self, id: &LayerId) -> Option<PathBuf> {
        self.homes().map(|home| home.join(id.as_str())).find(|dir| dir.join("diff").is_dir())
    }

    /// `overlay` of this store, then those of the additional ones.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.home).chain(&self.additional)
    }

    /// Makes a layer directory in the staging area, without `lower` and with the default shape.
    pub(crate) fn stage(&self) -> Result<Staged, Error> {
        loop {
            let name = random_name();
            let dir = self.area.join("staging").join(&name);
            let lock_path = dir.with_extension("lock");
            let file = File::options().write(true).create_new(true).open(&lock_path);
            let file = file.map_err(Error::io("make", &lock_path))?;
            let locked = lock::try_lock(&file, Kind::Exclusive).map_err(Error::io("lock", &lock_path))?;
            // A sweep in another process may have been faster; it removes only what it could lock.
            let linked = file.metadata().map_err(Error::io("read", &lock_path))?.nlink() > 0;
            if !(locked && linked) {
                continue;
            }
            let staged = Staged { name, dir, lock_path, _lock: file };
            make_dir(&staged.dir, 0o700)?;
            make_layer(&staged.layer(), None, DiffShape::base())?;
            return Ok(staged);
        }
    }

    /// Writes what depends on the parent: `lower`, and the shape of `diff` unless the archive gave it one.
    pub(crate) fn attach(&self, staged: &Staged, id: &LayerId, parent: &LayerId) -> Result<(), Error> {
        let (lower, shape) = self.below(id, parent)?;
        let layer = staged.layer();
        let path = layer.join("lower");
        fs::write(&path, lower).map_err(Error::io("write", path))?;
        let empty = layer.join("empty");
        fs::remove_dir(&empty).map_err(Error::io("remove", empty))?;
        let diff = layer.join("diff");
        if DiffShape::of(&diff)? == DiffShape::base() {
            shape.apply(&diff)?;
        }
        Ok(())
    }

    /// Moves a staged layer into place, then adds its short name. The caller holds the lock and has a record flagged
    /// incomplete; what it names is replaced.
    pub(crate) fn install(&self, staged: &Staged, id: &LayerId) -> Result<Discarded, Error> {
        let from = format!("{}/staging/{}/layer", self.area_in_tree, staged.name);
        let old = self.discard(id)?;
        let to = format!("{}/{id}", self.home_in_tree);
        rustix::fs::renameat(&self.tree, &from, &self.tree, &to)
            .map_err(Error::io("move layer to", self.own(id)))?;
        self.add_link(id)?;
        for dir in [&self.home, &self.home.join("l")] {
            let file = File::open(dir).map_err(Error::io("open", dir))?;
            atomic::sync_dir(file).map_err(Error::io("sync", dir))?;
        }
        Ok(old)
    }

    /// Makes the directory of a container's layer in place; nothing of it needs to survive a power loss.
    ///
    /// With mappings, the directories belong to the container's root on the host, as in containers/storage.
    pub(crate) fn make(
        &self,
        id: &LayerId,
        parent: Option<&LayerId>,
        maps: Option<&IdMaps>,
    ) -> Result<(), Error> {
        let (lower, mut shape) = match parent {
            Some(parent) => self.below(id, parent).map(|(lower, shape)| (Some(lower), shape))?,
            None => (None, DiffShape::base()),
        };
        let dir = self.own(id);
        if let Some(maps) = maps {
            shape.owner = maps.on_host(shape.owner);
        }
        make_layer(&dir, lower.as_deref(), shape)?;
        if let Some(maps) = maps {
            let (uid, gid) = maps.on_host((0, 0));
            for path in [dir.join("work"), dir.join("merged"), dir] {
                chown(&path, Some(uid), Some(gid)).map_err(Error::io("chown", path))?;
            }
        }
        self.add_link(id)
    }

    /// Takes a layer's short name and directory out of the store; it is fine when they are gone. Nothing may be mounted
    /// on it in this mount namespace.
    pub(crate) fn discard(&self, id: &LayerId) -> Result<Discarded, Error> {
        let dir = self.own(id);
        if let Ok(link) = read_link_name(&dir) {
            let path = self.home.join("l").join(link);
            remove_if_present(&path)?;
        }
        let name = random_name();
        let (from, to) =
            (format!("{}/{id}", self.home_in_tree), format!("{}/trash/{name}", self.area_in_tree));
        match rustix::fs::renameat(&self.tree, &from, &self.tree, &to) {
            Ok(()) => Ok(Discarded(Some(self.area.join("trash").join(name)))),
            Err(rustix::io::Errno::NOENT) => Ok(Discarded(None)),
            Err(error) => Err(Error::io("remove", dir)(error)),
        }
    }

    /// Removes what dead processes left in the area. Best effort: what cannot be removed is tried again next time.
    pub(crate) fn sweep(&self) {
        for path in entries(&self.area.join("staging")) {
            if path.extension().is_none_or(|extension| extension != "lock") {
                continue;
            }
            let Ok(file) = File::options().write(true).open(&path) else { continue };
            if lock::try_lock(&file, Kind::Exclusive).unwrap_or(false)
                && remove_tree(&path.with_extension("")).is_ok()
            {
                drop(remove_if_present(&path));
            }
        }
        for path in entries(&self.area.join("trash")) {
            drop(remove_tree(&path));
        }
    }

    /// The directory a name in `lower` (`l/<name>`) stands for. A short name that a crash of another program lost is
    /// found by the layers' `link` files.
    pub(crate) fn resolve_lower(&self, name: &str) -> Option<PathBuf> {
        let by_name = self.homes().map(|home| home.join(name)).find(|path| path.is_dir());
        by_name.or_else(|| {
            let link = name.strip_prefix("l/")?;
            let layers = self.homes().flat_map(|home| entries(home));
            layers
                .into_iter()
                .find(|dir| read_link_name(dir).is_ok_and(|n| n == link))
                .map(|dir| dir.join("diff"))
        })
    }

    /// The short names of the layers below, as in the `lower` file of `dir`.
    pub(crate) fn lowers(&self, dir: &Path) -> Result<Vec<String>, Error> {
        let path = dir.join("lower");
        let text = match read_limited(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let names: Vec<_> = text.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let valid = names.iter().all(|name| name.strip_prefix("l/").is_some_and(is_link_name));
        if valid { Ok(names) } else { Err(Error::BadLink { path }) }
    }

    fn below(&self, id: &LayerId, parent: &LayerId) -> Result<(String, DiffShape), Error> {
        let missing = || Error::ParentMissing { id: id.clone(), parent: parent.clone() };
        let dir = self.find(parent).ok_or_else(missing)?;
        let mut names = vec![format!("l/{}", read_link_name(&dir)?)];
        names.extend(self.lowers(&dir)?);
        Ok((names.join(":"), DiffShape::of(&dir.join("diff"))?))
    }

    fn add_link(&self, id: &LayerId) -> Result<(), Error> {
        let path = self.home.join("l").join(read_link_name(&self.own(id))?);
        symlink(format!("../{id}/diff"), &path).map_err(Error::io("make", path))
    }
}

impl Staged {
    /// The layer directory.
    pub(crate) fn layer(&self) -> PathBuf {
        self.dir.join("layer")
    }

    /// Where the file lies that rebuilds the layer's tar.
    pub(crate) fn tar_split(&self) -> PathBuf {
        self.dir.join("tar-split.gz")
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Errors leave the rest to the next sweep.
        if remove_tree(&self.dir).is_ok() {
            drop(remove_if_present(&self.lock_path));
        }
    }
}

impl Discarded {
    /// Removes the directory. Call it without locks: a layer can have a hundred thousand files. What cannot be removed
    /// now goes at the next start.
    pub(crate) fn remove(self) {
        if let Some(path) = self.0 {
            drop(remove_tree(&path));
        }
    }
}

impl DiffShape {
    const fn base() -> Self {
        Self { mode: DIFF_MODE, owner: (0, 0) }
    }

    fn of(diff: &Path) -> Result<Self, Error> {
        let found = fs::symlink_metadata(diff).map_err(Error::io("read", diff))?;
        Ok(Self { mode: found.mode() & 0o7777, owner: (found.uid(), found.gid()) })
    }

    fn apply(self, diff: &Path) -> Result<(), Error> {
        chown(diff, Some(self.owner.0), Some(self.owner.1)).map_err(Error::io("chown", diff))?;
        // After chown, which clears the set-id bits.
        fs::set_permissions(diff, fs::Permissions::from_mode(self.mode)).map_err(Error::io("chmod", diff))
    }
}

/// Makes a directory of the store; it is fine when it exists.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("make", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file; it is fine when it is gone.
pub(crate) fn remove_if_present(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a directory tree without following links; it is fine when it is gone.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The paths of a directory's entries; none if it cannot be read.
pub(crate) fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

fn make_layer(dir: &Path, lower: Option<&str>, shape: DiffShape) -> Result<(), Error> {
    make_dir(dir, 0o700)?;
    for name in ["diff", "work", "merged"] {
        make_dir(&dir.join(name), 0o700)?;
    }
    shape.apply(&dir.join("diff"))?;
    let link = dir.join("link");
    fs::write(&link, random_link_name()).map_err(Error::io("write", link))?;
    match lower {
        Some(lower) => fs::write(dir.join("lower"), lower).map_err(Error::io("write", dir.join("lower"))),
        None => make_dir(&dir.join("empty"), 0o700),
    }
}

fn clone_mount(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match rustix::mount::open_tree(CWD, path, flags) {
        Ok(tree) => Ok(tree),
        // Without CAP_SYS_ADMIN nothing can be mounted either, so nothing can be in the way of a rename.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(Error::io("open", path))
        }
        Err(error) => Err(Error::io("clone the mount of", path)(error)),
    }
}

fn read_link_name(dir: &Path) -> Result<String, Error> {
    let path = dir.join("link");
    let text = read_limited(&path).map_err(Error::io("read", &path))?;
    let name = text.trim_end_matches('\n');
    if is_link_name(name) { Ok(name.to_owned()) } else { Err(Error::BadLink { path }) }
}

fn read_limited(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LOWER_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn is_link_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn random_name() -> String {
    LayerId::generate().as_str()[..32].to_owned()
}

/// 26 characters of base32, 130 bits.
fn random_link_name() -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random = LayerId::generate();
    let pairs = random.as_str().as_bytes().chunks_exact(2).take(LINK_LENGTH);
    // Two hexadecimal digits hold eight random bits, of which one character takes five.
    pairs.map(|pair| char::from(ALPHABET[usize::from((hex(pair[0]) << 4 | hex(pair[1])) & 31)])).collect()
}

fn hex(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}
