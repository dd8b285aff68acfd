//! Content digests as the OCI image specification writes them (`algorithm:hex`).

use std::fmt;
use std::str::FromStr;

/// The registered algorithms (OCI image specification, descriptor.md, "Registered algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal characters.
    Sha256,
    /// SHA-512, 128 hexadecimal characters.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A parsed digest: safe as a file name and in a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// The text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a digest such as sha256:<64 lower-case hexadecimal characters>")]
pub struct InvalidDigest {
    text: String,
}

impl Digest {
    /// A SHA-256 digest from its 32 bytes.
    pub fn sha256(bytes: &[u8; 32]) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            hex: bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into(),
        }
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let refused = || InvalidDigest { text: text.chars().take(160).collect() };
        let (name, hex) = text.split_once(':').ok_or_else(refused)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(refused()),
        };
        if hex.len() != algorithm.hex_length() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(refused());
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_digests_are_refused() {
        let hex = "a".repeat(64);
        assert_eq!(format!("sha256:{hex}").parse::<Digest>().unwrap().hex(), hex);
        for bad in [
            "".into(),
            hex.clone(),
            "sha256:".into(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:../{}", &hex[3..]),
            format!("md5:{}", "a".repeat(32)),
            format!("sha512:{hex}"),
            format!("sha256:{hex}/x"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
