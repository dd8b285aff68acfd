//! Build, generate, demonstrate, test, measure: `cargo xtask <verb>`.

mod bench;
mod build;
mod critest;
mod demo;
mod e2e;
mod gen_api;
mod gen_schema;
mod registry;
mod tally;
mod test;
mod tools;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Build, demonstrate, test and measure the engine")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the engine's programs into target/release.
    Build,
    /// Build the engine and run a pod with it on private directories.
    Demo {
        /// Use the programs in this directory instead of building them.
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// Install what the tests need and run all of them.
    Test {
        /// Leave out the tests that need the built engine.
        #[arg(long)]
        quick: bool,
    },
    /// Run the system tests alone.
    E2e {
        /// Use the programs in this directory instead of building them.
        #[arg(long)]
        programs: Option<PathBuf>,
        /// For the test programs, such as a filter.
        arguments: Vec<String>,
    },
    /// Run the CRI conformance suite.
    Critest(critest::Arguments),
    /// Measure CRI engines side by side.
    Bench(bench::Arguments),
    /// Generate the CRI code from the proto.
    Gen {
        /// Only compare with what is committed.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    match Arguments::parse().verb {
        Verb::Build => build::run(&root).map(|programs| println!("{}", programs.display())),
        Verb::Demo { programs: Some(programs) } => demo::run(&programs),
        Verb::Demo { programs: None } => build::run(&root).and_then(|programs| demo::run(&programs)),
        Verb::Test { quick } => test::run(&root, quick),
        Verb::E2e { programs, arguments } => {
            let programs = programs.map_or_else(|| build::run(&root), Ok)?;
            e2e::run(&root, &programs, &arguments, &mut tally::Tally::default())
        }
        Verb::Critest(arguments) => critest::run(&root, &arguments, &mut tally::Tally::default()),
        Verb::Bench(arguments) => bench::run(&root, &arguments),
        Verb::Gen { check } => gen_api::run(&root, check),
    }
}
