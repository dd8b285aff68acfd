//! The bytes of each message. Every message is one kind byte (in the frame's header) and its fields in declared order.

use std::time::Duration;

use ochre_types::{ContainerId, Exit, Timestamp};

use super::{
    Adopt, Attach, ContainerSnapshot, ContainerState, Create, Exec, ExecExit, Failure, FailureKind, Notice,
    Reply, Request, RuntimeCommand, Snapshot, StdinMode, Stdio,
};
use crate::wire::{Decoder, Descriptors, Encoder, Frame, MAX_FRAME, MAX_TEXT, Malformed, Outgoing};

/// More containers than any pod has; keeps a snapshot inside one frame.
const MAX_CONTAINERS: usize = 4096;

impl Request {
    /// The request as a frame.
    pub fn encode(&self, id: u32, descriptors: Descriptors) -> Outgoing {
        let mut to = Encoder::frame(id, self.kind());
        match self {
            Self::Hello { version } => to.u32(*version),
            Self::Create(create) => encode_create(&mut to, create),
            Self::Start { id } | Self::Delete { id } | Self::ReopenLog { id } | Self::CloseStdin { id } => {
                to.bytes(id.as_str().as_bytes());
            }
            Self::Signal { id, signal, all } => {
                to.bytes(id.as_str().as_bytes());
                to.i32(*signal);
                to.u8(u8::from(*all));
            }
            Self::Update { id, resources_json } => {
                to.bytes(id.as_str().as_bytes());
                to.bytes(resources_json);
            }
            Self::Resize { id, width, height } => {
                to.bytes(id.as_str().as_bytes());
                to.u16(*width);
                to.u16(*height);
            }
            Self::Exec(exec) => {
                to.bytes(exec.id.as_str().as_bytes());
                to.bytes(exec.exec_id.as_str().as_bytes());
                to.bytes(&exec.process_json);
                to.u8(u8::from(exec.terminal));
                to.u64(exec.timeout.map_or(0, millis));
            }
            Self::KillExec { exec_id, grace } => {
                to.bytes(exec_id.as_str().as_bytes());
                to.u64(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
            }
            Self::Attach(Attach { id }) => to.bytes(id.as_str().as_bytes()),
            Self::Adopt(adopt) => {
                encode_create(&mut to, &adopt.container);
                to.i32(adopt.pid);
                to.u64(adopt.start_time);
                to.i64(adopt.started_at.nanos());
            }
            Self::Shutdown => {}
        }
        to.finish(descriptors)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 1,
            Self::Create(_) => 2,
            Self::Start { .. } => 3,
            Self::Signal { .. } => 4,
            Self::Delete { .. } => 5,
            Self::Update { .. } => 6,
            Self::ReopenLog { .. } => 7,
            Self::Resize { .. } => 8,
            Self::CloseStdin { .. } => 9,
            Self::Exec(_) => 10,
            Self::KillExec { .. } => 11,
            Self::Attach(_) => 12,
            Self::Adopt(_) => 13,
            Self::Shutdown => 14,
        }
    }

    /// Reads a request out of a frame.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(frame: &Frame) -> Result<Self, Malformed> {
        let mut from = Decoder::new(&frame.body);
        let request = match frame.kind {
            1 => Self::Hello { version: from.u32()? },
            2 => Self::Create(decode_create(&mut from)?),
            3 => Self::Start { id: from.id()? },
            4 => Self::Signal { id: from.id()?, signal: from.i32()?, all: from.bool()? },
            5 => Self::Delete { id: from.id()? },
            6 => Self::Update { id: from.id()?, resources_json: from.bytes(MAX_FRAME)?.to_vec() },
            7 => Self::ReopenLog { id: from.id()? },
            8 => Self::Resize { id: from.id()?, width: from.u16()?, height: from.u16()? },
            9 => Self::CloseStdin { id: from.id()? },
            10 => Self::Exec(Exec {
                id: from.id()?,
                exec_id: from.id()?,
                process_json: from.bytes(MAX_FRAME)?.to_vec(),
                terminal: from.bool()?,
                timeout: Some(from.u64()?).filter(|ms| *ms > 0).map(Duration::from_millis),
            }),
            11 => Self::KillExec { exec_id: from.id()?, grace: Duration::from_millis(from.u64()?) },
            12 => Self::Attach(Attach { id: from.id()? }),
            13 => Self::Adopt(Adopt {
                container: decode_create(&mut from)?,
                pid: from.i32()?,
                start_time: from.u64()?,
                started_at: Timestamp::from_nanos(from.i64()?),
            }),
            14 => Self::Shutdown,
            tag => return Err(Malformed::UnknownTag { what: "a request", tag }),
        };
        from.finish()?;
        Ok(request)
    }
}

impl Reply {
    /// The reply as a frame.
    pub fn encode(&self, id: u32, descriptors: Descriptors) -> Outgoing {
        let kind = match self {
            Self::Hello(_) => 64,
            Self::Created { .. } => 65,
            Self::Done => 66,
            Self::ExecStarted { .. } => 67,
            Self::Failed(_) => 68,
        };
        let mut to = Encoder::frame(id, kind);
        match self {
            Self::Hello(snapshot) => {
                to.u32(snapshot.version);
                to.i32(snapshot.pid);
                let containers = snapshot.containers.get(..MAX_CONTAINERS).unwrap_or(&snapshot.containers);
                to.u32(u32::try_from(containers.len()).unwrap_or(0));
                for container in containers {
                    encode_snapshot(&mut to, container);
                }
            }
            Self::Created { pid } | Self::ExecStarted { pid } => to.i32(*pid),
            Self::Done => {}
            Self::Failed(failure) => {
                to.u8(failure.kind.tag());
                to.bytes(clipped(&failure.message).as_bytes());
            }
        }
        to.finish(descriptors)
    }

    /// Whether a frame is a reply rather than a notice.
    pub fn is(frame: &Frame) -> bool {
        (64..128).contains(&frame.kind)
    }

    /// Reads a reply out of a frame.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(frame: &Frame) -> Result<Self, Malformed> {
        let mut from = Decoder::new(&frame.body);
        let reply = match frame.kind {
            64 => {
                let (version, pid, count) = (from.u32()?, from.i32()?, from.u32()? as usize);
                if count > MAX_CONTAINERS {
                    return Err(Malformed::TooLong { length: count, limit: MAX_CONTAINERS });
                }
                let containers = (0..count).map(|_| decode_snapshot(&mut from)).collect::<Result<_, _>>()?;
                Self::Hello(Snapshot { version, pid, containers })
            }
            65 => Self::Created { pid: from.i32()? },
            66 => Self::Done,
            67 => Self::ExecStarted { pid: from.i32()? },
            68 => {
                let kind = FailureKind::from_tag(from.u8()?)?;
                Self::Failed(Failure { kind, message: from.text(MAX_TEXT)?.to_owned() })
            }
            tag => return Err(Malformed::UnknownTag { what: "a reply", tag }),
        };
        from.finish()?;
        Ok(reply)
    }
}

impl Notice {
    /// The notice as a frame.
    pub fn encode(&self) -> Outgoing {
        let kind = match self {
            Self::Exited { .. } => 128,
            Self::Oom { .. } => 129,
            Self::ExecExited { .. } => 130,
        };
        let mut to = Encoder::frame(0, kind);
        match self {
            Self::Exited { id, exit } => {
                to.bytes(id.as_str().as_bytes());
                encode_exit(&mut to, exit);
            }
            Self::Oom { id } => to.bytes(id.as_str().as_bytes()),
            Self::ExecExited { exec_id, exit } => {
                to.bytes(exec_id.as_str().as_bytes());
                to.i32(exit.code);
                to.u8(u8::from(exit.timed_out));
            }
        }
        to.finish(Descriptors::default())
    }

    /// Reads a notice out of a frame.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(frame: &Frame) -> Result<Self, Malformed> {
        let mut from = Decoder::new(&frame.body);
        let notice = match frame.kind {
            128 => Self::Exited { id: from.id()?, exit: decode_exit(&mut from)? },
            129 => Self::Oom { id: from.id()? },
            130 => Self::ExecExited {
                exec_id: from.id()?,
                exit: ExecExit { code: from.i32()?, timed_out: from.bool()? },
            },
            tag => return Err(Malformed::UnknownTag { what: "a notice", tag }),
        };
        from.finish()?;
        Ok(notice)
    }
}

impl FailureKind {
    fn tag(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Exists => 1,
            Self::WrongState => 2,
            Self::Runtime => 3,
            Self::TimedOut => 4,
            Self::System => 5,
            Self::Invalid => 6,
        }
    }

    fn from_tag(tag: u8) -> Result<Self, Malformed> {
        Ok(match tag {
            0 => Self::Unknown,
            1 => Self::Exists,
            2 => Self::WrongState,
            3 => Self::Runtime,
            4 => Self::TimedOut,
            5 => Self::System,
            6 => Self::Invalid,
            tag => return Err(Malformed::UnknownTag { what: "a failure", tag }),
        })
    }
}

fn millis(duration: Duration) -> u64 {
    // 0 means "none" on the wire; a timeout below a millisecond is still a timeout.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

fn encode_create(to: &mut Encoder, create: &Create) {
    to.bytes(create.id.as_str().as_bytes());
    to.path(&create.runtime.path);
    to.path(&create.runtime.root);
    to.u8(u8::from(create.runtime.systemd_cgroup));
    to.path(&create.bundle);
    to.u8(u8::from(create.stdio.terminal));
    to.u8(match create.stdio.stdin {
        StdinMode::Closed => 0,
        StdinMode::Open => 1,
        StdinMode::Once => 2,
    });
    to.optional_path(create.log_path.as_deref());
    to.optional_path(create.exit_dir.as_deref());
    to.u64(millis(create.timeout));
}

fn decode_create(from: &mut Decoder<'_>) -> Result<Create, Malformed> {
    Ok(Create {
        id: from.id()?,
        runtime: RuntimeCommand { path: from.path()?, root: from.path()?, systemd_cgroup: from.bool()? },
        bundle: from.path()?,
        stdio: Stdio {
            terminal: from.bool()?,
            stdin: match from.u8()? {
                0 => StdinMode::Closed,
                1 => StdinMode::Open,
                2 => StdinMode::Once,
                tag => return Err(Malformed::UnknownTag { what: "a stdin mode", tag }),
            },
        },
        log_path: from.optional_path()?,
        exit_dir: from.optional_path()?,
        timeout: Duration::from_millis(from.u64()?),
    })
}

fn encode_exit(to: &mut Encoder, exit: &Exit) {
    to.i32(exit.code);
    to.i64(exit.finished_at.nanos());
    to.u8(u8::from(exit.oom_killed));
}

fn decode_exit(from: &mut Decoder<'_>) -> Result<Exit, Malformed> {
    Ok(Exit { code: from.i32()?, finished_at: Timestamp::from_nanos(from.i64()?), oom_killed: from.bool()? })
}

fn encode_snapshot(to: &mut Encoder, container: &ContainerSnapshot) {
    to.bytes(container.id.as_str().as_bytes());
    to.i64(container.started_at.nanos());
    match &container.state {
        ContainerState::Creating => to.u8(0),
        ContainerState::Created { pid } => {
            to.u8(1);
            to.i32(*pid);
        }
        ContainerState::Running { pid } => {
            to.u8(2);
            to.i32(*pid);
        }
        ContainerState::Exited { pid, exit } => {
            to.u8(3);
            to.i32(*pid);
            encode_exit(to, exit);
        }
    }
}

fn decode_snapshot(from: &mut Decoder<'_>) -> Result<ContainerSnapshot, Malformed> {
    let id: ContainerId = from.id()?;
    let started_at = Timestamp::from_nanos(from.i64()?);
    let state = match from.u8()? {
        0 => ContainerState::Creating,
        1 => ContainerState::Created { pid: from.i32()? },
        2 => ContainerState::Running { pid: from.i32()? },
        3 => ContainerState::Exited { pid: from.i32()?, exit: decode_exit(from)? },
        tag => return Err(Malformed::UnknownTag { what: "a container state", tag }),
    };
    Ok(ContainerSnapshot { id, state, started_at })
}
