//! What a worker takes from itself before it reads the first byte.
//!
//! | what | by | left |
//! |---|---|---|
//! | files | chroot into the layer's directory; Landlock (5.19) on top | the layer's directory, open descriptors |
//! | network, processes, kernel | seccomp allow list | files, memory, threads of its own |
//! | rights | capability sets | owners, modes, nodes, attributes of files; `SYS_ADMIN` for `trusted.overlay.opaque` |
//! | memory, core dumps, new rights | rlimits, not dumpable, no-new-privileges | 1 GiB of address space |

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ochre_sys::capability::{self, Capabilities};
use ochre_sys::seccomp::{Instruction, install_filter};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

const ADDRESS_SPACE: u64 = 1 << 30;

/// What making any file with any owner needs.
const KEPT: [&str; 7] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP", "SYS_ADMIN"];

/// Locks the process into `root`. It must have one thread yet.
pub(super) fn enter(root: &OwnedFd) -> io::Result<()> {
    let limit = |maximum| Rlimit { current: Some(maximum), maximum: Some(maximum) };
    rustix::process::setrlimit(Resource::Core, limit(0))?;
    rustix::process::setrlimit(Resource::As, limit(ADDRESS_SPACE))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Modes of nodes come out as the archive says.
    rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    rustix::thread::set_no_new_privs(true)?;
    ochre_sys::landlock::confine_to(root.as_fd())?;
    drop_capabilities()?;
    install_filter(&filter(), 0)
}

fn drop_capabilities() -> io::Result<()> {
    let mut wanted = Capabilities::default();
    for number in KEPT.iter().filter_map(|name| capability::number(name)) {
        wanted.insert(number);
    }
    let kept = capability::permitted()?.intersection(wanted);
    // Without SETPCAP the bounding set stays; no-new-privileges keeps it from mattering.
    drop(capability::limit_bounding(kept));
    capability::set_ambient(Capabilities::default())?;
    capability::set(kept, kept, Capabilities::default())
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Calls that are allowed whatever their arguments. Those of another architecture, and x32's, are not in the list: their
/// numbers differ or the first comparison ends them.
const ALLOWED: &[i64] = &[
    // Bytes and descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_ppoll,
    // Files of the layer.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_fsetxattr,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    // Memory, threads, time, the end.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

// Classic BPF (linux/filter.h) and seccomp's answers (linux/seccomp.h).
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7FFF_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
/// Offsets in `struct seccomp_data`; the low halves of arguments 0 and 2 on little-endian machines.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;
const ARGUMENT_2: u32 = 32;

/// The allow list as a program. Whatever is not allowed fails with `EPERM`, and the layer with it.
fn filter() -> Vec<Instruction> {
    let step = |code, k| Instruction { code, jt: 0, jf: 0, k };
    let skip_unless_equal = |k| Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k };
    let number = |call: i64| u32::try_from(call).unwrap_or(u32::MAX);
    let errno = |number: i32| ERRNO | number.unsigned_abs();
    let mut program = vec![
        step(LOAD, ARCH),
        Instruction { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: ARCHITECTURE },
        step(RETURN, KILL_PROCESS),
        step(LOAD, NUMBER),
    ];
    for call in ALLOWED {
        program.extend([skip_unless_equal(number(*call)), step(RETURN, ALLOW)]);
    }
    // Its arguments lie in memory; the C library falls back to clone.
    program.extend([skip_unless_equal(number(libc::SYS_clone3)), step(RETURN, errno(libc::ENOSYS))]);
    // A thread, not a process.
    program.extend(checked(number(libc::SYS_clone), ARGUMENT_0, libc::CLONE_THREAD.unsigned_abs(), true));
    // No memory becomes code.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        program.extend(checked(number(call), ARGUMENT_2, libc::PROT_EXEC.unsigned_abs(), false));
    }
    program.extend(descriptor_calls(number(libc::SYS_fcntl)));
    program.push(step(RETURN, errno(libc::EPERM)));
    program
}

/// `fcntl` with the commands that copy and look at descriptors. Others reach further: `F_SETOWN` sends signals.
fn descriptor_calls(call: u32) -> Vec<Instruction> {
    let commands = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL];
    let mut program = vec![
        // To the end of this block: behind the load, two steps a command, and the refusal.
        Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: 12, k: call },
        Instruction { code: LOAD, jt: 0, jf: 0, k: ARGUMENT_1 },
    ];
    for command in commands {
        program.push(Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: command.unsigned_abs() });
        program.push(Instruction { code: RETURN, jt: 0, jf: 0, k: ALLOW });
    }
    program.push(Instruction { code: RETURN, jt: 0, jf: 0, k: ERRNO | libc::EPERM.unsigned_abs() });
    program
}

/// Allows `call` if the bits of an argument are set (`wanted`) or are not, and refuses it otherwise.
fn checked(call: u32, argument: u32, bits: u32, wanted: bool) -> [Instruction; 5] {
    let step = |code, k| Instruction { code, jt: 0, jf: 0, k };
    let (if_set, if_clear) = if wanted { (0, 1) } else { (1, 0) };
    [
        Instruction { code: JUMP_IF_EQUAL, jt: 0, jf: 4, k: call },
        step(LOAD, argument),
        Instruction { code: JUMP_IF_ANY_BIT, jt: if_set, jf: if_clear, k: bits },
        step(RETURN, ALLOW),
        step(RETURN, ERRNO | libc::EPERM.unsigned_abs()),
    ]
}
