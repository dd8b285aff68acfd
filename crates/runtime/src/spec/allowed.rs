//! Annotations of pods that change what a container may do. They count only where the handler says so
//! (`allowed_annotations`); everybody may write an annotation, but only the node's administrator the configuration.
//!
//! Each has two spellings, and each spelling must be allowed by itself. Where both are given and allowed, the newer one
//! wins. What is not allowed is ignored, as in CRI-O: the pod runs without it.

use std::collections::BTreeMap;

/// Both spellings of one annotation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Annotation {
    /// `<what>.crio.io`
    newer: &'static str,
    /// `io.kubernetes.cri-o.<What>`
    older: &'static str,
}

/// Devices of the pod's containers: a comma-separated list of `source:target:permissions`.
pub(super) const DEVICES: Annotation =
    Annotation { newer: "devices.crio.io", older: "io.kubernetes.cri-o.Devices" };

/// `true`: a volume whose top directory has its SELinux label is taken to have it throughout.
pub(super) const TRY_SKIP_RELABEL: Annotation = Annotation {
    newer: "try-skip-volume-selinux-label.crio.io",
    older: "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
};

/// What the default handler acts on where no table says anything (CRI-O's built-in table).
pub const DEFAULT_ALLOWED_ANNOTATIONS: [&str; 2] = ["io.containers.trace-syscall", DEVICES.older];

impl Annotation {
    /// Its value, if it is given and allowed.
    pub(super) fn value<'a>(
        self,
        annotations: &'a BTreeMap<String, String>,
        allowed: &[String],
    ) -> Option<&'a str> {
        [self.newer, self.older]
            .into_iter()
            .filter(|name| allowed.iter().any(|known| known == name))
            .find_map(|name| annotations.get(name))
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_counts_in_the_spelling_that_is_allowed() {
        let both = BTreeMap::from(
            [("devices.crio.io", "new"), ("io.kubernetes.cri-o.Devices", "old")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let (new, old) = ("devices.crio.io".to_owned(), "io.kubernetes.cri-o.Devices".to_owned());
        for (allowed, value) in [
            (vec![], None),
            (vec![new.clone()], Some("new")),
            (vec![old.clone()], Some("old")),
            (vec![old.clone(), new.clone()], Some("new")),
            (vec!["io.kubernetes.cri-o.".to_owned()], None),
        ] {
            assert_eq!(DEVICES.value(&both, &allowed), value, "{allowed:?}");
        }
        assert_eq!(DEVICES.value(&BTreeMap::new(), &[new, old]), None);
    }
}
