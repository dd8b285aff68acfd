//! From a frame to the verb that carries it out.

use ochre_monitor_api::{Descriptors, FailureKind, Frame, PROTOCOL, Reply, Request, Snapshot};

use crate::connection::{Gone, Requester};
use crate::container::Container;
use crate::monitor::Monitor;
use crate::process;

impl Monitor {
    /// Carries out one request, or starts to. What is not a request ends the connection.
    pub(crate) fn request(&mut self, connection: u32, frame: Frame) -> Result<(), Gone> {
        let request = Request::decode(&frame).map_err(|_| Gone)?;
        let from = Requester { connection, request: frame.id };
        let descriptors = frame.descriptors;
        match request {
            Request::Hello { version } => return self.hello(from, version),
            Request::Create(create) => self.create(from, create),
            Request::Start { id } => self.start(from, &id),
            Request::Signal { id, signal, all } => self.signal(from, &id, signal, all),
            Request::Delete { id } => self.delete(from, &id),
            Request::Update { id, resources_json } => self.update(from, &id, &resources_json),
            Request::ReopenLog { id } => {
                let result = self.container(&id).map(|container| container.log.reopen());
                self.conclude_if_known(from, result);
            }
            Request::Resize { id, width, height } => {
                let result = self.container(&id).map(|container| container.streams.resize(width, height));
                self.conclude_if_known(from, result);
            }
            Request::CloseStdin { id } => {
                let Self { containers, poll, .. } = self;
                let container = containers.iter_mut().find(|container| container.setup.id == id);
                let result = container.map(|container| container.streams.close_stdin(poll)).map(Ok);
                self.conclude_if_known(from, result);
            }
            Request::Exec(exec) => self.exec(from, exec, descriptors),
            Request::KillExec { exec_id, grace } => self.kill_exec(from, &exec_id, grace),
            Request::Attach(attach) => {
                let serials = [self.serial(), self.serial(), self.serial()];
                let Self { containers, poll, .. } = self;
                let container = containers.iter_mut().find(|container| container.setup.id == attach.id);
                let result = container.map(|container| container.streams.attach(poll, descriptors, serials));
                self.conclude_if_known(from, result);
            }
            Request::Adopt(adopt) => self.adopt(from, adopt, descriptors),
            Request::Shutdown => self.shutdown(from),
        }
        Ok(())
    }

    fn hello(&mut self, from: Requester, version: u32) -> Result<(), Gone> {
        let snapshot = Snapshot {
            version: PROTOCOL,
            pid: process::own_pid(),
            containers: self.containers.iter().map(Container::snapshot).collect(),
        };
        let connection = self.connections.iter_mut().find(|c| c.serial == from.connection).ok_or(Gone)?;
        // The answer tells another version of the daemon what it is talking to; nothing else is served then.
        connection.send(Reply::Hello(snapshot).encode(from.request, Descriptors::default()), &self.poll)?;
        if version != PROTOCOL {
            return Err(Gone);
        }
        connection.greet();
        Ok(())
    }

    fn conclude_if_known(&mut self, from: Requester, result: Option<std::io::Result<()>>) {
        match result {
            Some(result) => self.conclude(from, result),
            None => self.unknown(from),
        }
    }

    pub(crate) fn unknown(&mut self, from: Requester) {
        self.refuse(from, FailureKind::Unknown, "the monitor has no such container");
    }

    fn shutdown(&mut self, from: Requester) {
        if let Some(container) = self.containers.iter().find(|container| container.is_live()) {
            let message = format!("container {} is alive", container.setup.id);
            return self.refuse(from, FailureKind::WrongState, message);
        }
        self.conclude(from, Ok(()));
        self.ending = true;
    }
}
