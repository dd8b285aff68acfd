//! Edits applied to an OCI specification.
//!
//! A later edit wins over an earlier one and over what was there: variables by name, device nodes and mounts by path.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Hook, Hooks, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxIntelRdt, Mount, Process, Spec,
};

use super::format::{DeviceNode, Edits, IntelRdt};
use super::{CdiError, Injection, format};

/// Permissions of a node whose description names none.
const ALL: &str = "rwm";

impl Injection {
    /// Changes a specification; its mounts stay sorted by depth.
    ///
    /// # Errors
    /// [`CdiError::DeviceNode`] for a node whose numbers cannot be found out.
    pub fn apply(&self, spec: &mut Spec) -> Result<(), CdiError> {
        for edits in &self.edits {
            apply(edits, spec)?;
        }
        if let Some(mounts) = spec.mounts_mut() {
            mounts.sort_by_key(|mount| mount.destination().components().count());
        }
        Ok(())
    }
}

fn apply(edits: &Edits, spec: &mut Spec) -> Result<(), CdiError> {
    let owner = match spec.process_mut() {
        Some(process) => {
            environment(process, &edits.env);
            groups(process, &edits.additional_gids);
            (process.user().uid(), process.user().gid())
        }
        None => (0, 0),
    };
    for node in &edits.device_nodes {
        device(spec, node, owner)?;
    }
    for mount in &edits.mounts {
        self::mount(spec, mount);
    }
    for hook in &edits.hooks {
        self::hook(spec, hook);
    }
    if let (Some(rdt), Some(linux)) = (&edits.intel_rdt, spec.linux_mut()) {
        linux.set_intel_rdt(Some(intel_rdt(rdt)));
    }
    Ok(())
}

fn environment(process: &mut Process, more: &[String]) {
    let mut env = process.env().clone().unwrap_or_default();
    for entry in more {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |known: &String| known.split('=').next() == Some(name);
        match env.iter_mut().find(|known| same(known)) {
            Some(known) => known.clone_from(entry),
            None => env.push(entry.clone()),
        }
    }
    process.set_env(Some(env));
}

fn groups(process: &mut Process, more: &[u32]) {
    let mut user = process.user().clone();
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    for gid in more {
        // 0 is what an absent value looks like in such files; nobody means the root group by it.
        if *gid != 0 && !groups.contains(gid) {
            groups.push(*gid);
        }
    }
    user.set_additional_gids(Some(groups));
    process.set_user(user);
}

/// A node that names no owner belongs to the container's user unless that is root.
fn device(spec: &mut Spec, node: &DeviceNode, owner: (u32, u32)) -> Result<(), CdiError> {
    let (kind, major, minor) = numbers(node)?;
    let mut written = LinuxDevice::default();
    let of_user = |id: u32| Some(id).filter(|id| *id != 0);
    written
        .set_path(clean(&node.path))
        .set_typ(kind)
        .set_major(major)
        .set_minor(minor)
        .set_file_mode(node.file_mode)
        .set_uid(node.uid.or(of_user(owner.0)))
        .set_gid(node.gid.or(of_user(owner.1)));
    let Some(linux) = spec.linux_mut() else { return Ok(()) };
    let mut devices = linux.devices().clone().unwrap_or_default();
    devices.retain(|known| known.path() != written.path());
    devices.push(written);
    linux.set_devices(Some(devices));
    if !matches!(kind, LinuxDeviceType::B | LinuxDeviceType::C) {
        return Ok(());
    }
    let access = if node.permissions.is_empty() { ALL } else { &node.permissions };
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(Some(major))
        .set_minor(Some(minor))
        .set_access(Some(access.to_owned()));
    if let Some(resources) = linux.resources_mut() {
        let mut rules = resources.devices().clone().unwrap_or_default();
        if !rules.contains(&rule) {
            rules.push(rule);
        }
        resources.set_devices(Some(rules));
    }
    Ok(())
}

/// Type and numbers: as described, or those of the node on the host.
fn numbers(node: &DeviceNode) -> Result<(LinuxDeviceType, i64, i64), CdiError> {
    let described = match node.kind.as_str() {
        "b" => Some(LinuxDeviceType::B),
        "c" | "u" => Some(LinuxDeviceType::C),
        "p" => Some(LinuxDeviceType::P),
        _ => None,
    };
    match described {
        Some(LinuxDeviceType::P) => return Ok((LinuxDeviceType::P, 0, 0)),
        Some(kind) if node.major != 0 => return Ok((kind, node.major, node.minor)),
        Some(_) | None => {}
    }
    let host_path = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let refused = |reason| CdiError::DeviceNode { path: host_path.clone(), reason };
    let found = std::fs::metadata(host_path).map_err(|_| refused("is not there on the node"))?;
    let kind = if found.file_type().is_char_device() {
        LinuxDeviceType::C
    } else if found.file_type().is_block_device() {
        LinuxDeviceType::B
    } else if found.file_type().is_fifo() {
        return Ok((LinuxDeviceType::P, 0, 0));
    } else {
        return Err(refused("is no device node on the node"));
    };
    if described.is_some_and(|described| described != kind) {
        return Err(refused("is of another type on the node"));
    }
    let number = found.rdev();
    Ok((kind, i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}

fn mount(spec: &mut Spec, asked: &format::Mount) {
    let destination = clean(&asked.container_path);
    let kind = if asked.kind.is_empty() { "bind" } else { &asked.kind };
    let mut options = asked.options.clone();
    if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("rbind".to_owned());
    }
    let mut written = Mount::default();
    written
        .set_destination(destination.clone())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(&asked.host_path)))
        .set_options(Some(options));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.retain(|known| *known.destination() != destination);
    mounts.push(written);
    spec.set_mounts(Some(mounts));
}

fn hook(spec: &mut Spec, asked: &format::Hook) {
    let mut written = Hook::default();
    written
        .set_path(PathBuf::from(&asked.path))
        .set_args(Some(asked.args.clone()).filter(|args| !args.is_empty()))
        .set_env(Some(asked.env.clone()).filter(|env| !env.is_empty()))
        .set_timeout(asked.timeout);
    let mut hooks = spec.hooks().clone().unwrap_or_else(no_hooks);
    let add = |list: &Option<Vec<Hook>>| {
        let mut list = list.clone().unwrap_or_default();
        list.push(written);
        Some(list)
    };
    match asked.hook_name.as_str() {
        // Deprecated by the runtime specification; still what drivers ask for by that name.
        "prestart" => prestart(&mut hooks, add),
        "createRuntime" => drop(hooks.set_create_runtime(add(hooks.create_runtime()))),
        "createContainer" => drop(hooks.set_create_container(add(hooks.create_container()))),
        "startContainer" => drop(hooks.set_start_container(add(hooks.start_container()))),
        "poststart" => drop(hooks.set_poststart(add(hooks.poststart()))),
        _ => drop(hooks.set_poststop(add(hooks.poststop()))),
    }
    spec.set_hooks(Some(hooks));
}

#[allow(deprecated)]
fn prestart(hooks: &mut Hooks, add: impl FnOnce(&Option<Vec<Hook>>) -> Option<Vec<Hook>>) {
    hooks.set_prestart(add(hooks.prestart()));
}

/// The library's default has an example in every list.
fn no_hooks() -> Hooks {
    let mut hooks = Hooks::default();
    prestart(&mut hooks, |_| None);
    hooks
        .set_create_runtime(None)
        .set_create_container(None)
        .set_start_container(None)
        .set_poststart(None)
        .set_poststop(None);
    hooks
}

#[allow(deprecated)]
fn intel_rdt(asked: &IntelRdt) -> LinuxIntelRdt {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut written = LinuxIntelRdt::default();
    written
        .set_clos_id(text(&asked.clos_id))
        .set_l3_cache_schema(text(&asked.l3_cache_schema))
        .set_mem_bw_schema(text(&asked.mem_bw_schema))
        .set_enable_cmt(asked.enable_cmt.then_some(true))
        .set_enable_mbm(asked.enable_mbm.then_some(true));
    written
}

fn clean(path: &str) -> PathBuf {
    Path::new(path).components().collect()
}
