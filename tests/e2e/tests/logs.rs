//! Logs as the kubelet reads them: the format to the byte, partial lines, rotation under load.

use std::io::Write;
use std::path::Path;

use ochre_cri_api as api;
use ochre_e2e::{Node, container, eventually, file_with, pod};

/// One record of a log.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    time: String,
    stream: String,
    tag: String,
    text: String,
}

/// Takes a log apart; anything that is not exactly `time stream tag text\n` fails.
fn records(log: &str) -> Vec<Record> {
    assert!(log.is_empty() || log.ends_with('\n'), "the last record is not complete: {log:?}");
    log.split_terminator('\n')
        .map(|line| {
            let mut fields = line.splitn(4, ' ').map(str::to_owned);
            let mut next = || fields.next().unwrap_or_else(|| panic!("four fields in {line:?}"));
            let record = Record { time: next(), stream: next(), tag: next(), text: next() };
            let shape: String =
                record.time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "0000-00-00T00:00:00.000000000Z", "{line:?}");
            assert!(["stdout", "stderr"].contains(&record.stream.as_str()), "{line:?}");
            assert!(["F", "P"].contains(&record.tag.as_str()), "{line:?}");
            record
        })
        .collect()
}

/// The records of one stream: tag and text.
fn of<'a>(records: &'a [Record], stream: &str) -> Vec<(&'a str, &'a str)> {
    records.iter().filter(|r| r.stream == stream).map(|r| (r.tag.as_str(), r.text.as_str())).collect()
}

fn read(path: &Path) -> Vec<Record> {
    records(&std::fs::read_to_string(path).unwrap())
}

async fn reopen(node: &mut Node, id: &str) -> Result<(), tonic::Status> {
    let request = api::ReopenContainerLogRequest { container_id: id.into() };
    node.client.runtime.reopen_container_log(request).await.map(drop)
}

#[tokio::test]
async fn every_record_is_time_stream_tag_and_the_exact_text() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "format");
    let id = node.run_pod(&config).await?;
    let script = "echo one; echo; echo '  blanks  '; printf 'a\\tb\\r\\n'; printf '\\303\\251\\n'; echo 'x stderr F y'; \
                  echo err >&2; printf last";
    let app = node.launch(&id, container("app", script)).await?;
    node.exited(&app).await?;
    let log = read(&node.path("logs/format/app.log"));
    let expected = [
        ("F", "one"),
        ("F", ""),
        ("F", "  blanks  "),
        ("F", "a\tb\r"),
        ("F", "é"),
        ("F", "x stderr F y"),
        ("P", "last"),
    ];
    assert_eq!(of(&log, "stdout"), expected);
    assert_eq!(of(&log, "stderr"), [("F", "err")]);
    assert!(log.is_sorted_by(|a, b| a.time <= b.time), "{log:?}");
    let status = node.status(&app).await?;
    assert_eq!(Path::new(&status.log_path), node.path("logs/format/app.log"));
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn bytes_that_are_no_text_reach_the_log_unchanged() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "bytes");
    let id = node.run_pod(&config).await?;
    let app = node.launch(&id, container("app", "printf '\\377\\000\\001\\n'")).await?;
    node.exited(&app).await?;
    let log = std::fs::read(node.path("logs/bytes/app.log"))?;
    assert_eq!(log.get(30..), Some(&b" stdout F \xff\x00\x01\n"[..]), "{log:?}");
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_line_over_16_kib_is_cut_into_partial_records() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "long");
    let id = node.run_pod(&config).await?;
    let script = "x() { head -c $1 /dev/zero | tr '\\0' x; }; x 40000; echo; x 16384; echo; x 16385; echo; x 32768; echo";
    let app = node.launch(&id, container("app", script)).await?;
    node.exited(&app).await?;
    let log = read(&node.path("logs/long/app.log"));
    assert!(log.iter().all(|record| record.text.bytes().all(|byte| byte == b'x')));
    // A newline that is not there yet when its 16 KiB are full ends the line with an empty record.
    let mut lines = vec![0];
    for record in &log {
        *lines.last_mut().unwrap() += record.text.len();
        match record.tag.as_str() {
            "P" => assert_eq!(record.text.len(), 16384),
            _ => lines.push(0),
        }
    }
    assert_eq!(lines, [40000, 16384, 16385, 32768, 0]);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_line_written_in_pieces_is_one_record_and_the_streams_do_not_mix() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "pieces");
    let id = node.run_pod(&config).await?;
    let script = "printf begin; echo problem >&2; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo -end";
    let app = node.launch(&id, container("app", script)).await?;
    let log = node.path("logs/pieces/app.log");
    file_with(&log, "problem").await?;
    node.exec(&app, "touch /tmp/go").await?;
    node.exited(&app).await?;
    let log = read(&log);
    assert_eq!(of(&log, "stdout"), [("F", "begin-end")]);
    assert_eq!(of(&log, "stderr"), [("F", "problem")]);
    // In the order in which the lines were completed.
    assert_eq!(log.iter().map(|record| record.stream.as_str()).collect::<Vec<_>>(), ["stderr", "stdout"]);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn output_on_both_streams_is_recorded_in_its_order() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "order");
    let id = node.run_pod(&config).await?;
    // Each step waits until the one before is in the log.
    let mut app =
        container("app", "for i in 1 2 3 4; do echo $i; read x < /go; echo $i >&2; read x < /go; done");
    app.mounts.push(api::Mount {
        container_path: "/go".into(),
        host_path: node.path("go").to_string_lossy().into_owned(),
        ..Default::default()
    });
    ochre_e2e::run("mkfifo", &[&node.path("go").to_string_lossy()])?;
    // Open in both directions: neither side ever waits for the other to open it.
    let mut go = std::fs::OpenOptions::new().read(true).write(true).open(node.path("go"))?;
    let app = node.launch(&id, app).await?;
    let log = node.path("logs/order/app.log");
    for i in 1..=4 {
        for stream in ["stdout", "stderr"] {
            file_with(&log, &format!(" {stream} F {i}\n")).await?;
            go.write_all(b"\n")?;
        }
    }
    node.exited(&app).await?;
    let seen: Vec<_> = read(&log).iter().map(|r| format!("{} {}", r.stream, r.text)).collect();
    let expected: Vec<_> = (1..=4).flat_map(|i| [format!("stdout {i}"), format!("stderr {i}")]).collect();
    assert_eq!(seen, expected);
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn rotation_under_a_fast_writer_loses_no_line_and_leaves_old_files_alone() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "rotate");
    let id = node.run_pod(&config).await?;
    let script = "i=0; while [ ! -e /tmp/stop ]; do echo line $i; i=$((i+1)); done; echo end $i";
    let app = node.launch(&id, container("app", script)).await?;
    let log = node.path("logs/rotate/app.log");
    let mut old = Vec::new();
    for round in 0..20 {
        file_with(&log, "line").await?;
        let rotated = node.path(&format!("logs/rotate/app.log.{round}"));
        std::fs::rename(&log, &rotated)?;
        reopen(&mut node, &app).await?;
        assert!(log.exists(), "the new file exists when the call returns");
        let text = std::fs::read_to_string(&rotated)?;
        old.push((rotated, text));
    }
    node.exec(&app, "touch /tmp/stop").await?;
    node.exited(&app).await?;
    let mut all = String::new();
    for (path, text) in &old {
        assert_eq!(&std::fs::read_to_string(path)?, text, "{} changed after the rotation", path.display());
        records(text);
        all.push_str(text);
    }
    all.push_str(&std::fs::read_to_string(&log)?);
    let all = records(&all);
    let (end, lines) = all.split_last().unwrap();
    assert!(lines.len() > 20);
    for (number, record) in lines.iter().enumerate() {
        assert_eq!((record.tag.as_str(), record.text.as_str()), ("F", format!("line {number}").as_str()));
    }
    assert_eq!(end.text, format!("end {}", lines.len()));
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn reopening_the_log_of_a_container_that_does_not_run_is_refused_and_makes_no_file()
-> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "idle");
    let id = node.run_pod(&config).await?;
    let ended = node.launch(&id, container("ended", "echo bye")).await?;
    node.exited(&ended).await?;
    let waiting = node.create(&id, container("waiting", "sleep 1000")).await?;
    for (id, name) in [(&ended, "ended"), (&waiting, "waiting")] {
        let log = node.path(&format!("logs/idle/{name}.log"));
        std::fs::remove_file(&log).ok();
        let refused = reopen(&mut node, id).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{name}: {refused}");
        assert!(refused.message().contains(id.as_str()), "{name}: {refused}");
        assert!(!log.exists(), "{name}");
    }
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_reopen_that_fails_keeps_the_old_file_in_use() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "stuck");
    let id = node.run_pod(&config).await?;
    let script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done";
    let app = node.launch(&id, container("app", script)).await?;
    let (log, old) = (node.path("logs/stuck/app.log"), node.path("logs/stuck/app.log.old"));
    file_with(&log, "0\n").await?;
    std::fs::rename(&log, &old)?;
    std::fs::create_dir(&log)?;
    let refused = reopen(&mut node, &app).await.unwrap_err();
    assert!(refused.message().contains("app.log") || refused.message().contains(&app), "{refused}");
    let before = std::fs::metadata(&old)?.len();
    eventually("more in the old file", async || {
        Ok(Some(()).filter(|()| std::fs::metadata(&old).is_ok_and(|file| file.len() > before)))
    })
    .await?;
    std::fs::remove_dir(&log)?;
    reopen(&mut node, &app).await?;
    assert!(log.is_file());
    file_with(&log, " stdout F ").await?;
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn the_log_and_its_directories_exist_when_start_returns() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let mut config = pod(&node, "early");
    config.log_directory = node.path("made/for/the/pod").to_string_lossy().into_owned();
    let id = node.run_pod(&config).await?;
    assert!(node.path("made/for/the/pod").is_dir());
    let mut silent = container("silent", "sleep 1000");
    silent.log_path = "silent/0.log".into();
    let silent = node.launch(&id, silent).await?;
    let log = node.path("made/for/the/pod/silent/0.log");
    assert!(log.is_file());
    assert_eq!(std::fs::metadata(&log)?.len(), 0);
    // Without a path there is no log, and the container runs all the same.
    let mut mute = container("mute", "echo nobody hears this; exit 3");
    mute.log_path = String::new();
    let mute = node.launch(&id, mute).await?;
    let ended = node.exited(&mute).await?;
    assert_eq!((ended.exit_code, ended.log_path.as_str()), (3, ""));
    // A second attempt appends nothing to the first one's file.
    let mut again = container("silent", "echo second");
    again.metadata.as_mut().unwrap().attempt = 1;
    again.log_path = "silent/1.log".into();
    let again = node.launch(&id, again).await?;
    node.exited(&again).await?;
    assert_eq!(std::fs::metadata(&log)?.len(), 0);
    assert_eq!(read(&node.path("made/for/the/pod/silent/1.log"))[0].text, "second");
    // Removing a container keeps its log: the kubelet removes logs.
    for container in [&silent, &again] {
        node.remove_container(container).await?;
    }
    assert!(log.is_file());
    node.remove_pod(&id).await?;
    node.finish()
}

#[tokio::test]
async fn a_log_path_that_leads_to_another_file_is_not_followed() -> anyhow::Result<()> {
    let mut node = Node::start().await?;
    let config = pod(&node, "planted");
    let id = node.run_pod(&config).await?;
    let victim = node.path("victim");
    std::fs::write(&victim, "precious")?;
    std::os::unix::fs::symlink(&victim, node.path("logs/planted/link.log"))?;
    ochre_e2e::run("mkfifo", &[&node.path("logs/planted/fifo.log").to_string_lossy()])?;
    for name in ["link", "fifo"] {
        let refused = match node.create(&id, container(name, "echo overwritten")).await {
            Ok(app) => node.start_container(&app).await.unwrap_err(),
            Err(refused) => refused,
        };
        assert!(refused.message().contains(&format!("{name}.log")), "{refused}");
        assert_ne!(refused.code(), tonic::Code::Unknown, "{refused}");
    }
    assert_eq!(std::fs::read_to_string(&victim)?, "precious");
    node.remove_pod(&id).await?;
    node.finish()
}
