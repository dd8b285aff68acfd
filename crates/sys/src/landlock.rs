//! Landlock (Linux 5.13): a process that takes from itself, for ever, every file but those below one directory.
//!
//! Descriptors that are open already stay usable. Where the kernel knows TCP rules (ABI 4) and scopes (ABI 6), binding
//! and connecting, abstract sockets and signals to other processes are taken away as well.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const CREATE_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

const EXECUTE: u64 = 1 << 0;
/// The 13 rights of ABI 1: executing, writing, reading, listing, removing and making everything.
const RIGHTS_1: u64 = (1 << 13) - 1;
/// ABI 2 adds linking and renaming between directories, ABI 3 truncating, ABI 5 ioctls of devices.
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Binding and connecting TCP sockets (ABI 4).
const NET: u64 = 0b11;
/// Abstract sockets and signals (ABI 6).
const SCOPES: u64 = 0b11;

/// `struct landlock_ruleset_attr` of ABI 6; older kernels take a shorter one.
#[repr(C)]
struct Ruleset {
    files: u64,
    net: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// Confines the calling thread, and all threads it starts, to the files below `dir`: everything but executing and device
/// ioctls is allowed there, nothing elsewhere. Needs no-new-privileges or `CAP_SYS_ADMIN`. `false`: this kernel has no
/// Landlock, or one that forbids links between directories altogether (ABI 1), and nothing has changed.
///
/// # Errors
/// The error of the call that failed.
pub fn confine_to(dir: BorrowedFd<'_>) -> io::Result<bool> {
    let version = match abi() {
        Ok(version) if version >= 2 => version,
        Ok(_) => return Ok(false),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP)) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let mut files = RIGHTS_1 | REFER;
    if version >= 3 {
        files |= TRUNCATE;
    }
    if version >= 5 {
        files |= IOCTL_DEV;
    }
    let net = if version >= 4 { NET } else { 0 };
    let scopes = if version >= 6 { SCOPES } else { 0 };
    let ruleset = create(&Ruleset { files, net, scopes }, version)?;
    let beneath = Beneath { allowed: files & !(EXECUTE | IOCTL_DEV), parent: dir.as_raw_fd() };
    // SAFETY: the structure has the kernel's packed layout and lives across the call, which only reads it; both
    // descriptors are open.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            std::ptr::from_ref(&beneath),
            0_u32,
        )
    };
    if added < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes an open descriptor and no pointers.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}

fn abi() -> io::Result<i64> {
    // SAFETY: a null pointer of length 0 with this flag asks for the version and touches no memory.
    match unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0_usize, CREATE_VERSION)
    } {
        version if version < 0 => Err(io::Error::last_os_error()),
        version => Ok(version),
    }
}

fn create(ruleset: &Ruleset, version: i64) -> io::Result<OwnedFd> {
    let size: usize = match version {
        ..4 => 8,
        4..6 => 16,
        _ => 24,
    };
    // SAFETY: at least `size` bytes of `ruleset` live across the call, which only reads them; flags are 0.
    let fd =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(ruleset), size, 0_u32) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
