//! BPF programs handed to the kernel: classic filters for seccomp, and device programs for cgroup v2.
//!
//! Who builds them checks them; here they are only passed on. The kernel verifies both kinds itself.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Installs a seccomp filter for the calling thread; `flags` are `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// `InvalidInput` for a program longer than the kernel takes; otherwise the error of `seccomp(2)`.
pub fn install_filter(program: &[Instruction], flags: u32) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // `sock_filter` and `Instruction` have the same four fields in the same C layout.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `program` points to `len` instructions that live across the call; the kernel only reads them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program))
    };
    // With SECCOMP_FILTER_FLAG_TSYNC a positive result is a thread that could not be synchronised.
    match result {
        0 => Ok(()),
        result if result > 0 => Err(io::ErrorKind::ResourceBusy.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One instruction of extended BPF, laid out as the kernel's `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedInstruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The start of `union bpf_attr` for loading; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
    _padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    _padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next: u32,
    open_flags: u32,
    _padding: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: private to this file and called only with the `repr(C)` structures above, each a prefix of
    // `union bpf_attr` for its command; the structure and everything it points to outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that a `bpf` call returned.
fn new_fd(number: i64) -> io::Result<OwnedFd> {
    let number = i32::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the commands whose result is given here return a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Loads a program that decides on device access of a cgroup v2 group.
///
/// # Errors
/// `EACCES` or `EINVAL` when the verifier refuses it, `EPERM` without the privilege.
pub fn load_device_program(program: &[ExtendedInstruction]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..LoadAttributes::default()
    };
    new_fd(bpf(BPF_PROG_LOAD, &mut attributes)?)
}

/// Attaches a device program to a group in addition to those it has.
///
/// # Errors
/// The error of `BPF_PROG_ATTACH`.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
        ..AttachAttributes::default()
    };
    bpf(BPF_PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches one device program from a group.
///
/// # Errors
/// `ENOENT` when it is not attached there.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        ..AttachAttributes::default()
    };
    bpf(BPF_PROG_DETACH, &mut attributes).map(drop)
}

/// The device programs attached to a group itself (not those of its parents), at most 64.
///
/// # Errors
/// The error of the query.
pub fn device_programs(group: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut attributes = QueryAttributes {
        target: group.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: 64,
        ..QueryAttributes::default()
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    let found = ids.iter().take(attributes.count as usize);
    found
        .map(|id| {
            new_fd(bpf(BPF_PROG_GET_FD_BY_ID, &mut IdAttributes { id: *id, ..IdAttributes::default() })?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_kernel() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Instruction, k), 4);
        assert_eq!(size_of::<ExtendedInstruction>(), 8);
        assert_eq!(std::mem::offset_of!(LoadAttributes, kernel_version), 40);
        assert_eq!(std::mem::offset_of!(QueryAttributes, ids), 16);
    }

    #[test]
    fn too_long_filters_are_refused_before_the_kernel_sees_them() {
        let program = vec![Instruction { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }; 70_000];
        assert_eq!(install_filter(&program, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
