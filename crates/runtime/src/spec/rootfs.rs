//! What the engine itself makes inside a container's root before the runtime sees it: the working directory, image
//! volumes, `/etc/mtab`, and passwd and group files that know the container's user.
//!
//! The root's content comes from an image. Every path is resolved inside the held root (invariant I1), so a link in
//! the image leads back into the image.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_sys::rooted::Root;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::namespaces::id_map::{self, host_id};
use crate::user::{self, EffectiveUser};

use super::error::shortened;
use super::mounts::absolute;
use super::process::Environment;
use super::{ContainerInput, Error, ImageVolumes};

/// Written to `/run/.containerenv`, by which programs recognise a container.
const CONTAINERENV: &[u8] = b"engine=\"ochre\"\n";

/// A root that is ready.
pub(super) struct Prepared {
    /// The working directory.
    pub(super) cwd: PathBuf,
    /// Directories of the node for volumes that the image declares: path in the container, directory.
    pub(super) declared: Vec<(PathBuf, PathBuf)>,
}

/// Prepares the root.
pub(super) fn prepare(
    input: &ContainerInput<'_>,
    root: &Root,
    user: &EffectiveUser,
) -> Result<Prepared, Error> {
    let owner = host_ids(input, user)?;
    let cwd = working_directory(input, root, owner)?;
    let declared = declared_volumes(input, root, owner)?;
    link_mtab(root, id_map::root_of(&input.container.security.namespaces))?;
    Ok(Prepared { cwd, declared })
}

/// Volumes that the image declares and the request does not cover, as `image_volumes` says.
fn declared_volumes(
    input: &ContainerInput<'_>,
    root: &Root,
    owner: (u32, u32),
) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    const FIELD: &str = "volume of the image";
    let mut declared: Vec<(PathBuf, PathBuf)> = Vec::new();
    for volume in &input.image.volumes {
        let path = absolute(FIELD, volume)?;
        if is_covered(input, &path) || declared.iter().any(|(known, _)| *known == path) {
            continue;
        }
        match input.node.image_volumes {
            ImageVolumes::Ignore => {}
            ImageVolumes::Mkdir => drop(make_directory(root, &path, owner)?),
            ImageVolumes::Bind => {
                let kernel = ["/proc", "/sys", "/dev"].iter().any(|top| path.starts_with(top));
                if kernel || path == Path::new("/") {
                    let reason = "must not be the root or in /proc, /sys or /dev";
                    return Err(Error::Path { field: FIELD, path: shortened(volume), reason });
                }
                let directory = input.volume_dir.join(format!("declared-{}", declared.len()));
                fresh_directory(root, &path, &directory, owner)?;
                declared.push((path, directory));
            }
        }
    }
    Ok(declared)
}

/// An empty directory on the node that looks like the image's at `path`, or belongs to the container's user.
fn fresh_directory(root: &Root, path: &Path, directory: &Path, owner: (u32, u32)) -> Result<(), Error> {
    let failed = |source| Error::Own { action: "make", path: directory.to_path_buf(), source };
    let likeness = root.open_at(path, OFlags::PATH | OFlags::DIRECTORY, 0).and_then(|like| {
        let stat = rustix::fs::fstat(&like)?;
        Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))
    });
    let (uid, gid, mode) = likeness.unwrap_or((owner.0, owner.1, 0o755));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    std::os::unix::fs::chown(directory, Some(uid), Some(gid)).map_err(failed)?;
    std::fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)
}

/// The working directory: the request's, else the image's, else `/`. Made if missing, for the container's user.
fn working_directory(input: &ContainerInput<'_>, root: &Root, owner: (u32, u32)) -> Result<PathBuf, Error> {
    const FIELD: &str = "working directory";
    let texts = [&input.container.working_dir, &input.image.working_dir];
    let Some(text) = texts.into_iter().find(|text| !text.is_empty()) else { return Ok(PathBuf::from("/")) };
    let path = absolute(FIELD, text)?;
    let refused = || Error::Path { field: FIELD, path: shortened(text), reason: "must not be in /proc" };
    // A working directory in procfs can be a directory of the node that a runtime left open (CVE-2024-21626).
    if is_in_proc(&path) {
        return Err(refused());
    }
    if is_covered(input, &path) {
        return Ok(path);
    }
    let directory = make_directory(root, &path, owner)?;
    let real = |file: &OwnedFd| {
        super::mounts::real_path(file).map_err(|source| Error::Rootfs {
            action: "find",
            path: shortened(text),
            source,
        })
    };
    let top = root.open_at(Path::new("/"), OFlags::PATH, 0);
    let top = real(&top.map_err(|source| Error::Rootfs { action: "open", path: "/".to_owned(), source })?)?;
    let inside = real(&directory)?;
    let inside = Path::new("/").join(inside.strip_prefix(&top).unwrap_or(&inside));
    if is_in_proc(&inside) { Err(refused()) } else { Ok(path) }
}

fn is_in_proc(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev/fd")
}

/// Whether a volume of the request lies over the path, so that the image's directory would not be seen.
fn is_covered(input: &ContainerInput<'_>, path: &Path) -> bool {
    input.container.mounts.iter().any(|mount| path.starts_with(&mount.container_path))
}

fn make_directory(root: &Root, path: &Path, (uid, gid): (u32, u32)) -> Result<OwnedFd, Error> {
    let failed =
        |source| Error::Rootfs { action: "create", path: shortened(&path.to_string_lossy()), source };
    match root.open_at(path, OFlags::PATH | OFlags::DIRECTORY, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(failed),
    }
    let made = root.create_dir_all(path, 0o755).map_err(failed)?;
    // Through a descriptor of the directory itself: the name could lead elsewhere by now.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(&made, ".", flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    rustix::fs::fchown(&open, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .and_then(|()| rustix::fs::fchmod(&open, Mode::from_raw_mode(0o755)))
        .map_err(|error| failed(error.into()))?;
    Ok(made)
}

/// `/etc/mtab` as programs expect it. An image that has its own keeps it.
fn link_mtab(root: &Root, (uid, gid): (u32, u32)) -> Result<(), Error> {
    const NAME: &str = "mtab";
    let failed =
        |errno: Errno| Error::Rootfs { action: "create", path: "/etc/mtab".to_owned(), source: errno.into() };
    let etc = make_directory(root, Path::new("/etc"), (uid, gid))?;
    match rustix::fs::symlinkat("/proc/mounts", &etc, NAME) {
        Ok(()) if (uid, gid) == (0, 0) => Ok(()),
        Ok(()) => {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&etc, NAME, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// The container's user as the node sees it, for files made from outside.
///
/// # Errors
/// [`Error::Unmapped`], also for a supplementary group that the pod's user namespace does not have.
fn host_ids(input: &ContainerInput<'_>, user: &EffectiveUser) -> Result<(u32, u32), Error> {
    let Some(map) = id_map::of_pod(&input.container.security.namespaces) else {
        return Ok((user.uid, user.gid));
    };
    let group = |id: u32| host_id(&map.gids, id).ok_or(Error::Unmapped { ids: "group", id });
    user.additional_gids.iter().try_for_each(|id| group(*id).map(drop))?;
    let uid = host_id(&map.uids, user.uid).ok_or(Error::Unmapped { ids: "user", id: user.uid })?;
    Ok((uid, group(user.gid)?))
}

/// Files that are mounted over those of the image: the pod's, and passwd and group where the image does not know the
/// user. Path in the container, file on the node.
pub(super) fn generated_files(
    input: &ContainerInput<'_>,
    root: &Root,
    user: &EffectiveUser,
    environment: &Environment,
) -> Result<Vec<(&'static str, PathBuf)>, Error> {
    let mut files = vec![
        ("/etc/resolv.conf", input.files.resolv_conf.clone()),
        ("/etc/hostname", input.files.hostname.clone()),
        ("/run/.containerenv", write(input, "containerenv", CONTAINERENV)?),
    ];
    files.extend(input.files.hosts.clone().map(|hosts| ("/etc/hosts", hosts)));
    let etc_is_a_volume = is_covered(input, Path::new("/etc"));
    let (uid, _) = host_ids(input, user)?;
    let can_write = |path| can_write(input, root, path, (uid, user));
    if user.name.is_none() && !etc_is_a_volume && !can_write(user::PASSWD) {
        let asked = &input.container.security.run_as.username;
        let name = if asked.is_empty() { user.uid.to_string() } else { asked.clone() };
        let home = environment.get("HOME").filter(|home| !home.is_empty()).unwrap_or("/");
        let line = user::passwd_line(&name, user.uid, user.gid, home)?;
        files.push((user::PASSWD, append(input, root, user::PASSWD, "passwd", &line)?));
    }
    if !user.group_known && !etc_is_a_volume && !can_write(user::GROUP) {
        let line = user::group_line(&user.gid.to_string(), user.gid)?;
        files.push((user::GROUP, append(input, root, user::GROUP, "group", &line)?));
    }
    Ok(files)
}

/// Whether the container's user can complete the file itself, as images for arbitrary user ids do at start.
fn can_write(
    input: &ContainerInput<'_>,
    root: &Root,
    path: &str,
    (uid, user): (u32, &EffectiveUser),
) -> bool {
    let groups = id_map::of_pod(&input.container.security.namespaces).map(|map| &map.gids);
    let on_node = |id: u32| groups.map_or(Some(id), |map| host_id(map, id));
    let found = root.open_at(Path::new(path), OFlags::PATH, 0);
    let Some(stat) = found.ok().and_then(|file| rustix::fs::fstat(file).ok()) else { return false };
    let bit = if stat.st_uid == uid {
        0o200
    } else if user.additional_gids.iter().any(|id| on_node(*id) == Some(stat.st_gid)) {
        0o020
    } else {
        0o002
    };
    stat.st_mode & bit != 0
}

/// The image's file plus one record, in the container's private directory.
fn append(
    input: &ContainerInput<'_>,
    root: &Root,
    path: &'static str,
    name: &str,
    record: &str,
) -> Result<PathBuf, Error> {
    let mut content = match root.read_limited(Path::new(path), user::FILE_LIMIT) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(Error::Rootfs { action: "read", path: path.to_owned(), source }),
    };
    if content.last().is_some_and(|last| *last != b'\n') {
        content.push(b'\n');
    }
    content.extend_from_slice(record.as_bytes());
    write(input, name, &content)
}

/// Into the container's private directory, for its root.
fn write(input: &ContainerInput<'_>, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
    let path = input.run_dir.join(name);
    let failed = |source| Error::Own { action: "write", path: path.clone(), source };
    let open = std::fs::File::open(input.run_dir).map_err(failed)?;
    atomic::write(&open, name, content, 0o644, Durability::Volatile).map_err(failed)?;
    // The daemon's umask must not keep the container's user from reading its own passwd file.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).map_err(failed)?;
    let (uid, gid) = id_map::root_of(&input.container.security.namespaces);
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok(path)
}
