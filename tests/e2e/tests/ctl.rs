//! Our client against the stock crictl v1.36: on the same engine they print the same bytes and end with the same code.
//!
//! What is no promise is levelled before comparing: the words of ages, the seconds of timestamps that move between two
//! calls, and protojson's blank after a colon, which its authors put in at random. Help texts are ours: of them only the
//! names and values of flags are compared.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use ochre_cri_api as api;
use ochre_e2e::{BUSYBOX, Node, container, crictl, pod, programs};

/// Both clients on one engine.
struct Pair {
    stock: PathBuf,
    ours: PathBuf,
    options: Vec<String>,
    /// How many command lines were compared.
    compared: usize,
    differences: Vec<String>,
}

impl Pair {
    fn new(node: &Node) -> anyhow::Result<Self> {
        let ours = node.path("crictl");
        std::os::unix::fs::symlink(programs().join("ochre"), &ours)?;
        let config = node.path("client.yaml");
        std::fs::write(&config, "timeout: 30\n")?;
        let endpoint = format!("unix://{}", node.engine.socket().display());
        let options = ["--config", &config.to_string_lossy(), "-r", &endpoint].map(str::to_owned).to_vec();
        Ok(Self { stock: crictl(), ours, options, compared: 0, differences: Vec::new() })
    }

    fn run(&self, program: &PathBuf, arguments: &[&str]) -> anyhow::Result<Output> {
        let output = Command::new(program)
            .args(&self.options)
            .args(arguments)
            .env("TZ", "Europe/Berlin")
            .env_remove("CONTAINER_RUNTIME_ENDPOINT")
            .output()?;
        Ok(output)
    }

    /// Runs both and notes where they differ. `levelled` takes out what is no promise.
    fn same_but(&mut self, arguments: &[&str], levelled: impl Fn(&str) -> String) -> anyhow::Result<()> {
        let mut stock = self.run(&self.stock, arguments)?;
        let mut ours = self.run(&self.ours, arguments)?;
        self.compared += 1;
        if stock.stdout != ours.stdout {
            // An age may just have become a longer word, which widens its column.
            std::thread::sleep(std::time::Duration::from_millis(300));
            stock = self.run(&self.stock, arguments)?;
            ours = self.run(&self.ours, arguments)?;
        }
        let text = |output: &Output| levelled(&String::from_utf8_lossy(&output.stdout));
        let (wanted, got) = (text(&stock), text(&ours));
        if stock.status.code() != ours.status.code() || wanted != got {
            let at = wanted.lines().zip(got.lines()).position(|(wanted, got)| wanted != got);
            let line = |text: &str| text.lines().nth(at.unwrap_or(usize::MAX)).unwrap_or("(end)").to_owned();
            self.differences.push(format!(
                "{arguments:?}: code {:?} and {:?}, {} and {} bytes, first difference in line {at:?}:\n  {}\n  {}\n{}",
                stock.status.code(),
                ours.status.code(),
                wanted.len(),
                got.len(),
                line(&wanted),
                line(&got),
                String::from_utf8_lossy(&ours.stderr),
            ));
        }
        Ok(())
    }

    /// For lines of words separated by blanks.
    fn same(&mut self, line: &str) -> anyhow::Result<()> {
        self.same_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn same_words(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        self.same_but(arguments, level)
    }

    fn finish(self, least: usize) -> anyhow::Result<()> {
        ensure!(self.differences.is_empty(), "{}", self.differences.join("\n"));
        ensure!(self.compared >= least, "only {} command lines were compared", self.compared);
        Ok(())
    }
}

/// Ages become `AGE`, and protojson's blank goes.
fn level(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace("\":  ", "\": ");
        match line.find(" ago") {
            Some(end) => {
                let start = line[..end]
                    .rfind("   ")
                    .map_or_else(|| line.find(": ").map_or(0, |at| at + 2), |at| at + 3);
                let rest = line[end + 4..].trim_start();
                format!("{}AGE {rest}", &line[..start])
            }
            None => line,
        }
    });
    let mut out: String = lines.map(|line| line + "\n").collect();
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

/// Only the shape: every number becomes `0`, then runs of blanks one blank.
fn shape(text: &str) -> String {
    let text = level(text);
    let mut out = String::new();
    for one in text.chars() {
        let one = if one.is_ascii_digit() { '0' } else { one };
        let repeats = (one == '0' || one == ' ') && out.ends_with(one);
        if !(repeats || (one == '.' && out.ends_with('0'))) {
            out.push(one);
        }
    }
    ["kB", "MB", "GB", "B"].iter().fold(out, |out, unit| out.replace(&format!("0{unit}"), "0#"))
}

/// Without the feature that CRI got after v1.36, which the stock client does not know.
fn as_of_1_36(text: &str) -> String {
    let kept = level(text);
    let kept = kept.lines().filter(|line| !line.contains("mount_options"));
    kept.map(|line| line.trim_end_matches(',').to_owned() + "\n").collect()
}

/// For answers with a runtime spec: the engine lists its capabilities in any order.
fn lines_sorted(text: &str) -> String {
    let text = level(text);
    let mut lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(',')).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Left column of the help: flags, their values and aliases.
fn flags(text: &str) -> String {
    let flag = |line: &&str| line.starts_with("   -") && !line.contains("--help, -h");
    let left = |line: &str| line.trim().split("  ").next().unwrap_or_default().to_owned() + "\n";
    text.lines().filter(flag).map(left).collect()
}

/// A pod with a running container, one that ended and one that was created, all with labels.
async fn scene(node: &mut Node) -> anyhow::Result<[String; 4]> {
    let mut config = pod(node, "golden");
    config.labels.insert("app".into(), "yes".into());
    config.annotations.insert(
        "note".into(),
        "a <b> & \"c\": d # e, with a line that is longer than eighty columns are wide, so it folds".into(),
    );
    let pod = node.run_pod(&config).await?;
    let labelled = |name: &str, script: &str| {
        let mut one = container(name, script);
        one.labels.insert("io.kubernetes.pod.name".into(), "golden".into());
        one.labels.insert("io.kubernetes.pod.namespace".into(), "shop".into());
        one.labels.insert("tier".into(), name.into());
        one.annotations.insert("yes".into(), "12".into());
        one.annotations.insert("lines".into(), "one\ntwo\n".into());
        one
    };
    let script = "echo out; echo err >&2; echo last; trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let running = node.launch(&pod, labelled("running", script)).await?;
    let ended = node.launch(&pod, labelled("ended", "exit 3")).await?;
    node.exited(&ended).await?;
    let created = node.create(&pod, labelled("created", "true")).await?;
    ochre_e2e::file_with(&node.path("logs/golden/running.log"), "last").await?;
    // "Less than a second ago" is wider than a column; from here on ages are short words for a minute.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    Ok([pod, running, ended, created])
}

#[tokio::test]
async fn lists_and_inspections_are_those_of_crictl() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let [pod, running, ended, created] = scene(&mut node).await?;
    let mut pair = Pair::new(&node)?;
    for line in [
        "ps",
        "ps -a",
        "ps -aq",
        "ps -q",
        "ps -a -o json",
        "ps -a -o yaml",
        "ps -av",
        "ps -a --no-trunc",
        "ps -a -r",
        "ps --state exited",
        "ps -s Created -q",
        "ps -l",
        "ps -n 2",
        "ps -a --name ^e",
        "ps -a --name (",
        "ps -a --namespace sh",
        "ps -a --label tier=ended",
        "ps -a --label tier",
        "ps -a --label x=y",
        "ps --state nonsense",
        "ps -o nonsense",
        "ps extra",
        "ps -a --image nosuch",
        "pods",
        "pods -q",
        "pods -v",
        "pods -o json",
        "pods -o yaml",
        "pods --no-trunc",
        "pods --name gold",
        "pods --name x",
        "pods --state ready",
        "pods -s notready",
        "pods -s x",
        "pods --label app=yes",
        "pods --namespace .",
        "pods -l",
        "pods -n 1",
        "pods -o x",
        "images",
        "images -q",
        "images -v",
        "images --digests",
        "images --no-trunc --digests --pinned",
        "images -o json",
        "images -o yaml",
        "images -o other",
        "images nosuch",
        "images -f dangling=false",
        "images -f dangling=true",
        "images -f reference=busy",
        "images -f x=y",
        "version",
        "info",
        "info -q",
        "info -o yaml",
        "info -o table",
        "runtime-config",
        "inspect",
        "inspect -a",
        "inspectp",
        "inspecti",
        "inspecti -o yaml",
        "inspecti -o table",
        "inspecti -q",
        "inspecti nosuch",
        "inspecti --name nosuch",
        "inspectp -q -o yaml",
        "inspectp -q -o table",
        "inspectp nosuch",
        "inspect nosuch",
        "inspectp --name nosuch",
        "metricdescs",
        "metricdescs -o yaml",
        "stats -o x extra more",
        "config --get timeout",
        "config --list",
        "imagefsinfo -o other",
        "event extra",
    ] {
        // Wrong calls that are answered by a help text are in another test.
        if matches!(line, "info" | "info -q" | "info -o yaml") {
            pair.same_but(&line.split(' ').collect::<Vec<_>>(), as_of_1_36)?;
        } else if matches!(line, "inspect" | "inspect -a" | "inspectp") {
            pair.same_but(&line.split(' ').collect::<Vec<_>>(), lines_sorted)?;
        } else if !matches!(
            line,
            "ps extra"
                | "inspecti --name nosuch"
                | "inspectp --name nosuch"
                | "stats -o x extra more"
                | "event extra"
        ) {
            pair.same(line)?;
        }
    }
    for id in [&running, &ended, &created] {
        for output in ["json", "yaml", "table", "nonsense"] {
            if output != "table" {
                pair.same_but(&["inspect", "-o", output, id], lines_sorted)?;
            }
            pair.same_words(&["inspect", "-q", "-o", output, id])?;
        }
    }
    pair.same_but(&["inspect", &running, &ended], lines_sorted)?;
    pair.same_but(&["inspectp", "-o", "yaml", &pod], lines_sorted)?;
    pair.same_words(&["ps", "--pod", &pod, "--id", &running])?;
    pair.same_words(&["ps", "-a", "--image", BUSYBOX])?;
    pair.same_words(&["images", BUSYBOX])?;
    pair.same_words(&["inspecti", BUSYBOX])?;
    for template in [
        "{{.status.id}}",
        "{{.info.pid}}",
        "{{range .status.mounts}}{{.containerPath}}{{end}}",
        "{{json .status.labels}}",
        "{{.status.metadata}}",
        "{{if eq .status.state \"CONTAINER_RUNNING\"}}up{{else}}down{{end}}",
        "{{.nosuch}}",
        "{{",
        "{{range $k, $v := .status.labels}}{{$k}}={{$v | upper}} {{end}}",
        "{{len .status.labels}} {{.status.createdAt | lower}}",
        "{{index .status.annotations \"yes\"}}",
        "{{.status.user}}",
        "{{printf \"%s|%v\" .status.id .status.exitCode}}",
    ] {
        pair.same_words(&["inspect", "-o", "go-template", "--template", template, &running])?;
    }
    node.remove_pod(&pod).await?;
    pair.finish(110)?;
    node.finish()
}

#[tokio::test]
async fn changes_say_what_crictl_says() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let [pod, running, ended, _created] = scene(&mut node).await?;
    let mut pair = Pair::new(&node)?;
    for arguments in [
        &["logs", &running][..],
        &["logs", "--tail", "1", &running],
        &["logs", "--tail=0", &running],
        &["logs", "-s", "stderr", &running],
        &["logs", "--stream", "stdout", &running],
        &["logs", "--limit-bytes", "5", &running],
        &["logs", "-t", &running],
        &["logs", "--since", "1h", &running],
        &["logs", "--since", "2100-01-01", &running],
        &["logs", "-p", &running],
        &["logs", "--stream", "x", &running],
        &["logs", "nosuch"],
        &["logs"],
        &["logs", "-f", &ended],
        &["logs", "-r", &running],
        &["exec", "-s", &running, "echo", "a", "b"],
        &["exec", "-s", &running, "sh", "-c", "echo x; echo y >&2"],
        &["exec", "-s", &running, "sh", "-c", "exit 5"],
        &["exec", "-s", "--name", "run", "echo", "hi"],
        &["exec", "-sq", "-l", "true"],
        &["exec", "-s", "--name", "run", "-x", "echo", "hi"],
        &["exec", "-se", "--name", "run", "false"],
        &["exec", "-s", "nosuch", "true"],
        &["update", "--memory", "67108864", &running],
        &["update"],
        &["update", "nosuch"],
        &["start"],
        &["start", &running],
        &["rm", &running],
        &["rm", "nosuch"],
        &["rmp", &pod],
        &["rmp", "nosuch"],
        &["rmi", "nosuch"],
        &["stop"],
        &["stop", "-a", "x"],
        &["stop", "nosuch"],
        &["stopp", "nosuch"],
        &["checkpoint"],
        &["checkpoint", &running],
        &["pull"],
        &["pull", "localhost:1/none"],
        &["pull", "--creds", "a:b", "--auth", "x", "y"],
        &["pull", "--creds", ":b", "y"],
        &["create", "--no-pull", "--with-pull", "a", "b", "c"],
        &["update-runtime-config", "-p", "10.1.0.0/16"],
        &["runp", "/nonexistent"],
        &["run", "/nonexistent", "/nonexistent"],
    ] {
        pair.same_words(arguments)?;
    }
    for line in [
        "stats",
        "stats -a",
        "stats -o yaml",
        "stats -o json",
        "statsp",
        "statsp -o json",
        "imagefsinfo",
        "imagefsinfo -o yaml",
        "imagefsinfo -o table",
        "metricsp",
        "metricsp -o yaml",
    ] {
        pair.same_but(&line.split(' ').collect::<Vec<_>>(), shape)?;
    }
    // What changes something is done by one, then by the other; ids aside they say the same.
    let endings = [
        &["stop", "-a"][..],
        &["rm", "-a"],
        &["stop", "-a"],
        &["rm", "-a"],
        &["rmp", "-fa"],
        &["rmp", "-a"],
        &["rmi", "--prune"],
        &["rmi", "-a"],
    ];
    let mut said = Vec::new();
    for program in [pair.stock.clone(), pair.ours.clone()] {
        node.import(&ochre_e2e::busybox()?, BUSYBOX)?;
        let pod = write(
            &node,
            "pod.yaml",
            &format!(
                "metadata: {{name: c, namespace: d}}\nlog_directory: {}\nlinux: {{}}\n",
                node.path("logs").display()
            ),
        )?;
        let app = write(
            &node,
            "app.json",
            &format!(
                "{{\"metadata\": {{\"name\": \"app\"}}, \"image\": {{\"image\": \"{BUSYBOX}\"}}, \"command\": [\"sleep\", \"1000\"], \"envs\": [{{\"key\": \"A\", \"value\": \"b c\"}}], \"log_path\": \"app.log\", \"linux\": {{}}}}"
            ),
        )?;
        let id = printed(&pair.run(&program, &["run", "--no-pull", &app, &pod])?)?;
        ensure!(node.exec(&id, "echo -n $A").await?.stdout == b"b c", "environment values are text");
        let sandbox = printed(&pair.run(&program, &["runp", &pod])?)?;
        let second = printed(&pair.run(&program, &["create", &sandbox, &app, &pod])?)?;
        let mut all = vec![printed(&pair.run(&program, &["start", &second])?)? == second];
        all.push(printed(&pair.run(&program, &["rm", "-f", &second])?)?.lines().all(|line| line == second));
        all.push(!node.path("logs/app.log").exists());
        let shapes: Vec<String> = endings
            .iter()
            .map(|arguments| {
                let output = pair.run(&program, arguments)?;
                let mut lines: Vec<String> =
                    String::from_utf8_lossy(&output.stdout).lines().map(ids_levelled).collect();
                lines.sort();
                Ok(format!("{arguments:?} {:?} {lines:?}", output.status.code()))
            })
            .collect::<anyhow::Result<_>>()?;
        said.push((all, shapes));
        let left =
            node.client.runtime.list_pod_sandbox(api::ListPodSandboxRequest::default()).await?.into_inner();
        ensure!(left.items.is_empty(), "pods are left");
    }
    // The first of the two also had the scene's containers and pod to take away.
    let plain = |said: &(Vec<bool>, Vec<String>)| {
        (said.0.clone(), said.1.iter().skip(6).cloned().collect::<Vec<_>>())
    };
    assert_eq!(plain(&said[0]), plain(&said[1]));
    ensure!(said.iter().all(|(all, _)| all.iter().all(|one| *one)), "{said:#?}");
    pair.finish(55)?;
    node.finish()
}

fn ids_levelled(line: &str) -> String {
    line.split(' ').map(|word| if word.len() == 64 { "ID" } else { word }).collect::<Vec<_>>().join(" ")
}

fn write(node: &Node, name: &str, text: &str) -> anyhow::Result<String> {
    let path = node.path(name);
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

fn printed(output: &Output) -> anyhow::Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout.clone()).context("an id")?.trim().to_owned())
}

#[tokio::test]
async fn the_command_line_is_understood_as_crictl_does() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let mut pair = Pair::new(&node)?;
    // Everything that is answered by a help text: the same flags and the same code.
    for line in [
        "ps extra",
        "ps -h",
        "ps --help",
        "help ps",
        "ps help",
        "rm",
        "rmi",
        "rmp",
        "stopp",
        "exec",
        "exec -s x",
        "run",
        "runp",
        "runp a b",
        "create x",
        "update-runtime-config",
        "update-runtime-config x",
        "stats a b",
        "statsp a b",
        "version x",
        "info x",
        "events x",
        "metricsp -o x",
        "metricdescs x",
        "logs a b",
        "pull a b",
        "images a b",
        "config",
        "inspect -h",
        "pods -h",
        "pull -h",
        "images -h",
        "rm -h",
        "rmi -h",
        "rmp -h",
        "stop -h",
        "update -h",
        "logs -h",
        "stats -h",
        "statsp -h",
        "inspectp -h",
        "inspecti -h",
        "config -h",
        "info -h",
        "imagefsinfo -h",
        "metricsp -h",
        "event -h",
        "create -h",
        "run -h",
        "runp -h",
        "checkpoint -h",
        "ps --bogus",
        "ps -zq",
        "ps -o",
        "ps --last x",
        "inspect -aq",
        "stop -t5 x",
        "rm -fax",
        "pull --pt 10 x",
        "ps ---x",
        "pods -n= x",
    ] {
        // exec's flags for streams come with streaming.
        if !line.starts_with("exec") {
            pair.same_but(&line.split(' ').collect::<Vec<_>>(), flags)?;
        }
    }
    for line in [
        "bogus",
        "help bogus",
        "-t 2s bogus",
        "completion tcsh",
        "-r tcp://127.0.0.1:1 ps",
        "-r unix:///nonexistent ps",
        "--config /nonexistent ps",
        "events -o x",
        "events -o json --template x",
        "events -o go-template --template {{",
    ] {
        pair.same(line)?;
    }
    pair.finish(60)?;
    node.finish()
}

#[tokio::test]
async fn the_configuration_file_is_kept_as_crictl_keeps_it() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let pair = Pair::new(&node)?;
    let mut files = Vec::new();
    for (name, program) in [("stock.yaml", &pair.stock), ("ours.yaml", &pair.ours)] {
        let file = node.path(name);
        let run = |arguments: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
            let output = Command::new(program).arg("-c").arg(&file).args(arguments).output()?;
            Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
        };
        std::fs::write(&file, "# first\nruntime-endpoint: unix:///a # there\n\ntimeout: 5\n")?;
        let said = vec![
            run(&["config", "--get", "timeout"])?,
            run(&["config", "--set", "debug=true,timeout=9"])?,
            run(&["config", "--set", "image-endpoint=unix:///b"])?,
            run(&["config", "pull-image-on-create", "true"])?,
            run(&["config", "--list"])?,
            run(&["config", "--get", "nonsense"])?,
            run(&["config", "--set", "nonsense=1"])?,
            run(&["config", "--set", "debug"])?,
            run(&["config", "--set", "timeout=x"])?,
            run(&["config", "--get", "runtime-endpoint"])?,
        ];
        // Empty lines stay with ours, and quotes that nothing needs go.
        let text = std::fs::read_to_string(&file)?;
        let lines = text.lines().filter(|line| !line.is_empty()).map(|line| line.replace('"', ""));
        files.push((said, lines.collect::<Vec<_>>()));
    }
    assert_eq!(files[0], files[1]);
    node.finish()
}
