//! Public keys: PEM, `SubjectPublicKeyInfo` (RFC 5280), and what they verify.
//!
//! The digest is always SHA-256 (Ed25519 has its own), as cosign signs and containers/image verifies; the algorithm is
//! that of the key and never one that a signature could choose.

use rustls_pki_types::SignatureVerificationAlgorithm;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use webpki::ring::{ECDSA_P256_SHA256, ECDSA_P384_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256};

use super::der::{BIT_STRING, Der, SEQUENCE};
use super::error::MaterialError;

static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] =
    [ECDSA_P256_SHA256, ECDSA_P384_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256];

/// A key that signatures are verified with: ECDSA on P-256 or P-384, Ed25519, RSA of 2048 bits or more (PKCS #1 v1.5).
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    spki: Vec<u8>,
    key: Vec<u8>,
}

impl PublicKey {
    /// The one key in `pem`, which lies at `place`.
    pub(crate) fn from_pem(place: &str, pem: &[u8]) -> Result<Self, MaterialError> {
        let wanted = "one public key in PEM (ECDSA P-256 or P-384, Ed25519, RSA from 2048 bits)";
        let key = match only_section(pem) {
            Some((SectionKind::PublicKey, spki)) => Self::from_spki(&spki),
            Some(_) | None => None,
        };
        key.ok_or_else(|| MaterialError::Content { place: place.to_owned(), wanted })
    }

    /// As [`from_pem`](Self::from_pem); the key of a log, which signs by ECDSA.
    pub(crate) fn of_log(place: &str, pem: &[u8]) -> Result<Self, MaterialError> {
        let wanted = "one public key of a log in PEM (ECDSA)";
        Self::from_pem(place, pem)
            .ok()
            .filter(|key| {
                let ids = [ECDSA_P256_SHA256, ECDSA_P384_SHA256].map(|known| known.public_key_alg_id());
                ids.contains(&key.algorithm.public_key_alg_id())
            })
            .ok_or_else(|| MaterialError::Content { place: place.to_owned(), wanted })
    }

    /// A key in DER.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        let mut fields = Der::only(spki, SEQUENCE)?;
        let id = fields.take(SEQUENCE)?;
        // The first byte counts unused bits; keys have none.
        let (&0, key) = fields.take(BIT_STRING)?.split_first()? else { return None };
        let known = |algorithm: &&&'static dyn SignatureVerificationAlgorithm| {
            algorithm.public_key_alg_id().as_ref() == id
        };
        let algorithm = *ALGORITHMS.iter().find(known)?;
        fields.is_empty().then(|| Self { algorithm, spki: spki.to_owned(), key: key.to_owned() })
    }

    /// The key in DER.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm.verify_signature(&self.key, message, signature).is_ok()
    }
}

/// The only section in `pem`.
pub(super) fn only_section(pem: &[u8]) -> Option<(SectionKind, Vec<u8>)> {
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    let only = sections.next()?.ok()?;
    sections.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey` and `openssl pkey -pubout`.
    const P256: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETlNJs9VBNa+gxQHD/Y2dTNk2tyXn\ne1Zlc4yX/7Ndl/83NJna7DRy+pfNFmZrAkwoxbY1UbbTPbJS86ZtJSJoBQ==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn one_key_of_a_known_kind_is_read_and_nothing_else() {
        let key = PublicKey::from_pem("here", P256.as_bytes()).unwrap();
        assert!(!key.verifies(b"message", b"signature") && !key.verifies(b"", b""));
        let two = format!("{P256}{P256}");
        let certificate = P256.replace("PUBLIC KEY", "CERTIFICATE");
        let cut = P256.replace("-----BEGIN", "-----BEG");
        for bad in [
            two.as_str(),
            &certificate,
            &cut,
            "",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let error = PublicKey::from_pem("here", bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("here does not hold one public key"), "{error}");
        }
        for end in 0..key.spki().len() {
            assert!(PublicKey::from_spki(&key.spki()[..end]).is_none());
        }
        let mut other = key.spki().to_vec();
        other[10] ^= 1;
        assert!(PublicKey::from_spki(&other).is_none());
    }
}
