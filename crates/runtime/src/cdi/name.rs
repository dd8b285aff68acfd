//! Qualified device names: `vendor.example/class=device` (CDI specification, "Kind" and "Device name").

use super::CdiError;

/// Longest part of a name.
const LONGEST: usize = 256;

/// A device's name with its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QualifiedName {
    /// `vendor/class`
    pub(super) kind: String,
    /// The device among those of its kind.
    pub(super) device: String,
}

impl QualifiedName {
    pub(super) fn parse(text: &str) -> Result<Self, CdiError> {
        let refused = || CdiError::Name { name: text.chars().take(160).collect() };
        let (kind, device) = text.split_once('=').ok_or_else(refused)?;
        if !is_kind(kind) || !is_device(device) {
            return Err(refused());
        }
        Ok(Self { kind: kind.to_owned(), device: device.to_owned() })
    }
}

impl std::fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// Whether the text is `vendor/class`.
pub(super) fn is_kind(text: &str) -> bool {
    let Some((vendor, class)) = text.split_once('/') else { return false };
    let starts_with_letter = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
    starts_with_letter(vendor) && starts_with_letter(class) && is_part(vendor, "_-.") && is_part(class, "_-.")
}

/// Whether the text names a device within its kind.
pub(super) fn is_device(text: &str) -> bool {
    is_part(text, "_-.:")
}

/// Letters and digits at both ends, and `inner` in between as well.
fn is_part(text: &str, inner: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty()
        && text.len() <= LONGEST
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || inner.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for (text, fits) in [
            ("vendor.com/gpu=0", true),
            ("vendor.com/gpu=GPU-1:2", true),
            ("v/c.d=a_b", true),
            ("vendor.com/gpu=all", true),
            ("", false),
            ("gpu", false),
            ("/dev/null", false),
            ("vendor.com/gpu", false),
            ("vendor.com/gpu=", false),
            ("=x", false),
            ("vendor.com=x", false),
            ("1vendor/gpu=x", false),
            ("vendor-/gpu=x", false),
            ("vendor/gpu=x-", false),
            ("vendor/gpu=a=b", false),
            ("vendor/gpu/more=x", false),
            ("vendor/gpu= x", false),
            ("vendor/gpu=..", false),
        ] {
            assert_eq!(QualifiedName::parse(text).is_ok(), fits, "{text:?}");
        }
        let long = format!("v/c={}", "x".repeat(300));
        assert!(QualifiedName::parse(&long).is_err());
    }
}
