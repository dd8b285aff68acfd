use super::*;

use tokio::io::duplex;

fn write_now(fd: &OwnedFd, bytes: &[u8]) {
    assert_eq!(rustix::io::write(fd, bytes).unwrap(), bytes.len());
}

/// A copy of a pipe's output: the pipe's other end, the client's, and the switch that says that the process has ended.
fn copying(
    window: usize,
) -> (OwnedFd, tokio::io::DuplexStream, watch::Sender<bool>, tokio::task::JoinHandle<Copied>) {
    let (end, writer) = End::reader().unwrap();
    let (ours, client) = duplex(window);
    let (sender, ended) = watch::channel(false);
    let copy = tokio::spawn(async move { copy_out(&end, Box::new(ours), Until { ended, behind: 0 }).await });
    (writer, client, sender, copy)
}

#[tokio::test]
async fn what_was_written_before_the_end_is_delivered_to_a_slow_client_although_the_pipe_is_held() {
    let (writer, mut client, ended, copy) = copying(16);
    let text = vec![b'x'; 60_000];
    write_now(&writer, &text);
    ended.send_replace(true);
    // The client looks only when waiting for more would be over.
    tokio::time::sleep(DRAIN + Duration::from_millis(200)).await;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard.len(), text.len());
    assert_eq!(copy.await.unwrap(), Copied::End);
    drop(writer);
}

#[tokio::test]
async fn a_background_process_that_never_stops_writing_gets_a_second() {
    let (writer, mut client, ended, copy) = copying(1 << 20);
    let noise = std::thread::spawn(move || while rustix::io::write(&writer, &[b'y'; 4096]).is_ok() {});
    let began = Instant::now();
    ended.send_replace(true);
    let mut sink = vec![0; 1 << 16];
    while client.read(&mut sink).await.unwrap() > 0 {}
    assert!(began.elapsed() >= DRAIN && began.elapsed() < 10 * DRAIN, "{:?}", began.elapsed());
    assert_eq!(copy.await.unwrap(), Copied::End);
    // The pipe is closed, which the writer hears of.
    noise.join().unwrap();
}

#[tokio::test]
async fn a_client_that_takes_no_more_ends_the_copy_and_closes_the_pipe() {
    let (writer, client, _ended, copy) = copying(16);
    drop(client);
    write_now(&writer, b"text");
    assert_eq!(copy.await.unwrap(), Copied::Refused);
    assert_eq!(rustix::io::write(&writer, b"text"), Err(Errno::PIPE));
}

#[tokio::test]
async fn the_end_of_a_clients_input_closes_the_pipe_behind_what_was_sent() {
    let (end, reader) = End::writer().unwrap();
    let (mut client, theirs) = duplex(1 << 10);
    let copy = tokio::spawn(copy_in(Box::new(theirs), end));
    let listener = std::thread::spawn(move || {
        let mut heard = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(reader), &mut heard).map(|_| heard.len())
    });
    client.write_all(&vec![b'z'; 300_000]).await.unwrap();
    drop(client);
    assert_eq!(copy.await.unwrap(), Typed::Ended);
    assert_eq!(listener.join().unwrap().unwrap(), 300_000);
}

#[tokio::test]
async fn the_end_of_input_reaches_a_program_on_a_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    for (typed, heard) in [("", ""), ("a line\n", "a line\n"), ("half a line", "half a line")] {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let program = std::process::Command::new("cat")
            .stdin(std::fs::File::open(path).unwrap())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (mut client, theirs) = duplex(1 << 10);
        client.write_all(typed.as_bytes()).await.unwrap();
        drop(client);
        let end = End::new(master).unwrap();
        assert_eq!(type_in(Box::new(theirs), &end).await, Typed::Ended);
        let output = tokio::task::spawn_blocking(|| program.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), heard);
    }
}
