//! Host ports of the built-in network.

use std::net::UdpSocket;
use std::time::Duration;

use ochre_network::PortProtocol::{Sctp, Tcp, Udp};
use ochre_network::{Error, HostPortError};
use ochre_types::ErrorKind;

use crate::scene::{Scene, fetch, run, words};

#[test]
fn a_host_port_is_reached_from_the_node_from_pods_and_from_outside() {
    let scene = Scene::new();
    let network = scene.open();
    let (server, client) = (scene.pod(), scene.pod());
    let request = server.with_ports(&[(Tcp, 8080, 80, None), (Udp, 5353, 53, None), (Sctp, 9, 9, None)]);
    let attached = scene.attach(&network, &request).unwrap();
    let other = scene.attach(&network, &client.request()).unwrap();
    server.serve(80, "served");
    println!("{}", scene.ruleset());

    assert_eq!(scene.node(|| fetch("127.0.0.1:8080")).unwrap(), "served 10.85.0.1");
    assert_eq!(scene.node(|| fetch("192.0.2.10:8080")).unwrap().split(' ').next(), Some("served"));
    assert_eq!(client.inside(|| fetch("192.0.2.10:8080")).unwrap(), "served 10.85.0.1");
    assert_eq!(client.inside(|| fetch("10.85.0.1:8080")).unwrap(), "served 10.85.0.1");
    // The pod reaches itself through the node's address.
    assert_eq!(server.inside(|| fetch("192.0.2.10:8080")).unwrap(), "served 10.85.0.1");
    // Only the node itself is translated, not whatever passes.
    assert!(client.inside(|| fetch(&format!("{}:8080", attached.ips[0]))).is_err());
    assert_ne!(attached.ips, other.ips);

    scene.detach(&network, &server).unwrap();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).is_err());
    assert!(scene.list("state/host-ports").is_empty());
    let rules = scene.ruleset();
    assert!(!rules.contains(server.id.as_str()) && rules.contains("ochre-hostports"), "{rules}");
    scene.detach(&network, &client).unwrap();
    scene.node(|| network.teardown()).unwrap();
    assert_eq!(scene.ruleset(), "");
}

#[test]
fn the_nodes_loopback_is_not_opened_to_pods() {
    let scene = Scene::new();
    let network = scene.open();
    let (server, attacker) = (scene.pod(), scene.pod());
    scene.attach(&network, &server.with_ports(&[(Tcp, 8080, 80, Some("127.0.0.1"))])).unwrap();
    server.serve(80, "served");
    scene.attach(&network, &attacker.request()).unwrap();
    let listener = scene.node(|| std::net::TcpListener::bind("127.0.0.1:9999").unwrap());
    std::thread::spawn(move || while listener.accept().is_ok() {});

    assert_eq!(scene.node(|| fetch("127.0.0.1:8080")).unwrap(), "served 10.85.0.1");
    assert!(scene.node(|| fetch("192.0.2.10:8080")).is_err(), "only 127.0.0.1 was asked for");
    attacker.inside(|| {
        // CVE-2020-8558: a neighbour sends packets for 127.0.0.1 to the node.
        run("ip", &["address", "flush", "dev", "lo"]);
        run("ip", &["route", "add", "127.0.0.0/8", "via", "10.85.0.1", "src", &own_address()]);
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
    });
    let localnet =
        scene.node(|| std::fs::read_to_string("/proc/sys/net/ipv4/conf/ochre0/route_localnet").unwrap());
    assert_eq!(localnet.trim(), "1");
    for address in ["127.0.0.1:9999", "127.0.0.1:8080"] {
        assert!(
            attacker
                .inside(|| {
                    run("sh", &["-c", "ip route del local 127.0.0.0/8 dev lo table local || true"]);
                    fetch(address)
                })
                .is_err()
        );
    }
    // The test can fail: without the guard the attack works.
    scene.node(|| run("nft", &["flush", "chain", "ip", "ochre-hostports", "guard"]));
    assert!(
        attacker
            .inside(|| std::net::TcpStream::connect_timeout(
                &"127.0.0.1:9999".parse().unwrap(),
                Duration::from_secs(1)
            ))
            .is_ok()
    );
}

fn own_address() -> String {
    let text = crate::scene::output("ip", &["-4", "-o", "address", "show", "eth0"]);
    text.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned()
}

#[test]
fn a_port_belongs_to_one_pod_and_its_owner_is_named() {
    let scene = Scene::new();
    let network = scene.open();
    let (first, second) = (scene.pod(), scene.pod());
    scene.attach(&network, &first.with_ports(&[(Tcp, 8080, 80, None)])).unwrap();
    let error = scene.attach(&network, &second.with_ports(&[(Tcp, 8080, 80, None)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let expected = matches!(&error, Error::HostPort { source: HostPortError::Taken { port: 8080, owner, .. }, .. } if *owner == first.id);
    assert!(expected, "{}", words(&error));
    assert_eq!(scene.list("state/leases").len(), 1, "the refused pod keeps no address");
    assert_eq!(scene.devices().len(), 2, "nor was it ever connected");
    // So it is on one address of all of them.
    let request = second.with_ports(&[(Tcp, 8080, 80, Some("192.0.2.10"))]);
    assert_eq!(scene.attach(&network, &request).unwrap_err().kind(), ErrorKind::InvalidArgument);
    scene.detach(&network, &first).unwrap();
    // The same port of another protocol or address is free.
    scene.attach(&network, &first.with_ports(&[(Tcp, 8080, 80, Some("127.0.0.1"))])).unwrap();
    let request = second.with_ports(&[(Udp, 8080, 80, None), (Tcp, 8080, 81, Some("192.0.2.10"))]);
    scene.attach(&network, &request).unwrap();
    first.serve(80, "first");
    second.serve(81, "second");
    assert!(scene.node(|| fetch("192.0.2.10:8080")).unwrap().starts_with("second"));
    assert!(scene.node(|| fetch("127.0.0.1:8080")).unwrap().starts_with("first"));
}

#[test]
fn a_port_that_a_process_of_the_node_listens_on_is_refused() {
    let scene = Scene::new();
    let network = scene.open();
    let _server = scene.node(|| std::net::TcpListener::bind("127.0.0.1:8080").unwrap());
    let _resolver = scene.node(|| UdpSocket::bind("[::]:5353").unwrap());
    let client = scene.node(|| UdpSocket::bind("192.0.2.10:40000").unwrap());
    client.connect("192.0.2.11:53").unwrap();
    let pod = scene.pod();
    for (ports, taken) in [
        ([(Tcp, 8080, 80, None)], true),
        ([(Tcp, 8080, 80, Some("127.0.0.1"))], true),
        ([(Tcp, 8080, 80, Some("192.0.2.10"))], false),
        ([(Udp, 8080, 80, None)], false),
        // An IPv6 socket that takes IPv4 as well.
        ([(Udp, 5353, 53, None)], true),
        ([(Tcp, 5353, 53, None)], false),
        // A client's port is nobody's.
        ([(Udp, 40000, 53, None)], false),
        // The kernel of a test machine may know no SCTP sockets.
        ([(Sctp, 8080, 80, None)], false),
    ] {
        match scene.attach(&network, &pod.with_ports(&ports)) {
            Ok(_) => assert!(!taken, "{ports:?}"),
            Err(error) => {
                assert!(taken, "{ports:?}: {}", words(&error));
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(words(&error).contains("a process of the node"), "{}", words(&error));
                assert!(scene.list("state/host-ports").is_empty() && scene.list("state/leases").is_empty());
            }
        }
        scene.detach(&network, &pod).unwrap();
    }
}

#[test]
fn two_engines_on_one_node_leave_each_others_ports_alone() {
    let scene = Scene::new();
    let first = scene.open();
    let mut config = scene.config();
    config.state_dir = scene.dir.path().join("other");
    let open =
        |config: &ochre_network::Config| scene.node(|| ochre_network::Network::open(config.clone()).unwrap());
    let (a, b) = (scene.pod(), scene.pod());
    scene.attach(&first, &a.with_ports(&[(Tcp, 8080, 80, None)])).unwrap();
    // The same bridge would give the same addresses.
    let error = scene.attach(&open(&config), &b.request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(words(&error).contains("ochre0") && words(&error).contains("/state"), "{}", words(&error));

    config.native.bridge = "other0".into();
    config.native.subnets = crate::scene::subnets_of(&["10.86.0.0/16", "fd86::/64"]);
    let second = open(&config);
    scene.attach(&second, &b.with_ports(&[(Tcp, 8081, 80, None)])).unwrap();
    a.serve(80, "a");
    b.serve(80, "b");
    assert_eq!(scene.node(|| fetch("127.0.0.1:8080")).unwrap(), "a 10.85.0.1");
    assert_eq!(scene.node(|| fetch("127.0.0.1:8081")).unwrap(), "b 10.86.0.1");
    // Through the other engine's port, from pod to pod.
    assert!(a.inside(|| fetch("192.0.2.10:8081")).unwrap().starts_with("b "));
    scene.detach(&second, &b).unwrap();
    scene.node(|| second.teardown()).unwrap();
    assert_eq!(scene.node(|| fetch("127.0.0.1:8080")).unwrap(), "a 10.85.0.1");
    assert!(!scene.ruleset().contains("other0"), "{}", scene.ruleset());

    // A bridge whose pods are gone belongs to whoever comes next.
    scene.detach(&first, &a).unwrap();
    config.native = ochre_network::NativeConfig::default();
    scene.attach(&open(&config), &b.request()).unwrap();
}

#[test]
fn ports_survive_a_restart_and_a_flushed_firewall() {
    let scene = Scene::new();
    let network = scene.open();
    let (first, second) = (scene.pod(), scene.pod());
    scene.attach(&network, &first.with_ports(&[(Tcp, 8080, 80, None)])).unwrap();
    first.serve(80, "first");
    drop(network);

    let network = scene.open();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).is_ok(), "a restart touches nothing");
    let error = scene.attach(&network, &second.with_ports(&[(Tcp, 8080, 80, None)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    scene.attach(&network, &second.with_ports(&[(Tcp, 8081, 80, None)])).unwrap();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).is_ok());
    scene.node(|| run("nft", &["flush", "ruleset"]));
    scene.detach(&network, &second).unwrap();
    scene.attach(&network, &second.with_ports(&[(Tcp, 8082, 80, None)])).unwrap();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).unwrap().starts_with("first"));
    drop(network);

    // The daemon that published a port is not needed to withdraw it.
    let network = scene.open();
    scene.detach(&network, &first).unwrap();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).is_err());
    assert!(!scene.ruleset().contains(first.id.as_str()));
}

#[test]
fn udp_flows_follow_the_pod_that_has_the_port_now() {
    let scene = Scene::new();
    let network = scene.open();
    let client = scene.node(|| UdpSocket::bind("192.0.2.10:0").unwrap());
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    client.connect("192.0.2.10:5353").unwrap();
    let ask = || {
        drop(client.send(b"?"));
        let mut buffer = [0; 16];
        // A refusal of an earlier packet is reported once.
        let count = client.recv(&mut buffer).or_else(|_| {
            drop(client.send(b"?"));
            client.recv(&mut buffer)
        });
        count.ok().map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned())
    };
    let serve = |pod: &crate::scene::Pod, word: &'static str| {
        let socket = pod.inside(|| UdpSocket::bind("0.0.0.0:53").unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                drop(socket.send_to(word.as_bytes(), peer));
            }
        });
    };
    // A client that was there first, before any pod had the port.
    assert_eq!(ask(), None);
    for word in ["first", "second"] {
        let pod = scene.pod();
        scene.attach(&network, &pod.with_ports(&[(Udp, 5353, 53, None)])).unwrap();
        serve(&pod, word);
        assert_eq!(ask().as_deref(), Some(word));
        scene.detach(&network, &pod).unwrap();
    }
}

#[test]
fn a_damaged_record_keeps_nobody_from_starting() {
    let scene = Scene::new();
    let network = scene.open();
    let (damaged, other) = (scene.pod(), scene.pod());
    scene.attach(&network, &damaged.with_ports(&[(Tcp, 8080, 80, None)])).unwrap();
    drop(network);
    let record = scene.dir.path().join(format!("state/host-ports/{}.json", damaged.id));
    std::fs::write(&record, "{").unwrap();
    let network = scene.open();
    scene.attach(&network, &other.with_ports(&[(Tcp, 8080, 81, None)])).unwrap();
    other.serve(81, "other");
    assert!(scene.node(|| fetch("127.0.0.1:8080")).unwrap().starts_with("other"));
    scene.detach(&network, &damaged).unwrap();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).unwrap().starts_with("other"));
}
