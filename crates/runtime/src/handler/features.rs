//! What a runtime says about itself (OCI runtime specification, features.md).

use serde::Deserialize;

/// What the engine must know about a runtime before it writes a specification for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandlerFeatures {
    /// First line of `--version`.
    pub version: String,
    /// Mounts with id mappings.
    pub idmap_mounts: bool,
    /// Recursive read-only mounts: the runtime knows the mount option `rro` and the kernel `mount_setattr` (5.12).
    pub recursive_read_only: bool,
    /// Highest `ociVersion` it says it takes; empty for a runtime without the verb `features`.
    pub oci_version_max: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    oci_version_max: String,
    mount_options: Vec<String>,
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Linux {
    mount_extensions: Option<MountExtensions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MountExtensions {
    idmap: Option<Idmap>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Idmap {
    enabled: Option<bool>,
}

impl HandlerFeatures {
    /// From the output of `--version`, that of `features` (`None` where the runtime does not know the verb) and the
    /// kernel's release. A document that is no such JSON holds nothing: the runtime then gets no optional field.
    pub(super) fn new(version: &str, features: Option<&[u8]>, kernel: &str) -> Self {
        let document: Document =
            features.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
        let version: String = version.lines().next().unwrap_or_default().trim().chars().take(200).collect();
        let knows_rro = match features {
            Some(_) => document.mount_options.iter().any(|option| option == "rro"),
            None => is_old_crun_with_rro(&version),
        };
        let idmap = document.linux.and_then(|linux| linux.mount_extensions).and_then(|mounts| mounts.idmap);
        Self {
            version,
            idmap_mounts: idmap.and_then(|idmap| idmap.enabled).unwrap_or(false),
            recursive_read_only: knows_rro && at_least(kernel, (5, 12)),
            oci_version_max: document.oci_version_max.chars().take(64).collect(),
        }
    }
}

/// crun has the verb `features` since 1.8.6, and recursive mount options since 1.4.
fn is_old_crun_with_rro(version: &str) -> bool {
    version.strip_prefix("crun version ").is_some_and(|number| at_least(number, (1, 4)))
}

/// Whether the first two numbers of a version are these or higher.
fn at_least(version: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}
