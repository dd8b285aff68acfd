use serde_json::{Value, json};

use super::*;

fn digest(fill: char) -> String {
    format!("sha256:{}", fill.to_string().repeat(64))
}

fn image(media_type: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": { "mediaType": OCI_CONFIG, "digest": digest('a'), "size": 10 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest('b'), "size": 20 }]
    })
}

fn index(entries: &[(&str, Option<(&str, &str)>)]) -> Index {
    let manifests: Vec<Value> = entries
        .iter()
        .enumerate()
        .map(|(number, (media_type, platform))| {
            let mut entry = json!({ "mediaType": media_type, "size": 1,
                "digest": digest(char::from_digit(number as u32 + 1, 16).unwrap()) });
            if let Some((architecture, variant)) = platform {
                entry["platform"] =
                    json!({ "os": "linux", "architecture": architecture, "variant": variant });
            }
            entry
        })
        .collect();
    let text = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }).to_string();
    match Document::parse(text.as_bytes(), Some(OCI_INDEX)).unwrap() {
        Document::Index(index) => index,
        Document::Image(_) => panic!("an image"),
    }
}

fn parse(value: &Value, content_type: Option<&str>) -> Result<Document, ManifestError> {
    Document::parse(value.to_string().as_bytes(), content_type)
}

fn chosen(index: &Index, architecture: &str, variant: Option<&str>) -> Result<String, ManifestError> {
    let (os, architecture) = ("linux".into(), architecture.into());
    let platform = Platform { os, architecture, variant: variant.map(Into::into) };
    index.choose(&platform).map(|entry| entry.digest.hex()[..1].to_owned())
}

#[test]
fn the_four_formats_are_read() {
    for media_type in [OCI_MANIFEST, DOCKER_MANIFEST] {
        for content_type in [Some(media_type), None, Some(&*format!("{media_type}; charset=utf-8"))] {
            assert!(matches!(parse(&image(media_type), content_type).unwrap(), Document::Image(_)));
        }
    }
    let mut bare = image(OCI_MANIFEST);
    bare.as_object_mut().unwrap().shift_remove("mediaType");
    assert!(parse(&bare, Some(OCI_MANIFEST)).is_ok());
    assert!(parse(&bare, Some(DOCKER_MANIFEST)).is_err());
    assert!(parse(&bare, None).is_err());
}

#[test]
fn documents_with_two_faces_are_refused() {
    let mut both = image(OCI_MANIFEST);
    both["manifests"] = json!([]);
    assert!(matches!(parse(&both, Some(OCI_MANIFEST)), Err(ManifestError::Ambiguous { .. })));
    assert!(matches!(
        parse(&image(OCI_MANIFEST), Some(OCI_INDEX)),
        Err(ManifestError::MediaTypeMismatch { .. })
    ));
    assert!(matches!(parse(&image(OCI_MANIFEST), Some("text/html")), Err(ManifestError::ContentType { .. })));
    assert!(matches!(parse(&image(OCI_INDEX), None), Err(ManifestError::Ambiguous { .. })));
    let mut config = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    config["config"] = image(OCI_MANIFEST)["config"].clone();
    assert!(matches!(parse(&config, None), Err(ManifestError::Ambiguous { .. })));
    let twice = image(OCI_MANIFEST).to_string().replacen('{', "{\"schemaVersion\":2,", 1);
    assert!(matches!(Document::parse(twice.as_bytes(), None), Err(ManifestError::Syntax { .. })));
}

#[test]
fn schema_one_is_refused_by_name() {
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let document = json!({ "schemaVersion": 1, "fsLayers": [], "history": [] });
    for content_type in [Some(signed), Some(DOCKER_MANIFEST), None] {
        assert!(matches!(parse(&document, content_type), Err(ManifestError::SchemaOne)));
    }
}

#[test]
fn what_cannot_be_unpacked_is_refused_before_it_is_fetched() {
    let checked = |change: &dyn Fn(&mut Value)| {
        let mut value = image(OCI_MANIFEST);
        change(&mut value);
        match parse(&value, None).unwrap() {
            Document::Image(manifest) => manifest.check(),
            Document::Index(_) => panic!("an index"),
        }
    };
    assert!(checked(&|_| ()).is_ok());
    let artifact =
        checked(&|value| value["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json"));
    assert!(matches!(artifact, Err(ManifestError::NotAnImage { .. })));
    let large = checked(&|value| value["config"]["size"] = json!(CONFIG_MAX + 1));
    assert!(matches!(large, Err(ManifestError::ConfigTooLarge { .. })));
    let foreign = checked(&|value| {
        value["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        value["layers"][0]["urls"] = json!(["https://evil.example/layer"]);
    });
    assert!(matches!(foreign, Err(ManifestError::ForeignLayer { .. })));
    let encrypted = checked(&|value| {
        value["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    });
    assert!(matches!(encrypted, Err(ManifestError::LayerType { .. })));
    let mut many = image(OCI_MANIFEST);
    many["layers"] = Value::Array(vec![many["layers"][0].clone(); LAYERS_MAX + 1]);
    assert!(matches!(parse(&many, None), Err(ManifestError::TooManyLayers { .. })));
    let mut negative = image(OCI_MANIFEST);
    negative["layers"][0]["size"] = json!(-1);
    assert!(parse(&negative, None).is_err());
}

#[test]
fn the_platform_decides() {
    let m = OCI_MANIFEST;
    let many = index(&[
        (m, Some(("arm", "v5"))),
        (m, Some(("arm", "v7"))),
        (m, Some(("arm64", "v8"))),
        (m, Some(("amd64", "v3"))),
        (m, Some(("amd64", ""))),
        ("application/vnd.example", Some(("s390x", ""))),
    ]);
    assert_eq!(chosen(&many, "amd64", None).unwrap(), "5");
    assert_eq!(chosen(&many, "amd64", Some("v4")).unwrap(), "4");
    assert_eq!(chosen(&many, "arm64", Some("v8")).unwrap(), "3");
    assert_eq!(chosen(&many, "arm", Some("v7")).unwrap(), "2");
    assert_eq!(chosen(&many, "arm", Some("v6")).unwrap(), "1");
    let missing = chosen(&many, "s390x", None).unwrap_err();
    assert!(missing.to_string().contains("linux/amd64"), "{missing}");
    assert_eq!(chosen(&index(&[(m, None)]), "amd64", None).unwrap(), "1");
    assert!(chosen(&index(&[(m, None), (m, None)]), "amd64", None).is_err());
    let nested = index(&[(OCI_INDEX, Some(("amd64", "")))]);
    assert!(matches!(chosen(&nested, "amd64", None), Err(ManifestError::NestedIndex { .. })));
}
