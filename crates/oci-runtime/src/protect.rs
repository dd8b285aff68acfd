//! Keeping the runtime's own file out of a container's reach.
//!
//! A process that enters a container shows its program as `/proc/<pid>/exe`, which a container could open for writing
//! once the process is gone (CVE-2019-5736). So verbs that enter one run from a read-only copy of their mount: the
//! link then leads to a file system on which nothing can be written.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use ochre_sys::mount::{ATTR_RDONLY, AttributeChange, PRIVATE, set_attributes};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;
use rustix::process::DumpableBehavior;

/// Makes sure that this program runs from a read-only mount and cannot be traced; executes it again if need be.
///
/// # Errors
/// When it cannot be made sure.
pub(crate) fn protect() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let own = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fstatvfs(&own)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = rustix::mount::open_tree(CWD, "/proc/self/exe", flags)?;
    let change = AttributeChange { set: ATTR_RDONLY, propagation: PRIVATE, ..AttributeChange::default() };
    set_attributes(copy.as_fd(), &change)?;
    let nul = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()).map_err(nul));
    let variables = std::env::vars_os().map(|(name, value)| {
        let mut pair = name.into_vec();
        pair.push(b'=');
        pair.extend(value.into_vec());
        CString::new(pair).map_err(nul)
    });
    let (arguments, variables) =
        (arguments.collect::<Result<Vec<_>, _>>()?, variables.collect::<Result<Vec<_>, _>>()?);
    Err(ochre_sys::exec::execve_fd(copy.as_fd(), &arguments, &variables))
}
