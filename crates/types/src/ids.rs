//! Identifiers: 64 lower-case hexadecimal characters, one type per kind of object.

use std::fmt;
use std::str::FromStr;

/// Number of characters of every identifier.
const LENGTH: usize = 64;

/// The text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id {text:?} is not 64 lower-case hexadecimal characters")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

fn is_id(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn random() -> String {
    let mut bytes = [0u8; LENGTH / 2];
    // The kernel's generator fails only before it is seeded, which is over before any container engine starts;
    // an engine that cannot make unique names must not go on.
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the kernel's random generator failed: {error}");
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// A new random identifier.
            pub fn generate() -> Self {
                Self(random().into_boxed_str())
            }

            /// The whole identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 characters, as shown to people.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) {
                    Ok(Self(text.into()))
                } else {
                    // A hostile id must not fill the log.
                    Err(InvalidId { kind: $kind, text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id_type!(
    /// A pod sandbox.
    SandboxId,
    "pod"
);
id_type!(
    /// A container.
    ContainerId,
    "container"
);
id_type!(
    /// An image: the SHA-256 of its configuration (without `sha256:`), or of the manifest when it has none.
    ImageId,
    "image"
);
id_type!(
    /// A layer of the store.
    LayerId,
    "layer"
);
id_type!(
    /// One exec in a container.
    ExecId,
    "exec"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lower_case_hexadecimal_characters_are_an_id() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(good.parse::<SandboxId>().unwrap().as_str(), good);
        for bad in
            ["", "abc", &good[1..], &good.to_uppercase(), &format!("{good}0"), &format!("../{}", &good[3..])]
        {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_ids_are_valid_and_differ() {
        let (a, b) = (ContainerId::generate(), ContainerId::generate());
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<ContainerId>().unwrap(), a);
        assert_eq!(a.short().len(), 12);
    }
}
