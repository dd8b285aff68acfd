//! Terminals, stdin and attachments.

use std::io::{Read, Write};

use ochre_monitor_api::client::Error;
use ochre_monitor_api::{Descriptors, StdinMode};

use crate::pod::{Pod, record, stdout_pipe};

#[tokio::test]
async fn a_terminal_has_a_size_and_its_output_is_stdout() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("while [ \"$(stty size 2>/dev/null)\" != '24 80' ]; do sleep 0.05; done; stty size; echo err >&2; printf end");
    spec.create.stdio.terminal = true;
    pod.run_spec(&spec).await;
    pod.monitor.resize(&spec.create.id, 80, 24).await.unwrap();
    pod.exit(&spec.create.id).await;
    let expected =
        [record("stdout", "F", "24 80\r"), record("stdout", "F", "err\r"), record("stdout", "P", "end")];
    assert_eq!(pod.log(&spec.create.id), expected);
    let (spec, _) = pod.run("sleep 1020").await;
    assert!(matches!(pod.monitor.resize(&spec.create.id, 80, 24).await, Err(Error::System { .. })));
}

#[tokio::test]
async fn typed_input_arrives_whole_and_its_end_too() {
    let mut pod = Pod::new().await;
    let mut spec = pod.spec("cat; echo; echo done");
    spec.create.stdio.stdin = StdinMode::Once;
    pod.run_spec(&spec).await;
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (mut output, mut ends) = stdout_pipe();
    ends.stdin = Some(reader.into());
    pod.monitor.attach(&spec.create.id, ends).await.unwrap();
    // More than all buffers on the way hold.
    let text = "0123456789abcdef".repeat(40_000);
    let typed = text.clone();
    let typist = std::thread::spawn(move || writer.write_all(typed.as_bytes()));
    let listener = std::thread::spawn(move || {
        let mut heard = String::new();
        output.read_to_string(&mut heard).map(|_| heard)
    });
    assert_eq!(pod.exit(&spec.create.id).await.code, 0);
    typist.join().unwrap().unwrap();
    let logged: String = pod.log(&spec.create.id).into_iter().map(|entry| entry.2).collect();
    assert!(logged == format!("{text}done"), "{} bytes logged", logged.len());
    let heard = listener.join().unwrap().unwrap();
    assert!(heard == format!("{text}\ndone\n"), "{} bytes heard", heard.len());
}

#[tokio::test]
async fn stdin_is_empty_or_closed_on_request() {
    let mut pod = Pod::new().await;
    let (spec, _) = pod.run("cat; echo end").await;
    pod.exit(&spec.create.id).await;
    assert_eq!(pod.log(&spec.create.id), [record("stdout", "F", "end")]);

    let mut spec = pod.spec("cat; echo end");
    spec.create.stdio.stdin = StdinMode::Open;
    pod.run_spec(&spec).await;
    let (reader, mut writer) = std::io::pipe().unwrap();
    pod.monitor
        .attach(&spec.create.id, Descriptors { stdin: Some(reader.into()), ..Descriptors::default() })
        .await
        .unwrap();
    writer.write_all(b"text\n").unwrap();
    drop(writer);
    pod.log_contains(&spec.create.id, "text").await;
    // One typist's end is not the end.
    assert_eq!(pod.log(&spec.create.id).len(), 1);
    pod.monitor.close_stdin(&spec.create.id).await.unwrap();
    pod.exit(&spec.create.id).await;
}

#[tokio::test]
async fn a_stalled_attachment_never_slows_the_container() {
    let mut pod = Pod::new().await;
    let spec = pod.spec("yes 0123456789abcde | head -n 200000; echo end >&2");
    pod.create(&spec).await.unwrap();
    // Held open and never read.
    let (_stalled, ends) = stdout_pipe();
    pod.monitor.attach(&spec.create.id, ends).await.unwrap();
    // Read to the end, in time.
    let (mut output, ends) = stdout_pipe();
    pod.monitor.attach(&spec.create.id, ends).await.unwrap();
    let reader = std::thread::spawn(move || {
        let mut heard = Vec::new();
        output.read_to_end(&mut heard).map(|_| heard.len())
    });
    pod.monitor.start(&spec.create.id).await.unwrap();
    pod.exit(&spec.create.id).await;
    let lines = pod.log(&spec.create.id).into_iter().filter(|entry| entry.0 == "stdout");
    assert_eq!(lines.filter(|entry| entry.2 == "0123456789abcde").count(), 200_000);
    let heard = reader.join().unwrap().unwrap();
    assert!(heard > 0 && heard <= 3_200_000, "{heard}");
}

#[tokio::test]
async fn an_attachment_that_is_slow_gets_the_last_output_of_a_container_that_is_gone() {
    let mut pod = Pod::new().await;
    // More than a pipe holds, less than an attachment may be behind.
    let spec = pod.spec("yes 0123456789abcde | head -n 20000");
    pod.create(&spec).await.unwrap();
    let (mut output, ends) = stdout_pipe();
    pod.monitor.attach(&spec.create.id, ends).await.unwrap();
    pod.monitor.start(&spec.create.id).await.unwrap();
    pod.exit(&spec.create.id).await;
    pod.monitor.delete(&spec.create.id).await.unwrap();
    let mut heard = Vec::new();
    output.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), 320_000);
}
