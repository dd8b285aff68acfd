//! A node that is only a network namespace, with directories of its own; everything goes away with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ochre_network::*;
use ochre_sys::namespace::{Kind, in_namespace, pin, unpin};
use ochre_types::SandboxId;
use tempfile::TempDir;

/// A node and its pods.
pub(crate) struct Scene {
    pub(crate) dir: TempDir,
    pins: parking_lot::Mutex<Vec<PathBuf>>,
}

/// A pod: an id and a network namespace.
pub(crate) struct Pod {
    pub(crate) id: SandboxId,
    pub(crate) netns: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["net.d", "bin", "pins"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let scene = Self { dir, pins: parking_lot::Mutex::new(Vec::new()) };
        scene.namespace("node");
        scene.node(|| {
            run("ip", &["link", "set", "lo", "up"]);
            run("ip", &["link", "add", "uplink", "type", "bridge"]);
            run("ip", &["address", "add", "192.0.2.10/24", "dev", "uplink"]);
            run("ip", &["link", "set", "uplink", "up"]);
        });
        scene
    }

    fn namespace(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join("pins").join(name);
        pin(&[(Kind::Net, &path)], || Ok(())).unwrap();
        self.pins.lock().push(path.clone());
        path
    }

    pub(crate) fn pod(&self) -> Pod {
        let id = SandboxId::generate();
        Pod { netns: self.namespace(id.short()), id }
    }

    pub(crate) fn config(&self) -> Config {
        let path = |name: &str| self.dir.path().join(name);
        Config {
            network_dir: path("net.d"),
            plugin_dirs: vec![path("bin")],
            default_network: None,
            cache_dir: path("cache"),
            state_dir: path("state"),
            native: NativeConfig::default(),
            host_ports: true,
            timeouts: Timeouts::default(),
        }
    }

    pub(crate) fn open(&self) -> Network {
        self.node(|| Network::open(self.config()).unwrap())
    }

    /// With pods in these subnets.
    pub(crate) fn open_with(&self, subnets: &[&str]) -> Network {
        let mut config = self.config();
        config.native.subnets = subnets_of(subnets);
        self.node(|| Network::open(config).unwrap())
    }

    /// Runs something on the node.
    pub(crate) fn node<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.dir.path().join("pins/node"), work)
    }

    pub(crate) fn attach(&self, network: &Network, request: &AttachRequest) -> Result<Attachment, Error> {
        self.node(|| network.attach(request))
    }

    pub(crate) fn detach(&self, network: &Network, pod: &Pod) -> Result<(), Error> {
        self.node(|| network.detach(&pod.detach()))
    }

    pub(crate) fn configure(&self, file: &str, text: &str) {
        // Renamed into place: the watcher must not see half a file.
        let dir = self.dir.path().join("net.d");
        std::fs::write(dir.join("new"), text).unwrap();
        std::fs::rename(dir.join("new"), dir.join(file)).unwrap();
    }

    /// A plugin that is a shell script; `$dir` is the scene's directory.
    pub(crate) fn plugin(&self, name: &str, script: &str) {
        let path = self.dir.path().join("bin").join(name);
        let text = format!("#!/bin/sh\ndir={}\n{script}\n", self.dir.path().display());
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// Names in a directory of the scene that do not start with a dot.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join(name)) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Devices of the node besides those it was made with.
    pub(crate) fn devices(&self) -> Vec<String> {
        let text = self.node(|| output("ip", &["-o", "link"]));
        text.lines()
            .filter_map(|line| line.split(':').nth(1))
            .map(|name| name.trim().split('@').next().unwrap().to_owned())
            .filter(|name| !["lo", "uplink"].contains(&name.as_str()) && !is_fallback(name))
            .collect()
    }

    pub(crate) fn ruleset(&self) -> String {
        self.node(|| output("nft", &["list", "ruleset"]))
    }
}

/// Some kernels put tunnel devices into every namespace.
fn is_fallback(name: &str) -> bool {
    [
        "sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0", "ifb0",
        "ifb1",
    ]
    .contains(&name)
}

pub(crate) fn subnets_of(texts: &[&str]) -> Subnets {
    Subnets::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

impl Drop for Scene {
    fn drop(&mut self) {
        for path in self.pins.lock().iter().rev() {
            if let Err(error) = unpin(path) {
                eprintln!("cannot unpin {}: {error}", path.display());
            }
        }
    }
}

impl Pod {
    pub(crate) fn request(&self) -> AttachRequest {
        AttachRequest {
            sandbox: self.id.clone(),
            name: "web".into(),
            namespace: "shop".into(),
            uid: "1234".into(),
            netns: self.netns.clone(),
            port_mappings: Vec::new(),
            annotations: BTreeMap::new(),
            cgroup_path: None,
            dns: None,
        }
    }

    pub(crate) fn with_ports(&self, ports: &[(PortProtocol, u16, u16, Option<&str>)]) -> AttachRequest {
        let port_mappings = ports
            .iter()
            .map(|(protocol, host_port, container_port, host_ip)| PortMapping {
                protocol: *protocol,
                container_port: *container_port,
                host_port: *host_port,
                host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            })
            .collect();
        AttachRequest { port_mappings, ..self.request() }
    }

    pub(crate) fn detach(&self) -> DetachRequest {
        DetachRequest { sandbox: self.id.clone(), netns: Some(self.netns.clone()), record: None }
    }

    /// Runs something in the pod.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.netns, work)
    }

    /// A server that answers every connection with a word and the peer's address.
    pub(crate) fn serve(&self, port: u16, word: &'static str) {
        let any = (Ipv6Addr::UNSPECIFIED, port);
        let listener = self.inside(|| TcpListener::bind(any).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                drop(std::io::Write::write_all(&mut stream, format!("{word} {peer}").as_bytes()));
            }
        });
    }
}

/// What a server says, or why it cannot be reached.
pub(crate) fn fetch(address: &str) -> std::io::Result<String> {
    // Long enough for a second SYN where the way is the test's own.
    fetch_within(address, Duration::from_millis(2500))
}

/// What a server says if it can be connected to in time.
pub(crate) fn fetch_within(address: &str, patience: Duration) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text)?;
    Ok(text)
}

pub(crate) fn inside<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> T {
    in_namespace(File::open(netns).unwrap(), Kind::Net, work).unwrap()
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(Command::new(program).args(arguments).output().unwrap().stdout).unwrap()
}

/// An error with its sources.
pub(crate) fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
