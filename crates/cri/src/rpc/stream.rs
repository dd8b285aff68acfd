//! The verbs that answer with a URL: Exec, Attach, PortForward; and what happens when a client fetches it.
//!
//! ```text
//!  kubelet ── Exec ──▶ checked here ──▶ announced to the streaming server ──▶ URL with a token
//!  client ── URL ──▶ streaming server ──▶ `Streaming` (here) ──▶ pods
//! ```
//!
//! What can be refused is refused before there is a URL, so that the caller gets a code; the object is looked at again
//! when the client comes.

use ochre_cri_api as api;
use ochre_pod::{Pods, Size};
use ochre_stream::{
    AttachRequest, Backend, BoxFuture, Ended, ExecRequest, PortForwardRequest, PortStream, Session, Streams,
};

use crate::failure::Failure;
use crate::service::Service;

pub(crate) async fn exec(service: &Service, request: api::ExecRequest) -> Result<api::ExecResponse, Failure> {
    let api::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr } = request;
    let container = service.pods.container(&container_id)?;
    let about = |failure: Failure| failure.about("container", &container_id);
    if cmd.first().is_none_or(String::is_empty) {
        return Err(about(Failure::Missing { field: "cmd" }));
    }
    let streams = Streams { stdin, stdout, stderr, terminal: tty };
    check(streams).map_err(about)?;
    container.check_exec().map_err(|error| about(error.into()))?;
    let request = ExecRequest { container: container.id.to_string(), command: cmd, streams };
    let url = service.streaming.exec(request).map_err(|error| about(error.into()))?;
    Ok(api::ExecResponse { url })
}

pub(crate) async fn attach(
    service: &Service,
    request: api::AttachRequest,
) -> Result<api::AttachResponse, Failure> {
    let api::AttachRequest { container_id, stdin, tty, stdout, stderr } = request;
    let container = service.pods.container(&container_id)?;
    let about = |failure: Failure| failure.about("container", &container_id);
    let streams = Streams { stdin, stdout, stderr, terminal: tty };
    check(streams).map_err(about)?;
    if tty != container.config.tty {
        let reason = "it must be what the container was made with";
        return Err(about(Failure::invalid("tty", tty, reason)));
    }
    container.check_attach().map_err(|error| about(error.into()))?;
    let request = AttachRequest { container: container.id.to_string(), streams };
    let url = service.streaming.attach(request).map_err(|error| about(error.into()))?;
    Ok(api::AttachResponse { url })
}

pub(crate) async fn port_forward(
    service: &Service,
    request: api::PortForwardRequest,
) -> Result<api::PortForwardResponse, Failure> {
    let api::PortForwardRequest { pod_sandbox_id, port } = request;
    let sandbox = service.pods.sandbox(&pod_sandbox_id)?;
    let about = |failure: Failure| failure.about("pod", &pod_sandbox_id);
    let ports = port.into_iter().map(number).collect::<Result<Vec<u16>, Failure>>().map_err(about)?;
    sandbox.check_ports().map_err(|error| about(error.into()))?;
    let request = PortForwardRequest { sandbox: sandbox.id.to_string(), ports };
    let url = service.streaming.port_forward(request).map_err(|error| about(error.into()))?;
    Ok(api::PortForwardResponse { url })
}

/// What CRI demands of the streams of an exec or attach.
fn check(streams: Streams) -> Result<(), Failure> {
    let Streams { stdin, stdout, stderr, terminal } = streams;
    if !(stdin || stdout || stderr) {
        return Err(Failure::Missing { field: "one of stdin, stdout and stderr" });
    }
    if terminal && stderr {
        return Err(Failure::invalid("stderr", stderr, "a terminal has no stderr of its own"));
    }
    Ok(())
}

fn number(port: i32) -> Result<u16, Failure> {
    let number = u16::try_from(port).ok().filter(|port| *port > 0);
    number.ok_or_else(|| Failure::invalid("port", port, "a TCP port from 1 to 65535"))
}

/// The pods as the streaming server sees them.
pub(crate) struct Streaming(pub(crate) Pods);

impl Backend for Streaming {
    fn exec<'a>(
        &'a self,
        container: &'a str,
        command: &'a [String],
        session: Session,
    ) -> BoxFuture<'a, Result<Ended, ochre_stream::Failure>> {
        Box::pin(async move {
            let program = command.first().map_or("", String::as_str);
            let record = Record::new("exec", container, program);
            let found = self.0.container(container).map_err(refused)?;
            let ended = self.0.exec(&found, command, streams(session)).await;
            record.end(ended.as_ref().map(|code| format!("exit code {code}")));
            ended.map(|code| Ended { code }).map_err(refused)
        })
    }

    fn attach<'a>(
        &'a self,
        container: &'a str,
        session: Session,
    ) -> BoxFuture<'a, Result<(), ochre_stream::Failure>> {
        Box::pin(async move {
            let record = Record::new("attach", container, "");
            let found = self.0.container(container).map_err(refused)?;
            let ended = self.0.attach(&found, streams(session)).await;
            record.end(ended.as_ref().map(|()| "ended".to_owned()));
            ended.map_err(refused)
        })
    }

    fn connect<'a>(
        &'a self,
        sandbox: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn PortStream>, ochre_stream::Failure>> {
        Box::pin(async move {
            let found = self.0.sandbox(sandbox).map_err(refused)?;
            let stream = self.0.connect(&found, port).await.map_err(refused)?;
            tracing::debug!(pod = sandbox, port, "forwarding a connection");
            Ok(Box::new(stream) as Box<dyn PortStream>)
        })
    }
}

/// The record of who did what in a container: one line at the beginning, one at the end, also when the client just goes.
struct Record<'a> {
    what: &'static str,
    container: &'a str,
    began: std::time::Instant,
    ended: bool,
}

impl<'a> Record<'a> {
    fn new(what: &'static str, container: &'a str, program: &str) -> Self {
        let program: String = program.chars().take(200).collect();
        tracing::info!(container, program, "{what}");
        Self { what, container, began: std::time::Instant::now(), ended: false }
    }

    fn end(mut self, how: Result<String, &ochre_pod::Error>) {
        self.ended = true;
        let (container, what, elapsed_ms) = (self.container, self.what, self.began.elapsed().as_millis());
        match how {
            Ok(how) => tracing::info!(container, elapsed_ms, "{what}: {how}"),
            Err(error) => tracing::info!(container, elapsed_ms, "{what}: {error}"),
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let elapsed_ms = self.began.elapsed().as_millis();
            tracing::info!(container = self.container, elapsed_ms, "{}: the client has gone", self.what);
        }
    }
}

fn refused(error: ochre_pod::Error) -> ochre_stream::Failure {
    ochre_stream::Failure { message: Failure::from(error).text() }
}

fn streams(session: Session) -> ochre_pod::Session {
    let Session { stdin, stdout, stderr, terminal, mut sizes } = session;
    ochre_pod::Session {
        stdin,
        stdout,
        stderr,
        terminal,
        sizes: Box::new(move |context| {
            let size = |size: ochre_stream::TerminalSize| Size { width: size.width, height: size.height };
            sizes.poll_recv(context).map(|next| next.map(size))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_streams_that_cannot_be_are_refused() {
        for port in [0, -1, 65536, i32::MIN] {
            assert!(number(port).unwrap_err().text().contains("1 to 65535"), "{port}");
        }
        assert_eq!(number(65535).unwrap(), 65535);
        let none = Streams::default();
        assert!(check(none).is_err());
        assert!(check(Streams { terminal: true, stdout: true, stderr: true, ..none }).is_err());
        check(Streams { terminal: true, stdout: true, ..none }).unwrap();
        check(Streams { stdin: true, ..none }).unwrap();
    }
}
