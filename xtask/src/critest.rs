//! `cargo xtask critest`: the Kubernetes conformance suite for container runtimes against the real engine.
//!
//! The suite is built by the Go toolchain, the images that it names are made here and served from a registry on
//! loopback, which the engine's registries.conf puts in the place of the real ones. Every handler gets an engine of its
//! own on private directories, and a whole run over SPDY; the streaming specs come a second time over WebSocket. What
//! each spec has to come to is in tests/critest/expected.txt: any difference is a failure.
//!
//! Reports and logs stay in `critest` in the target directory.

mod busybox;
mod expected;
mod images;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ochre_test_support::engine::Engine;
use ochre_test_support::leftovers;
use serde_json::Value;

use crate::e2e::Namespaces;
use crate::registry::registry;
use crate::tally::Tally;
use crate::{build, tools};
use expected::{Comparison, Expected};

/// How long one run may take.
const PATIENCE: &str = "20m";

/// What to run.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// A handler, as NAME or NAME=PROGRAM for another program than the engine finds by itself; repeatable. Without any:
    /// runc, crun and ochre.
    #[arg(long = "handler")]
    handlers: Vec<String>,
    /// The streaming specs over WebSocket alone.
    #[arg(long)]
    websocket: bool,
    /// Use the engine's programs in this directory instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Set in the run inside the namespaces.
    #[arg(long, hide = true)]
    inside: bool,
    /// More for the suite, such as -ginkgo.focus=…; then only specs that run are compared.
    #[arg(last = true)]
    more: Vec<String>,
}

impl Arguments {
    /// The whole matrix with these programs.
    pub(crate) fn with_programs(programs: PathBuf) -> Self {
        Self { programs: Some(programs), ..Self::default() }
    }
}

/// Builds what is needed and runs the suite in namespaces of its own.
pub(crate) fn run(root: &Path, arguments: &Arguments, tally: &mut Tally) -> anyhow::Result<()> {
    if arguments.inside {
        return run_inside(root, arguments);
    }
    let target = build::target_dir(root);
    tools::packages(&[])?;
    tools::critest(&target)?;
    busybox::build(root, &target)?;
    let programs = arguments.programs.clone().map_or_else(|| build::run(root), Ok)?;
    let mut command = Namespaces::prepare()?.command(std::env::current_exe()?);
    command.args(["critest", "--inside", "--programs"]).arg(programs);
    command.args(arguments.handlers.iter().flat_map(|handler| ["--handler", handler]));
    command.args(arguments.websocket.then_some("--websocket")).arg("--").args(&arguments.more);
    tally.run(&mut command)
}

/// One run of the suite.
struct Run<'a> {
    handler: &'a str,
    /// Where the handler's program is, if it was given.
    program: Option<&'a Path>,
    websocket: bool,
}

/// What all runs share.
struct Ground<'a> {
    root: &'a Path,
    programs: &'a Path,
    registry: String,
    table: Expected,
    more: &'a [String],
}

fn run_inside(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let programs = arguments.programs.as_deref().context("the programs are told")?;
    let table = Expected::parse(&std::fs::read_to_string(root.join("tests/critest/expected.txt"))?)?;
    let scratch = tempfile::Builder::new().prefix("ochre-critest-").tempdir()?;
    let (child, host) = registry(scratch.path())?;
    let _registry = Ended(child);
    images::push(root, &busybox::build(root, &build::target_dir(root))?, &host)?;
    let ground = Ground { root, programs, registry: host, table, more: &arguments.more };
    let all = ["runc", "crun", "ochre"].map(str::to_owned);
    let handlers = if arguments.handlers.is_empty() { &all } else { arguments.handlers.as_slice() };
    let transports: &[bool] = match (arguments.websocket, arguments.more.is_empty()) {
        (true, _) => &[true],
        (false, true) => &[false, true],
        // The suite joins what it is told to look at with "or": the streaming specs would come on top of it.
        (false, false) => &[false],
    };
    let mut rows = Vec::new();
    for handler in handlers {
        let (handler, program) = match handler.split_once('=') {
            Some((name, program)) => (name, Some(Path::new(program))),
            None => (handler.as_str(), None),
        };
        for &websocket in transports {
            rows.push(ground.run(&Run { handler, program, websocket })?);
        }
    }
    summary(&rows)
}

/// A run's line in the summary.
struct Row {
    name: String,
    time: Duration,
    comparison: Comparison,
}

impl Ground<'_> {
    fn run(&self, run: &Run) -> anyhow::Result<Row> {
        let transport = if run.websocket { "websocket" } else { "spdy" };
        let name = format!("{}-{transport}", run.handler);
        println!("critest: {} over {transport}", run.handler);
        let target = build::target_dir(self.root);
        let results = target.join("critest");
        std::fs::create_dir_all(&results)?;
        let file = |suffix: &str| results.join(format!("{name}{suffix}"));
        let directory = tempfile::Builder::new().prefix("ochre-critest-").tempdir()?;
        std::fs::write(directory.path().join("registries.conf"), registries(&self.registry))?;
        let mut engine = Engine::start(
            &self.programs.join("ochre"),
            directory.path(),
            Some(&configuration(run.handler, run.program)),
        )?;
        let report = file(".json");
        std::fs::remove_file(&report).ok();
        let began = Instant::now();
        let output = File::create(file(".log"))?;
        let mut command = self.command(&tools::critest(&target)?, &engine.socket(), run);
        command.arg("-ginkgo.json-report").arg(&report);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).status()?;
        let time = began.elapsed();
        let stopped = engine.stop();
        std::fs::copy(engine.log(), file(".engine.log"))?;
        stopped?;
        let whole = !run.websocket && self.more.is_empty();
        let specs = report::read(&report)?;
        let mut comparison = self.table.compare(&specs, &conditions(run), whole);
        let left = leftovers::find(directory.path());
        if !left.is_empty() {
            comparison.differences.push(format!("left behind: {left:?}"));
        }
        for difference in &comparison.differences {
            println!("  {difference}");
        }
        Ok(Row { name: format!("{} over {transport}", run.handler), time, comparison })
    }

    fn command(&self, critest: &Path, socket: &Path, run: &Run) -> Command {
        let endpoint = format!("unix://{}", socket.display());
        let mut command = Command::new(critest);
        command.args(["-runtime-endpoint", &endpoint, "-image-endpoint", &endpoint]);
        command.args(["-runtime-handler", run.handler, "-ginkgo.no-color", "-ginkgo.timeout", PATIENCE]);
        if run.websocket {
            command.args(["-websocket-exec", "-websocket-attach", "-websocket-portforward"]);
            command.arg("-ginkgo.focus=Streaming");
        }
        command.args(self.more);
        command
    }
}

/// The engine's configuration: its defaults, but for a runtime from elsewhere.
fn configuration(handler: &str, program: Option<&Path>) -> String {
    program.map_or_else(String::new, |program| {
        format!("[crio.runtime.runtimes.{handler}]\nruntime_path = \"{}\"\n", program.display())
    })
}

/// The registry on loopback in the place of those that the suite names: two of them by a mirror, two by another location.
fn registries(host: &str) -> String {
    let insecure = format!("location = \"{host}\"\ninsecure = true\n");
    let mut text = format!("[[registry]]\n{insecure}");
    for name in ["registry.k8s.io", "gcr.io"] {
        text.push_str(&format!(
            "\n[[registry]]\nprefix = \"{name}\"\nlocation = \"unreachable.invalid\"\n\n[[registry.mirror]]\n{insecure}"
        ));
    }
    for name in ["k8s.gcr.io", "public.ecr.aws"] {
        text.push_str(&format!("\n[[registry]]\nprefix = \"{name}\"\n{insecure}"));
    }
    text
}

/// The table's conditions that hold, found out without asking the engine.
fn conditions(run: &Run) -> BTreeSet<&'static str> {
    let mut holding = BTreeSet::new();
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|text| text.starts_with('Y')) {
        holding.insert("apparmor");
    }
    // Ours has everything. Others say what they have (runtime specification, `features`), or are too old to say it; of
    // these, crun has the recursive mount options.
    let ours = run.handler == "ochre";
    let program = run.program.unwrap_or(Path::new(run.handler));
    let features = Command::new(program).arg("features").output().ok().filter(|out| out.status.success());
    let old_crun = run.handler == "crun" && features.is_none();
    let features: Value =
        features.and_then(|out| serde_json::from_slice(&out.stdout).ok()).unwrap_or_default();
    if ours || features["linux"]["mountExtensions"]["idmap"]["enabled"] == true {
        holding.insert("idmap");
    }
    let options = features["mountOptions"].as_array();
    if ours || old_crun || options.is_some_and(|options| options.iter().any(|option| option == "rro")) {
        holding.insert("rro");
    }
    holding
}

fn summary(rows: &[Row]) -> anyhow::Result<()> {
    println!("\n{:<22} {:>6} {:>10} {:>10} {:>8}", "critest", "passed", "explained", "different", "time");
    for Row { name, time, comparison } in rows {
        println!(
            "{name:<22} {:>6} {:>10} {:>10} {:>6} s",
            comparison.passed,
            comparison.explained_count(),
            comparison.differences.len(),
            time.as_secs()
        );
    }
    for ((reason, specs), names) in reasons(rows) {
        println!("\n{reason}\n{} in {}:", specs.len(), names.join(", "));
        for spec in specs {
            println!("  {spec}");
        }
    }
    println!();
    for Row { comparison, .. } in rows {
        let verdict = if comparison.differences.is_empty() { "ok" } else { "FAILED" };
        println!(
            "test result: {verdict}. {} passed; {} failed; {} ignored",
            comparison.passed,
            comparison.differences.len(),
            comparison.explained_count()
        );
    }
    let different = rows.iter().filter(|row| !row.comparison.differences.is_empty()).count();
    if different > 0 {
        bail!("{different} of {} runs are not as tests/critest/expected.txt has it", rows.len());
    }
    Ok(())
}

/// Why specs did not pass that did not have to, which, and in which runs.
fn reasons(rows: &[Row]) -> BTreeMap<(&str, &[String]), Vec<&str>> {
    let mut reasons = BTreeMap::<_, Vec<_>>::new();
    for Row { name, comparison, .. } in rows {
        for (reason, specs) in &comparison.explained {
            reasons.entry((reason.as_str(), specs.as_slice())).or_default().push(name.as_str());
        }
    }
    reasons
}

/// A program that ends with the value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
