//! A pod answers from its first packet on: no packet is lost and sent again a second later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{Scene, eventually, fetch_within};

/// Less than the second after which TCP, ARP and neighbour discovery try again.
const AT_ONCE: Duration = Duration::from_millis(900);
const ROUNDS: usize = 12;

/// Keeps both processors and the kernel's lock of network devices busy.
fn under_load(work: impl FnOnce()) {
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let noise = Scene::new();
        scope.spawn(|| {
            let noise = noise;
            let network = noise.open();
            while !done.load(Ordering::Relaxed) {
                let pod = noise.pod();
                noise.attach(&network, &pod.request()).unwrap();
                noise.detach(&network, &pod).unwrap();
            }
        });
        let _ends = Ends(&done);
        work();
    });
}

/// Attaches pods again and again; each first packet goes to a pod, or from it, over a bridge that was without any pod
/// before. Returns the slowest connection.
fn rounds(subnets: &[&str]) -> Duration {
    let scene = Scene::new();
    let network = scene.open_with(subnets);
    let mut slowest = Duration::ZERO;
    let mut timed = |what: &str, fetch: &mut dyn FnMut() -> std::io::Result<String>| {
        let started = Instant::now();
        let answer = fetch();
        slowest = slowest.max(started.elapsed());
        assert!(answer.is_ok(), "{what}: {answer:?}");
    };
    for round in 0..ROUNDS {
        let (first, second) = (scene.pod(), scene.pod());
        for pod in [&first, &second] {
            pod.serve(80, "pod");
        }
        let to_first = scene.attach(&network, &first.request()).unwrap().ips;
        for ip in &to_first {
            let address = std::net::SocketAddr::new(*ip, 80).to_string();
            timed(&format!("round {round}: node to {address}"), &mut || {
                scene.node(|| fetch_within(&address, AT_ONCE))
            });
        }
        let to_second = scene.attach(&network, &second.request()).unwrap().ips;
        for (ip, from, whence) in [(&to_first, &second, "new"), (&to_second, &first, "old")] {
            for ip in ip {
                let address = std::net::SocketAddr::new(*ip, 80).to_string();
                timed(&format!("round {round}: {whence} pod to {address}"), &mut || {
                    from.inside(|| fetch_within(&address, AT_ONCE))
                });
            }
        }
        for pod in [&first, &second] {
            scene.detach(&network, pod).unwrap();
        }
        eventually("only the bridge is left", || scene.devices() == ["ochre0"]);
    }
    slowest
}

#[test]
fn the_first_packet_of_a_pod_is_not_lost() {
    println!("idle: slowest first connection {:?}", rounds(&["10.85.0.0/16"]));
    println!("idle, two families: {:?}", rounds(&["10.85.0.0/16", "fd85::/64"]));
}

#[test]
fn the_first_packet_of_a_pod_is_not_lost_on_a_busy_node() {
    under_load(|| {
        println!("busy: slowest first connection {:?}", rounds(&["10.85.0.0/16", "fd85::/64"]));
    });
}
