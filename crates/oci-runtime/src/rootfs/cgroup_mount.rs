//! Showing a container its control groups.
//!
//! v2 is one file system. On v1 and hybrid machines it is a small tmpfs with a directory per hierarchy, and links for
//! hierarchies with several controllers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use ochre_sys::mount::set_attributes;
use ochre_sys::rooted::Root;
use rustix::fs::{Mode, OFlags};

use super::attach;
use super::mounts::new_filesystem;
use super::options::{Attributes, MountOptions};
use super::prepare::CgroupView;
use crate::cgroup::Hierarchies;

pub(super) fn mount(place: &OwnedFd, view: &CgroupView, options: &MountOptions) -> io::Result<()> {
    // Words such as `nsdelegate` are settings of the whole machine.
    let options = MountOptions { data: Vec::new(), ..options.clone() };
    match view {
        CgroupView::None => Err(io::ErrorKind::NotFound.into()),
        CgroupView::Namespace(Hierarchies::V2) => {
            attach(new_filesystem("cgroup2", None, &options, None)?, place)
        }
        CgroupView::Namespace(Hierarchies::V1(mounted)) => {
            let names: Vec<&str> = mounted.iter().map(|hierarchy| hierarchy.directory.as_str()).collect();
            let top = attach_directories(&names, place)?;
            for hierarchy in mounted {
                let data = hierarchy.selector.split(',').map(str::to_owned).collect();
                let tree = new_filesystem("cgroup", None, &MountOptions { data, ..options.clone() }, None)?;
                attach(tree, directory(&top, &hierarchy.directory)?)?;
            }
            restrict(&top, &options)
        }
        CgroupView::Copies(copies) => match &copies[..] {
            [(name, tree)] if name.is_empty() => restrict(tree, &options).and_then(|()| attach(tree, place)),
            _ => {
                let names: Vec<&str> = copies.iter().map(|(name, _)| name.as_str()).collect();
                let top = attach_directories(&names, place)?;
                for (name, tree) in copies {
                    restrict(tree, &options)?;
                    attach(tree, directory(&top, name)?)?;
                }
                restrict(&top, &options)
            }
        },
    }
}

fn restrict(tree: &OwnedFd, options: &MountOptions) -> io::Result<()> {
    let Attributes { set, clear } = options.own;
    set_attributes(tree.as_fd(), &super::change(set | options.recursive.set, clear, 0, false))
}

/// Attaches a tmpfs with a directory per hierarchy; it is restricted last, when nothing more is made in it.
fn attach_directories(names: &[&str], place: &OwnedFd) -> io::Result<OwnedFd> {
    let data = vec!["mode=755".to_owned(), "size=1m".to_owned()];
    let top = new_filesystem("tmpfs", None, &MountOptions { data, ..MountOptions::default() }, None)?;
    attach(&top, place)?;
    for name in names {
        rustix::fs::mkdirat(&top, *name, Mode::from_raw_mode(0o755))?;
        for part in name.split(',').filter(|part| part != name) {
            rustix::fs::symlinkat(*name, &top, part)?;
        }
    }
    Ok(top)
}

fn directory(top: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let top = Root::from_fd(rustix::io::fcntl_dupfd_cloexec(top, 3)?);
    top.open_no_symlinks(Path::new(name), OFlags::PATH | OFlags::DIRECTORY, 0)
}
