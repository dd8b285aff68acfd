//! `cargo xtask gen`: compiles the CRI proto into `crates/cri-api/src/runtime_v1.rs`.
//!
//! The generated file is committed, so an ordinary build needs no proto compiler. `--check` fails when it is stale.

use std::path::Path;

use anyhow::{Context, bail};

const PROTO_DIR: &str = "crates/cri-api/proto";
const OUTPUT: &str = "crates/cri-api/src/runtime_v1.rs";

/// Generates the file, or with `check` compares it with what is there.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let descriptors =
        protox::compile(["api.proto"], [root.join(PROTO_DIR)]).context("compiling api.proto")?;
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
    let target = root.join(OUTPUT);
    if !check {
        return Ok(std::fs::write(target, generated)?);
    }
    if std::fs::read_to_string(target)? != generated {
        bail!("{OUTPUT} is stale; run `cargo xtask gen`");
    }
    Ok(())
}
