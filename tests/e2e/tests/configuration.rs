//! crio.conf: options take effect, sources count in their order, and what is wrong is said with its line.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use ochre_client::Client;
use ochre_cri_api as api;
use ochre_e2e::bench::{Bench, ochre, refusal};
use ochre_e2e::{BUSYBOX, Node, busybox, container, file_with, pod, programs, security};
use serde_json::Value;

fn lines_with<'a>(text: &'a str, needle: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(needle)).collect()
}

#[tokio::test]
async fn every_path_of_the_file_is_where_things_are() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.write(
        "crio.conf",
        "[crio]\nroot = \"{dir}/the-root\"\nrunroot = \"{dir}/the-run\"\nlog_dir = \"{dir}/the-logs\"\n\
         storage_driver = \"overlay\"\n\
         [crio.api]\nlisten = \"{dir}/the/socket\"\n\
         [crio.runtime]\nnamespaces_dir = \"{dir}/the-namespaces\"\ncontainer_exits_dir = \"{dir}/the-exits\"\n\
         cgroup_manager = \"cgroupfs\"\nlog_level = \"debug\"\n[crio.network]\nnetwork_dir = \"{dir}/the-net\"\n",
    )?;
    let layout = bench.path("layout");
    busybox()?.write_layout(&layout, "latest")?;
    let imported = bench.ochre("import").args(["--name", BUSYBOX]).arg(&layout).output()?;
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert!(bench.path("the-root/overlay-images/images.json").is_file());

    let socket = bench.path("the/socket");
    let mut engine = bench.start(&socket, |_| ())?;
    assert_eq!(std::fs::metadata(&socket)?.permissions().mode() & 0o777, 0o600);
    let mut client = Client::connect(&socket).await?;
    let metadata = api::PodSandboxMetadata {
        name: "paths".into(),
        uid: "u".into(),
        namespace: "e2e".into(),
        attempt: 0,
    };
    let config = api::PodSandboxConfig { metadata: Some(metadata), ..Default::default() };
    let request = api::RunPodSandboxRequest { config: Some(config), ..Default::default() };
    let pod = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let request = api::CreateContainerRequest {
        pod_sandbox_id: pod.clone(),
        config: Some(container("app", "echo here; exit 6")),
        sandbox_config: None,
    };
    let app = client.runtime.create_container(request).await?.into_inner().container_id;
    client.runtime.start_container(api::StartContainerRequest { container_id: app.clone() }).await?;

    file_with(&bench.path(&format!("the-logs/{pod}/app.log")), " stdout F here").await?;
    file_with(&bench.path(&format!("the-exits/{app}")), "6").await?;
    let namespaces = std::fs::read_dir(bench.path("the-namespaces/netns"))?.count();
    assert_eq!(namespaces, 1);
    assert!(bench.path(&format!("the-run/ochre/pods/{pod}")).is_dir());
    let request = api::StatusRequest { verbose: true };
    let status = client.runtime.status(request).await?.into_inner();
    let described: Value = serde_json::from_str(status.info.get("config").context("no config")?)?;
    assert_eq!(described["network"]["networkDir"], bench.path("the-net").to_string_lossy().as_ref());
    assert!(!lines_with(&std::fs::read_to_string(bench.path("log"))?, "DEBUG").is_empty());

    client.runtime.stop_pod_sandbox(api::StopPodSandboxRequest { pod_sandbox_id: pod.clone() }).await?;
    client.runtime.remove_pod_sandbox(api::RemovePodSandboxRequest { pod_sandbox_id: pod }).await?;
    engine.stop()?;
    assert!(!socket.exists());
    let left = ochre_test_support::leftovers::find(&bench.path(""));
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn flags_win_over_the_environment_that_over_drop_ins_and_these_over_the_file() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    bench.write(
        "crio.conf",
        "[crio.runtime]\npids_limit = 1\nlog_level = \"warn\"\ndefault_runtime = \"runc\"\n",
    )?;
    assert!(bench.in_force(|_| ())?.contains(&"pids_limit = 1".to_owned()));
    bench.write("crio.conf.d/20-late", "[crio.runtime]\npids_limit = 20\n")?;
    bench.write("crio.conf.d/10-early.conf", "[crio.runtime]\npids_limit = 10\nlog_level = \"debug\"\n")?;
    let lines = bench.in_force(|_| ())?;
    for line in ["pids_limit = 20", "log_level = \"debug\"", "default_runtime = \"runc\""] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    let lines = bench.in_force(|command| _ = command.env("CONTAINER_PIDS_LIMIT", "30"))?;
    assert!(lines.contains(&"pids_limit = 30".to_owned()), "{lines:?}");
    let lines = bench
        .in_force(|command| _ = command.env("CONTAINER_PIDS_LIMIT", "30").args(["--pids-limit", "40"]))?;
    assert!(lines.contains(&"pids_limit = 40".to_owned()), "{lines:?}");
    // What differs from the defaults is active, nothing else is.
    assert_eq!(lines.len(), 3, "{lines:?}");
    Ok(())
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_what_would_be_right() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let file = bench.path("crio.conf");
    for (text, line, option, right) in [
        ("[crio.runtime]\npids_limit = \"many\"\n", 2, "crio.runtime.pids_limit", "expected an integer"),
        ("\n[crio.runtime]\n\nlog_level = \"loud\"\n", 4, "crio.runtime.log_level", "debug"),
        ("[crio.runtime]\ncgroup_manager = \"magic\"\n", 2, "crio.runtime.cgroup_manager", "cgroupfs"),
        ("[crio]\nroot = \"here\"\n", 2, "crio.root", "absolute path"),
        ("[crio]\nstorage_driver = \"btrfs\"\n", 2, "crio.storage_driver", "overlay"),
        ("[crio]\nstorage_option = [\"a\"]\n", 2, "crio.storage_option", "key=value"),
        ("[crio.api]\nlisten = 7\n", 2, "crio.api.listen", "expected"),
        (
            "[crio.runtime]\ndefault_capabilities = [\"FLY\"]\n",
            2,
            "crio.runtime.default_capabilities",
            "capability",
        ),
        ("[crio.runtime]\ndefault_sysctls = [\"a b\"]\n", 2, "crio.runtime.default_sysctls", "key=value"),
        ("[crio.runtime]\nselinux = \"yes\"\n", 2, "crio.runtime.selinux", "true or false"),
        ("[crio.network]\nplugin_dirs = \"/opt\"\n", 2, "crio.network.plugin_dirs", "expected an array"),
        (
            "[crio.runtime.runtimes.x]\nruntime_type = \"wasm\"\n",
            2,
            "crio.runtime.runtimes.x.runtime_type",
            "oci",
        ),
        ("[crio.runtime\n", 1, "", "]"),
    ] {
        let said = bench.refused(text)?;
        let place = format!("{}:{line}:", file.display());
        assert!(said.contains(&place) && said.contains(option) && said.contains(right), "{text}: {said}");
        assert!(said.starts_with("ochre: the configuration cannot be used: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    bench.write("crio.conf", "")?;
    let said = refusal(bench.ochre("serve").arg("--pids-limit").arg("many"))?;
    assert!(said.contains("flag --pids-limit: crio.runtime.pids_limit = \"many\""), "{said}");
    let said = refusal(bench.ochre("serve").env("CONTAINER_PIDS_LIMIT", "many"))?;
    assert!(
        said.contains("environment variable CONTAINER_PIDS_LIMIT: crio.runtime.pids_limit = \"many\""),
        "{said}"
    );
    std::fs::remove_file(&file)?;
    let said = refusal(&mut bench.ochre("serve"))?;
    assert!(said.contains(&format!("configuration file {} does not exist", file.display())), "{said}");
    assert!(!bench.path("root").exists(), "something was made although the configuration was refused");
    Ok(())
}

#[tokio::test]
async fn options_without_effect_and_unknown_keys_are_warned_about_and_nothing_else_is() -> anyhow::Result<()>
{
    let node = Node::configured(
        "[crio.runtime]\nhooks_dir = [\"/nowhere\"]\nlog_to_journald = true\npids_limit = 100\nno_such_option = 1\n\
         [crio.metrics]\nenable_metrics = true\n[crio.extra]\nkey = \"value\"\n",
    )
    .await?;
    let log = node.log();
    let effect = lines_with(&log, "have no effect yet");
    assert_eq!(effect.len(), 1, "{log}");
    for option in ["crio.runtime.hooks_dir", "crio.runtime.log_to_journald", "crio.metrics.enable_metrics"] {
        assert!(effect[0].contains(option), "{option}: {log}");
        assert_eq!(lines_with(&log, option).len(), 1, "{log}");
    }
    assert!(!log.contains("pids_limit"), "{log}");
    let file = node.path("crio.conf");
    let unknown = format!("{}:5: unknown option crio.runtime.no_such_option is ignored", file.display());
    assert_eq!(lines_with(&log, &unknown).len(), 1, "{log}");
    assert_eq!(lines_with(&log, "crio.extra").len(), 1, "{log}");
    node.finish()?;
    let quiet = Node::start().await?;
    assert!(lines_with(&quiet.log(), "have no effect yet").is_empty());
    quiet.finish()
}

#[test]
fn a_default_handler_that_does_not_exist_is_refused() -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let said = bench.refused("[crio.runtime]\ndefault_runtime = \"nobody\"\n")?;
    assert!(said.contains("nobody") && said.lines().count() == 1, "{said}");
    Ok(())
}

#[tokio::test]
async fn the_systemd_driver_is_refused_where_systemd_does_not_run_and_selinux_is_off_where_the_kernel_has_none()
-> anyhow::Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        let said = Bench::new()?.refused("[crio.runtime]\ncgroup_manager = \"systemd\"\n")?;
        assert!(said.contains("systemd is not running; set cgroup_manager = \"cgroupfs\""), "{said}");
    }
    let mut node = Node::configured("[crio.runtime]\nselinux = true\n").await?;
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        assert_eq!(lines_with(&node.log(), "SELinux").len(), 1, "{}", node.log());
    }
    let config = pod(&node, "selinux");
    let id = node.run_pod_with(&config, "runc").await?;
    let mut app = container("app", "sleep 1000");
    let label = |text: &str| text.to_owned();
    security(&mut app).selinux_options = Some(api::SeLinuxOption {
        user: label("system_u"),
        role: label("system_r"),
        r#type: label("container_t"),
        level: label("s0:c1,c2"),
    });
    node.launch(&id, app).await?;
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_second_engine_is_refused_and_a_stale_socket_replaced() -> anyhow::Result<()> {
    let node = Node::start().await?;
    let bench = Bench::new()?;
    bench.write("crio.conf", "")?;
    let socket = node.engine.socket();
    let second = |listen: &Path| {
        let mut command = bench.ochre("serve");
        command
            .arg("--listen")
            .arg(listen)
            .arg("--root")
            .arg(bench.path("root"))
            .arg("--runroot")
            .arg(bench.path("run"));
        command.arg("--log-dir").arg(bench.path("logs")).arg("--namespaces-dir").arg(bench.path("ns"));
        command
            .arg("--container-exits-dir")
            .arg(bench.path("exits"))
            .arg("--cni-config-dir")
            .arg(bench.path("cni"));
        command
    };
    let said = refusal(&mut second(&socket))?;
    let wanted = format!(
        "ochre: another engine answers at {}; stop it first, or choose another socket with --listen\n",
        socket.display()
    );
    assert_eq!(said, wanted);
    assert!(!bench.path("root").exists());
    Client::connect(&socket).await?;

    let stale = bench.path("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale)?);
    let mut engine = bench.start(&stale, |command| {
        command
            .arg("--listen")
            .arg(&stale)
            .arg("--root")
            .arg(bench.path("root"))
            .arg("--runroot")
            .arg(bench.path("run"));
        command
            .arg("--namespaces-dir")
            .arg(bench.path("ns"))
            .arg("--container-exits-dir")
            .arg(bench.path("exits"));
        command.arg("--cni-config-dir").arg(bench.path("cni")).arg("--log-dir").arg(bench.path("logs"));
    })?;
    engine.stop()?;
    let file = bench.write("file", "precious")?;
    let said = refusal(&mut second(&file))?;
    assert!(
        said.contains(&format!("{} cannot be made: it exists and is no socket", file.display())),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file)?, "precious");
    node.finish()
}

#[test]
fn the_program_speaks_plainly() -> anyhow::Result<()> {
    let version = ochre(&["version"])?;
    let text = String::from_utf8(version.stdout)?;
    assert!(version.status.success() && text.starts_with("ochre ") && text.lines().count() == 1, "{text}");
    assert_eq!(String::from_utf8(ochre(&["--version"])?.stdout)?, text);
    let help = String::from_utf8(ochre(&["--help"])?.stdout)?;
    assert!(help.starts_with("A container engine for Kubernetes nodes"), "{help}");
    for verb in ["serve", "import", "config", "version"] {
        assert!(help.lines().any(|line| line.trim().starts_with(verb)), "{verb}: {help}");
    }
    let nothing = ochre(&[])?;
    assert_eq!(nothing.status.code(), Some(1));
    let unknown = ochre(&["dance"])?;
    assert!(!unknown.status.success() && String::from_utf8(unknown.stderr)?.contains("dance"));

    let bench = Bench::new()?;
    let import = |path: &Path| -> anyhow::Result<String> {
        let mut command = Command::new(programs().join("ochre"));
        command
            .args(["import", "--config", "", "--config-dir"])
            .arg(bench.path("none"))
            .arg("--root")
            .arg(bench.path("root"));
        command.arg("--runroot").arg(bench.path("run")).arg(path);
        refusal(&mut command)
    };
    let missing = bench.path("missing");
    let said = import(&missing)?;
    assert!(said.starts_with("ochre: the image was not imported: ") && said.contains("missing"), "{said}");
    assert!(said.contains("No such file") || said.contains("does not exist"), "{said}");
    std::fs::create_dir(bench.path("empty"))?;
    let said = import(&bench.path("empty"))?;
    assert!(said.contains("oci-layout") || said.contains("index.json"), "{said}");
    let noise = bench.write("noise.tar", "this is no archive")?;
    let said = import(&noise)?;
    assert!(said.contains("noise.tar") && said.lines().count() == 1, "{said}");
    let layout = bench.path("layout");
    busybox()?.write_layout(&layout, "latest")?;
    std::fs::write(layout.join("index.json"), "{")?;
    let said = import(&layout)?;
    assert!(said.contains("index.json") && said.lines().count() == 1, "{said}");
    Ok(())
}
