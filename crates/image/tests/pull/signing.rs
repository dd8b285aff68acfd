//! Signatures as cosign makes them: keys, payloads, promises of a log, and the manifest that carries them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::registry::Registry;

pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
pub(crate) const BUNDLE: &str = "dev.sigstore.cosign/bundle";
pub(crate) const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
pub(crate) const CHAIN: &str = "dev.sigstore.cosign/chain";

/// A key that signs.
pub(crate) enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self::ecdsa(pkcs8.as_ref())
    }

    fn ecdsa(pkcs8: &[u8]) -> Self {
        let random = SystemRandom::new();
        Self::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub(crate) fn rsa() -> Self {
        let der = PrivateKeyDer::from_pem_slice(include_bytes!("signing/rsa.key")).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(der.secret_der()).unwrap())
    }

    /// The key of the certificates in `signing`.
    pub(crate) fn of_certificate() -> Self {
        let der = PrivateKeyDer::from_pem_slice(include_bytes!("signing/leaf.key")).unwrap();
        Self::ecdsa(der.secret_der())
    }

    /// The public key as `SubjectPublicKeyInfo` in PEM.
    pub(crate) fn pem(&self) -> String {
        // What stands before the bytes of a key of that kind and size.
        let (before, key) = match self {
            Self::Ecdsa(key) => {
                ("3059301306072a8648ce3d020106082a8648ce3d030107034200", key.public_key().as_ref())
            }
            Self::Ed25519(key) => ("302a300506032b6570032100", key.public_key().as_ref()),
            Self::Rsa(key) => ("30820122300d06092a864886f70d01010105000382010f00", key.public_key().as_ref()),
        };
        let pairs = before.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let mut der: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        der.extend_from_slice(key);
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// The payload for an image.
pub(crate) fn payload(name: &str, digest: &str) -> Vec<u8> {
    json!({ "critical": { "identity": { "docker-reference": name },
        "image": { "docker-manifest-digest": digest }, "type": "cosign container image signature" },
        "optional": { "creator": "test" } })
    .to_string()
    .into_bytes()
}

/// One signature: a layer of the manifest beside the image.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) payload: Vec<u8>,
    pub(crate) media_type: String,
    pub(crate) annotations: serde_json::Map<String, Value>,
}

impl Signed {
    pub(crate) fn new(key: &Key, payload: Vec<u8>) -> Self {
        let mut annotations = serde_json::Map::new();
        annotations.insert(SIGNATURE.to_owned(), STANDARD.encode(key.sign(&payload)).into());
        Self { payload, media_type: SIMPLE_SIGNING.to_owned(), annotations }
    }

    pub(crate) fn with(mut self, annotation: &str, value: impl Into<Value>) -> Self {
        self.annotations.insert(annotation.to_owned(), value.into());
        self
    }

    pub(crate) fn without(mut self, annotation: &str) -> Self {
        self.annotations.remove(annotation);
        self
    }

    /// The log's entry for it, made by the holder of `signer` (a key or certificate in PEM).
    pub(crate) fn entry(&self, signer: &str) -> Value {
        json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": { "hash": { "algorithm": "sha256", "value": digest(&self.payload)["sha256:".len()..] } },
            "signature": { "content": self.annotations[SIGNATURE],
                "publicKey": { "content": STANDARD.encode(signer) } } } })
    }

    /// Recorded by `log` at `time` with `entry`.
    pub(crate) fn recorded(self, log: &Key, entry: &Value, time: u64) -> Self {
        let body = STANDARD.encode(entry.to_string());
        let id = "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d";
        let canonical = format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":7}}"#);
        let promise = STANDARD.encode(log.sign(canonical.as_bytes()));
        // In another order than the canonical one, as cosign writes it.
        let bundle = json!({ "SignedEntryTimestamp": promise,
            "Payload": { "logIndex": 7, "body": body, "logID": id, "integratedTime": time } });
        self.with(BUNDLE, bundle.to_string())
    }
}

/// The manifest that lists `signatures`, and their payloads as its layers.
pub(crate) fn signature_image(signatures: &[Signed]) -> TestImage {
    let mut image = TestImage::new(OCI_MANIFEST, &[]);
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["layers"] = signatures
        .iter()
        .map(|signed| {
            json!({ "mediaType": signed.media_type, "digest": digest(&signed.payload),
                "size": signed.payload.len(), "annotations": signed.annotations })
        })
        .collect();
    image.manifest = manifest.to_string().into_bytes();
    image.layers = signatures.iter().map(|signed| Layer::new(&signed.payload, Packing::Plain)).collect();
    image
}

/// Puts `signatures` beside the manifest with the digest `of`.
pub(crate) fn attach(registry: &Registry, of: &str, signatures: &[Signed]) {
    signature_image(signatures).push(registry, &format!("{}.sig", of.replace(':', "-")));
}
