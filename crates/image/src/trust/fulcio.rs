//! Certificates of Fulcio: keys that live for minutes and carry the name of a person instead.
//!
//! The chain to the policy's authority is verified for code signing at the time that the log promises. Then the person:
//! the issuer of the identity (extensions 1.3.6.1.4.1.57264.1.1 and .8 of Fulcio's documentation) and the e-mail
//! address must be the policy's. Certificate transparency (the embedded SCT) is not looked at, nor by containers/image.

use std::time::Duration;

use rustls_pki_types::pem::{PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::der::{BOOLEAN, Der, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE, UTF8_STRING, explicit};
use super::error::{MaterialError, SignatureError, short};
use super::key::{PublicKey, only_section};

/// 1.3.6.1.5.5.7.3.3, `id-kp-codeSigning`.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// 1.3.6.1.4.1.57264.1.1: the issuer as bare text.
const ISSUER_BARE: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x01];
/// 1.3.6.1.4.1.57264.1.8: the issuer as a UTF8String.
const ISSUER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x08];
/// 2.5.29.17, `subjectAltName`.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// `rfc822Name` among the alternative names.
const EMAIL: u8 = 0x81;
/// Most intermediate certificates that a signature brings along.
const INTERMEDIATES_MAX: usize = 8;

/// An authority, and whom it must have certified.
#[derive(Debug)]
pub(crate) struct Fulcio {
    authorities: Vec<TrustAnchor<'static>>,
    issuer: String,
    email: String,
}

impl Fulcio {
    pub(crate) fn new(authorities: Vec<TrustAnchor<'static>>, issuer: String, email: String) -> Self {
        Self { authorities, issuer, email }
    }

    /// The certificates in `pem`, which lies at `place`.
    pub(crate) fn authorities(place: &str, pem: &[u8]) -> Result<Vec<TrustAnchor<'static>>, MaterialError> {
        let wanted = || MaterialError::Content {
            place: place.to_owned(),
            wanted: "certificates of an authority in PEM",
        };
        let anchor = |certificate: CertificateDer<'_>| {
            webpki::anchor_from_trusted_cert(&certificate).ok().map(|anchor| anchor.to_owned())
        };
        let anchors: Option<Vec<_>> =
            CertificateDer::pem_slice_iter(pem).map(|certificate| anchor(certificate.ok()?)).collect();
        anchors.filter(|anchors| !anchors.is_empty()).ok_or_else(wanted)
    }

    /// The key of `leaf`, if it was certified for the right person and valid at `time` (since the epoch). `chain` are
    /// intermediate certificates in PEM.
    pub(crate) fn key_of(
        &self,
        leaf: &[u8],
        chain: &[u8],
        time: Duration,
    ) -> Result<PublicKey, SignatureError> {
        let refused = |reason: String| SignatureError::Certificate { reason };
        let intermediates = CertificateDer::pem_slice_iter(chain)
            .take(INTERMEDIATES_MAX + 1)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| refused("its chain is not PEM".to_owned()))?;
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(refused(format!("its chain has more than {INTERMEDIATES_MAX} certificates")));
        }
        let der = CertificateDer::from(leaf);
        let certificate = EndEntityCert::try_from(&der).map_err(|error| refused(error.to_string()))?;
        certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &self.authorities,
                &intermediates,
                UnixTime::since_unix_epoch(time),
                KeyUsage::required(CODE_SIGNING),
                None,
                None,
            )
            .map_err(|error| refused(error.to_string()))?;
        let malformed = || refused("it is malformed".to_owned());
        self.check_person(&Extensions::of(leaf).ok_or_else(malformed)?)?;
        let spki = certificate.subject_public_key_info();
        PublicKey::from_spki(&spki).ok_or_else(|| refused("its key is of an unknown kind".to_owned()))
    }

    fn check_person(&self, extensions: &Extensions<'_>) -> Result<(), SignatureError> {
        let other = |expected: &str, found: &[u8]| SignatureError::Subject {
            expected: expected.to_owned(),
            found: short(&String::from_utf8_lossy(found)),
        };
        let issuers: Vec<_> = extensions.issuer_bare.into_iter().chain(extensions.issuer).collect();
        if issuers.is_empty() {
            return Err(other(&self.issuer, b""));
        }
        if let Some(found) = issuers.iter().find(|found| **found != self.issuer.as_bytes()) {
            return Err(other(&self.issuer, found));
        }
        if !extensions.emails.contains(&self.email.as_bytes()) {
            return Err(other(&self.email, extensions.emails.first().copied().unwrap_or_default()));
        }
        Ok(())
    }
}

/// The only certificate in `pem`, in DER.
pub(super) fn only_certificate(pem: &[u8]) -> Result<Vec<u8>, SignatureError> {
    match only_section(pem) {
        Some((SectionKind::Certificate, der)) => Ok(der),
        Some(_) | None => {
            Err(SignatureError::Certificate { reason: "it is not one certificate in PEM".to_owned() })
        }
    }
}

/// What is read of a certificate's extensions.
#[derive(Debug, Default)]
struct Extensions<'a> {
    issuer_bare: Option<&'a [u8]>,
    issuer: Option<&'a [u8]>,
    emails: Vec<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    /// `None` when something is malformed or stands there twice.
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut signed = Der::new(Der::only(certificate, SEQUENCE)?.take(SEQUENCE)?);
        signed.take(explicit(0))?;
        signed.take(INTEGER)?;
        // Algorithm, issuer, validity, subject, key.
        for _ in 0..5 {
            signed.take(SEQUENCE)?;
        }
        // The unique identifiers [1] and [2] are not used by anybody.
        let mut list = Der::only(signed.take(explicit(3))?, SEQUENCE)?;
        let mut found = Self::default();
        let mut names = None;
        while !list.is_empty() {
            let mut extension = Der::new(list.take(SEQUENCE)?);
            let id = extension.take(OBJECT_ID)?;
            // Whether it is critical is the chain verifier's business.
            let _critical = extension.take(BOOLEAN);
            let value = extension.take(OCTET_STRING)?;
            let before = match id {
                ISSUER_BARE => found.issuer_bare.replace(value),
                ISSUER => {
                    let mut inner = Der::new(value);
                    let text = inner.take(UTF8_STRING).filter(|_| inner.is_empty())?;
                    found.issuer.replace(text)
                }
                ALTERNATIVE_NAMES => names.replace(value),
                _ => None,
            };
            if before.is_some() || !extension.is_empty() {
                return None;
            }
        }
        let mut names = names.map_or(Some(Der::new(&[])), |value| Der::only(value, SEQUENCE))?;
        while !names.is_empty() {
            let (tag, value) = names.take_any()?;
            found.emails.extend((tag == EMAIL).then_some(value));
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8] = include_bytes!("../../tests/pull/signing/root.crt");
    const INTERMEDIATE: &[u8] = include_bytes!("../../tests/pull/signing/intermediate.crt");
    const LEAF: &[u8] = include_bytes!("../../tests/pull/signing/leaf.crt");
    /// Within the leaf's day.
    const TIME: Duration = Duration::from_secs(1_795_252_700);

    #[test]
    fn no_altered_or_shortened_certificate_has_a_key() {
        let authorities = Fulcio::authorities("root", ROOT).unwrap();
        let fulcio = Fulcio::new(authorities, "https://issuer.example".into(), "dev@team.example".into());
        let leaf = only_certificate(LEAF).unwrap();
        fulcio.key_of(&leaf, INTERMEDIATE, TIME).unwrap();
        for at in 0..leaf.len() {
            let mut altered = leaf.clone();
            altered[at] ^= 1;
            assert!(fulcio.key_of(&altered, INTERMEDIATE, TIME).is_err(), "byte {at}");
            assert!(fulcio.key_of(&leaf[..at], INTERMEDIATE, TIME).is_err(), "{at} bytes");
            // What is read of it is also read without panic where no chain vouches for it.
            assert!(Extensions::of(&leaf[..at]).is_none(), "{at} bytes");
            drop(Extensions::of(&altered));
        }
    }
}
