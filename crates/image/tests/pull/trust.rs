//! `sigstoreSigned`: only what the right key signed, under the right name, for the very manifest, becomes an image.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ochre_image::{Error, PullReason, PullRequest};
use serde_json::{Value, json};

use crate::fixture::*;
use crate::registry::{Fault, Registry};
use crate::signing::*;

/// Within the day for which the certificates in `signing` are valid.
const TIME: u64 = 1_795_252_700;
const DAY: u64 = 86_400;

const ROOT: &str = include_str!("signing/root.crt");
const INTERMEDIATE: &str = include_str!("signing/intermediate.crt");
const LEAF: &str = include_str!("signing/leaf.crt");
const NOT_FOR_CODE: &str = include_str!("signing/not-for-code.crt");

/// A registry, a node that looks for signatures there, and an image `app:1` in the registry.
struct Scene {
    registry: Registry,
    node: Node,
    image: TestImage,
    name: String,
}

impl Scene {
    async fn new() -> Self {
        let registry = Registry::start().await;
        let node = Node::new(&[&registry]);
        let image = TestImage::new(OCI_MANIFEST, &[Layer::random(1000, 90)]);
        image.push(&registry, "1");
        let name = format!("{}/team/app:1", registry.host());
        let scene = Self { registry, node, image, name };
        scene.places(json!({ "docker": { scene.registry.host(): { "use-sigstore-attachments": true } } }));
        scene
    }

    /// JSON is YAML.
    fn places(&self, places: Value) {
        let directory = self.node.dir.path().join("registries.d");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("here.yaml"), places.to_string()).unwrap();
    }

    /// All requirements that hold for the registry.
    fn policy(&self, requirements: Value) {
        let policy = json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
            self.registry.host(): requirements } } });
        std::fs::write(self.node.dir.path().join("policy.json"), policy.to_string()).unwrap();
    }

    fn wants_key(&self, key: &Key) {
        self.policy(json!([{ "type": "sigstoreSigned", "keyData": STANDARD.encode(key.pem()) }]));
    }

    fn payload(&self) -> Vec<u8> {
        payload(&self.name, &self.image.digest())
    }

    fn attach(&self, signatures: &[Signed]) {
        attach(&self.registry, &self.image.digest(), signatures);
    }

    async fn accepted(&self, case: &str) {
        let result = self.node.pull(&self.name).await;
        let id = result.unwrap_or_else(|error| panic!("{case}: {}", chain(&error)));
        assert_eq!(id.as_str(), self.image.id());
        self.node.images.remove(id.as_str()).await.unwrap();
    }

    /// Refused with `why`, for its signatures, before anything of the image itself came.
    async fn refused(&self, case: &str, why: &str) {
        let before = self.registry.requests(&self.image.layers[0].digest);
        let Err(error) = self.node.pull(&self.name).await else { panic!("{case}: accepted") };
        assert!(chain(&error).contains(why), "{case}: {}", chain(&error));
        assert_eq!(error.pull_reason(), Some(PullReason::SignatureValidationFailed), "{case}");
        assert_eq!(self.registry.requests(&self.image.layers[0].digest), before, "{case}");
        self.node.assert_empty();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_key_name_and_digest_admit_an_image() {
    let scene = Scene::new().await;
    let (key, other) = (Key::new(), Key::new());
    scene.wants_key(&key);
    scene.refused("nothing attached", "has no signature of it").await;
    let good = Signed::new(&key, scene.payload());
    let strange = payload("registry.example/team/app:1", &scene.image.digest());
    let foreign = payload(&scene.name, &digest(b"another manifest"));
    let not_signed = String::from_utf8(scene.payload()).unwrap().replace("cosign", "atomic").into_bytes();
    let altered = Signed { payload: [scene.payload(), b" ".to_vec()].concat(), ..good.clone() };
    let attestation =
        Signed { media_type: "application/vnd.dsse.envelope.v1+json".to_owned(), ..good.clone() };
    for (case, signed, why) in [
        ("another key", Signed::new(&other, scene.payload()), "not by a key that the policy trusts"),
        ("another payload", altered, "not by a key that the policy trusts"),
        ("another name", Signed::new(&key, strange), "it is for \"registry.example/team/app:1\""),
        ("another digest", Signed::new(&key, foreign), "it is for the digest"),
        ("another type", Signed::new(&key, not_signed), "of type \"atomic container image signature\""),
        ("no JSON", Signed::new(&key, b"[".to_vec()), "the signed payload is malformed"),
        ("no payload", Signed::new(&key, Vec::new()), "the signed payload is malformed"),
        ("no signature", good.clone().without(SIGNATURE), "cosign/signature is missing"),
        ("no base64", good.clone().with(SIGNATURE, "%"), "cosign/signature is not base64"),
        ("an empty signature", good.clone().with(SIGNATURE, ""), "not by a key"),
        ("an attestation", attestation.clone(), "no signatures of cosign's kind"),
    ] {
        scene.attach(&[signed]);
        scene.refused(case, why).await;
    }
    scene.attach(std::slice::from_ref(&good));
    scene.accepted("the right one").await;
    let bad = Signed::new(&other, scene.payload());
    scene.attach(&[attestation, bad, Signed::new(&key, b"[".to_vec()), good]);
    scene.accepted("the right one among others").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_kinds_from_files_and_lists_count() {
    let scene = Scene::new().await;
    let keys = [Key::new(), Key::ed25519(), Key::rsa()];
    let path = |number: usize| scene.node.dir.path().join(format!("{number}.pub"));
    for (number, key) in keys.iter().enumerate() {
        std::fs::write(path(number), key.pem()).unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        scene.attach(&[Signed::new(key, scene.payload())]);
        scene.policy(json!([{ "type": "sigstoreSigned", "keyPath": path(number) }]));
        scene.accepted("one file").await;
        scene.policy(json!([{ "type": "sigstoreSigned", "keyPath": path((number + 1) % 3) }]));
        scene.refused("another's file", "not by a key").await;
    }
    scene.policy(json!([{ "type": "sigstoreSigned", "keyPaths": [path(0), path(1), path(2)] }]));
    scene.accepted("several files").await;
    let data: Vec<_> = keys.iter().map(|key| STANDARD.encode(key.pem())).collect();
    scene.policy(json!([{ "type": "sigstoreSigned", "keyDatas": data }]));
    scene.accepted("several texts").await;
    // Every requirement of the list must be met, by one signature or another.
    let both = json!([{ "type": "sigstoreSigned", "keyPath": path(0) }, { "type": "sigstoreSigned", "keyPath": path(1) }]);
    scene.policy(both);
    scene.refused("one of two", "not by a key").await;
    scene.attach(&[
        Signed::new(&keys[0], scene.payload()),
        Signed::new(&keys[1], payload(&scene.name, &scene.image.digest())),
    ]);
    scene.accepted("both").await;
    scene.policy(json!([{ "type": "sigstoreSigned", "keyPath": path(7) }]));
    scene.refused("a missing file", "7.pub").await;
    scene.policy(json!([{ "type": "sigstoreSigned", "keyData": STANDARD.encode("no key") }]));
    scene.refused("no key", "keyData does not hold one public key").await;
    scene.policy(json!([{ "type": "signedBy", "keyType": "GPGKeys", "keyPath": path(0) }]));
    scene.refused("GPG", "requires signedBy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_counts_that_is_of_the_image_and_not_of_its_index() {
    let scene = Scene::new().await;
    let key = Key::new();
    scene.wants_key(&key);
    let index = scene.image.index(OCI_INDEX);
    scene.registry.put_manifest("1", OCI_INDEX, index.clone());
    attach(&scene.registry, &digest(&index), &[Signed::new(&key, payload(&scene.name, &digest(&index)))]);
    scene.refused("the index is signed", "has no signature of it").await;
    scene.attach(&[Signed::new(&key, payload(&scene.name, &digest(&index)))]);
    scene.refused("the index's signature beside the image", "it is for the digest").await;
    scene.attach(&[Signed::new(&key, scene.payload())]);
    scene.accepted("the image is signed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_by_digest_and_a_mirror_follow_the_requested_name() {
    let (registry, key) = (Registry::start().await, Key::new());
    let conf = format!(
        "[[registry]]\nlocation = \"signed.example\"\n[[registry.mirror]]\nlocation = \"{}/copy\"\ninsecure = true\n",
        registry.host()
    );
    let node = Node::with(&conf, |_| ());
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(1000, 91)]);
    image.push(&registry, "1");
    let directory = node.dir.path().join("registries.d");
    std::fs::create_dir(&directory).unwrap();
    let places =
        json!({ "docker": { format!("{}/copy", registry.host()): { "use-sigstore-attachments": true } } });
    std::fs::write(directory.join("mirror.yaml"), places.to_string()).unwrap();
    let rule = json!([{ "type": "sigstoreSigned", "keyData": STANDARD.encode(key.pem()) }]);
    let policy =
        json!({ "default": [{ "type": "reject" }], "transports": { "docker": { "signed.example": rule } } });
    std::fs::write(node.dir.path().join("policy.json"), policy.to_string()).unwrap();
    let signed =
        |name: &str| attach(&registry, &image.digest(), &[Signed::new(&key, payload(name, &image.digest()))]);
    let by_digest = format!("signed.example/app@{}", image.digest());
    for (asked, in_signature, accepted) in [
        ("signed.example/app:1", "signed.example/app:1", true),
        ("signed.example/app:1", "signed.example/app:2", false),
        ("signed.example/app:1", &format!("{}/copy/app:1", registry.host()), false),
        (&by_digest, "signed.example/app:2", true),
        (&by_digest, "signed.example/other:2", false),
    ] {
        signed(in_signature);
        assert_eq!(node.pull(asked).await.is_ok(), accepted, "{asked} signed as {in_signature}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_must_have_promised_this_very_signature() {
    let scene = Scene::new().await;
    let (key, log, other) = (Key::new(), Key::new(), Key::new());
    scene.policy(json!([{ "type": "sigstoreSigned", "keyData": STANDARD.encode(key.pem()),
        "rekorPublicKeyData": STANDARD.encode(log.pem()) }]));
    let signed = Signed::new(&key, scene.payload());
    let entry = signed.entry(&key.pem());
    let changed = |pointer: &str, to: Value| {
        let mut entry = entry.clone();
        *entry.pointer_mut(pointer).unwrap() = to;
        signed.clone().recorded(&log, &entry, TIME)
    };
    let again = Signed::new(&key, scene.payload());
    let good = signed.clone().recorded(&log, &entry, TIME);
    let mut bundle: Value = serde_json::from_str(good.annotations[BUNDLE].as_str().unwrap()).unwrap();
    bundle["Payload"]["integratedTime"] = (TIME + 1).into();
    let late = signed.clone().with(BUNDLE, bundle.to_string());
    bundle["Payload"]["integratedTime"] = json!(1.5);
    let odd = signed.clone().with(BUNDLE, bundle.to_string());
    let repeated =
        good.annotations[BUNDLE].as_str().unwrap().replacen("{", "{\"SignedEntryTimestamp\":\"\",", 1);
    let publisher = STANDARD.encode(other.pem());
    for (case, signed, why) in [
        ("no promise", signed.clone(), "cosign/bundle is missing"),
        ("another log", signed.clone().recorded(&other, &entry, TIME), "not by a log that the policy trusts"),
        ("another time", late, "not by a log"),
        ("half a second", odd, "it is malformed"),
        ("two promises", signed.clone().with(BUNDLE, repeated), "it is malformed"),
        ("no JSON", signed.clone().with(BUNDLE, "{"), "it is malformed"),
        ("another kind", changed("/kind", "intoto".into()), "not a hashedrekord"),
        ("another version", changed("/apiVersion", "0.0.2".into()), "not a hashedrekord"),
        ("another signer", changed("/spec/signature/publicKey/content", publisher.into()), "another key"),
        ("no signer", changed("/spec/signature/publicKey/content", "".into()), "not PEM"),
        (
            "another signature",
            changed("/spec/signature/content", again.annotations[SIGNATURE].clone()),
            "another signature",
        ),
        ("another payload", changed("/spec/data/hash/value", "00".into()), "another payload"),
        ("another hash", changed("/spec/data/hash/algorithm", "sha512".into()), "not SHA-256"),
        ("no hash", changed("/spec/data", json!({})), "body is malformed"),
        (
            "an entry of another's",
            Signed::new(&other, scene.payload()).recorded(&log, &entry, TIME),
            "another signature",
        ),
    ] {
        scene.attach(&[signed]);
        scene.refused(case, why).await;
    }
    scene.attach(&[good]);
    scene.accepted("promised").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_for_the_person_and_of_the_time() {
    let scene = Scene::new().await;
    let (key, log) = (Key::of_certificate(), Key::new());
    let wants = |root: &str, issuer: &str, email: &str| {
        scene.policy(json!([{ "type": "sigstoreSigned", "rekorPublicKeyData": STANDARD.encode(log.pem()),
            "fulcio": { "caData": STANDARD.encode(root), "oidcIssuer": issuer, "subjectEmail": email } }]));
    };
    let (issuer, email) = ("https://issuer.example", "dev@team.example");
    let by = |certificate: &str, chain: &str, time: u64| {
        let signed = Signed::new(&key, scene.payload()).with(CERTIFICATE, certificate).with(CHAIN, chain);
        let entry = signed.entry(certificate);
        signed.recorded(&log, &entry, time)
    };
    let good = by(LEAF, INTERMEDIATE, TIME);
    scene.attach(std::slice::from_ref(&good));
    wants(ROOT, issuer, email);
    scene.accepted("as it should be").await;
    for (root, issuer, email, why) in [
        (
            ROOT,
            "https://other.example",
            email,
            "is for \"https://issuer.example\", not for \"https://other.example\"",
        ),
        (ROOT, issuer, "boss@team.example", "is for \"dev@team.example\""),
        (ROOT, issuer, "DEV@team.example", "is for \"dev@team.example\""),
        (LEAF, issuer, email, "the certificate is not accepted"),
        ("nothing", issuer, email, "does not hold certificates"),
    ] {
        wants(root, issuer, email);
        scene.refused("another person or root", why).await;
    }
    wants(ROOT, issuer, email);
    let twice = format!("{LEAF}{LEAF}");
    let unlogged = Signed::new(&key, scene.payload()).with(CERTIFICATE, LEAF).with(CHAIN, INTERMEDIATE);
    let other = Signed::new(&Key::new(), scene.payload()).with(CERTIFICATE, LEAF).with(CHAIN, INTERMEDIATE);
    let other_entry = other.entry(LEAF);
    let swapped = unlogged.clone().recorded(&log, &unlogged.entry(NOT_FOR_CODE), TIME);
    for (case, signed, why) in [
        ("too early", by(LEAF, INTERMEDIATE, TIME - DAY), "not accepted"),
        ("too late", by(LEAF, INTERMEDIATE, TIME + DAY), "not accepted"),
        ("no chain", by(LEAF, "", TIME), "not accepted"),
        (
            "a broken chain",
            by(LEAF, "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n", TIME),
            "not PEM",
        ),
        ("a long chain", by(LEAF, &INTERMEDIATE.repeat(9), TIME), "more than 8"),
        ("not for code", by(NOT_FOR_CODE, INTERMEDIATE, TIME), "not accepted"),
        ("an authority", by(INTERMEDIATE, INTERMEDIATE, TIME), "not accepted"),
        ("two certificates", by(&twice, INTERMEDIATE, TIME), "not one certificate"),
        ("no certificate", good.without(CERTIFICATE), "sigstore.cosign/certificate is missing"),
        ("not in the log", unlogged, "cosign/bundle is missing"),
        ("another in the log", swapped, "another key or certificate"),
        ("another key", other.recorded(&log, &other_entry, TIME), "not by a key"),
    ] {
        scene.attach(&[signed]);
        scene.refused(case, why).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_registry_neither_floods_nor_passes() {
    let scene = Scene::new().await;
    let (key, other) = (Key::new(), Key::new());
    scene.wants_key(&key);
    let good = Signed::new(&key, scene.payload());
    let bad = |number: usize| Signed::new(&other, format!("{{\"n\":{number}}}").into_bytes());
    let mut many: Vec<_> = (0..300).map(bad).collect();
    many.push(good.clone());
    scene.attach(&many);
    let before = scene.registry.requests("/blobs/");
    scene.refused("too many", "and 61 more").await;
    assert_eq!(scene.registry.requests("/blobs/") - before, 64);
    scene.attach(&[Signed::new(&key, vec![b' '; (1 << 20) + 1])]);
    scene.refused("too large", "it is too large").await;
    assert_eq!(scene.registry.requests("/blobs/") - before, 64);
    let large = |number: u8| Signed::new(&other, vec![number; 1 << 20]);
    scene.attach(&(0..12).map(large).collect::<Vec<_>>());
    let before = scene.registry.requests("/blobs/");
    scene.refused("too large together", "not by a key").await;
    assert_eq!(scene.registry.requests("/blobs/") - before, 8);

    scene.attach(std::slice::from_ref(&good));
    let blob = digest(&good.payload);
    for (case, fault) in [
        ("endless", Fault::Endless),
        ("corrupt", Fault::Corrupt),
        ("short", Fault::Replace(b"{}".to_vec())),
        ("missing", Fault::Status(404, Vec::new())),
    ] {
        scene.registry.fault(&format!("/blobs/{blob}"), [fault]);
        scene.refused(case, "is not what its descriptor promises").await;
    }
    for (case, fault, why) in [
        ("an endless list", Fault::Endless, "more than 4194304 bytes"),
        ("no list", Fault::Replace(b"{}".to_vec()), "cannot be used"),
        ("another type", Fault::ContentType("text/plain"), "cannot be used"),
        ("denied", Fault::Status(403, Vec::new()), "access denied"),
    ] {
        scene.registry.fault(".sig", [fault]);
        scene.refused(case, why).await;
    }
    scene.registry.put_manifest(
        &format!("{}.sig", scene.image.digest().replace(':', "-")),
        OCI_INDEX,
        scene.image.index(OCI_INDEX),
    );
    scene.refused("an index", "signatures in an index").await;
    // What says nothing about the signature is no verdict on it.
    for part in [".sig", blob.as_str()] {
        scene.attach(std::slice::from_ref(&good));
        scene.registry.fault(part, vec![Fault::Status(503, Vec::new()); 3]);
        let error: Error = scene.node.pull(&scene.name).await.unwrap_err();
        assert_eq!(error.pull_reason(), Some(PullReason::RegistryUnavailable), "{}", chain(&error));
        scene.node.assert_empty();
    }
    scene.accepted("afterwards").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_looked_for_only_where_the_configuration_says() {
    let scene = Scene::new().await;
    let key = Key::new();
    scene.wants_key(&key);
    scene.attach(&[Signed::new(&key, scene.payload())]);
    let asked = || scene.registry.requests(".sig");
    scene.places(json!({}));
    scene.refused("nothing configured", "sets use-sigstore-attachments").await;
    scene.places(json!({ "default-docker": { "lookaside": "https://sigs.example" } }));
    scene.refused("lookaside", "signatures in lookaside storage are not supported").await;
    scene.places(json!({ "docker": { scene.registry.host(): { "use-attachments": true } } }));
    scene.refused("a typing error", "here.yaml is not valid").await;
    assert_eq!(asked(), 0);
    // Without a demand nobody asks, whatever is configured.
    scene.policy(json!([{ "type": "insecureAcceptAnything" }]));
    scene.accepted("anything goes").await;
    assert_eq!(asked(), 0);
    scene.wants_key(&key);
    scene.places(json!({ "default-docker": { "use-sigstore-attachments": true } }));
    scene.accepted("by default").await;
    let explained = scene.node.images.explain(&scene.name, None).unwrap().to_string();
    assert!(explained.contains("only with a signature that sigstoreSigned of scope"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_a_namespace_asks_for_its_own_signatures() {
    let registry = Registry::start().await;
    let key = Key::new();
    let conf = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host());
    let node = Node::with(&conf, |config| {
        config.policy.namespaces = Some(config.temp_dir.with_file_name("policies"));
    });
    let image = TestImage::new(OCI_MANIFEST, &[Layer::random(1000, 92)]);
    image.push(&registry, "1");
    for directory in ["policies", "registries.d"] {
        std::fs::create_dir(node.dir.path().join(directory)).unwrap();
    }
    let places = json!({ "default-docker": { "use-sigstore-attachments": true } });
    std::fs::write(node.dir.path().join("registries.d/all.yaml"), places.to_string()).unwrap();
    let strict = json!({ "default": [{ "type": "sigstoreSigned", "keyData": STANDARD.encode(key.pem()) }] });
    std::fs::write(node.dir.path().join("policies/strict.json"), strict.to_string()).unwrap();
    let reference = format!("{}/app:1", registry.host());
    let pull = |namespace: &str| {
        node.images.pull(PullRequest {
            reference: reference.clone(),
            namespace: Some(namespace.to_owned()),
            ..PullRequest::default()
        })
    };
    pull("other").await.unwrap();
    // That the image is here already does not make it signed.
    let error = pull("strict").await.unwrap_err();
    assert_eq!(error.pull_reason(), Some(PullReason::SignatureValidationFailed));
    attach(&registry, &image.digest(), &[Signed::new(&key, payload(&reference, &image.digest()))]);
    pull("strict").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_is_verified_again_before_it_runs_without_a_registry() {
    let scene = Scene::new().await;
    let (key, other) = (Key::new(), Key::new());
    let admit = async |name: &str, id: &ochre_types::ImageId| scene.node.images.admit(name, id, None).await;
    scene.policy(json!([{ "type": "insecureAcceptAnything" }]));
    let id = scene.node.pull(&scene.name).await.unwrap();
    admit(&scene.name, &id).await.unwrap();
    // Signed it is in the registry only: nothing here shows it.
    scene.attach(&[Signed::new(&key, scene.payload())]);
    scene.wants_key(&key);
    let error = admit(&scene.name, &id).await.unwrap_err();
    assert!(chain(&error).contains("no signature is kept with it here"), "{}", chain(&error));
    assert_eq!(error.pull_reason(), Some(PullReason::SignatureValidationFailed));
    scene.node.pull(&scene.name).await.unwrap();
    let asked = scene.registry.log().len();
    admit(&scene.name, &id).await.unwrap();
    let another = format!("{}/team/other:1", scene.registry.host());
    let error = admit(&another, &id).await.unwrap_err();
    assert!(chain(&error).contains("it is for"), "{}", chain(&error));
    scene.wants_key(&other);
    let error = admit(&scene.name, &id).await.unwrap_err();
    assert!(chain(&error).contains("not by a key"), "{}", chain(&error));
    scene.policy(json!([{ "type": "reject" }]));
    assert!(admit(&scene.name, &id).await.is_err());
    assert_eq!(scene.registry.log().len(), asked);
    // A later pull that nobody demanded signatures of leaves those that are here.
    scene.policy(json!([{ "type": "insecureAcceptAnything" }]));
    scene.node.pull(&scene.name).await.unwrap();
    scene.wants_key(&key);
    admit(&scene.name, &id).await.unwrap();
    // As containers/image keeps them.
    let image = scene.node.store.image(&id).unwrap().unwrap();
    let metadata: Value = serde_json::from_str(&image.metadata).unwrap();
    let item = format!("signature-{}", &scene.image.digest()["sha256:".len()..]);
    let blob = scene.node.store.big_data(&id, &item).unwrap();
    assert_eq!(metadata["signature-sizes"], json!([blob.len()]));
    assert_eq!(metadata["signatures-sizes"], json!({ scene.image.digest(): [blob.len()] }));
    assert!(blob.starts_with(b"\0sigstore-json\n{"));
    assert_eq!(scene.node.store.big_data(&id, "signatures").unwrap(), blob);
}

/// Debian's skopeo is built without signing, so it only carries here what was signed by the test.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_serves_what_is_signed() {
    let served = crate::real::Served::new();
    let (node, key) = (&served.node, Key::new());
    let directory = node.dir.path().join("registries.d");
    std::fs::create_dir(&directory).unwrap();
    let places = json!({ "default-docker": { "use-sigstore-attachments": true } });
    std::fs::write(directory.join("all.yaml"), places.to_string()).unwrap();
    let rule = json!([{ "type": "sigstoreSigned", "keyData": STANDARD.encode(key.pem()) }]);
    std::fs::write(node.dir.path().join("policy.json"), json!({ "default": rule }).to_string()).unwrap();
    let push = |image: &TestImage, name: &str| {
        let layout = node.dir.path().join("layout");
        crate::images::layout(&layout, image, None);
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]);
        command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{name}"));
        crate::real::run(&mut command);
    };
    // Not compressed, so that it can leave the store as it came: a signature allows no other way.
    let layer = Layer::new(&tar(&[("file", &noise(3000, 93))]), Packing::Plain);
    let image = TestImage::new(OCI_MANIFEST, &[layer]);
    let name = format!("{}/team/app:1", served.host);
    push(&image, &name);
    let error = node.pull(&name).await.unwrap_err();
    assert!(chain(&error).contains("has no signature of it"), "{}", chain(&error));
    let signed = Signed::new(&key, payload(&name, &image.digest()));
    let signatures = signature_image(&[signed]);
    push(&signatures, &format!("{}/team/app:{}.sig", served.host, image.digest().replace(':', "-")));
    let id = node.pull(&name).await.unwrap();
    assert_eq!(id.as_str(), image.id());
    // The signature kept with it does not keep others from reading the image, and goes with it.
    let root = node.dir.path().join("root");
    let place = format!("[overlay@{}+{}]", root.display(), node.dir.path().join("run").display());
    let out = node.dir.path().join("out");
    crate::real::run(
        Command::new("skopeo")
            .args(["--insecure-policy", "copy", "-q"])
            .args([format!("containers-storage:{place}{name}"), format!("dir:{}", out.display())]),
    );
    let carried = std::fs::read(out.join("signature-1")).unwrap();
    assert!(carried.starts_with(b"\0sigstore-json\n{"));
}
