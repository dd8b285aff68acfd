//! CDI, the Container Device Interface: devices by qualified name, described in files that their drivers leave on the
//! node (specification: cncf-tags/container-device-interface, SPEC.md, versions 0.1 to 1.0).
//!
//! ```text
//!  CDI_devices ──┐                              /etc/cdi      < /var/run/cdi     (later directories win)
//!  annotations ──┴─► names, each once ─► Catalogue: vendor/class=device ─► Injection ─► apply to the specification
//! ```
//!
//! A specification file is as powerful as root: it names mounts, devices and hooks. So a file counts only when it and
//! its directory belong to root (or to the engine's own user) and nobody else can write to them; any other file is
//! left out, and a device that is missing for that reason is refused with that reason. Files are read again for every
//! container that asks for a device: drivers change them at any time.
//!
//! Two files in one directory that describe the same device hide it, as the specification says.

mod apply;
mod catalogue;
mod error;
mod format;
mod name;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use error::{CdiError, FileError};

use catalogue::Catalogue;
use format::Edits;
use name::QualifiedName;

/// Keys of annotations that name devices.
const ANNOTATION_PREFIX: &str = "cdi.k8s.io/";
/// Most devices of one container.
const MANY: usize = 1000;

/// What the requested devices change about a container.
#[derive(Debug, Default)]
pub struct Injection {
    /// In the order to apply.
    edits: Vec<Edits>,
}

/// Looks up devices by their qualified names. `named` comes first; the annotations of the container follow, without
/// what was named already. Blocking.
///
/// # Errors
/// A name that is none, and [`CdiError::Unknown`] for a device that no usable file describes.
pub fn resolve(
    directories: &[PathBuf],
    named: &[String],
    annotations: &BTreeMap<String, String>,
) -> Result<Injection, CdiError> {
    let names = requested(named, annotations)?;
    if names.is_empty() {
        return Ok(Injection::default());
    }
    Ok(Injection { edits: Catalogue::read(directories).edits(&names)? })
}

/// The names of a request, each once.
///
/// # Errors
/// As [`resolve`], for what needs no look at the node.
pub fn check(named: &[String], annotations: &BTreeMap<String, String>) -> Result<(), CdiError> {
    requested(named, annotations).map(drop)
}

fn requested(
    named: &[String],
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<QualifiedName>, CdiError> {
    let annotated = annotations
        .iter()
        .filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX))
        .flat_map(|(_, value)| value.split(','));
    let mut names: Vec<QualifiedName> = Vec::new();
    for text in named.iter().map(String::as_str).chain(annotated) {
        let name = QualifiedName::parse(text)?;
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MANY {
            return Err(CdiError::TooMany { limit: MANY });
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
