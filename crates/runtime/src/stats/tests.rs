use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ochre_sys::namespace;

use super::*;
use crate::cgroup::{Cgroups, GroupPath};

#[test]
fn the_kernels_formats_are_understood() {
    assert_eq!(parse::value("user 5\nuser_usec 7\n", "user"), Some(5));
    assert_eq!(parse::value("anonx 5\n", "anon"), None);
    assert_eq!(parse::limit("max\n"), Some(None));
    assert_eq!(parse::limit("9223372036854771712\n"), Some(None));
    assert_eq!(parse::limit("4096\n"), Some(Some(4096)));
    assert_eq!(parse::limit("-\n"), None);
    let io = parse::io_v2(
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n8:16 rbytes=10 wbytes=20 rios=30 wios=40\n",
    );
    assert_eq!(io, IoStats { read_bytes: 11, written_bytes: 22, reads: 33, writes: 44 });
    assert_eq!(parse::io_v1("8:0 Read 1\n8:0 Write 2\n8:0 Sync 9\n8:16 Read 4\nTotal 7\n"), (5, 2));
    let pressure = parse::pressure("some avg10=1.50 avg60=0.00 avg300=0.25 total=123\n").unwrap();
    assert_eq!((pressure.some.avg10, pressure.some.avg300, pressure.some.total_us), (1.5, 0.25, 123));
    assert_eq!(pressure.full, PressureLine::default());
    assert_eq!(parse::pressure("rubbish"), None);
}

#[test]
fn interfaces_are_read_without_loopback() {
    let table = "Inter-|   Receive  | Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n\
                     lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                   eth0:100 2 3 4 5 6 7 8 900 10 11 12 13 14 15 16\n\
                 eth0:1: 5 2 0 4 5 6 7 8 6 10 0 12 13 14 15 16\n bad: 1 2\n";
    let interfaces = network::parse(table);
    assert_eq!(interfaces.len(), 2);
    assert_eq!(
        interfaces[0],
        InterfaceStats {
            name: "eth0".into(),
            rx_bytes: 100,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 900,
            tx_packets: 10,
            tx_errors: 11,
            tx_dropped: 12,
        }
    );
    assert_eq!(interfaces[1].name, "eth0:1");
    assert_eq!(network::parse(""), []);
}

/// A group of its own with one busy process in it.
struct Busy {
    cgroups: Cgroups,
    group: GroupPath,
    child: Option<Child>,
}

const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];

impl Busy {
    fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    fn start(name: &str) -> Self {
        let cgroups = Cgroups::detect().unwrap();
        let group = GroupPath::new(&format!("/ochre-test-{name}-{}", std::process::id())).unwrap();
        let child = Command::new("sh")
            .args(["-c", "read go; while [ $((n=n+1)) -lt 300000 ]; do :; done; exec sleep 600"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut busy = Self { cgroups, group, child: Some(child) };
        for controller in CONTROLLERS {
            let Some(directory) = busy.cgroups.directory(controller, &busy.group) else { continue };
            std::fs::create_dir_all(&directory).unwrap();
            let pid = busy.child.as_ref().unwrap().id().to_string();
            std::fs::write(directory.join("cgroup.procs"), pid).unwrap();
        }
        drop(busy.child.as_mut().unwrap().stdin.take());
        busy
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        for directory in CONTROLLERS.iter().filter_map(|name| self.cgroups.directory(name, &self.group)) {
            let deadline = Instant::now() + Duration::from_secs(2);
            while std::fs::remove_dir(&directory).is_err_and(|e| e.kind() == std::io::ErrorKind::ResourceBusy)
                && Instant::now() < deadline
            {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_busy_group_shows_what_it_uses_until_it_is_removed() {
    let mut busy = Busy::start("stats");
    if let Some(directory) = busy.cgroups.directory("memory", &busy.group) {
        let file = if busy.cgroups.is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
        std::fs::write(directory.join(file), (512u64 << 20).to_string()).unwrap();
    }
    let reader = StatsReader::open(&busy.cgroups, &busy.group).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let stats = loop {
        let stats = reader.read().unwrap();
        if (stats.cpu.usage_ns > 20_000_000 && stats.memory.anon > 0) || Instant::now() > deadline {
            break stats;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(stats.cpu.usage_ns > 20_000_000, "{stats:?}");
    assert!(stats.memory.usage > 0 && stats.memory.working_set <= stats.memory.usage);
    assert!(stats.memory.anon > 0 && stats.memory.page_faults > 0);
    assert_eq!(stats.memory.limit, Some(512 << 20));
    assert_eq!(stats.memory.available, Some((512 << 20) - stats.memory.working_set));
    assert_eq!((stats.pids.current, stats.pids.limit), (1, None));
    assert_eq!(stats.memory.oom_kills, 0);

    let details = crate::metrics::DetailsReader::open(&busy.cgroups, &busy.group).unwrap();
    let read = details.read();
    assert_eq!(read.processes, [busy.pid()]);
    assert!(read.max_usage.is_none_or(|most| most >= stats.memory.anon), "{read:?}");
    assert!(read.own_faults.is_some_and(|faults| faults > 0) && read.cache.is_some(), "{read:?}");

    let start = Instant::now();
    for _ in 0..200 {
        reader.read().unwrap();
    }
    let each = start.elapsed() / 200;
    println!("one reading: {each:?}");
    assert!(each < Duration::from_millis(5), "a reading took {each:?}");

    busy.stop();
    assert_eq!(reader.read().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(details.read(), crate::metrics::Details::default());
    assert_eq!(StatsReader::open(&busy.cgroups, &busy.group).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_networks_counters_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let pin = dir.path().join("net");
    namespace::pin(&[(namespace::Kind::Net, &pin)], || Ok(())).unwrap();
    let inside = network_stats(&pin);
    namespace::unpin(&pin).unwrap();
    assert!(inside.unwrap().iter().all(|interface| interface.rx_bytes == 0 && interface.tx_bytes == 0));
    assert_eq!(network_stats(&pin).unwrap_err().kind(), ErrorKind::NotFound);
    network_stats_of_process(i32::try_from(std::process::id()).unwrap()).unwrap();
    assert_eq!(network_stats_of_process(i32::MAX).unwrap_err().kind(), ErrorKind::NotFound);
}
