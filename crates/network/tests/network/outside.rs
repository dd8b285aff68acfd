//! Host ports as another machine sees them: TCP, UDP and SCTP, over IPv4 and IPv6.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use ochre_network::PortProtocol::{Sctp, Tcp, Udp};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

use crate::scene::{Pod, Scene, eventually, fetch_within, run};

const AT_ONCE: Duration = Duration::from_millis(900);

/// A machine beside the node, in the role of the world: 203.0.113.2 and 2001:db8:1::2.
fn another_machine(scene: &Scene) -> Pod {
    let world = scene.pod();
    let file = std::fs::File::open(&world.netns).unwrap();
    let netns = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&file));
    scene.node(|| {
        run("ip", &["link", "add", "out", "type", "veth", "peer", "name", "in"]);
        run("ip", &["link", "set", "in", "netns", &netns]);
        run("ip", &["address", "add", "203.0.113.1/24", "dev", "out"]);
        run("ip", &["address", "add", "2001:db8:1::1/64", "dev", "out", "nodad"]);
        run("ip", &["link", "set", "out", "up"]);
    });
    world.inside(|| {
        run("ip", &["address", "add", "203.0.113.2/24", "dev", "in"]);
        run("ip", &["address", "add", "2001:db8:1::2/64", "dev", "in", "nodad"]);
        run("ip", &["link", "set", "in", "up"]);
        run("ip", &["route", "add", "192.0.2.0/24", "via", "203.0.113.1"]);
    });
    // The test's own cable is complete once the node refuses a connection.
    for address in ["203.0.113.1:1", "[2001:db8:1::1]:1"] {
        eventually(address, || {
            let answer = world.inside(|| fetch_within(address, AT_ONCE));
            answer.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
    }
    world
}

fn ask_udp(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = UdpSocket::bind(own).unwrap();
    client.set_read_timeout(Some(AT_ONCE)).unwrap();
    client.connect(address).unwrap();
    client.send(b"?").unwrap();
    let mut buffer = [0; 32];
    let count = client.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn serve_udp(pod: &Pod, port: u16) {
    let socket = pod.inside(|| UdpSocket::bind(("::", port)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let text = format!("served {}", peer.ip().to_canonical());
            drop(socket.send_to(text.as_bytes(), peer));
        }
    });
}

#[test]
fn host_ports_answer_another_machine_which_the_pod_sees_as_it_is() {
    let scene = Scene::new();
    let network = scene.open_with(&["10.85.0.0/16", "fd85::/64"]);
    let world = another_machine(&scene);
    let server = scene.pod();
    let request = server.with_ports(&[
        (Tcp, 8080, 80, None),
        (Udp, 8080, 53, None),
        (Tcp, 8081, 80, Some("203.0.113.1")),
        (Tcp, 8082, 80, Some("2001:db8:1::1")),
        (Tcp, 8083, 80, Some("127.0.0.1")),
    ]);
    scene.attach(&network, &request).unwrap();
    server.serve(80, "served");
    serve_udp(&server, 53);
    for (address, expected) in [
        ("203.0.113.1:8080", Some("served 203.0.113.2")),
        ("192.0.2.10:8080", Some("served 203.0.113.2")),
        ("[2001:db8:1::1]:8080", Some("served 2001:db8:1::2")),
        ("203.0.113.1:8081", Some("served 203.0.113.2")),
        ("192.0.2.10:8081", None),
        ("[2001:db8:1::1]:8081", None),
        ("[2001:db8:1::1]:8082", Some("served 2001:db8:1::2")),
        ("203.0.113.1:8082", None),
        ("203.0.113.1:8083", None),
    ] {
        let answer = world.inside(|| fetch_within(address, AT_ONCE)).ok();
        assert_eq!(answer.as_deref(), expected, "{address}");
    }
    for (address, expected) in [
        ("203.0.113.1:8080", Some("served 203.0.113.2")),
        ("[2001:db8:1::1]:8080", Some("served 2001:db8:1::2")),
        ("203.0.113.1:8081", None),
    ] {
        assert_eq!(world.inside(|| ask_udp(address)).as_deref(), expected, "{address}/udp");
    }
    scene.detach(&network, &server).unwrap();
    assert!(world.inside(|| fetch_within("203.0.113.1:8080", AT_ONCE)).is_err());
    assert_eq!(world.inside(|| ask_udp("203.0.113.1:8080")), None);
}

/// The kernel needs SCTP sockets for neither end of this: the first packet of an association is written by hand.
#[test]
fn an_sctp_host_port_leads_to_the_pods_port() {
    let scene = Scene::new();
    let network = scene.open();
    let world = another_machine(&scene);
    let (server, other) = (scene.pod(), scene.pod());
    scene.attach(&network, &server.with_ports(&[(Sctp, 8080, 9899, None)])).unwrap();
    scene.attach(&network, &other.with_ports(&[(Tcp, 8080, 80, None), (Udp, 8080, 80, None)])).unwrap();
    let sctp = || -> OwnedFd {
        let number = std::num::NonZeroU32::new(132).unwrap();
        socket(AddressFamily::INET, SocketType::RAW, Some(Protocol::from_raw(number))).unwrap()
    };
    let receiver = server.inside(sctp);
    let node = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 0);
    world.inside(|| sendto(sctp(), &initiation(40_000, 8080), SendFlags::empty(), &node).unwrap());
    rustix::net::sockopt::set_socket_timeout(
        &receiver,
        rustix::net::sockopt::Timeout::Recv,
        Some(Duration::from_secs(5)),
    )
    .unwrap();
    let mut packet = [0; 256];
    let (_, count) = recv(&receiver, &mut packet[..], RecvFlags::empty()).unwrap();
    assert_eq!(packet[16..20], [10, 85, 0, 2], "the destination address");
    assert_eq!(packet[20..count], initiation(40_000, 9899)[..], "ports and checksum");
}

/// An INIT (RFC 9260, section 3.3.2).
fn initiation(from: u16, to: u16) -> Vec<u8> {
    let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]);
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}
