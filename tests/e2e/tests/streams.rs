//! Exec, attach and port-forward with the stock crictl: what arrives, what is refused, and that nothing stays behind.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use ochre_cri_api as api;
use ochre_e2e::session::{Client, Typist, crictl_command, fed, set_size};
use ochre_e2e::{
    HANDLERS, Node, busybox, check_refusal, container, eventually, pod, pod_namespaces, programs,
};
use ochre_test_support::layout::Entry;
use tonic::Code;

const TRANSPORTS: [&str; 2] = ["spdy", "websocket"];

/// Living processes whose command line has these words.
fn processes_with(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // Clients carry the words in their arguments.
        if line.contains(words) && !line.contains("crictl") {
            found.push(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

async fn none_left(words: &str) -> anyhow::Result<()> {
    eventually(&format!("no process with {words:?}"), async || {
        Ok(processes_with(words).is_empty().then_some(()))
    })
    .await
}

async fn some_run(words: &str, count: usize) -> anyhow::Result<()> {
    let what = format!("{count} processes with {words:?}");
    eventually(&what, async || Ok((processes_with(words).len() >= count).then_some(()))).await
}

/// What the engine and its monitors hold: descriptors and threads of the engine, descriptors of the monitors.
fn held(node: &Node) -> (usize, usize, usize) {
    let count = |path: String| std::fs::read_dir(path).map_or(0, Iterator::count);
    let engine = node.engine.pid();
    let directory = node.path("run").to_string_lossy().into_owned();
    let monitors = processes_with(&directory).into_iter().filter(|line| line.contains("ochre-monitor"));
    let of_monitors =
        monitors.map(|line| count(format!("/proc/{}/fd", line.split(' ').next().unwrap_or(""))));
    (count(format!("/proc/{engine}/fd")), count(format!("/proc/{engine}/task")), of_monitors.sum())
}

/// Waits until no more is held than before.
async fn released(node: &Node, before: (usize, usize, usize)) -> anyhow::Result<()> {
    let mut now = before;
    let result = eventually("descriptors and threads are given back", async || {
        now = held(node);
        Ok((now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2).then_some(()))
    })
    .await;
    result.with_context(|| format!("fds, threads, fds of monitors: {before:?} before, {now:?} after"))
}

fn idle(name: &str) -> api::ContainerConfig {
    container(name, "sleep 10000")
}

#[tokio::test]
async fn an_exec_brings_its_output_its_code_and_its_input() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, idle("app")).await?;
        for transport in TRANSPORTS {
            let about = format!("{handler} {transport}");
            let script = "echo out; echo err >&2; exit 5";
            let arguments = ["exec", "--transport", transport, &app, "sh", "-c", script];
            let output = fed(crictl_command(&node, &arguments)?, Vec::new()).await?;
            assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n", "{about}");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.starts_with("err\n") && stderr.contains("exit code 5"), "{about}: {stderr}");
            // The end of the input is the end of the command's.
            let arguments = ["exec", "-i", "--transport", transport, &app, "sh", "-c", "cat; echo end"];
            let output = fed(crictl_command(&node, &arguments)?, b"typed\n".to_vec()).await?;
            assert_eq!(String::from_utf8_lossy(&output.stdout), "typed\nend\n", "{about}");
            assert!(output.status.success(), "{about}");
            // A command that does not exist names itself.
            let arguments = ["exec", "--transport", transport, &app, "/no/such"];
            let output = fed(crictl_command(&node, &arguments)?, Vec::new()).await?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && stderr.contains("/no/such"), "{about}: {stderr}");
            // A child that keeps the pipes open does not hold the client up.
            let began = Instant::now();
            let arguments = ["exec", "--transport", transport, &app, "sh", "-c", "sleep 9071 & echo left"];
            let output = fed(crictl_command(&node, &arguments)?, Vec::new()).await?;
            assert_eq!(String::from_utf8_lossy(&output.stdout), "left\n", "{about}");
            assert!(began.elapsed() < Duration::from_secs(5), "{about}: {:?}", began.elapsed());
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_shell_on_a_terminal_follows_the_window_and_ends_with_its_code() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let app = node.launch(&id, idle("app")).await?;
        for transport in TRANSPORTS {
            // The command knows the size from its first instruction on; crun 1.8 does not pass it on, so that it comes a
            // moment later there.
            if handler != "crun" {
                let first = crictl_command(
                    &node,
                    &["exec", "-i", "-t", "--transport", transport, &app, "sh", "-c", "stty size"],
                )?;
                let mut typist = Typist::start(&first, (97, 31))?;
                typist.sees("31 97").await?;
                typist.client.ended("the command").await?;
            }
            let shell = crictl_command(&node, &["exec", "-i", "-t", "--transport", transport, &app, "sh"])?;
            let mut typist = Typist::start(&shell, (80, 24))?;
            eventually("the first size", async || {
                typist.type_in("stty size\n")?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(typist.has_seen("24 80").then_some(()))
            })
            .await?;
            set_size(&typist.master, (132, 50))?;
            // The size travels beside the input.
            eventually("the new size", async || {
                typist.type_in("stty size\n")?;
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(typist.has_seen("50 132").then_some(()))
            })
            .await?;
            // Control-C reaches the program, not the client; control-D ends the shell.
            typist.type_in("sleep 9072\n")?;
            some_run("sleep 9072", 1).await?;
            typist.type_in("\u{3}")?;
            none_left("sleep 9072").await?;
            // Before the prompt the terminal takes control-D for itself. The echo of this line is not the prompt.
            typist.type_in("PS1='it is 'ready; (exit 7)\n")?;
            typist.sees("it is ready").await?;
            typist.type_in("\u{4}")?;
            let status = typist.client.ended("the shell").await?;
            assert_eq!(status.code(), Some(1), "{handler} {transport}");
            typist.sees("exit code 7").await?;
        }
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_hundred_megabytes_pass_unchanged_in_both_directions() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let id = node.run_pod(&pod(&node, "p")).await?;
    let app = node.launch(&id, idle("app")).await?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut content = Vec::with_capacity(100 << 20);
    while content.len() < 100 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    let reference = node.path("content");
    std::fs::write(&reference, &content)?;
    let sum = ochre_e2e::run("sha256sum", &[&reference.to_string_lossy()])?;
    let sum = sum.split(' ').next().context("a checksum")?.to_owned();
    for transport in TRANSPORTS {
        let script = "cat > /tmp/content; sha256sum < /tmp/content";
        let arguments = ["exec", "-i", "--transport", transport, &app, "sh", "-c", script];
        let output = fed(crictl_command(&node, &arguments)?, content.clone()).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with(&sum), "{transport}: {said} {}", String::from_utf8_lossy(&output.stderr));
        let arguments = ["exec", "--transport", transport, &app, "cat", "/tmp/content"];
        let output = fed(crictl_command(&node, &arguments)?, Vec::new()).await?;
        assert!(output.status.success() && output.stdout == content, "{transport}: {}", output.stdout.len());
    }
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn all_attached_clients_hear_all_and_any_may_speak() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let id = node.run_pod(&pod(&node, "p")).await?;
    let mut config =
        container("app", "echo ready; while read line; do echo got $line; echo bad $line >&2; done; exit 6");
    config.stdin = true;
    let app = node.launch(&id, config).await?;
    let before = held(&node);
    let mut first = Client::start(crictl_command(&node, &["attach", "-i", &app])?)?;
    let mut second =
        Client::start(crictl_command(&node, &["attach", "-i", "--transport", "websocket", &app])?)?;
    // Attached once what one of them says comes back.
    first.say("one\n")?;
    first.hear("got one\n")?;
    second.say("two\n")?;
    second.hear("got two\n")?;
    assert_eq!(first.hear("two\n")?, "got two\n");
    first.say("three\n")?;
    for client in [&mut first, &mut second] {
        assert_eq!(client.hear("three\n")?, "got three\n");
    }
    // The end of one client's input ends the client, not the container.
    drop(first.0.stdin.take());
    first.ended("the first client").await?;
    second.say("four\n")?;
    second.hear("got four\n")?;
    second.kill()?;
    released(&node, before).await?;
    assert_eq!(node.status(&app).await?.state, api::ContainerState::ContainerRunning as i32);
    node.remove_pod(&id).await?;

    // With stdin_once the first client's end is the container's.
    let id = node.run_pod(&pod(&node, "q")).await?;
    let mut config = container("once", "while read line; do echo got $line; done; echo end; exit 6");
    (config.stdin, config.stdin_once) = (true, true);
    let app = node.launch(&id, config).await?;
    let mut client = Client::start(crictl_command(&node, &["attach", "-i", &app])?)?;
    client.say("one\n")?;
    client.hear("got one\n")?;
    drop(client.0.stdin.take());
    client.hear("end\n")?;
    assert!(client.ended("the client").await?.success());
    assert_eq!(node.exited(&app).await?.exit_code, 6);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn an_attached_terminal_is_the_containers_own() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut config = container("app", "exec sh");
        (config.tty, config.stdin) = (true, true);
        let app = node.launch(&id, config).await?;
        let attach = crictl_command(&node, &["attach", "-i", "-t", &app])?;
        let mut typist = Typist::start(&attach, (81, 25))?;
        eventually("the client's size", async || {
            typist.type_in("stty size\n")?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(typist.has_seen("25 81").then_some(()))
        })
        .await?;
        // Detaching leaves the container alone.
        typist.type_in("\u{10}\u{11}")?;
        typist.client.ended("the detached client").await?;
        assert_eq!(node.status(&app).await?.state, api::ContainerState::ContainerRunning as i32);
        let mut typist = Typist::start(&attach, (81, 25))?;
        typist.type_in("echo a$((1+1))b; exit 3\n")?;
        typist.sees("a2b").await?;
        typist.client.ended("the client of a container that ended").await?;
        assert_eq!(node.exited(&app).await?.exit_code, 3);
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "p");
    let id = node.run_pod(&config).await?;
    let mut config = container(
        "app",
        "read go; yes 0123456789abcdef0123456789abcdef | head -n 300000; echo end; sleep 10000",
    );
    config.stdin = true;
    let app = node.launch(&id, config).await?;
    let before = held(&node);
    // It never reads its pipe.
    let mut stalled = Client::start(crictl_command(&node, &["attach", "-i", &app])?)?;
    stalled.say("go\n")?;
    ochre_e2e::file_with(&node.path("logs/p/app.log"), "stdout F end\n").await?;
    stalled.kill()?;
    released(&node, before).await?;
    node.remove_pod(&id).await?;
    node.finish()
}

/// The busybox image with the demonstration program, which has an echo server.
fn echo_image() -> anyhow::Result<ochre_test_support::layout::Image> {
    let mut image = busybox()?;
    let program = std::fs::read(programs().join("ochre-demo"))?;
    image.entries.push(Entry::File("bin/demo".into(), 0o755, program));
    Ok(image)
}

const ECHO: &str = "localhost/echo:latest";

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts a forward and waits until it listens.
async fn forward(node: &Node, pod: &str, transport: &str, remote: u16) -> anyhow::Result<(Client, u16)> {
    let local = free_port()?;
    let ports = format!("{local}:{remote}");
    let mut client =
        Client::start(crictl_command(node, &["port-forward", "--transport", transport, pod, &ports])?)?;
    client.hear(&format!("Forwarding from 127.0.0.1:{local}"))?;
    Ok((client, local))
}

/// Sends a text, ends the sending side, and reads the answer to its end.
fn echoed(port: u16, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ochre_e2e::PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let text = text.to_owned();
    let writing = std::thread::spawn(move || {
        writer.write_all(&text)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    writing.join().expect("a writer")?;
    Ok(answer)
}

#[tokio::test]
async fn hundreds_of_connections_go_through_one_forward() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    node.import(&echo_image()?, ECHO)?;
    let mut host = pod(&node, "host");
    pod_namespaces(&mut host).network = api::NamespaceMode::Node as i32;
    for (config, remote) in [(pod(&node, "own"), 7777), (host, free_port()?)] {
        let id = node.run_pod(&config).await?;
        let mut server = container("server", "");
        server.image.as_mut().context("an image")?.image = ECHO.into();
        server.command = vec!["/bin/demo".into(), "echo".into(), remote.to_string()];
        node.launch(&id, server).await?;
        let name = &config.metadata.as_ref().context("metadata")?.name;
        ochre_e2e::file_with(&node.path(&format!("logs/{name}/server.log")), "echoing").await?;
        let before = held(&node);
        for transport in TRANSPORTS {
            let (mut client, local) = forward(&node, &id, transport, remote).await?;
            let together = tokio::task::spawn_blocking(move || {
                let connections: Vec<_> = (0..200)
                    .map(|number| {
                        std::thread::spawn(move || {
                            let text = format!("connection {number} ").repeat(2000);
                            echoed(local, text.as_bytes()).map(|answer| answer == text.as_bytes())
                        })
                    })
                    .collect();
                let good = |answer: std::io::Result<bool>| answer.unwrap_or(false);
                connections
                    .into_iter()
                    .map(|each| good(each.join().expect("a client")))
                    .filter(|good| *good)
                    .count()
            })
            .await?;
            assert_eq!(together, 200, "{name} {transport}");
            // A port nobody listens at: the connection ends, the forward goes on.
            client.kill()?;
        }
        let (mut client, local) = forward(&node, &id, "spdy", 1).await?;
        let answer = tokio::task::spawn_blocking(move || echoed(local, b"hello")).await?;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.is_empty()));
        let mut stderr = client.0.stderr.take().context("stderr")?;
        client.kill()?;
        let mut text = String::new();
        stderr.read_to_string(&mut text)?;
        assert!(text.contains("refused"), "{text}");
        let threads = if name == "host" { before.1 } else { usize::MAX };
        released(&node, (before.0, threads, before.2)).await?;
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_nothing() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    node.import(&echo_image()?, ECHO)?;
    for handler in HANDLERS {
        let config = pod(&node, handler);
        let id = node.run_pod_with(&config, handler).await?;
        let mut server = container("server", "");
        server.image.as_mut().context("an image")?.image = ECHO.into();
        server.command = vec!["/bin/demo".into(), "echo".into(), "7778".into()];
        server.stdin = true;
        let app = node.launch(&id, server).await?;
        // The first exec makes what stays.
        node.crictl_ok(&["exec", &app, "true"])?;
        let before = held(&node);
        let script = "trap '' HUP TERM; (setsid sleep 9073 &) ; setsid sleep 9073 & cat; sleep 9073";
        for transport in TRANSPORTS {
            for terminal in [false, true] {
                let mut arguments = vec!["exec", "-i", "--transport", transport];
                arguments.extend(terminal.then_some("-t"));
                arguments.extend([app.as_str(), "sh", "-c", script]);
                let command = crictl_command(&node, &arguments)?;
                if terminal {
                    let mut typist = Typist::start(&command, (80, 24))?;
                    some_run("sleep 9073", 3).await?;
                    typist.client.kill()?;
                } else {
                    let mut client = Client::start(command)?;
                    some_run("sleep 9073", 3).await?;
                    client.kill()?;
                }
                none_left("sleep 9073").await.with_context(|| format!("{handler} {transport} {terminal}"))?;
            }
            // In the middle of much output, of an attachment, of a forward.
            let flood = ["exec", "--transport", transport, &app, "yes", "9074"];
            let mut client = Client::start(crictl_command(&node, &flood)?)?;
            client.hear("9074\n9074\n")?;
            client.kill()?;
            none_left("yes 9074").await?;
            let mut client =
                Client::start(crictl_command(&node, &["attach", "-i", "--transport", transport, &app])?)?;
            client.say("something\n")?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.kill()?;
            let (mut client, local) = forward(&node, &id, transport, 7778).await?;
            let mut open = TcpStream::connect((Ipv4Addr::LOCALHOST, local))?;
            open.write_all(b"x")?;
            open.read_exact(&mut [0])?;
            client.kill()?;
        }
        // Threads for blocking work end ten seconds after the last of it; that is waited for once.
        let threads = if handler == "crun" { before.1 } else { usize::MAX };
        released(&node, (before.0, threads, before.2)).await.with_context(|| handler)?;
        node.remove_pod(&id).await?;
    }
    node.finish()
}

#[tokio::test]
async fn a_timeout_leaves_no_process_wherever_it_went() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    for handler in HANDLERS {
        for shared in [false, true] {
            let mut config = pod(&node, &format!("{handler}-{shared}"));
            if shared {
                // Orphans are not taken in by a PID namespace of the container's own.
                pod_namespaces(&mut config).pid = api::NamespaceMode::Node as i32;
            }
            let id = node.run_pod_with(&config, handler).await?;
            let mut app = container("app", "sleep 9075 & (setsid sleep 9075 &) ; sleep 9075");
            if shared {
                let options = ochre_e2e::security(&mut app).namespace_options.get_or_insert_default();
                options.pid = api::NamespaceMode::Node as i32;
            }
            let app = node.launch(&id, app).await?;
            some_run("sleep 9075", 3).await?;
            let script = "sleep 9076 & (sleep 9076 &) ; (setsid sh -c 'setsid sleep 9076 &' &) ; \
                          (setsid sleep 9076 &) ; sleep 9076";
            let request = api::ExecSyncRequest {
                container_id: app.clone(),
                cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
                timeout: 1,
            };
            let refused = node.client.runtime.exec_sync(request).await.expect_err("a timeout");
            assert_eq!(refused.code(), Code::DeadlineExceeded, "{handler}: {refused}");
            none_left("sleep 9076").await.with_context(|| format!("{handler} shared: {shared}"))?;
            assert_eq!(processes_with("sleep 9075 ").len(), 3, "{handler}: the container's own live");
            node.remove_pod(&id).await?;
        }
    }
    node.finish()
}

#[tokio::test]
async fn clients_hear_at_once_when_the_other_side_ends() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let sharing = ochre_e2e::pod_sharing_pids(&node, "p");
    let id = node.run_pod(&sharing).await?;
    let stubborn = |name: &str| {
        let mut config = container(name, "trap 'exit 0' TERM; while :; do sleep 0.05; done");
        let options = ochre_e2e::security(&mut config).namespace_options.get_or_insert_default();
        options.pid = api::NamespaceMode::Pod as i32;
        config
    };
    let clients = |node: &Node, app: &str| -> anyhow::Result<Vec<Client>> {
        let exec = ["exec", "-i", app, "sh", "-c", "echo here; (setsid sleep 9077 &) ; sleep 9077"];
        let mut exec = Client::start(crictl_command(node, &exec)?)?;
        exec.hear("here")?;
        let attach = Client::start(crictl_command(node, &["attach", app])?)?;
        Ok(vec![exec, attach])
    };
    // The container stops in an orderly way; processes of execs in a shared PID namespace go along.
    let app = node.launch(&id, stubborn("stops")).await?;
    let mut sessions = clients(&node, &app)?;
    some_run("sleep 9077", 2).await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    node.stop_container(&app, 10).await?;
    for session in &mut sessions {
        session.ended("a client of a stopped container").await?;
    }
    none_left("sleep 9077").await?;
    let refused = node.crictl(&["exec", &app, "true"])?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("FailedPrecondition"), "{refused:?}");

    // The engine ends, in an orderly way and by force; the container goes on, what clients had started does not.
    let app = node.launch(&id, stubborn("stays")).await?;
    for force in [false, true] {
        let mut sessions = clients(&node, &app)?;
        some_run("sleep 9077", 2).await?;
        if force {
            node.engine.kill()?;
        } else {
            node.engine.stop()?;
        }
        for session in &mut sessions {
            session.ended("a client of an engine that ended").await?;
        }
        none_left("sleep 9077").await?;
        node.engine.start_again()?;
        node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        assert_eq!(node.status(&app).await?.state, api::ContainerState::ContainerRunning as i32);
        node.crictl_ok(&["exec", &app, "true"])?;
    }

    // The pod is removed.
    let mut sessions = clients(&node, &app)?;
    node.remove_pod(&id).await?;
    for session in &mut sessions {
        session.ended("a client of a removed pod").await?;
    }
    none_left("sleep 9077").await?;
    node.finish()
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_there_is_a_url() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let id = node.run_pod(&pod(&node, "p")).await?;
    let app = node.launch(&id, idle("app")).await?;
    let made = node.create(&id, idle("made")).await?;
    let gone = node.launch(&id, container("gone", "exit 0")).await?;
    node.exited(&gone).await?;
    let exec = |container: &str, cmd: &[&str]| api::ExecRequest {
        container_id: container.into(),
        cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
        stdout: true,
        ..Default::default()
    };
    let no_stream = api::ExecRequest { stdout: false, ..exec(&app, &["true"]) };
    let both = api::ExecRequest { tty: true, stderr: true, ..exec(&app, &["true"]) };
    for (name, request, code, words) in [
        ("unknown", exec("0123", &["true"]), Code::NotFound, "0123"),
        ("created", exec(&made, &["true"]), Code::FailedPrecondition, "created"),
        ("exited", exec(&gone, &["true"]), Code::FailedPrecondition, "exited"),
        ("no command", exec(&app, &[]), Code::InvalidArgument, "cmd"),
        ("empty command", exec(&app, &[""]), Code::InvalidArgument, "cmd"),
        ("no stream", no_stream, Code::InvalidArgument, "stdin"),
        ("tty and stderr", both, Code::InvalidArgument, "stderr"),
    ] {
        let refused = node.client.runtime.exec(request).await.expect_err(name);
        check_refusal(name, &refused, code, &[words]);
    }
    let attach = |container: &str| api::AttachRequest {
        container_id: container.into(),
        stdout: true,
        ..Default::default()
    };
    for (name, request, code, words) in [
        ("unknown", attach("0123"), Code::NotFound, "0123"),
        ("created", attach(&made), Code::FailedPrecondition, "created"),
        ("exited", attach(&gone), Code::FailedPrecondition, "exited"),
        ("tty", api::AttachRequest { tty: true, ..attach(&app) }, Code::InvalidArgument, "tty"),
        ("no stream", api::AttachRequest { stdout: false, ..attach(&app) }, Code::InvalidArgument, "stdin"),
    ] {
        let refused = node.client.runtime.attach(request).await.expect_err(name);
        check_refusal(name, &refused, code, &[words]);
    }
    let ports = |pod: &str, port: Vec<i32>| api::PortForwardRequest { pod_sandbox_id: pod.into(), port };
    for (name, request, code, words) in [
        ("unknown", ports("0123", vec![80]), Code::NotFound, "0123"),
        ("port", ports(&id, vec![65536]), Code::InvalidArgument, "65536"),
        ("port zero", ports(&id, vec![0]), Code::InvalidArgument, "port"),
    ] {
        let refused = node.client.runtime.port_forward(request).await.expect_err(name);
        check_refusal(name, &refused, code, &[words]);
    }
    let stop = api::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
    node.client.runtime.stop_pod_sandbox(stop).await?;
    let refused = node.client.runtime.port_forward(ports(&id, vec![80])).await.expect_err("stopped");
    check_refusal("stopped", &refused, Code::FailedPrecondition, &["stopped"]);
    node.remove_pod(&id).await?;
    node.finish()
}
