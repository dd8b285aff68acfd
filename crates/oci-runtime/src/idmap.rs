//! User namespaces as carriers of id mappings.

use std::io;
use std::os::fd::OwnedFd;

use ochre_sys::clone::{CloneOptions, Cloned, clone_process};
use rustix::process::{Pid, Signal, WaitIdOptions};
use rustix::thread::ThreadNameSpaceType;

use crate::spec::IdMapping;

/// Writes the mappings of a process in a new user namespace.
///
/// # Errors
/// The error of writing: `EINVAL` for mappings that overlap.
pub fn write(pid: Pid, uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<()> {
    let lines = |mappings: &[IdMapping]| -> String {
        mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
    };
    let pid = pid.as_raw_nonzero();
    std::fs::write(format!("/proc/{pid}/uid_map"), lines(uids))?;
    std::fs::write(format!("/proc/{pid}/gid_map"), lines(gids))
}

/// A user namespace with the mappings and nobody in it.
///
/// # Errors
/// The error of making it.
pub fn user_namespace(uids: &[IdMapping], gids: &[IdMapping]) -> io::Result<OwnedFd> {
    let (keep, wait) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let options = CloneOptions { namespaces: Some(ThreadNameSpaceType::USER), ..CloneOptions::default() };
    match clone_process(&options)? {
        Cloned::Child => {
            // Holds the namespace until the other end is closed, or the runtime is gone.
            drop(wait);
            let mut byte = [0];
            drop(rustix::io::read(&keep, &mut byte).map_err(io::Error::from));
            ochre_sys::exec::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            let made = write(pid, uids, gids)
                .and_then(|()| std::fs::File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero())));
            rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)?;
            rustix::process::waitid(rustix::process::WaitId::Pid(pid), WaitIdOptions::EXITED)?;
            made.map(OwnedFd::from)
        }
    }
}
