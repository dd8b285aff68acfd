//! The streaming server as an operator configures it: TLS with certificates that change, idle time, URLs that work once;
//! and what is left of the client's terminal.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ochre_cri_api as api;
use ochre_e2e::session::{Typist, crictl_command, fed};
use ochre_e2e::{Node, container, eventually, pod};

fn openssl(dir: &Path, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir).output()?;
    ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// An authority `<name>-ca.pem`, and a certificate `<name>.pem` with key `<name>.key` for localhost that it signed.
fn certificate(dir: &Path, name: &str) -> anyhow::Result<()> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        dir,
        &format!("req -x509 {key} -keyout {name}-ca.key -out {name}-ca.pem -days 2 -subj /CN={name}-ca"),
    )?;
    openssl(dir, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"))?;
    std::fs::write(
        dir.join("names.cnf"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
    )?;
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -out {name}.pem \
             -days 2 -extfile names.cnf"
        ),
    )
}

const TLS: &str = "[crio.api]\nstream_enable_tls = true\nstream_tls_cert = \"{dir}/server.pem\"\n\
                   stream_tls_key = \"{dir}/server.key\"\nstream_tls_ca = \"{dir}/client-ca.pem\"\n";

/// A pod and its container.
async fn one_container(node: &mut Node) -> anyhow::Result<(String, String)> {
    let config = pod(node, "streams");
    let id = node.run_pod(&config).await?;
    let app = node.launch(&id, container("app", "sleep 10000")).await?;
    Ok((id, app))
}

#[tokio::test]
async fn streams_over_tls_ask_for_the_clients_certificate_and_follow_the_files() -> anyhow::Result<()> {
    let mut node = Node::prepared(TLS, |dir| {
        for name in ["server", "client", "later"] {
            certificate(dir, name)?;
        }
        Ok(())
    })
    .await?;
    let (id, app) = one_container(&mut node).await?;
    let files = ["client.pem", "client.key", "server-ca.pem", "later-ca.pem"].map(|name| node.path(name));
    let [cert, key, server_ca, later_ca] = files.map(|path| path.to_string_lossy().into_owned());
    for transport in ["spdy", "websocket"] {
        let exec = |extra: &[&str]| {
            let mut arguments = vec!["exec", "--transport", transport];
            arguments.extend(extra);
            arguments.extend([app.as_str(), "echo", "private"]);
            crictl_command(&node, &arguments)
        };
        let mine = ["--tls-cert", cert.as_str(), "--tls-key", key.as_str()];
        let trusting = [&mine[..], &["--tls-ca", server_ca.as_str()]].concat();
        let output = fed(exec(&trusting)?, Vec::new()).await?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "private\n", "{transport}: {output:?}");
        // Without a certificate of its own, or with an authority that did not sign the server's, there is no session.
        assert!(!fed(exec(&[])?, Vec::new()).await?.status.success(), "{transport}");
        let wrong = [&mine[..], &["--tls-ca", later_ca.as_str()]].concat();
        assert!(!fed(exec(&wrong)?, Vec::new()).await?.status.success(), "{transport}");
    }
    // A new certificate, put into place as any tool does it, is served without a restart.
    std::fs::rename(node.path("later.key"), node.path("server.key"))?;
    std::fs::rename(node.path("later.pem"), node.path("server.pem"))?;
    let trusting =
        ["exec", "--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &later_ca, &app, "echo", "new"];
    eventually("the new certificate is served", async || {
        let output = fed(crictl_command(&node, &trusting)?, Vec::new()).await?;
        Ok((output.status.success() && output.stdout == b"new\n").then_some(()))
    })
    .await?;
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn an_idle_session_ends_and_says_so() -> anyhow::Result<()> {
    let mut node = Node::configured("[crio.api]\nstream_idle_timeout = \"2s\"\n").await?;
    let (id, app) = one_container(&mut node).await?;
    for transport in ["spdy", "websocket"] {
        let began = Instant::now();
        let command = crictl_command(&node, &["exec", "--transport", transport, &app, "sleep", "9999"])?;
        let output = fed(command, Vec::new()).await?;
        assert!(!output.status.success() && began.elapsed() >= Duration::from_secs(2), "{transport}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("nothing was sent in either direction for 2 s"), "{transport}: {text}");
    }
    // One that says something from time to time lives on.
    let script = "for i in 1 2 3 4 5 6; do echo $i; sleep 1; done";
    let output = fed(crictl_command(&node, &["exec", &app, "sh", "-c", script])?, Vec::new()).await?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n2\n3\n4\n5\n6\n");
    node.remove_pod(&id).await?;
    node.finish()
}

/// The first line of the answer to a request.
fn ask(url: &str, headers: &str) -> anyhow::Result<String> {
    let (place, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).context("a URL")?;
    let mut connection = TcpStream::connect(place)?;
    connection.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(connection, "POST /{path} HTTP/1.1\r\nHost: {place}\r\nContent-Length: 0\r\n{headers}\r\n")?;
    let mut head = [0; 256];
    let count = connection.read(&mut head)?;
    Ok(String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned())
}

const UPGRADE: &str =
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";

#[tokio::test]
async fn a_url_works_once_and_for_what_it_was_made() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let (id, app) = one_container(&mut node).await?;
    let request =
        api::ExecRequest { container_id: app, cmd: vec!["true".into()], stdout: true, ..Default::default() };
    let client = node.client.clone();
    let url = async || -> anyhow::Result<String> {
        Ok(client.clone().runtime.exec(request.clone()).await?.into_inner().url)
    };
    let first = url().await?;
    let of = |url: String, headers: &'static str| tokio::task::spawn_blocking(move || ask(&url, headers));
    assert!(of(first.clone(), UPGRADE).await??.contains(" 101 "));
    assert!(of(first.clone(), UPGRADE).await??.contains(" 404 "), "a second time");
    let guessed = format!("{}x", &first[..first.len() - 1]);
    assert!(of(guessed, UPGRADE).await??.contains(" 404 "), "a token nobody was given");
    let elsewhere = url().await?.replace("/exec/", "/attach/");
    assert!(of(elsewhere, UPGRADE).await??.contains(" 404 "), "an exec is no attach");
    let plain = url().await?;
    let answer = of(plain, "").await??;
    assert!(answer.contains(" 40"), "no upgrade asked for: {answer}");
    node.remove_pod(&id).await?;
    node.finish()
}

/// The settings of a terminal, as stty prints them.
fn settings(terminal: &std::fs::File) -> anyhow::Result<String> {
    let output = Command::new("stty").arg("-g").stdin(terminal.try_clone()?).output()?;
    ensure!(output.status.success(), "stty: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn the_clients_terminal_is_as_before_on_every_way_out() -> anyhow::Result<()> {
    for way in ["exit", "the container stops", "the pod goes", "the engine dies"] {
        let mut node = Node::start().await?;
        let config = pod(&node, "terminal");
        let id = node.run_pod(&config).await?;
        let app = node.launch(&id, container("app", "sleep 10000")).await?;
        let command = crictl_command(&node, &["exec", "-it", &app, "sh"])?;
        let mut typist = Typist::start(&command, (80, 24))?;
        let fresh = {
            let other = Typist::start(&Command::new("true"), (80, 24))?;
            settings(&other.master)?
        };
        typist.type_in("echo re''ady\n")?;
        typist.sees("ready").await?;
        assert_ne!(settings(&typist.master)?, fresh, "raw while the shell runs");
        match way {
            "exit" => typist.type_in("exit\n")?,
            "the container stops" => node.stop_container(&app, 0).await?,
            "the pod goes" => node.remove_pod(&id).await?,
            _ => node.engine.kill()?,
        }
        typist.client.ended(way).await?;
        assert_eq!(settings(&typist.master)?, fresh, "{way}");
        if way == "the engine dies" {
            node.engine.start_again()?;
            node.client = ochre_client::Client::connect(&node.engine.socket()).await?;
        }
        if way != "the pod goes" {
            node.remove_pod(&id).await?;
        }
        node.finish()?;
    }
    Ok(())
}
