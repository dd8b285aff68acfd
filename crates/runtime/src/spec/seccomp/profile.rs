//! Seccomp profile files: Docker's format (`archMap`, `includes`, `excludes`) and OCI's own, which is a part of it.
//!
//! A profile with a word this engine does not know is refused as a whole: half a profile is not what was asked for.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};
use rustix::fs::OFlags;
use serde::Deserialize;

use super::super::capabilities::{CapabilitySet, parse};
use super::super::error::shortened;
use super::{Error, HOST};

/// Largest profile file, bytes.
const LIMIT: u64 = 1 << 20;

/// A profile file that has been read and whose every word is known; [`fit`](Self::fit) makes filters of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompProfile {
    path: PathBuf,
    profile: Profile,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    arch_map: Vec<Architecture>,
    #[serde(default)]
    flags: Vec<String>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    caps: Vec<String>,
    min_kernel: Option<String>,
}

impl SeccompProfile {
    /// Reads a profile file and looks at every word of it, also of the rules that do not apply on this machine.
    ///
    /// # Errors
    /// [`Error::SeccompRead`] for a path that is empty, relative, missing, no regular file or larger than 1 MiB;
    /// [`Error::SeccompFormat`] (with line and column) and [`Error::SeccompWord`] for content that is no profile.
    pub fn read(path: &str) -> Result<Self, Error> {
        let file = PathBuf::from(path);
        let content = read_limited(&file)
            .map_err(|source| Error::SeccompRead { path: PathBuf::from(shortened(path)), source })?;
        let profile: Profile = serde_json::from_slice(&content)
            .map_err(|source| Error::SeccompFormat { path: file.clone(), source })?;
        let read = Self { path: file, profile };
        for row in &read.profile.syscalls {
            let known = holds(&row.includes, CapabilitySet::EMPTY, true)
                .and_then(|_| holds(&row.excludes, CapabilitySet::EMPTY, false))
                .and_then(|_| convert_row(row));
            known.map_err(|unknown| read.unknown(unknown))?;
        }
        read.fit(CapabilitySet::EMPTY)?;
        Ok(read)
    }

    /// The filter of a container with these capabilities on this machine.
    ///
    /// # Errors
    /// None for a profile that could be read.
    pub fn fit(&self, granted: CapabilitySet) -> Result<LinuxSeccomp, Error> {
        convert(&self.profile, granted).map_err(|unknown| self.unknown(unknown))
    }

    fn unknown(&self, (what, word): Unknown<'_>) -> Error {
        Error::SeccompWord { path: self.path.clone(), what, word: shortened(word) }
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    if !path.is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
    }
    // The kubelet names the file, not a pod; a FIFO or device must still not hang the engine.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut content = Vec::new();
    File::from(file).take(LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
    }
    Ok(content)
}

/// What is wrong (the kind of word) and the word itself.
type Unknown<'a> = (&'static str, &'a str);

fn convert(profile: &Profile, granted: CapabilitySet) -> Result<LinuxSeccomp, Unknown<'_>> {
    let mut filter = LinuxSeccomp::default();
    filter
        .set_default_action(word("action", &profile.default_action)?)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_listener_path(profile.listener_path.clone())
        .set_listener_metadata(profile.listener_metadata.clone());
    let names = architecture_names(profile);
    let architectures =
        names.into_iter().map(|name| word("architecture", name)).collect::<Result<Vec<_>, _>>()?;
    if !architectures.is_empty() {
        filter.set_architectures(Some(architectures));
    }
    let flags = profile.flags.iter().map(|flag| word("flag", flag)).collect::<Result<Vec<_>, _>>()?;
    if !flags.is_empty() {
        filter.set_flags(Some(flags));
    }
    let mut rows = Vec::new();
    for row in &profile.syscalls {
        let included = holds(&row.includes, granted, true)?;
        let excluded = holds(&row.excludes, granted, false)?;
        if included && !excluded {
            rows.push(convert_row(row)?);
        }
    }
    filter.set_syscalls(Some(rows));
    Ok(filter)
}

fn architecture_names(profile: &Profile) -> Vec<&str> {
    if profile.arch_map.is_empty() {
        return profile.architectures.iter().map(String::as_str).collect();
    }
    let host = match HOST {
        "amd64" => "SCMP_ARCH_X86_64",
        "arm64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        "s390x" => "SCMP_ARCH_S390X",
        _ => "SCMP_ARCH_PPC64LE",
    };
    let entry = profile.arch_map.iter().find(|entry| entry.architecture == host);
    entry.map_or_else(Vec::new, |entry| {
        let below = entry.sub_architectures.iter().flatten();
        std::iter::once(&entry.architecture).chain(below).map(String::as_str).collect()
    })
}

/// Whether a condition holds. As `includes` every part that is written must hold (an empty one always does); as
/// `excludes` any part that holds is enough (an empty one never does).
fn holds(condition: &Condition, granted: CapabilitySet, includes: bool) -> Result<bool, Unknown<'_>> {
    let mut parts = Vec::new();
    if !condition.arches.is_empty() {
        // Names of sub-architectures count as their family, as Docker's profiles use them (`x86`, `x32`, `arm`).
        let same = |name: &String| {
            matches!((HOST, name.as_str()), ("amd64", "x86" | "x32") | ("arm64", "arm")) || name == HOST
        };
        parts.push(condition.arches.iter().any(same));
    }
    if !condition.caps.is_empty() {
        let mut all = true;
        let mut any = false;
        for name in &condition.caps {
            let has = granted.contains(parse(name).map_err(|_| ("capability", name.as_str()))?);
            all &= has;
            any |= has;
        }
        parts.push(if includes { all } else { any });
    }
    if let Some(text) = &condition.min_kernel {
        let wanted = version(text).ok_or(("kernel version", text.as_str()))?;
        let running = rustix::system::uname();
        let running = running.release().to_str().ok().and_then(version).unwrap_or((0, 0));
        parts.push(running >= wanted);
    }
    Ok(if includes { parts.into_iter().all(|part| part) } else { parts.into_iter().any(|part| part) })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn convert_row(row: &Row) -> Result<LinuxSyscall, Unknown<'_>> {
    let mut names = row.names.clone();
    if !row.name.is_empty() {
        names.push(row.name.clone());
    }
    let mut arguments = Vec::new();
    for given in row.args.iter().flatten() {
        let op: LinuxSeccompOperator = word("operator", &given.op)?;
        let two =
            (op == LinuxSeccompOperator::ScmpCmpMaskedEq || given.value_two != 0).then_some(given.value_two);
        if given.index > 5 {
            return Err(("argument index in", row.names.first().unwrap_or(&row.name)));
        }
        arguments.push(argument(given.index, op, given.value, two));
    }
    let mut written = LinuxSyscall::default();
    written
        .set_names(names)
        .set_action(word("action", &row.action)?)
        .set_errno_ret(row.errno_ret)
        .set_args((!arguments.is_empty()).then_some(arguments));
    Ok(written)
}

fn word<'a, T: FromStr>(what: &'static str, text: &'a str) -> Result<T, Unknown<'a>> {
    text.parse().map_err(|_| (what, text))
}

/// One comparison of an argument.
pub(super) fn argument(
    index: usize,
    op: LinuxSeccompOperator,
    value: u64,
    two: Option<u64>,
) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(index).value(value).op(op);
    let builder = if let Some(two) = two { builder.value_two(two) } else { builder };
    // The builder fails only for fields without a value, and every field has a default.
    builder.build().unwrap_or_default()
}
