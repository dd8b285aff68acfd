//! Checks that options share. Each says what would be right; the phrases that CRI-O's users search for are kept.

use std::path::{Path, PathBuf};

use crate::value::{StorageOptions, Wrong, quoted};

/// The capabilities Linux knows (capabilities(7)), without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Resource limits by their names in lower case (getrlimit(2)).
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Groups of metrics a pod can have (CRI-O's names).
const POD_METRICS: [&str; 11] =
    ["all", "cpu", "disk", "diskIO", "hugetlb", "memory", "network", "oom", "process", "spec", "pressure"];

pub(crate) fn anything<T>(_: &T) -> Result<(), Wrong> {
    Ok(())
}

pub(crate) fn absolute(path: &Path) -> Result<(), Wrong> {
    if path.is_absolute() { Ok(()) } else { Err("expected an absolute path".to_owned()) }
}

/// Empty means "not set" for most paths.
pub(crate) fn absolute_or_empty(path: &Path) -> Result<(), Wrong> {
    if path.as_os_str().is_empty() { Ok(()) } else { absolute(path) }
}

pub(crate) fn absolutes(paths: &[PathBuf]) -> Result<(), Wrong> {
    match paths.iter().find(|path| !path.is_absolute()) {
        None => Ok(()),
        Some(path) => Err(format!("{} is not an absolute path", quoted(&path.to_string_lossy()))),
    }
}

/// At most one of each address family. What a subnet must be beyond that is the network's to say.
pub(crate) fn subnets(texts: &[String]) -> Result<(), Wrong> {
    let mut families = Vec::new();
    for text in texts {
        let parsed = text.split_once('/').and_then(|(network, prefix)| {
            Some((network.parse::<std::net::IpAddr>().ok()?, prefix.parse::<u8>().ok()?))
        });
        let Some((network, _)) = parsed else {
            return Err(format!(
                "{} is not a subnet such as \"10.85.0.0/16\" or \"fd85::/64\"",
                quoted(text)
            ));
        };
        if families.contains(&network.is_ipv4()) {
            return Err("expected at most one subnet of IPv4 and one of IPv6".to_owned());
        }
        families.push(network.is_ipv4());
    }
    if families.is_empty() { Err("expected at least one subnet".to_owned()) } else { Ok(()) }
}

/// The kernel takes 15 characters, and more kinds of them than firewall tables should be named with.
pub(crate) fn device_name(name: &str) -> Result<(), Wrong> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if matches!(name, "" | "." | "..") || name.len() > 15 || !name.chars().all(good) {
        return Err("expected a device name of at most 15 letters, digits, `-`, `_` and `.`".to_owned());
    }
    Ok(())
}

pub(crate) fn listen(path: &Path) -> Result<(), Wrong> {
    if !path.is_absolute() {
        return Err("expected the absolute path of a socket".to_owned());
    }
    // sun_path of unix(7), its end included.
    if path.as_os_str().len() > 107 {
        return Err("a socket's path has at most 107 bytes".to_owned());
    }
    Ok(())
}

pub(crate) fn storage_driver(driver: &str) -> Result<(), Wrong> {
    match driver {
        "" | "overlay" => Ok(()),
        _ => Err("the only storage driver is \"overlay\"".to_owned()),
    }
}

pub(crate) fn storage_options(options: &StorageOptions) -> Result<(), Wrong> {
    match options.0.iter().find(|option| !option.contains('=')) {
        None => Ok(()),
        Some(option) => Err(format!("{} is not of the form key=value", quoted(option))),
    }
}

pub(crate) fn log_size_max(size: &i64) -> Result<(), Wrong> {
    if *size < 0 || *size >= 8192 {
        Ok(())
    } else {
        Err("log size max should be negative or >= 8192".to_owned())
    }
}

pub(crate) fn port_text(port: &str) -> Result<(), Wrong> {
    port.parse::<u16>().map(drop).map_err(|_| "expected a port number from 0 to 65535 as a string".to_owned())
}

pub(crate) fn capabilities(names: &[String]) -> Result<(), Wrong> {
    let is_known = |name: &str| {
        let name = name.to_ascii_uppercase();
        CAPABILITIES.contains(&name.strip_prefix("CAP_").unwrap_or(&name))
    };
    match names.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(format!("{} is not a capability such as \"CHOWN\"", quoted(name))),
    }
}

pub(crate) fn sysctls(settings: &[String]) -> Result<(), Wrong> {
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("{} is not of the form key=value", quoted(setting)))?;
        if key.is_empty() || value.is_empty() || key != key.trim() || value != value.trim() {
            return Err(format!(
                "{} must have a key and a value and no blanks around the =",
                quoted(setting)
            ));
        }
    }
    Ok(())
}

pub(crate) fn ulimits(limits: &[String]) -> Result<(), Wrong> {
    limits.iter().try_for_each(|limit| ulimit(limit))
}

fn ulimit(text: &str) -> Result<(), Wrong> {
    let form = || format!("{} is not of the form name=soft:hard", quoted(text));
    let (name, values) = text.split_once('=').ok_or_else(form)?;
    let name = name.to_ascii_lowercase();
    if !ULIMITS.contains(&name.strip_prefix("rlimit_").unwrap_or(&name)) {
        return Err(format!("invalid ulimit type: {}", quoted(&name)));
    }
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= -1).ok_or_else(form);
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    // -1 is no limit.
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(())
}

pub(crate) fn devices(devices: &[String]) -> Result<(), Wrong> {
    devices.iter().try_for_each(|device| {
        let mut parts = device.split(':');
        let is_device = |path: &str| Path::new(path).starts_with("/dev") && !path.contains("..");
        let rest: Vec<&str> = match parts.next() {
            Some(source) if is_device(source) => parts.collect(),
            _ => {
                return Err(format!(
                    "{} is not a valid device: expected /dev/source[:/dev/target][:rwm]",
                    quoted(device)
                ));
            }
        };
        match rest.as_slice() {
            [] => Ok(()),
            [target] if target.starts_with('/') => device_target(target),
            [mode] => device_mode(mode),
            [target, mode] => device_target(target).and_then(|()| device_mode(mode)),
            _ => Err(format!("{} is not a valid device: too many parts", quoted(device))),
        }
    })
}

fn device_target(target: &str) -> Result<(), Wrong> {
    if target.starts_with("/dev/") {
        Ok(())
    } else {
        Err(format!("{} is not a valid device", quoted(target)))
    }
}

fn device_mode(mode: &str) -> Result<(), Wrong> {
    let is_valid = !mode.is_empty() && mode.len() <= 3 && mode.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
    if is_valid {
        Ok(())
    } else {
        Err(format!("invalid device mode: {}, expected some of r, w and m", quoted(mode)))
    }
}

pub(crate) fn environment(variables: &[String]) -> Result<(), Wrong> {
    match variables.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        None => Ok(()),
        Some(variable) => Err(format!("{} is not of the form NAME=value", quoted(variable))),
    }
}

pub(crate) fn not_negative(number: &i64) -> Result<(), Wrong> {
    if *number >= 0 { Ok(()) } else { Err("expected 0 or more".to_owned()) }
}

pub(crate) fn pod_metrics(names: &[String]) -> Result<(), Wrong> {
    if let Some(name) = names.iter().find(|name| !POD_METRICS.contains(&name.as_str())) {
        return Err(format!("{} is not one of {}", quoted(name), POD_METRICS.join(", ")));
    }
    if names.len() > 1 && names.iter().any(|name| name == "all") {
        return Err("\"all\" stands alone".to_owned());
    }
    Ok(())
}
