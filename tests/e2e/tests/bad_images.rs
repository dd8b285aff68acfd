//! Images that are not there, not what they promise, or out for harm: a clear answer, and nothing of them stays.

use std::path::Path;
use std::time::{Duration, Instant};

use ochre_cri_api as api;
use ochre_e2e::{BUSYBOX, Node, Registry, busybox, container, eventually, pod};
use ochre_test_support::layout::{Entry, Layered, archive};
use serde_json::{Value, json};
use tonic::{Code, Status};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A node, a registry that it may reach, and a good image there.
struct Ground {
    node: Node,
    registry: Registry,
    stored: Vec<String>,
    images: Vec<api::Image>,
}

impl Ground {
    async fn start() -> anyhow::Result<Self> {
        let registry = Registry::start()?;
        let text = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host());
        let text = format!("{text}[[registry]]\nlocation = \"127.0.0.1:1\"\ninsecure = true\n");
        let mut node =
            Node::prepared("", |dir| Ok(std::fs::write(dir.join("registries.conf"), text)?)).await?;
        registry.push_layered(&image(vec![note("good")?])?, "good:1", &[])?;
        // Directories that the first pull makes for good are there afterwards.
        let good = node.pull(&format!("{}/good:1", registry.host())).await?;
        node.remove_image(&good).await?;
        let images = node.images().await?;
        let mut ground = Self { stored: node.stored(), images, node, registry };
        ground.unchanged("a good pull").await?;
        Ok(ground)
    }

    /// The store is as it was in the beginning, and a good pull works.
    async fn unchanged(&mut self, what: &str) -> anyhow::Result<()> {
        assert_eq!(self.node.images().await?, self.images, "after {what}");
        let (node, before) = (&self.node, &self.stored);
        eventually(&format!("a clean store after {what}"), async || {
            Ok(Some(()).filter(|()| node.stored() == *before))
        })
        .await
        .map_err(|error| anyhow::anyhow!("{error}: {before:?} became {:?}", self.node.stored()))?;
        let good = self.node.pull(&format!("{}/good:1", self.registry.host())).await?;
        Ok(self.node.remove_image(&good).await?)
    }

    /// Pulls what must be refused with these words, the name among them.
    async fn refused(&mut self, name: &str, words: &[&str]) -> anyhow::Result<Status> {
        let name = format!("{}/{name}", self.registry.host());
        let refused = match self.node.pull(&name).await {
            Ok(id) => anyhow::bail!("{name} was pulled as {id}"),
            Err(refused) => refused,
        };
        for word in words.iter().chain([&name.as_str()]) {
            assert!(refused.message().contains(word), "{refused} lacks {word:?}");
        }
        self.unchanged(&name).await?;
        Ok(refused)
    }
}

/// busybox below the given layers.
fn image(layers: Vec<Vec<u8>>) -> anyhow::Result<Layered> {
    let busybox = busybox()?;
    let mut all = vec![archive(&busybox.entries)?];
    all.extend(layers);
    Ok(Layered::new(all, busybox.config))
}

/// A layer of one file that does not compress to nothing.
fn note(text: &str) -> anyhow::Result<Vec<u8>> {
    let content: String =
        (0..5_000_u32).map(|line| format!("{text} {}\n", line.wrapping_mul(2_654_435_761))).collect();
    Ok(archive(&[Entry::File("note".into(), 0o644, content.into_bytes())])?)
}

#[tokio::test]
async fn what_is_not_there_is_named_and_what_does_not_answer_is_unavailable() -> anyhow::Result<()> {
    let mut ground = Ground::start().await?;
    for name in ["none:1", "good:none", &format!("good@sha256:{}", "0".repeat(64))] {
        let refused = ground.refused(name, &[]).await?;
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
    }
    for name in ["127.0.0.1:1/app:1", "unreachable.invalid/app:1"] {
        let began = Instant::now();
        let refused = ground.node.pull(name).await.unwrap_err();
        assert!(
            refused.message().starts_with("RegistryUnavailable") && refused.message().contains(name),
            "{refused}"
        );
        assert_eq!(refused.code(), Code::Unknown, "what clients expect with this word");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    ground.unchanged("unreachable registries").await?;
    ground.node.finish()
}

#[tokio::test]
async fn blobs_that_are_not_what_the_manifest_promises_are_refused() -> anyhow::Result<()> {
    type Damage = fn(Vec<u8>) -> Vec<u8>;

    let mut ground = Ground::start().await?;
    let damage: [(&str, Damage); 4] = [
        ("changed", |mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
        ("truncated", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("longer", |bytes| [bytes, vec![0; 1000]].concat()),
        ("empty", |_| Vec::new()),
    ];
    for (name, change) in damage {
        for part in ["layer", "config"] {
            let name = format!("{name}-{part}");
            let mut good = image(vec![note(&name)?])?;
            good.config["Labels"] = json!({ "name": name });
            ground.registry.push_layered(&good, &format!("{name}:1"), &[])?;
            let manifest = ground.registry.manifest(&format!("{name}:1"))?;
            let descriptor = if part == "layer" { &manifest["layers"][1] } else { &manifest["config"] };
            let digest = descriptor["digest"].as_str().unwrap().to_owned();
            let path = ground.registry.blob(&digest)?;
            let bytes = std::fs::read(&path)?;
            std::fs::write(&path, change(bytes.clone()))?;
            ground.refused(&format!("{name}:1"), &[&digest]).await?;
            // Once the registry has been repaired, the same name works.
            std::fs::write(&path, bytes)?;
            let id = ground.node.pull(&format!("{}/{name}:1", ground.registry.host())).await?;
            ground.node.remove_image(&id).await?;
        }
    }
    ground.node.finish()
}

#[tokio::test]
async fn archives_that_end_early_or_do_not_decompress_are_refused() -> anyhow::Result<()> {
    use std::io::Write as _;

    let mut ground = Ground::start().await?;
    let whole = note("archive")?;
    let packed = {
        let mut gzip = std::process::Command::new("gzip");
        let mut child =
            gzip.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().unwrap();
        let bytes = whole.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output()?;
        writer.join().unwrap()?;
        output.stdout
    };
    let mut corrupt = packed.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 64].fill(0xa5);
    // The digests of these are right: the archives themselves are bad.
    for (name, bytes) in [
        ("cut-archive", whole[..whole.len() / 2].to_vec()),
        ("cut-gzip", packed[..packed.len() / 2].to_vec()),
        ("corrupt-gzip", corrupt),
        ("rubbish", (0..20_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()),
    ] {
        let mut bad = image(vec![bytes])?;
        bad.gzip = false;
        ground.registry.push_layered(&bad, &format!("{name}:1"), &["--preserve-digests"])?;
        let manifest = ground.registry.manifest(&format!("{name}:1"))?;
        let digest = manifest["layers"][1]["digest"].as_str().unwrap().to_owned();
        ground.refused(&format!("{name}:1"), &[&digest]).await?;
    }
    // A layer that unpacks, but to something else than the configuration says.
    let mut good = image(vec![note("one")?])?;
    ground.registry.push_layered(&good, "diff:1", &[])?;
    let one = ground.registry.manifest("diff:1")?;
    good.layers[1] = note("two")?;
    ground.registry.push_layered(&good, "diff:2", &[])?;
    let mut mixed = ground.registry.manifest("diff:2")?;
    mixed["config"] = one["config"].clone();
    ground.registry.put_manifest("diff", "mixed", OCI_MANIFEST, mixed.to_string().as_bytes())?;
    ground.refused("diff:mixed", &["unpacks to", mixed["layers"][1]["digest"].as_str().unwrap()]).await?;
    ground.node.finish()
}

/// An archive of one empty file that says it has `size` bytes.
fn claiming(size: u64) -> anyhow::Result<Vec<u8>> {
    let mut tar = archive(&[Entry::File("huge".into(), 0o644, Vec::new())])?;
    tar[124..136].copy_from_slice(&[&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat());
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(tar)
}

#[tokio::test]
async fn absurd_sizes_and_references_are_refused_at_once() -> anyhow::Result<()> {
    type Change = fn(&mut Value);

    let mut ground = Ground::start().await?;
    ground.registry.push_layered(&image(vec![note("sizes")?])?, "sizes:1", &[])?;
    let manifest = ground.registry.manifest("sizes:1")?;
    let changes: [(&str, Change); 4] = [
        ("layer", |manifest| manifest["layers"][1]["size"] = json!(1_000_000_000_000_000_000_u64)),
        ("config", |manifest| manifest["config"]["size"] = json!(1_000_000_000_000_000_000_u64)),
        ("negative", |manifest| manifest["layers"][1]["size"] = json!(-1)),
        ("many", |manifest| {
            let layer = manifest["layers"][1].clone();
            manifest["layers"] = Value::Array(vec![layer; 3000]);
        }),
    ];
    for (tag, change) in changes {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        // The registry refuses some of it itself; then there is nothing to pull.
        if ground.registry.put_manifest("sizes", tag, OCI_MANIFEST, manifest.to_string().as_bytes()).is_ok() {
            ground.refused(&format!("sizes:{tag}"), &[]).await?;
        } else {
            assert_eq!(tag, "negative", "the registry refused it");
        }
    }
    for (tag, size) in [("tar-huge", 1_000_000_000_000_000_000), ("tar-over", u64::MAX)] {
        ground.registry.push_layered(&image(vec![claiming(size)?])?, &format!("sizes:{tag}"), &[])?;
        ground.refused(&format!("sizes:{tag}"), &[]).await?;
    }
    let (long, deep) = ("a".repeat(100_000), "a/".repeat(3000));
    let garbage = [
        "host.io/UPPER:1",
        ":",
        "@",
        "a//b",
        "a b",
        "a:b c",
        "host:port/x",
        "x@sha256:short",
        "../../etc/passwd",
        "-x",
        "x:",
        "http://host/x",
        "\u{0}",
        "\u{1f980}",
        "example.com/x@md5:0123",
        &long,
        &deep,
    ];
    for text in garbage {
        let refused = ground.node.pull(text).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text:.40?}: {refused}");
        assert!(refused.message().len() < 1000, "{}", refused.message().len());
        for answer in [ground.node.image(text).await.map(drop), ground.node.remove_image(text).await] {
            assert!(
                answer.is_ok() || answer.is_err_and(|error| error.code() == Code::InvalidArgument),
                "{text:.40?}"
            );
        }
    }
    assert_eq!(ground.node.pull("").await.unwrap_err().code(), Code::InvalidArgument);
    ground.unchanged("garbage").await?;
    ground.node.finish()
}

/// Whether a hostile layer is refused, or unpacked where it cannot do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Refused,
    Contained,
}

#[tokio::test]
async fn layers_that_reach_out_of_the_root_touch_nothing_outside() -> anyhow::Result<()> {
    let mut ground = Ground::start().await?;
    let canary = ground.node.path("canary");
    std::fs::create_dir(&canary)?;
    std::fs::write(canary.join("kept"), "alive")?;
    let outside = canary.to_string_lossy().into_owned();
    let up = format!("{}{}", "../".repeat(12), outside.trim_start_matches('/'));
    let file = |name: String| Entry::File(name, 0o666, b"broken".to_vec());
    let link = |name: &str, target: &str| Entry::Link(name.into(), target.into());
    let hard = |name: &str, target: String| Entry::HardLink(name.into(), target);
    let attacks: Vec<(&str, Fate, Vec<Entry>)> = vec![
        ("dots", Fate::Refused, vec![file(format!("{up}/new"))]),
        ("dots-inside", Fate::Refused, vec![file(format!("bin/{up}/kept"))]),
        ("absolute", Fate::Contained, vec![file(format!("{outside}/kept"))]),
        ("symlink-then-file", Fate::Refused, vec![link("out", &outside), file("out/kept".into())]),
        ("symlink-up-then-file", Fate::Refused, vec![link("out", &up), file("out/kept".into())]),
        (
            "symlink-to-file",
            Fate::Contained,
            vec![link("out", &format!("{outside}/kept")), file("out".into())],
        ),
        (
            "symlink-chain",
            Fate::Refused,
            vec![link("a", "b/.."), link("b", &outside), file("a/b/kept".into())],
        ),
        (
            "hard-link-absolute",
            Fate::Refused,
            vec![hard("stolen", format!("{outside}/kept")), file("stolen".into())],
        ),
        ("hard-link-dots", Fate::Refused, vec![hard("stolen", format!("{up}/kept")), file("stolen".into())]),
        (
            "hard-link-through-symlink",
            Fate::Refused,
            vec![link("out", &outside), hard("stolen", "out/kept".into())],
        ),
        (
            "directory-over-symlink",
            Fate::Contained,
            vec![link("out", &outside), Entry::Directory("out".into(), 0o777)],
        ),
        ("whiteout-outside", Fate::Refused, vec![link("out", &outside), file("out/.wh.kept".into())]),
        ("opaque-outside", Fate::Refused, vec![link("out", &outside), file("out/.wh..wh..opq".into())]),
        ("whiteout-of-dots", Fate::Refused, vec![file(".wh...".into())]),
    ];
    let mode = |path: &Path| {
        std::fs::metadata(path).map(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()))
    };
    let before = mode(&canary)?;
    let mut strange = Vec::new();
    for (name, fate, entries) in attacks {
        ground.registry.push_layered(&image(vec![archive(&entries)?])?, &format!("{name}:1"), &[])?;
        let reference = format!("{}/{name}:1", ground.registry.host());
        let answer = match ground.node.pull(&reference).await {
            Ok(id) => {
                ground.node.remove_image(&id).await?;
                Fate::Contained
            }
            Err(refused) => {
                assert!(refused.message().contains(&reference), "{refused}");
                Fate::Refused
            }
        };
        let names: Vec<_> = std::fs::read_dir(&canary)?.flatten().map(|entry| entry.file_name()).collect();
        assert_eq!((names, mode(&canary)?), (vec!["kept".into()], before), "{name} reached out");
        assert_eq!(std::fs::read_to_string(canary.join("kept"))?, "alive", "{name} reached out");
        ground.unchanged(name).await?;
        if answer != fate {
            strange.push((name, answer));
        }
    }
    assert_eq!(strange, []);
    ground.node.finish()
}

#[tokio::test]
async fn the_policy_is_asked_again_when_a_container_is_made() -> anyhow::Result<()> {
    const ACCEPT: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
    let configuration = "[crio.image]\nsignature_policy = \"{dir}/policy.json\"\n";
    let prepare = |dir: &Path| Ok(std::fs::write(dir.join("policy.json"), ACCEPT)?);
    let mut node = Node::prepared(configuration, prepare).await?;
    let id = node.run_pod(&pod(&node, "admitted")).await?;
    node.create(&id, container("before", "true")).await?;
    std::fs::write(node.path("policy.json"), r#"{"default":[{"type":"reject"}]}"#)?;
    let refused = node.create(&id, container("refused", "true")).await.unwrap_err();
    assert!(refused.message().starts_with("SignatureValidationFailed"), "{refused}");
    assert!(refused.message().contains(BUSYBOX), "{refused}");
    std::fs::write(node.path("policy.json"), ACCEPT)?;
    node.create(&id, container("refused", "true")).await?;
    node.remove_pod(&id).await?;
    node.finish()
}
