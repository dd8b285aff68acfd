//! The files of a pod that its containers see: `resolv.conf`, `hostname`, `hosts` and `/dev/shm`.
//!
//! All of them lie in the pod's private directory (0700) and are bind-mounted into each container. Every word of a
//! request that ends up in one of them is checked first: a line break in a search domain would be a line of its own.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use ochre_sys::atomic::{self, Durability};
use ochre_sys::rooted::Root;
use ochre_types::ErrorKind;
use rustix::fs::{AtFlags, Mode, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::config::DnsConfig;

/// Size of a pod's `/dev/shm` unless an annotation says otherwise, bytes.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;
/// Pod annotations with another size, the newer spelling first.
pub const SHM_SIZE_ANNOTATIONS: [&str; 2] = ["shm-size.crio.io", "io.kubernetes.cri-o.ShmSize"];

/// Largest file of the host that is copied, bytes.
const HOST_FILE_LIMIT: u64 = 1 << 20;

/// A pod's file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A word of the request that cannot stand in the file.
    #[error("{field} {value:?} of the pod cannot be written into {file}")]
    Word {
        /// `DNS server`, `hostname`, …
        field: &'static str,
        /// Its value, shortened.
        value: String,
        /// Which file.
        file: &'static str,
    },
    /// A size that is none.
    #[error("size {value:?} of /dev/shm is not a number of bytes such as 64Mi")]
    Size {
        /// As written.
        value: String,
    },
    /// A call failed.
    #[error("cannot {action} {path:?}")]
    Io {
        /// `write`, `read`, `mount`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Word { .. } | Self::Size { .. } => ErrorKind::InvalidArgument,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }
}

/// Writes `resolv.conf` into the pod's directory: from the request, or a copy of the host's where it says nothing.
///
/// # Errors
/// [`Error::Word`] for words that would break a line, [`Error::Io`] otherwise.
pub fn write_resolv_conf(directory: &Path, dns: Option<&DnsConfig>, host: &Path) -> Result<PathBuf, Error> {
    let content = match dns {
        Some(dns) => resolv_conf(dns)?.into_bytes(),
        None => host_file(host)?,
    };
    write(directory, "resolv.conf", &content)
}

/// The text for a DNS configuration: `search`, `nameserver` and `options` lines as resolv.conf(5) wants them.
///
/// # Errors
/// [`Error::Word`].
pub fn resolv_conf(dns: &DnsConfig) -> Result<String, Error> {
    const FILE: &str = "resolv.conf";
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", words("DNS search domain", &dns.searches, FILE)?);
    }
    for server in &dns.servers {
        text += &format!("nameserver {}\n", word("DNS server", server, FILE)?);
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", words("DNS option", &dns.options, FILE)?);
    }
    Ok(text)
}

/// A file of the host, wherever its links lead. A host without one resolves nothing, and so does the pod.
fn host_file(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
    let root = Root::open(Path::new("/")).map_err(failed)?;
    match root.read_limited(path, HOST_FILE_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(failed),
    }
}

/// Writes `hostname` into the pod's directory.
///
/// # Errors
/// [`Error::Word`] for a name that is none, [`Error::Io`] otherwise.
pub fn write_hostname(directory: &Path, hostname: &str) -> Result<PathBuf, Error> {
    let name = word("hostname", hostname, "hostname")?;
    write(directory, "hostname", format!("{name}\n").as_bytes())
}

/// Writes `hosts` into the pod's directory: the loopback names, and the pod's own name for each of its addresses.
///
/// # Errors
/// [`Error::Word`] for a name that is none, [`Error::Io`] otherwise.
pub fn write_hosts(directory: &Path, hostname: &str, addresses: &[IpAddr]) -> Result<PathBuf, Error> {
    let name = word("hostname", hostname, "hosts")?;
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    if addresses.is_empty() {
        text += &format!("127.0.1.1\t{name}\n");
    }
    for address in addresses {
        text += &format!("{address}\t{name}\n");
    }
    write(directory, "hosts", text.as_bytes())
}

/// Copies the host's `hosts` into the pod's directory: for a pod in the node's network, whose names are the node's.
///
/// # Errors
/// [`Error::Io`].
pub fn copy_hosts(directory: &Path, host: &Path) -> Result<PathBuf, Error> {
    write(directory, "hosts", &host_file(host)?)
}

/// Gives the files of a pod with a user namespace, and its `/dev/shm`, to the pod's root, who owns them in every other
/// pod as well. What is not there is left out.
///
/// # Errors
/// [`Error::Io`].
pub fn give_to(directory: &Path, (uid, gid): (u32, u32)) -> Result<(), Error> {
    for name in ["resolv.conf", "hostname", "hosts", "shm"] {
        let path = directory.join(name);
        match std::os::unix::fs::lchown(&path, Some(uid), Some(gid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|source| Error::Io { action: "change the owner of", path, source })?,
        }
    }
    Ok(())
}

/// Reads a size of `/dev/shm` as an annotation gives it: bytes, or with a suffix such as `64Mi`, `1G`, `512k`.
///
/// # Errors
/// [`Error::Size`], also for 0.
pub fn shm_size(text: &str) -> Result<u64, Error> {
    let refused = || Error::Size { value: text.chars().take(80).collect() };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (power, unit) = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => (0, 1024u64),
        "k" | "ki" | "kb" | "kib" => (1, 1024),
        "m" | "mi" | "mb" | "mib" => (2, 1024),
        "g" | "gi" | "gb" | "gib" => (3, 1024),
        _ => return Err(refused()),
    };
    let number: u64 = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
        .ok_or_else(refused)?;
    number.checked_mul(unit.pow(power)).filter(|size| *size > 0).ok_or_else(refused)
}

/// Mounts the pod's `/dev/shm` at `shm` in its directory, unless it is mounted already; with the SELinux label that its
/// containers may use, on a node that has labels.
///
/// # Errors
/// [`Error::Io`].
pub fn mount_shm(directory: &Path, size: u64, label: Option<&str>) -> Result<PathBuf, Error> {
    let path = directory.join("shm");
    let failed = |action: &'static str| {
        let path = path.clone();
        move |source: io::Error| Error::Io { action, path, source }
    };
    match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed("create")(error.into())),
    }
    if is_mount_point(&path).map_err(failed("look at"))? {
        return Ok(path);
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let label = label.map(|label| format!(",context=\"{label}\"")).unwrap_or_default();
    let options = std::ffi::CString::new(format!("mode=1777,size={size}{label}"))
        .map_err(|e| failed("mount")(e.into()))?;
    rustix::mount::mount("shm", &path, "tmpfs", flags, &*options)
        .map_err(|error| failed("mount")(error.into()))?;
    Ok(path)
}

/// Unmounts the pod's `/dev/shm`, if it is mounted, and removes its directory. Does nothing the second time.
///
/// # Errors
/// [`Error::Io`].
pub fn unmount_shm(directory: &Path) -> Result<(), Error> {
    let path = directory.join("shm");
    let failed = |action| {
        let path = path.clone();
        move |source: io::Error| Error::Io { action, path, source }
    };
    loop {
        // A retry can have mounted it more than once; detached, because a container that is being killed may hold it.
        match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not mounted, or no directory.
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(error) => return Err(failed("unmount")(error.into())),
        }
    }
    match rustix::fs::rmdir(&path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("remove")(error.into())),
    }
}

/// Linux 5.8 tells it in `statx`; the engine needs 5.6 for `openat2` and treats the older two as "not mounted".
fn is_mount_point(path: &Path) -> io::Result<bool> {
    const MOUNT_ROOT: u64 = 0x2000;
    let found = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(found.stx_attributes.bits() & MOUNT_ROOT != 0)
}

fn write(directory: &Path, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
    let path = directory.join(name);
    let failed = |source| Error::Io { action: "write", path: path.clone(), source };
    let open = File::open(directory).map_err(failed)?;
    atomic::write(open.as_fd(), name, content, 0o644, Durability::Volatile).map_err(failed)?;
    // The daemon's umask must not keep a container's user from resolving names.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).map_err(failed)?;
    Ok(path)
}

fn words(field: &'static str, list: &[String], file: &'static str) -> Result<String, Error> {
    Ok(list.iter().map(|text| word(field, text, file)).collect::<Result<Vec<_>, _>>()?.join(" "))
}

fn word<'a>(field: &'static str, text: &'a str, file: &'static str) -> Result<&'a str, Error> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic() && c != '#' && c != ';') {
        return Err(Error::Word { field, value: text.chars().take(80).collect(), file });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(servers: &[&str], searches: &[&str], options: &[&str]) -> DnsConfig {
        let owned = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        DnsConfig { servers: owned(servers), searches: owned(searches), options: owned(options) }
    }

    #[test]
    fn resolv_conf_says_what_the_pod_asked_for() {
        let text = resolv_conf(&dns(
            &["10.0.0.10", "fd00::a"],
            &["ns.svc.local", "svc.local"],
            &["ndots:5", "edns0"],
        ));
        let expected = "search ns.svc.local svc.local\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5 edns0\n";
        assert_eq!(text.unwrap(), expected);
        assert_eq!(resolv_conf(&DnsConfig::default()).unwrap(), "");
    }

    #[test]
    fn no_word_can_become_a_line() {
        for bad in ["1.1.1.1\nnameserver 6.6.6.6", "a b", "", "x#", "\0"] {
            assert!(matches!(resolv_conf(&dns(&[bad], &[], &[])), Err(Error::Word { .. })), "{bad:?}");
            assert!(matches!(resolv_conf(&dns(&[], &["ok", bad], &[])), Err(Error::Word { .. })), "{bad:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(write_hostname(dir.path(), "web\n127.0.0.1 bank.example").is_err());
        assert!(write_hosts(dir.path(), "web\n127.0.0.1 bank.example", &[]).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_dns_configuration_the_hosts_file_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        std::fs::write(&host, "nameserver 192.0.2.1\n").unwrap();
        let written = write_resolv_conf(dir.path(), None, &host).unwrap();
        assert_eq!(std::fs::read(written).unwrap(), b"nameserver 192.0.2.1\n");
        let none = write_resolv_conf(dir.path(), None, &dir.path().join("missing")).unwrap();
        assert_eq!(std::fs::read(none).unwrap(), b"");
    }

    #[test]
    fn hosts_names_the_pod_for_each_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = write_hosts(dir.path(), "web", &["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()])
            .unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.1.2.3\tweb\nfd00::3\tweb\n"));
        let host = dir.path().join("of the host");
        std::fs::write(&host, "192.0.2.7\tnode\n").unwrap();
        let copy = copy_hosts(dir.path(), &host).unwrap();
        assert_eq!(std::fs::read_to_string(copy).unwrap(), "192.0.2.7\tnode\n");
    }

    #[test]
    fn sizes_follow_one_table() {
        for (text, size) in
            [("4096", 4096), ("64Mi", 64 << 20), ("1G", 1 << 30), ("512k", 512 << 10), ("7b", 7)]
        {
            assert_eq!(shm_size(text).unwrap(), size, "{text}");
        }
        for bad in
            ["", "0", "Mi", "-1", "+1", "1T", "1 Mi", "18446744073709551615Gi", "1,mode=777", "é", "1é"]
        {
            assert!(matches!(shm_size(bad), Err(Error::Size { .. })), "{bad:?}");
        }
    }

    #[test]
    fn shm_is_mounted_once_and_unmounted_idempotently() {
        let dir = tempfile::tempdir().unwrap();
        let path = mount_shm(dir.path(), 1 << 20, None).unwrap();
        let again = mount_shm(dir.path(), 1 << 20, None);
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = table.lines().filter(|line| line.contains(path.to_str().unwrap())).count();
        let size = rustix::fs::statvfs(&path).map(|stat| stat.f_blocks * stat.f_frsize);
        unmount_shm(dir.path()).unwrap();
        unmount_shm(dir.path()).unwrap();
        assert!(again.is_ok());
        assert_eq!(mounted, 1);
        assert_eq!(size.unwrap(), 1 << 20);
        assert!(!path.exists());
    }
}
