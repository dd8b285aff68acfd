//! A pod answers from its first packet on: no packet is lost and sent again a second later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::{Scene, eventually, fetch_within};

/// Less than the second after which TCP, ARP and neighbour discovery try again.
const AT_ONCE: Duration = Duration::from_millis(900);
const PATIENCE: Duration = Duration::from_secs(10);
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

/// How often TCP had to send again, or would have if the packet were not still waiting for an answer of ARP or
/// neighbour discovery, in the calling thread's namespace.
fn sent_again() -> u64 {
    let counter = |file: &str, group: &str, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
        let mut rows = text.lines().filter(|line| line.starts_with(group));
        let column = rows.next().unwrap().split(' ').position(|word| word == name).unwrap();
        rows.next().unwrap().split(' ').nth(column).unwrap().parse::<u64>().unwrap()
    };
    counter("snmp", "Tcp:", "RetransSegs") + counter("netstat", "TcpExt:", "TCPSpuriousRtxHostQueues")
}

/// Connects from the calling thread's namespace. Slowness alone is the machine's fault, not a lost packet.
fn connect(what: &str, address: &str) -> Duration {
    let (before, started) = (sent_again(), Instant::now());
    let answer = fetch_within(address, PATIENCE);
    let took = started.elapsed();
    assert!(answer.is_ok(), "{what} to {address}: {answer:?}");
    assert!(took < AT_ONCE || sent_again() == before, "{what} to {address}: lost the first packet, {took:?}");
    took
}

/// Attaches pods again and again; each first packet goes to a pod, or from it, over a bridge that was without any pod
/// before. Returns the slowest connection.
fn rounds(subnets: &[&str]) -> Duration {
    let scene = Scene::new();
    let network = scene.open_with(subnets);
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let (first, second) = (scene.pod(), scene.pod());
        for pod in [&first, &second] {
            pod.serve(80, "pod");
        }
        let to_first = scene.attach(&network, &first.request()).unwrap().ips;
        for ip in &to_first {
            let address = std::net::SocketAddr::new(*ip, 80).to_string();
            slowest = slowest.max(scene.node(|| connect(&format!("round {round}: node"), &address)));
        }
        let to_second = scene.attach(&network, &second.request()).unwrap().ips;
        for (ips, from, who) in [(&to_first, &second, "new pod"), (&to_second, &first, "old pod")] {
            for ip in ips {
                let address = std::net::SocketAddr::new(*ip, 80).to_string();
                slowest = slowest.max(from.inside(|| connect(&format!("round {round}: {who}"), &address)));
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
