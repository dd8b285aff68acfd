//! Against the systemd of this machine, where there is one and we are root; elsewhere nothing to prove.

#![allow(clippy::unwrap_used, reason = "also outside of test functions: everything here is a test")]

use std::process::{Child, Command};

use ochre_systemd::{Bus, Error, KillMode, Property};

struct Sleeper(Child);

impl Sleeper {
    fn spawn() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn cgroup(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn scope_round_trip(mut bus: Bus, tag: &str) {
    let scope = format!("ochre-test-{tag}-{}.scope", std::process::id());
    let sleeper = Sleeper::spawn();
    let properties = [
        Property::Description("a test".into()),
        Property::Delegate(true),
        Property::DefaultDependencies(false),
        Property::CollectFailed(true),
        Property::KillMode(KillMode::ControlGroup),
        Property::TimeoutStopUSec(2_000_000),
        Property::MemoryMax(64 << 20),
        Property::CpuWeight(50),
        Property::CpuQuotaPerSecUSec(500_000),
        Property::TasksMax(20),
        Property::AllowedCpus(vec![1]),
    ];
    bus.start_transient_scope(&scope, "ochretest-inner.slice", &[sleeper.pid()], &properties).unwrap();
    let group = sleeper.cgroup();
    assert!(group.contains(&format!("/ochretest.slice/ochretest-inner.slice/{scope}")), "{group}");
    let dir = format!("/sys/fs/cgroup{}", group.trim().trim_start_matches("0::"));
    let read = |file: &str| std::fs::read_to_string(format!("{dir}/{file}")).unwrap().trim().to_owned();
    assert_eq!(read("memory.max"), (64 << 20).to_string());
    assert_eq!(read("pids.max"), "20");
    assert_eq!(read("cpu.weight"), "50");
    assert_eq!(read("cpu.max"), "50000 100000");

    bus.set_unit_properties(&scope, true, &[Property::TasksMax(30), Property::MemoryMax(u64::MAX)]).unwrap();
    assert_eq!((read("pids.max"), read("memory.max")), ("30".to_owned(), "max".to_owned()));

    let again =
        bus.start_transient_scope(&scope, "ochretest-inner.slice", &[sleeper.pid()], &[]).unwrap_err();
    assert!(matches!(again, Error::UnitExists { .. }), "{again}");
    bus.stop_unit(&scope).unwrap();
    assert!(!std::path::Path::new(&dir).exists());
    assert!(matches!(bus.reset_failed_unit(&scope), Err(Error::NoSuchUnit { .. }) | Ok(())));
    bus.stop_unit("ochretest.slice").unwrap();
}

#[test]
fn a_scope_is_made_changed_and_stopped_over_both_sockets() {
    if !ochre_systemd::running() {
        return;
    }
    scope_round_trip(Bus::private("/run/systemd/private".as_ref()).unwrap(), "private");
    if std::path::Path::new("/run/dbus/system_bus_socket").exists() {
        scope_round_trip(Bus::brokered("/run/dbus/system_bus_socket".as_ref()).unwrap(), "bus");
    }
}

#[test]
fn a_dead_process_and_a_bad_value_are_refused() {
    if !ochre_systemd::running() {
        return;
    }
    let mut bus = Bus::system().unwrap();
    let gone =
        bus.start_transient_scope("ochre-test-gone.scope", "system.slice", &[i32::MAX], &[]).unwrap_err();
    assert!(matches!(gone, Error::Refused { .. } | Error::JobFailed { .. }), "{gone}");
    let unknown = bus.stop_unit("ochre-test-nothing.scope").unwrap_err();
    assert!(matches!(unknown, Error::NoSuchUnit { .. }), "{unknown}");
    bus.start_transient_slice("ochretest-made.slice", &[Property::MemoryMax(32 << 20)]).unwrap();
    bus.stop_unit("ochretest-made.slice").unwrap();
}

#[test]
fn many_short_connections_are_all_answered_at_once() {
    if !ochre_systemd::running() {
        return;
    }
    let start = std::time::Instant::now();
    for _ in 0..300 {
        let mut bus = Bus::system().unwrap();
        assert!(matches!(bus.stop_unit("ochre-test-nothing.scope"), Err(Error::NoSuchUnit { .. })));
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}
