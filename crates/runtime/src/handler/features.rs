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
    /// kernel's release. A document that is no such JSON counts as none: the runtime then gets no optional field.
    pub(super) fn new(version: &str, features: Option<&[u8]>, kernel: &str) -> Self {
        let document: Document =
            features.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
        let idmap = document.linux.and_then(|linux| linux.mount_extensions).and_then(|mounts| mounts.idmap);
        Self {
            version: version.lines().next().unwrap_or_default().trim().chars().take(200).collect(),
            idmap_mounts: idmap.and_then(|idmap| idmap.enabled).unwrap_or(false),
            recursive_read_only: document.mount_options.iter().any(|option| option == "rro")
                && kernel_at_least(kernel, (5, 12)),
            oci_version_max: document.oci_version_max.chars().take(64).collect(),
        }
    }
}

fn kernel_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}
