//! `cargo xtask gen`: compiles the CRI proto into `crates/cri-api/src/runtime_v1.rs`, and its field table into
//! `crates/ctl/src/schema/table.rs`.
//!
//! The generated files are committed, so an ordinary build needs no proto compiler. `--check` fails when one is stale.

use std::path::Path;

use anyhow::{Context, bail};

const PROTO_DIR: &str = "crates/cri-api/proto";
const OUTPUT: &str = "crates/cri-api/src/runtime_v1.rs";
const TABLE: &str = "crates/ctl/src/schema/table.rs";

/// Generates the files, or with `check` compares them with what is there.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let descriptors =
        protox::compile(["api.proto"], [root.join(PROTO_DIR)]).context("compiling api.proto")?;
    let table = crate::gen_schema::table(&descriptors)?;
    let out = std::env::temp_dir().join(format!("ochre-gen-{}", std::process::id()));
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .build_transport(false)
        .generate_default_stubs(true)
        // Maps in a stable order: equal objects give equal bytes.
        .btree_map(".")
        .compile_fds(descriptors)
        .context("generating code")?;
    let generated = std::fs::read_to_string(out.join("runtime.v1.rs"))?;
    std::fs::remove_dir_all(&out)?;
    for (name, text) in [(OUTPUT, generated), (TABLE, table)] {
        let target = root.join(name);
        if !check {
            std::fs::write(target, text)?;
        } else if std::fs::read_to_string(target)? != text {
            bail!("{name} is stale; run `cargo xtask gen`");
        }
    }
    Ok(())
}
