//! Pods with IPv6 addresses, alone or beside IPv4 ones.

use std::io::ErrorKind;
use std::net::IpAddr;

use ochre_network::PortProtocol::Tcp;

use crate::scene::{Scene, eventually, fetch, fetch_within, output, run, words};

const V4: &str = "10.85.0.0/16";
const V6: &str = "fd85::/64";

fn texts(ips: &[IpAddr]) -> Vec<String> {
    ips.iter().map(ToString::to_string).collect()
}

fn setting(key: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap().trim().to_owned()
}

#[test]
fn a_pod_has_an_address_of_each_subnet_in_their_order() {
    for subnets in [&[V4, V6][..], &[V6, V4], &[V6]] {
        let scene = Scene::new();
        let network = scene.open_with(subnets);
        let (a, b) = (scene.pod(), scene.pod());
        let attached = scene.attach(&network, &a.request()).unwrap_or_else(|e| panic!("{}", words(&e)));
        scene.attach(&network, &b.request()).unwrap();
        let expected: Vec<_> =
            subnets.iter().map(|subnet| if *subnet == V4 { "10.85.0.2" } else { "fd85::2" }).collect();
        assert_eq!(texts(&attached.ips), expected);
        assert_eq!(attached.result["ips"].as_array().unwrap().len(), subnets.len());
        a.serve(80, "a");
        for ip in &attached.ips {
            let address = std::net::SocketAddr::new(*ip, 80).to_string();
            let of_peer = if ip.is_ipv4() { "a 10.85.0.3" } else { "a fd85::3" };
            let of_node = if ip.is_ipv4() { "a 10.85.0.1" } else { "a fd85::1" };
            assert_eq!(b.inside(|| fetch(&address)).unwrap(), of_peer);
            assert_eq!(scene.node(|| fetch(&address)).unwrap(), of_node);
        }
        let addresses = a.inside(|| output("ip", &["address", "show", "dev", "eth0"]));
        assert!(!addresses.contains("tentative"), "{addresses}");
        let routes = a.inside(|| output("ip", &["-6", "route"]));
        assert!(routes.contains("default via fd85::1"), "{routes}");
        assert_eq!(a.inside(|| setting("ipv6/conf/eth0/accept_ra")), "0");
        assert_eq!(scene.node(|| setting("ipv6/conf/ochre0/accept_ra")), "0");
        assert_eq!(scene.node(|| setting("ipv6/conf/all/forwarding")), "1");
        scene.node(|| network.check(&a.id, &a.netns, &attached)).unwrap();
        a.inside(|| run("ip", &["-6", "address", "flush", "dev", "eth0"]));
        let gone = scene.node(|| network.check(&a.id, &a.netns, &attached)).unwrap_err();
        assert!(words(&gone).contains("fd85::2"), "{}", words(&gone));

        for pod in [&a, &b] {
            scene.detach(&network, pod).unwrap();
        }
        assert!(scene.list("state/leases").is_empty());
        eventually("only the bridge is left", || scene.devices() == ["ochre0"]);
        scene.node(|| network.teardown()).unwrap();
        assert_eq!(scene.ruleset(), "");
    }
}

#[test]
fn without_ipv6_subnets_the_node_keeps_its_ipv6_as_it_is() {
    let scene = Scene::new();
    let network = scene.open();
    let pod = scene.pod();
    let attached = scene.attach(&network, &pod.request()).unwrap();
    assert_eq!(texts(&attached.ips), ["10.85.0.2"]);
    assert_eq!(scene.node(|| setting("ipv6/conf/all/forwarding")), "0");
    assert_eq!(scene.node(|| setting("ipv6/conf/ochre0/disable_ipv6")), "1");
    assert!(!scene.ruleset().contains("table ip6"));
}

#[test]
fn the_world_sees_the_nodes_ipv6_address_and_router_advertisements_are_still_heard() {
    let scene = Scene::new();
    let world = scene.pod();
    let peer = world.netns.to_str().unwrap().to_owned();
    scene.node(|| {
        run("ip", &["link", "add", "out", "type", "veth", "peer", "name", "in"]);
        let file = std::fs::File::open(&peer).unwrap();
        let fd = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&file));
        run("ip", &["link", "set", "in", "netns", &fd]);
        run("ip", &["address", "add", "2001:db8::1/64", "dev", "out", "nodad"]);
        run("ip", &["link", "set", "out", "up"]);
        assert_eq!(setting("ipv6/conf/out/accept_ra"), "1");
    });
    world.inside(|| {
        run("ip", &["address", "add", "2001:db8::2/64", "dev", "in", "nodad"]);
        run("ip", &["link", "set", "in", "up"]);
    });
    world.serve(80, "world");
    let network = scene.open_with(&[V4, V6]);
    let pod = scene.pod();
    scene.attach(&network, &pod.request()).unwrap();
    eventually("the world", || {
        pod.inside(|| fetch("[2001:db8::2]:80")).is_ok_and(|seen| seen == "world 2001:db8::1")
    });
    assert_eq!(scene.node(|| setting("ipv6/conf/out/accept_ra")), "2");
    scene.node(|| run("nft", &["flush", "ruleset"]));
    let second = scene.pod();
    scene.attach(&network, &second.request()).unwrap();
    assert_eq!(second.inside(|| fetch("[2001:db8::2]:80")).unwrap(), "world 2001:db8::1");
}

#[test]
fn host_ports_of_both_families_reach_the_pod() {
    let scene = Scene::new();
    scene.node(|| run("ip", &["address", "add", "2001:db8::10/64", "dev", "uplink", "nodad"]));
    let network = scene.open_with(&[V4, V6]);
    let (server, client) = (scene.pod(), scene.pod());
    let request = server.with_ports(&[
        (Tcp, 8080, 80, None),
        (Tcp, 8081, 80, Some("::")),
        (Tcp, 8082, 80, Some("0.0.0.0")),
        (Tcp, 8083, 80, Some("2001:db8::10")),
        (Tcp, 8084, 80, Some("127.0.0.1")),
    ]);
    scene.attach(&network, &request).unwrap();
    let error = scene.attach(&network, &client.with_ports(&[(Tcp, 8086, 80, Some("::1"))])).unwrap_err();
    assert!(words(&error).contains("::1"), "{}", words(&error));
    scene.attach(&network, &client.request()).unwrap();
    server.serve(80, "served");
    println!("{}", scene.ruleset());
    let node = ["127.0.0.1", "192.0.2.10", "[2001:db8::10]", "[::1]"];
    for (port, reachable) in [
        (8080, &["127.0.0.1", "192.0.2.10", "[2001:db8::10]"][..]),
        (8081, &["[2001:db8::10]"]),
        (8082, &["127.0.0.1", "192.0.2.10"]),
        (8083, &["[2001:db8::10]"]),
        (8084, &["127.0.0.1"]),
    ] {
        for address in node {
            let target = format!("{address}:{port}");
            let patience = std::time::Duration::from_millis(900);
            let answer = scene.node(|| fetch_within(&target, patience));
            assert_eq!(answer.is_ok(), reachable.contains(&address), "{target}: {answer:?}");
            let refused = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            assert!(
                answer.is_ok() || refused,
                "a silence that a client would wait for: {target}: {answer:?}"
            );
        }
    }
    assert_eq!(client.inside(|| fetch("[2001:db8::10]:8080")).unwrap(), "served fd85::1");
    // The pod reaches itself.
    assert_eq!(server.inside(|| fetch("[2001:db8::10]:8080")).unwrap(), "served fd85::1");
    scene.detach(&network, &server).unwrap();
    for address in node {
        assert!(scene.node(|| fetch(&format!("{address}:8080"))).is_err(), "{address}");
    }
}

#[test]
fn subnets_may_change_while_pods_run() {
    let scene = Scene::new();
    let (old, new) = (scene.pod(), scene.pod());
    let before = scene.attach(&scene.open(), &old.request()).unwrap();
    let network = scene.open_with(&[V4, V6]);
    let after = scene.attach(&network, &new.request()).unwrap();
    assert_eq!((before.ips.len(), after.ips.len()), (1, 2));
    new.serve(80, "new");
    assert!(old.inside(|| fetch(&format!("{}:80", after.ips[0]))).is_ok());
    assert!(scene.node(|| fetch(&format!("[{}]:80", after.ips[1]))).is_ok());
    for pod in [&old, &new] {
        scene.detach(&network, pod).unwrap();
    }
    assert!(scene.list("state/leases").is_empty());
}
