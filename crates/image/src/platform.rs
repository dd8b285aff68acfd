//! Which entry of an image index fits this machine.

/// What images are built for, in the words of the OCI image specification (image-index.md, `platform`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Operating system; `linux`.
    pub os: String,
    /// Architecture, Go's name: `amd64`, `arm64`, …
    pub architecture: String,
    /// Variant of the architecture, such as `v8`.
    pub variant: Option<String>,
}

impl Default for Platform {
    /// The machine this program was built for.
    fn default() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
    }
}

impl Platform {
    /// The variants that run here, best first; the empty one is "not said".
    ///
    /// arm: v7 runs v6 and v5. arm64: v8 and "not said" are the same. amd64: v1 is "not said"; higher levels are used
    /// only when the configuration says that the machine has them.
    pub(crate) fn variants(&self) -> Vec<String> {
        let own = self.variant.as_deref().unwrap_or_default();
        let lowest = match self.architecture.as_str() {
            "arm" => 5,
            "amd64" => 1,
            "arm64" => 8,
            _ => return if own.is_empty() { vec![String::new()] } else { vec![own.into(), String::new()] },
        };
        let level = own.strip_prefix('v').and_then(|level| level.parse::<u32>().ok()).unwrap_or(lowest);
        let mut variants: Vec<_> =
            (lowest..=level.min(lowest + 8)).rev().map(|level| format!("v{level}")).collect();
        // "Not said" is the lowest level, and where the machine's own level is the lowest, the plainest entry is best.
        let place = if level == lowest { 0 } else { variants.len() };
        variants.insert(place, String::new());
        variants
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_run_downwards_only() {
        let variants = |architecture: &str, variant: Option<&str>| {
            let (os, architecture) = ("linux".into(), architecture.into());
            Platform { os, architecture, variant: variant.map(Into::into) }.variants().join(" ")
        };
        assert_eq!(variants("amd64", None), " v1");
        assert_eq!(variants("amd64", Some("v3")), "v3 v2 v1 ");
        assert_eq!(variants("arm64", Some("v8")), " v8");
        assert_eq!(variants("arm", Some("v7")), "v7 v6 v5 ");
        assert_eq!(variants("s390x", None), "");
    }
}
