//! Architectures and the numbers of their system calls.

/// First call number of x32 programs on x86-64 (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Calls that have numbers of their own on x32, from 512 on; all others share those of x86-64.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// The architectures whose programs the supported machines run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 32-bit pointers on x86-64.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Architecture {
    /// That of this program; `None` on a machine this runtime has no tables for.
    pub fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// Those that this machine can run and the runtime can filter, by their names in the specification.
    pub fn supported() -> &'static [&'static str] {
        match Self::native() {
            Some(Self::X86_64) => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            Some(_) => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
            None => &[],
        }
    }

    /// An architecture of this machine by its name in the specification. Programs of an architecture that is not in
    /// the filter are killed, so those of other machines need no entry.
    pub(super) fn parse(name: &str) -> Option<Self> {
        if !Self::supported().contains(&name) {
            return None;
        }
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_X32" => Some(Self::X32),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            "SCMP_ARCH_ARM" => Some(Self::Arm),
            _ => None,
        }
    }

    /// Its `AUDIT_ARCH_*`.
    pub(super) fn audit_number(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The number of a call by its name, `None` when the architecture does not have it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86_64 => {
                name.parse::<syscalls::x86_64::Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok())
            }
            #[cfg(target_arch = "x86_64")]
            Self::X32 => match X32_OWN.iter().position(|own| *own == name) {
                Some(at) => Some(X32_BIT + 512 + u32::try_from(at).ok()?),
                None => Self::X86_64.number(name).map(|number| number | X32_BIT),
            },
            Self::X86 => {
                name.parse::<syscalls::x86::Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok())
            }
            #[cfg(target_arch = "aarch64")]
            Self::Aarch64 => {
                name.parse::<syscalls::aarch64::Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok())
            }
            Self::Arm => {
                name.parse::<syscalls::arm::Sysno>().ok().and_then(|call| u32::try_from(call.id()).ok())
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::X86_64 | Self::X32 => None,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Aarch64 => None,
        }
    }
}
