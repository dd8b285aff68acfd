//! The reference plugins as distributions package them.

use std::path::Path;

use ochre_network::{Config, Network};

use crate::scene::{Scene, eventually, fetch, run, words};

const V4: &str = r#"[{"subnet":"10.66.0.0/24"}]"#;
const BOTH: &str = r#"[{"subnet":"10.66.0.0/24"}],[{"subnet":"fd66::/64"}]"#;
const DIR: &str = "/usr/lib/cni";

/// Reads the network of a distribution's plugins; `host-local` keeps its leases in the scene.
fn network(scene: &Scene, version: &str, ranges: &str, plugins: &str) -> Network {
    assert!(Path::new(DIR).join("bridge").exists(), "the package containernetworking-plugins is needed");
    let leases = scene.dir.path().join("host-local");
    let leases = leases.display();
    scene.configure(
        "10.conflist",
        &format!(
            r#"{{"cniVersion":"{version}","name":"real","plugins":[
            {{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
              "ipam":{{"type":"host-local","dataDir":"{leases}",
                "ranges":[{ranges}],
                "routes":[{{"dst":"0.0.0.0/0"}}]}}}},
            {plugins}]}}"#
        ),
    );
    let config = Config { plugin_dirs: vec![DIR.into()], ..scene.config() };
    scene.node(|| Network::open(config).unwrap())
}

#[test]
fn a_chain_of_reference_plugins_connects_checks_and_disconnects() {
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let scene = Scene::new();
        let network =
            network(&scene, version, V4, r#"{"type":"tuning","sysctl":{"net.core.somaxconn":"500"}}"#);
        assert_eq!(network.status().unwrap().as_str(), "real");
        let (a, b) = (scene.pod(), scene.pod());
        let attached =
            scene.attach(&network, &a.request()).unwrap_or_else(|error| panic!("{}", words(&error)));
        scene.attach(&network, &b.request()).unwrap();
        assert_eq!(attached.ips[0].to_string(), "10.66.0.2");
        assert!(attached.mac.is_some());
        a.serve(80, "a");
        assert_eq!(b.inside(|| fetch("10.66.0.2:80")).unwrap(), "a 10.66.0.3");
        let checked = scene.node(|| network.check(&a.id, &a.netns, &attached));
        if version == "0.3.1" {
            assert!(words(&checked.unwrap_err()).contains("no CHECK"));
        } else {
            checked.unwrap();
            a.inside(|| run("ip", &["address", "flush", "dev", "eth0"]));
            scene.node(|| network.check(&a.id, &a.netns, &attached)).unwrap_err();
        }
        ochre_sys::namespace::unpin(&b.netns).unwrap();
        for pod in [&a, &b] {
            scene.detach(&network, pod).unwrap();
            scene.detach(&network, pod).unwrap();
        }
        let leases = scene.list("host-local/real");
        assert!(leases.iter().all(|name| !name.starts_with("10.")), "{leases:?}");
        assert!(scene.list("cache/results").is_empty());
        // The kernel takes a namespace apart, with its end of the cable, in the background.
        eventually("only the bridge is left", || scene.devices() == ["cni0"]);
    }
}

#[test]
fn host_ports_are_ours_where_no_plugin_publishes_them() {
    let scene = Scene::new();
    let network = network(&scene, "1.0.0", BOTH, r#"{"type":"tuning"}"#);
    let (server, client) = (scene.pod(), scene.pod());
    let request = server.with_ports(&[(ochre_network::PortProtocol::Tcp, 8080, 80, None)]);
    let attached = scene.attach(&network, &request).unwrap_or_else(|error| panic!("{}", words(&error)));
    assert_eq!(attached.ips.len(), 2);
    scene.attach(&network, &client.request()).unwrap();
    server.serve(80, "served");
    scene.node(|| run("ip", &["address", "add", "2001:db8::10/64", "dev", "uplink", "nodad"]));
    for pod in [&server, &client] {
        pod.inside(|| run("ip", &["-6", "route", "add", "default", "via", "fd66::1"]));
    }
    for address in ["127.0.0.1:8080", "192.0.2.10:8080", "[2001:db8::10]:8080"] {
        // IPv6 addresses are usable only after duplicate detection.
        eventually(address, || scene.node(|| fetch(address)).is_ok_and(|text| text.starts_with("served")));
    }
    assert_eq!(client.inside(|| fetch("192.0.2.10:8080")).unwrap(), "served 10.66.0.1");
    eventually("IPv6", || {
        client.inside(|| fetch("[2001:db8::10]:8080")).is_ok_and(|text| text == "served fd66::1")
    });
    scene.detach(&network, &server).unwrap();
    assert!(scene.node(|| fetch("127.0.0.1:8080")).is_err());
    assert!(scene.list("state/host-ports").is_empty());
}

#[test]
fn portmap_and_firewall_get_the_ports_and_ours_stay_out() {
    let scene = Scene::new();
    let plugins = r#"{"type":"firewall","backend":"iptables"},
        {"type":"portmap","capabilities":{"portMappings":true},"snat":true}"#;
    let network = network(&scene, "1.0.0", V4, plugins);
    let server = scene.pod();
    let request = server.with_ports(&[(ochre_network::PortProtocol::Tcp, 8080, 80, None)]);
    scene.attach(&network, &request).unwrap_or_else(|error| panic!("{}", words(&error)));
    server.serve(80, "served");
    assert!(scene.node(|| fetch("192.0.2.10:8080")).unwrap().starts_with("served"));
    assert!(!scene.ruleset().contains("ochre-hostports"));
    scene.detach(&network, &server).unwrap();
    assert!(scene.node(|| fetch("192.0.2.10:8080")).is_err());
    assert!(!scene.ruleset().contains("10.66.0.2"), "{}", scene.ruleset());
}
