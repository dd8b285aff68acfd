//! A way to a registry that holds answers back: each connection carries so many bytes, and more once the gate is opened.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A TCP forwarder on loopback. Its threads end with their connections.
pub struct Gate {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    open: Mutex<bool>,
    opened: Condvar,
    /// Connections that wait at the gate.
    held: Mutex<usize>,
}

impl Gate {
    /// Starts it: connections go to `target`, and each brings `allowed` bytes back as long as the gate is closed.
    pub fn start(target: String, allowed: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared =
            Arc::new(Shared { open: Mutex::new(false), opened: Condvar::new(), held: Mutex::new(0) });
        let gate = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (Ok(to), Ok(from)) = (server.try_clone(), client.try_clone()) else { continue };
                std::thread::spawn(move || carry(from, to, usize::MAX, None));
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || carry(server, client, allowed, Some(&gate)));
            }
        });
        Ok(Self { port, shared })
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections wait.
    pub fn held(&self) -> usize {
        *self.shared.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        *self.shared.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.shared.opened.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, allowed: usize, gate: Option<&Shared>) {
    let mut buffer = [0; 16 << 10];
    let mut carried = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        carried += length;
        if let Some(gate) = gate.filter(|_| carried > allowed) {
            wait(gate);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // The other direction may still be at work; an end that is gone already needs no ending.
    drop((to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read)));
}

fn wait(gate: &Shared) {
    let Ok(mut open) = gate.open.lock() else { return };
    if *open {
        return;
    }
    let count = |change: fn(usize) -> usize| gate.held.lock().map(|mut held| *held = change(*held));
    drop(count(|held| held + 1));
    while !*open {
        let Ok(guard) = gate.opened.wait(open) else { return };
        open = guard;
    }
    drop(count(|held| held - 1));
}
