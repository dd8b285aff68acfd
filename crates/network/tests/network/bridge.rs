//! The built-in network.

use std::time::Instant;

use ochre_network::{Error, PortProtocol};
use ochre_types::{ErrorKind, SandboxId};

use crate::scene::{Scene, eventually, fetch, output, run, words};

#[test]
fn pods_reach_each_other_and_the_node_and_leave_nothing_behind() {
    let scene = Scene::new();
    let network = scene.open();
    assert_eq!(network.status().unwrap().as_str(), "ochre-bridge");
    let (a, b) = (scene.pod(), scene.pod());
    let attached_a = scene.attach(&network, &a.request()).unwrap();
    let attached_b = scene.attach(&network, &b.request()).unwrap();
    assert_eq!(
        (attached_a.interface.as_str(), attached_a.ips[0].to_string().as_str()),
        ("eth0", "10.85.0.2")
    );
    assert_eq!(attached_a.mac.as_deref(), Some("0a:58:0a:55:00:02"));
    assert_eq!(attached_a.result["ips"][0]["address"], "10.85.0.2/16");
    assert_ne!(attached_a.ips, attached_b.ips);

    b.serve(80, "b");
    let address = format!("{}:80", attached_b.ips[0]);
    assert_eq!(a.inside(|| fetch(&address)).unwrap(), format!("b {}", attached_a.ips[0]));
    assert_eq!(scene.node(|| fetch(&address)).unwrap(), "b 10.85.0.1");
    assert!(a.inside(|| output("ip", &["route"])).contains("default via 10.85.0.1"));
    // The loopback is up.
    a.serve(81, "a");
    assert_eq!(a.inside(|| fetch("127.0.0.1:81")).unwrap(), "a 127.0.0.1");
    scene.node(|| network.check(&a.id, &a.netns, &attached_a)).unwrap();

    // No neighbour becomes a router by saying so (CVE-2020-10749).
    let setting = |key: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{key}")).unwrap();
    assert_eq!(a.inside(|| setting("eth0/accept_ra")), "0\n");
    assert_eq!(scene.node(|| setting("ochre0/disable_ipv6")), "1\n");

    a.inside(|| run("ip", &["address", "flush", "dev", "eth0"]));
    let gone = scene.node(|| network.check(&a.id, &a.netns, &attached_a)).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::FailedPrecondition, "{}", words(&gone));

    for pod in [&a, &b] {
        scene.detach(&network, pod).unwrap();
        scene.detach(&network, pod).unwrap();
    }
    eventually("only the bridge is left", || scene.devices() == ["ochre0"]);
    assert!(scene.list("state/leases").is_empty());
    // Both ends vanish together.
    assert!(!a.inside(|| output("ip", &["link"])).contains("eth0"));
    scene.node(|| network.teardown()).unwrap();
    scene.node(|| network.teardown()).unwrap();
    assert!(scene.devices().is_empty());
    assert_eq!(scene.ruleset(), "");
}

#[test]
fn the_world_sees_the_node_not_the_pod() {
    let scene = Scene::new();
    let network = scene.open();
    let (pod, world) = (scene.pod(), scene.pod());
    let peer = world.netns.to_str().unwrap().to_owned();
    scene.node(|| {
        run("ip", &["link", "add", "out", "type", "veth", "peer", "name", "in"]);
        let file = std::fs::File::open(&peer).unwrap();
        let fd = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&file));
        run("ip", &["link", "set", "in", "netns", &fd]);
        run("ip", &["address", "add", "203.0.113.1/24", "dev", "out"]);
        run("ip", &["link", "set", "out", "up"]);
    });
    world.inside(|| {
        run("ip", &["address", "add", "203.0.113.2/24", "dev", "in"]);
        run("ip", &["link", "set", "in", "up"]);
    });
    world.serve(80, "world");
    scene.attach(&network, &pod.request()).unwrap();
    assert_eq!(pod.inside(|| fetch("203.0.113.2:80")).unwrap(), "world 203.0.113.1");
    // A firewall service that flushes everything does not take the masquerade away for longer than to the next pod.
    scene.node(|| run("nft", &["flush", "ruleset"]));
    let second = scene.pod();
    scene.attach(&network, &second.request()).unwrap();
    assert_eq!(second.inside(|| fetch("203.0.113.2:80")).unwrap(), "world 203.0.113.1");
}

#[test]
fn a_pod_whose_namespace_is_gone_is_detached_and_a_restart_knows_all_leases() {
    let scene = Scene::new();
    let network = scene.open();
    let (dead, alive) = (scene.pod(), scene.pod());
    scene.attach(&network, &dead.request()).unwrap();
    let kept = scene.attach(&network, &alive.request()).unwrap();
    drop(network);
    ochre_sys::namespace::unpin(&dead.netns).unwrap();

    let network = scene.open();
    let third = scene.pod();
    let attached = scene.attach(&network, &third.request()).unwrap();
    assert_ne!(attached.ips, kept.ips);
    scene.node(|| network.collect_garbage(&[alive.id.clone(), third.id.clone()])).unwrap();
    assert_eq!(scene.list("state/leases").len(), 2);
    scene.node(|| network.check(&alive.id, &alive.netns, &kept)).unwrap();
    scene.detach(&network, &dead).unwrap();
    for pod in [&alive, &third] {
        scene.detach(&network, pod).unwrap();
    }
    eventually("only the bridge is left", || scene.devices() == ["ochre0"]);
}

#[test]
fn a_failed_attach_is_undone() {
    let scene = Scene::new();
    let network = scene.open();
    let pod = scene.pod();
    // The name of the pod's device is taken already.
    pod.inside(|| run("ip", &["link", "add", "eth0", "type", "bridge"]));
    let error = scene.attach(&network, &pod.request()).unwrap_err();
    assert!(matches!(&error, Error::Native { sandbox, .. } if *sandbox == pod.id), "{}", words(&error));
    assert!(scene.list("state/leases").is_empty());
    eventually("only the bridge is left", || scene.devices() == ["ochre0"]);

    let mut missing = pod.request();
    missing.netns = scene.dir.path().join("pins/none");
    let error = scene.attach(&network, &missing).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(words(&error).contains("pins/none"));

    // The retry succeeds.
    pod.inside(|| run("ip", &["link", "delete", "eth0"]));
    scene.attach(&network, &pod.request()).unwrap();
    // So does a second attach of the same pod after a crash that lost the first one's answer.
    scene.attach(&network, &pod.request()).unwrap();
    assert_eq!(scene.list("state/leases").len(), 1);
}

#[test]
fn a_device_that_is_no_bridge_is_refused_by_name() {
    let scene = Scene::new();
    scene.node(|| run("ip", &["link", "add", "ochre0", "type", "veth", "peer", "name", "other"]));
    let network = scene.open();
    let error = scene.attach(&network, &scene.pod().request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(words(&error).contains("ochre0 exists and is no bridge"));
    scene.node(|| network.teardown()).unwrap();
    assert_eq!(scene.devices(), ["other", "ochre0"], "a stranger's device is not removed");
}

#[test]
fn a_bridge_with_pods_of_another_engine_is_not_taken_away() {
    let scene = Scene::new();
    let network = scene.open();
    let pod = scene.pod();
    scene.attach(&network, &pod.request()).unwrap();
    scene.node(|| network.teardown()).unwrap();
    assert!(scene.devices().contains(&"ochre0".to_owned()));
    pod.serve(80, "still here");
    let address = pod.inside(|| output("ip", &["-4", "-o", "address", "show", "dev", "eth0"]));
    let address = address.split_whitespace().nth(3).and_then(|ip| ip.split('/').next()).unwrap().to_owned();
    assert!(scene.node(|| fetch(&format!("{address}:80"))).unwrap().starts_with("still here"));
    scene.detach(&network, &pod).unwrap();
    scene.node(|| network.teardown()).unwrap();
    assert!(scene.devices().is_empty());
}

#[test]
fn pods_may_come_and_go_in_parallel() {
    let scene = Scene::new();
    let network = scene.open();
    let pods: Vec<_> = (0..16).map(|number| (20_000 + number, scene.pod())).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for chunk in pods.chunks(4) {
            let (scene, network) = (&scene, &network);
            scope.spawn(move || {
                for (port, pod) in chunk {
                    let ports = [(PortProtocol::Tcp, *port, 80, Some("127.0.0.1"))];
                    scene.attach(network, &pod.with_ports(&ports)).unwrap();
                }
            });
        }
    });
    println!("16 pods attached in {:?}", started.elapsed());
    assert_eq!(scene.devices().len(), 17);
    scene.node(|| network.collect_garbage(&[])).unwrap();
    eventually("only the bridge is left", || scene.devices() == ["ochre0"]);
    assert!(!scene.ruleset().contains("elements = { 127"), "{}", scene.ruleset());
}

#[test]
fn a_reboot_voids_leases() {
    let scene = Scene::new();
    let network = scene.open();
    let pod = scene.pod();
    scene.attach(&network, &pod.request()).unwrap();
    drop(network);
    std::fs::write(scene.dir.path().join("state/boot-id"), "another boot").unwrap();
    let network = scene.open();
    assert!(scene.list("state/leases").is_empty());
    scene.node(|| network.collect_garbage(&[SandboxId::generate()])).unwrap();
}

/// Run with `--ignored --nocapture`: prints, asserts nothing about a shared machine.
#[test]
#[ignore = "a measurement"]
fn how_fast() {
    for subnets in [&["10.85.0.0/16"][..], &["10.85.0.0/16", "fd85::/64"]] {
        println!("{subnets:?}: {}", measure(subnets));
    }
}

fn measure(subnets: &[&str]) -> String {
    let scene = Scene::new();
    let network = scene.open_with(subnets);
    let pods: Vec<_> = (0..40).map(|_| scene.pod()).collect();
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    for pod in &pods {
        let (request, away) = (pod.request(), pod.detach());
        attach.push(scene.node(|| {
            let start = Instant::now();
            network.attach(&request).unwrap();
            start.elapsed()
        }));
        detach.push(scene.node(|| {
            let start = Instant::now();
            network.detach(&away).unwrap();
            start.elapsed()
        }));
    }
    attach.sort();
    detach.sort();
    format!(
        "attach p50 {:?} max {:?}; detach p50 {:?} max {:?}",
        attach[20], attach[39], detach[20], detach[39]
    )
}
