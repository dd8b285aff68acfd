//! PortForward: connections to ports of a pod, from inside its network.
//!
//! A socket stays in the network namespace it was made in. So only the making of it happens there, on a thread that ends
//! with the visit; connecting and copying are done by the daemon's own threads, which never leave its namespace.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use ochre_sys::namespace::{Kind, in_namespace};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use tokio::net::{TcpSocket, TcpStream};

use super::Sandbox;
use crate::engine::{Pods, blocking};
use crate::error::Error;

/// How long a server whose queue is full is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// One socket per family; a kernel or pod may be without IPv6.
struct Sockets {
    v4: OwnedFd,
    v6: Option<OwnedFd>,
}

impl Pods {
    /// Connects to a TCP port at `localhost` of a ready pod: IPv4 first, then IPv6. A pod in the host's network is
    /// reached on the host.
    ///
    /// # Errors
    /// `PortsClosed` for a pod that is not ready, `Forward` with the reason of the connection's failure.
    pub async fn connect(&self, sandbox: &Sandbox, port: u16) -> Result<TcpStream, Error> {
        sandbox.check_ports()?;
        let failed = |source: io::Error| Error::Forward { id: sandbox.id.clone(), port, source };
        let netns = sandbox.network_namespace().map(Path::to_owned);
        let made = blocking(sandbox.id.to_string(), move || Ok(sockets(netns.as_deref()))).await?;
        let Sockets { v4, v6 } = made.map_err(failed)?;
        let by_v4 = connect(v4, (Ipv4Addr::LOCALHOST, port).into()).await;
        match (by_v4, v6) {
            (Ok(stream), _) => Ok(stream),
            (Err(error), None) => Err(failed(error)),
            // The reason of the first refusal is the one that people know how to read.
            (Err(error), Some(v6)) => {
                connect(v6, (Ipv6Addr::LOCALHOST, port).into()).await.map_err(|_| failed(error))
            }
        }
    }
}

impl Sandbox {
    /// Whether its ports can be reached now.
    ///
    /// # Errors
    /// `PortsClosed`.
    pub fn check_ports(&self) -> Result<(), Error> {
        if self.is_ready() {
            return Ok(());
        }
        Err(Error::PortsClosed { id: self.id.clone(), state: self.state().name() })
    }
}

fn sockets(netns: Option<&Path>) -> io::Result<Sockets> {
    let make = || -> io::Result<Sockets> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let new = |family| rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP));
        Ok(Sockets { v4: new(AddressFamily::INET)?, v6: new(AddressFamily::INET6).ok() })
    };
    match netns {
        Some(path) => in_namespace(std::fs::File::open(path)?, Kind::Net, make)?,
        None => make(),
    }
}

async fn connect(socket: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(socket.into());
    let stream = match tokio::time::timeout(PATIENCE, socket.connect(to)).await {
        Ok(connected) => connected?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
