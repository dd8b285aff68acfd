//! Images from disk and to disk: what skopeo and podman save is imported, what is exported they load, ids stay; and an
//! archive that lies leaves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use ochre_e2e::bench::{Bench, refusal};
use ochre_e2e::{Tmpfs, run};
use ochre_test_support::layout::{Entry, Layered, archive};
use rustix::mount::MountPropagationFlags;
use serde_json::{Value, json};

/// `ochre VERB` on a store of the test's own.
fn ochre(bench: &Bench, verb: &str) -> Command {
    let mut command = bench.ochre(verb);
    command.arg("--root").arg(bench.path("root")).arg("--runroot").arg(bench.path("run"));
    command
}

/// A bench whose configuration is empty and whose policy accepts everything.
fn bench() -> anyhow::Result<Bench> {
    let bench = Bench::new()?;
    bench.write("crio.conf", "")?;
    bench.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    Ok(bench)
}

fn lines(command: &mut Command) -> anyhow::Result<Vec<String>> {
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn policy(bench: &Bench) -> String {
    format!("--signature-policy={}", bench.path("policy.json").display())
}

fn import(bench: &Bench, path: &Path, more: &[&str]) -> anyhow::Result<Vec<String>> {
    lines(ochre(bench, "import").arg(policy(bench)).args(more).arg(path))
}

fn refused_import(bench: &Bench, path: &Path, more: &[&str]) -> anyhow::Result<String> {
    refusal(ochre(bench, "import").arg(policy(bench)).args(more).arg(path))
}

fn export_command(bench: &Bench, format: &str, output: &Path, images: &[&str]) -> Command {
    let mut command = ochre(bench, "export");
    command.args(["--format", format, "--output"]).arg(output).args(images);
    command
}

/// The images of the store: id and names.
fn stored(bench: &Bench) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let Ok(text) = std::fs::read(bench.path("root/overlay-images/images.json")) else {
        return Ok(Vec::new());
    };
    let images: Vec<Value> = serde_json::from_slice(&text)?;
    let names = |image: &Value| serde_json::from_value(image["names"].clone()).unwrap_or_default();
    let mut images: Vec<_> =
        images.iter().map(|image| (image["id"].as_str().unwrap().to_owned(), names(image))).collect();
    images.sort();
    Ok(images)
}

/// Two layers that use what layers can: links, whiteouts, long names, bits.
fn layers() -> anyhow::Result<Vec<Vec<u8>>> {
    let file = |name: &str, text: &str| Entry::File(name.into(), 0o644, text.as_bytes().to_vec());
    let lower = archive(&[
        Entry::Directory("dir".into(), 0o755),
        file("dir/gone", "lower"),
        file(&"n".repeat(100), "long name"),
        Entry::File("setuid".into(), 0o4755, vec![b'x'; 300_000]),
        Entry::HardLink("again".into(), "setuid".into()),
        Entry::Link("link".into(), "/dir".into()),
    ])?;
    let upper = archive(&[file("dir/.wh.gone", ""), file("note", "upper")])?;
    Ok(vec![lower, upper])
}

fn image(marker: &str) -> anyhow::Result<Layered> {
    Ok(Layered::new(layers()?, json!({ "Cmd": ["/x"], "Labels": { "marker": marker } })))
}

fn skopeo(arguments: &[&str]) -> anyhow::Result<String> {
    run("skopeo", &[&["--insecure-policy"], arguments].concat())
}

/// The image id of what skopeo finds at a place.
fn config_digest(place: &str) -> anyhow::Result<String> {
    let manifest: Value = serde_json::from_str(&skopeo(&["inspect", "--raw", place])?)?;
    Ok(manifest["config"]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned())
}

/// podman on a store of its own.
fn podman(bench: &Bench, arguments: &[&str]) -> anyhow::Result<String> {
    let conf = bench.write("containers.conf", "[engine]\nevents_logger = \"none\"\n")?;
    let mut command = Command::new("podman");
    for (flag, name) in [("--root", "podman"), ("--runroot", "podman-run"), ("--tmpdir", "podman-tmp")] {
        command.arg(flag).arg(bench.path(name));
    }
    command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]).args(arguments);
    Ok(lines(command.env("CONTAINERS_CONF", conf))?.join("\n"))
}

/// Names and places of one export in each format, as skopeo spells them.
fn formats(bench: &Bench, name: &str) -> [(&'static str, PathBuf, String); 3] {
    ["oci", "oci-archive", "docker-archive"].map(|format| {
        let path = bench.path(&format!("out-{format}"));
        let place = format!("{format}:{}:{name}", path.display());
        (format, path, place)
    })
}

#[test]
fn what_is_exported_skopeo_and_podman_load_with_the_same_id() -> anyhow::Result<()> {
    let bench = bench()?;
    let layout = bench.path("layout");
    let name = "example.com/team/app:1";
    let id = image("one")?.write_layout(&layout, name)?;
    assert_eq!(import(&bench, &layout, &[])?, std::slice::from_ref(&id));
    for (format, path, place) in formats(&bench, name) {
        assert_eq!(
            lines(&mut export_command(&bench, format, &path, &[name]))?,
            std::slice::from_ref(&id),
            "{format}"
        );
        assert_eq!(config_digest(&place)?, id, "{format}");
        // skopeo verifies every digest on the way, those of the layers inside included.
        let copy = bench.path(&format!("copy-{format}"));
        skopeo(&["copy", "-q", &place, &format!("dir:{}", copy.display())])?;
        // podman takes no layout whose path has capital letters, as this one's may have.
        if format == "oci" {
            continue;
        }
        let said = podman(&bench, &["load", "-q", "-i", &path.to_string_lossy()])?;
        assert!(said.contains(name), "{format}: {said}");
        let listed = podman(&bench, &["images", "-q", "--no-trunc"])?;
        assert_eq!(listed, format!("sha256:{id}"), "{format}");
        podman(&bench, &["rmi", "-a"])?;
    }
    let plain = bench.path("copy-docker-archive");
    for layer in layers()? {
        let digest = ochre_digest(&layer);
        assert!(std::fs::read(plain.join(&digest))? == layer, "layer {digest} came back byte for byte");
    }
    for compression in ["zstd", "none"] {
        let path = bench.path(compression);
        let mut command = export_command(&bench, "oci", &path, &[&id]);
        assert_eq!(lines(command.args(["--compression", compression]))?, std::slice::from_ref(&id));
        assert_eq!(config_digest(&format!("oci:{}:{name}", path.display()))?, id);
        let to = format!("dir:{}", bench.path(&format!("copy-{compression}")).display());
        skopeo(&["copy", "-q", &format!("oci:{}:{name}", path.display()), &to])?;
    }
    Ok(())
}

/// The hexadecimal SHA-256.
fn ochre_digest(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), bytes).unwrap();
    let output = Command::new("sha256sum").arg(dir.path().join("f")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn what_skopeo_and_podman_save_is_imported_with_the_same_id_and_names() -> anyhow::Result<()> {
    let bench = bench()?;
    let (layout, name) = (bench.path("layout"), "docker.io/library/app:1");
    let id = image("one")?.write_layout(&layout, name)?;
    let from = format!("oci:{}:{name}", layout.display());
    let (docker, oci) = (bench.path("docker.tar"), bench.path("oci.tar"));
    skopeo(&["copy", "-q", &from, &format!("docker-archive:{}:app:1", docker.display())])?;
    skopeo(&["copy", "-q", &from, &format!("oci-archive:{}:{name}", oci.display())])?;
    let saved = config_digest(&format!("docker-archive:{}", docker.display()))?;
    assert_eq!(import(&bench, &docker, &[])?, std::slice::from_ref(&saved));
    assert_eq!(
        stored(&bench)?,
        [(saved.clone(), vec![name.to_owned()])],
        "a short name means docker.io there"
    );
    assert_eq!(import(&bench, &oci, &["--name", "other:2"])?, std::slice::from_ref(&id));
    let names: Vec<_> = stored(&bench)?.into_iter().flat_map(|(_, names)| names).collect();
    assert!(names.contains(&"localhost/other:2".to_owned()), "{names:?}");

    podman(&bench, &["load", "-q", "-i", &docker.to_string_lossy()])?;
    podman(&bench, &["tag", name, "example.com/second:2"])?;
    for format in ["docker-archive", "oci-archive"] {
        let path = bench.path(&format!("podman-{format}"));
        let path = path.to_string_lossy();
        podman(&bench, &["save", "-q", "--format", format, "-o", &path, "example.com/second:2"])?;
        let expected = config_digest(&format!("{format}:{path}"))?;
        assert_eq!(import(&bench, Path::new(&*path), &[])?, [expected], "{format}");
    }
    Ok(())
}

#[test]
fn several_images_travel_in_one_archive_and_one_of_them_can_be_chosen() -> anyhow::Result<()> {
    let bench = bench()?;
    let (mut ids, names) = (Vec::new(), ["example.com/a:1", "example.com/b:2"]);
    for (name, layout) in names.iter().zip(["one", "two"]) {
        ids.push(image(layout)?.write_layout(&bench.path(layout), name)?);
        import(&bench, &bench.path(layout), &[])?;
    }
    for (format, path, _) in formats(&bench, "") {
        assert_eq!(lines(&mut export_command(&bench, format, &path, &names))?, ids, "{format}");
        for (name, id) in names.iter().zip(&ids) {
            assert_eq!(&config_digest(&format!("{format}:{}:{name}", path.display()))?, id, "{format}");
        }
        let other = self::bench()?;
        assert_eq!(import(&other, &path, &["--name", names[1]])?, ids[1..], "{format}");
        assert_eq!(stored(&other)?, [(ids[1].clone(), vec![names[1].to_owned()])], "{format}");
        let refused = refused_import(&other, &path, &["--name", "example.com/c:3"])?;
        assert!(refused.contains("example.com/a:1"), "{refused}");
        assert_eq!(import(&other, &path, &[])?, ids, "{format}");
        assert_eq!(stored(&other)?.len(), 2, "{format}");
    }
    Ok(())
}

#[test]
fn an_output_is_whole_or_not_there_and_replaced_only_if_wanted() -> anyhow::Result<()> {
    let bench = bench()?;
    let id = image("one")?.write_layout(&bench.path("layout"), "example.com/a:1")?;
    import(&bench, &bench.path("layout"), &[])?;
    std::fs::create_dir(bench.path("out"))?;
    let left = |what: &str| -> anyhow::Result<()> {
        let names: Vec<_> = std::fs::read_dir(bench.path("out"))?.map(|e| e.unwrap().file_name()).collect();
        assert!(names.len() <= 1, "{what}: {names:?}");
        Ok(())
    };
    for (format, expected) in [("oci", "OCI image layout"), ("docker-archive", "archive")] {
        let output = bench.path("out/image");
        let export = |more: &[&str]| {
            let mut command = export_command(&bench, format, &output, &[&id]);
            command.args(more);
            command
        };
        lines(&mut export(&[]))?;
        let refused = refusal(&mut export(&[]))?;
        assert!(refused.contains("exists already"), "{refused}");
        lines(&mut export(&["--force"]))?;
        left(format)?;
        if output.is_dir() {
            std::fs::remove_dir_all(&output)?
        } else {
            std::fs::remove_file(&output)?
        }
        std::fs::create_dir(&output)?;
        std::fs::write(output.join("precious"), "")?;
        let refused = refusal(&mut export(&["--force"]))?;
        assert!(refused.contains(expected) && output.join("precious").exists(), "{refused}");
        std::fs::remove_dir_all(&output)?;

        let small = Tmpfs::mount(bench.path("out"), MountPropagationFlags::PRIVATE)?;
        run("mount", &["-o", "remount,size=64k", &bench.path("out").to_string_lossy()])?;
        let mut command = export(&[]);
        if format == "oci" {
            command.args(["--compression", "none"]);
        }
        let refused = refusal(&mut command)?;
        assert!(refused.contains("No space left"), "{refused}");
        assert_eq!(std::fs::read_dir(bench.path("out"))?.count(), 0, "{format}");
        drop(small);
    }
    let refused = refusal(&mut export_command(&bench, "oci", &bench.path("x"), &["example.com/none:1"]))?;
    assert!(refused.contains("not present") && !bench.path("x").exists(), "{refused}");
    Ok(())
}

#[test]
fn a_damaged_layer_is_not_exported_and_one_without_a_tar_split_gets_another_id() -> anyhow::Result<()> {
    let bench = bench()?;
    let id = image("one")?.write_layout(&bench.path("layout"), "example.com/a:1")?;
    import(&bench, &bench.path("layout"), &[])?;
    let layers = bench.path("root/overlay-layers");
    let mut splits: Vec<_> = std::fs::read_dir(&layers)?.map(|entry| entry.unwrap().path()).collect();
    splits.retain(|path| path.to_string_lossy().ends_with(".tar-split.gz"));
    assert_eq!(splits.len(), 2);
    splits.iter().try_for_each(std::fs::remove_file)?;
    let output = bench.path("out.tar");
    let exported = lines(&mut export_command(&bench, "docker-archive", &output, &[&id]))?;
    assert_ne!(exported, std::slice::from_ref(&id));
    let place = format!("docker-archive:{}", output.display());
    assert_eq!(config_digest(&place)?, exported[0]);
    skopeo(&["copy", "-q", &place, &format!("dir:{}", bench.path("copy").display())])?;
    let other = self::bench()?;
    assert_eq!(import(&other, &output, &[])?, exported, "the import verifies its layers");

    let find = Command::new("find").arg(other.path("root/overlay")).args(["-name", "note"]).output()?;
    let note = String::from_utf8(find.stdout)?;
    std::fs::write(note.trim(), "UPPER")?;
    let refused =
        refusal(&mut export_command(&other, "oci", &other.path("damaged"), &[exported[0].as_str()]))?;
    assert!(refused.contains("was changed"), "{refused}");
    assert!(!other.path("damaged").exists());
    Ok(())
}

/// A docker-archive of these members.
fn forge(bench: &Bench, members: &[Entry]) -> anyhow::Result<PathBuf> {
    let path = bench.path("forged.tar");
    std::fs::write(&path, archive(members)?)?;
    Ok(path)
}

fn member(name: &str, content: &[u8]) -> Entry {
    Entry::File(name.into(), 0o644, content.to_vec())
}

#[test]
fn an_archive_as_old_docker_wrote_it_is_imported() -> anyhow::Result<()> {
    let bench = bench()?;
    let layer = &layers()?[1];
    let gzipped = Layered::new(vec![layer.clone()], json!({})).write_layout(&bench.path("gz"), "gz")?;
    let digest = ochre_digest(layer);
    let config = json!({ "os": "linux", "architecture": "amd64", "config": {},
        "rootfs": { "type": "layers", "diff_ids": vec![format!("sha256:{digest}"); 3] } });
    let config = config.to_string();
    let id = ochre_digest(config.as_bytes());
    let compressed = std::fs::read_dir(bench.path("gz/blobs/sha256"))?
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .find(|bytes| bytes.starts_with(&[0x1f, 0x8b]))
        .unwrap();
    assert!(!gzipped.is_empty());
    // Layers first, the list last, a duplicate as a link, another one compressed, bookkeeping in between.
    let manifest = json!([{ "Config": format!("{id}.json"), "RepoTags": ["old:1", "old:2"],
        "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"] }]);
    let path = forge(
        &bench,
        &[
            Entry::Directory("a".into(), 0o755),
            member("a/VERSION", b"1.0"),
            member("a/layer.tar", layer),
            Entry::Link("b/layer.tar".into(), "../a/layer.tar".into()),
            member("c/layer.tar", &compressed),
            member(&format!("{id}.json"), config.as_bytes()),
            member("repositories", b"{}"),
            member("manifest.json", manifest.to_string().as_bytes()),
        ],
    )?;
    assert_eq!(import(&bench, &path, &[])?, std::slice::from_ref(&id));
    let names = stored(&bench)?.remove(0).1;
    assert_eq!(names, ["docker.io/library/old:1", "docker.io/library/old:2"]);
    // The same image again, layers thrice: it comes out as it went in.
    let output = bench.path("out.tar");
    assert_eq!(
        lines(&mut export_command(&bench, "docker-archive", &output, &["docker.io/library/old:2"]))?,
        [id]
    );
    skopeo(&["inspect", &format!("docker-archive:{}:docker.io/library/old:2", output.display())])?;
    Ok(())
}

#[test]
fn an_archive_that_lies_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let bench = bench()?;
    let layer = &layers()?[1];
    let digest = ochre_digest(layer);
    let config = |digests: &[&str]| {
        let digests: Vec<_> = digests.iter().map(|digest| format!("sha256:{digest}")).collect();
        json!({ "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": digests } })
            .to_string()
    };
    let good = config(&[&digest]);
    let wrong = config(&[&"0".repeat(64)]);
    let list = |config: &str, tags: Value, layers: Value| {
        let manifest = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
        member("manifest.json", manifest.to_string().as_bytes())
    };
    let usual = || list("c.json", json!(["a:1"]), json!(["l.tar"]));
    let (c, l) = (|| member("c.json", good.as_bytes()), || member("l.tar", layer));
    let link = |name: &str, target: &str| Entry::Link(name.into(), target.into());
    std::fs::write(bench.path("secret.tar"), layer)?;
    let outside = bench.path("secret.tar");
    let outside = outside.to_string_lossy();
    let many = json!(vec![json!({ "Config": "c.json", "Layers": ["l.tar"] }); 1001]).to_string();
    let cases: Vec<(&str, Vec<Entry>, &str)> = vec![
        ("no layer", vec![usual(), c()], "l.tar"),
        ("no configuration", vec![usual(), l()], "c.json"),
        ("wrong diff id", vec![usual(), member("c.json", wrong.as_bytes()), l()], "not what"),
        ("link out", vec![usual(), c(), link("l.tar", &outside)], "l.tar"),
        ("link up", vec![usual(), c(), link("l.tar", "../../../../../../../../etc/passwd")], "l.tar"),
        ("path up", vec![list("c.json", json!([]), json!(["../secret.tar"])), c(), l()], "secret.tar"),
        ("list is a link out", vec![link("manifest.json", "/etc/passwd"), c(), l()], "not an image"),
        ("ring of links", vec![usual(), c(), link("l.tar", "m.tar"), link("m.tar", "l.tar")], "l.tar"),
        (
            "layer is a directory",
            vec![usual(), c(), Entry::Directory("l.tar".into(), 0o755)],
            "not a regular",
        ),
        ("two lists", vec![usual(), c(), l(), usual()], "second time"),
        ("two layers", vec![usual(), c(), l(), l()], "second time"),
        ("no list", vec![c(), l()], "not an image"),
        ("empty list", vec![member("manifest.json", b"[]"), c(), l()], "names no image"),
        ("list is an object", vec![member("manifest.json", b"{}"), c(), l()], "malformed"),
        ("1001 images", vec![member("manifest.json", many.as_bytes()), c(), l()], "1001 images"),
        ("1001 layers", vec![list("c.json", json!([]), json!(vec!["l.tar"; 1001])), c(), l()], "1001 layers"),
        (
            "two layers, one diff id",
            vec![list("c.json", json!([]), json!(["l.tar", "l.tar"])), c(), l()],
            "2 layers",
        ),
        (
            "1001 names",
            vec![list("c.json", json!(vec!["a:1"; 1001]), json!(["l.tar"])), c(), l()],
            "1001 names",
        ),
        ("no name", vec![list("c.json", json!(["A B"]), json!(["l.tar"])), c(), l()], "A B"),
        (
            "configuration called another digest",
            {
                let name = format!("{}.json", "1".repeat(64));
                vec![list(&name, json!([]), json!(["l.tar"])), member(&name, good.as_bytes()), l()]
            },
            &"1".repeat(64),
        ),
    ]
    .into_iter()
    .map(|(what, members, word)| (what, members, &*Box::leak(word.to_owned().into_boxed_str())))
    .collect();
    for (what, members, word) in cases {
        let refused = refused_import(&bench, &forge(&bench, &members)?, &[])?;
        assert!(refused.contains(word) && refused.lines().count() == 1, "{what}: {refused}");
        assert!(refused.len() < 2000, "{what}: {} bytes", refused.len());
    }
    let cut = &archive(&[usual(), c(), l()])?[..3000];
    std::fs::write(bench.path("cut.tar"), cut)?;
    refused_import(&bench, &bench.path("cut.tar"), &[])?;
    bench.write(
        "policy.json",
        r#"{"default":[{"type":"insecureAcceptAnything"}],
        "transports":{"docker-archive":{"":[{"type":"reject"}]}}}"#,
    )?;
    let refused = refused_import(&bench, &forge(&bench, &[usual(), c(), l()])?, &[])?;
    assert!(refused.contains("policy.json"), "{refused}");
    bench.write(
        "policy.json",
        r#"{"default":[{"type":"reject"}],
        "transports":{"docker-archive":{"":[{"type":"insecureAcceptAnything"}]}}}"#,
    )?;
    assert_eq!(stored(&bench)?, [], "nothing of all that is in the store");
    assert_eq!(std::fs::read_dir(bench.path("run/ochre/import"))?.count(), 0, "nor unpacked beside it");
    import(&bench, &forge(&bench, &[usual(), c(), l()])?, &[])?;
    assert_eq!(stored(&bench)?.len(), 1);
    Ok(())
}
