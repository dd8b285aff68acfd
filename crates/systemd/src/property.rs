//! The unit properties a container engine sets, typed.
//!
//! Names and D-Bus types are those of `org.freedesktop.systemd1(5)`; what a property means is in
//! `systemd.resource-control(5)`, `systemd.kill(5)` and `systemd.unit(5)`.

use crate::wire::Writer;

/// `u64::MAX` is systemd's `infinity` for every limit here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// Free text shown by `systemctl`.
    Description(String),
    /// The slice a scope lives in.
    Slice(String),
    /// Processes a new scope starts with.
    Pids(Vec<i32>),
    /// Hands the subtree of the scope to its processes.
    Delegate(bool),
    /// Implicit dependencies, among them being stopped at shutdown.
    DefaultDependencies(bool),
    /// Units this one is ordered after, which means stopped before.
    After(Vec<String>),
    /// Units this one is ordered before.
    Before(Vec<String>),
    /// Time between the kill signal and SIGKILL, microseconds.
    TimeoutStopUSec(u64),
    /// Signal sent first when the unit is stopped.
    KillSignal(i32),
    /// Which processes get it.
    KillMode(KillMode),
    /// Also SIGKILL what is left after the timeout.
    SendSigkill(bool),
    /// Unload the unit although it failed (`CollectMode=inactive-or-failed`), so that no `reset-failed` is needed.
    CollectFailed(bool),
    /// CPU accounting.
    CpuAccounting(bool),
    /// `cpu.weight` on cgroup v2, 1 to 10000; 0 is `cpu.idle` (systemd 252).
    CpuWeight(u64),
    /// `cpu.shares` on cgroup v1, 2 to 262144.
    CpuShares(u64),
    /// CPU time per second of real time, microseconds.
    CpuQuotaPerSecUSec(u64),
    /// Length of the quota's period, microseconds (systemd 242).
    CpuQuotaPeriodUSec(u64),
    /// `cpuset.cpus` as a little-endian bit mask (systemd 244).
    AllowedCpus(Vec<u8>),
    /// `cpuset.mems` as a little-endian bit mask (systemd 244).
    AllowedMemoryNodes(Vec<u8>),
    /// Memory accounting.
    MemoryAccounting(bool),
    /// `memory.max` on cgroup v2, bytes.
    MemoryMax(u64),
    /// `memory.limit_in_bytes` on cgroup v1, bytes.
    MemoryLimit(u64),
    /// `memory.high`, bytes.
    MemoryHigh(u64),
    /// `memory.low`, bytes.
    MemoryLow(u64),
    /// `memory.min`, bytes.
    MemoryMin(u64),
    /// `memory.swap.max`, bytes.
    MemorySwapMax(u64),
    /// Block I/O accounting on cgroup v2.
    IoAccounting(bool),
    /// `io.weight`, 1 to 10000.
    IoWeight(u64),
    /// `blkio.weight` on cgroup v1, 10 to 1000.
    BlockIoWeight(u64),
    /// Process counting.
    TasksAccounting(bool),
    /// `pids.max`.
    TasksMax(u64),
    /// What happens to the unit when the kernel kills in it for memory; of scopes since systemd 253.
    OomPolicy(OomPolicy),
    /// `systemd-oomd`'s behaviour under memory pressure.
    ManagedOomMemoryPressure(ManagedOom),
    /// `systemd-oomd`'s behaviour when swap runs out.
    ManagedOomSwap(ManagedOom),
}

/// Which processes of a unit get the kill signal (`KillMode=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillMode {
    /// All of its control group.
    ControlGroup,
    /// The main process gets the signal, all get SIGKILL.
    Mixed,
    /// The main process only.
    Process,
    /// None.
    None,
}

/// What follows when the kernel has killed a process of a unit for memory (`OOMPolicy=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomPolicy {
    /// Nothing.
    Continue,
    /// The kernel kills all others too: `memory.oom.group` is 1.
    Kill,
}

/// What `systemd-oomd` may do to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagedOom {
    /// Leave it alone.
    Auto,
    /// Kill in it.
    Kill,
}

enum Value<'a> {
    Bool(bool),
    U64(u64),
    I32(i32),
    Text(&'a str),
    Texts(&'a [String]),
    Pids(&'a [i32]),
    Bytes(&'a [u8]),
}

impl Property {
    fn parts(&self) -> (&'static str, Value<'_>) {
        use Value::{Bool, Bytes, I32, Pids, Text, Texts, U64};
        match self {
            Self::Description(text) => ("Description", Text(text)),
            Self::Slice(name) => ("Slice", Text(name)),
            Self::Pids(pids) => ("PIDs", Pids(pids)),
            Self::Delegate(on) => ("Delegate", Bool(*on)),
            Self::DefaultDependencies(on) => ("DefaultDependencies", Bool(*on)),
            Self::After(units) => ("After", Texts(units)),
            Self::Before(units) => ("Before", Texts(units)),
            Self::TimeoutStopUSec(time) => ("TimeoutStopUSec", U64(*time)),
            Self::KillSignal(signal) => ("KillSignal", I32(*signal)),
            Self::KillMode(mode) => ("KillMode", Text(mode.name())),
            Self::SendSigkill(on) => ("SendSIGKILL", Bool(*on)),
            Self::CollectFailed(on) => {
                ("CollectMode", Text(if *on { "inactive-or-failed" } else { "inactive" }))
            }
            Self::CpuAccounting(on) => ("CPUAccounting", Bool(*on)),
            Self::CpuWeight(weight) => ("CPUWeight", U64(*weight)),
            Self::CpuShares(shares) => ("CPUShares", U64(*shares)),
            Self::CpuQuotaPerSecUSec(quota) => ("CPUQuotaPerSecUSec", U64(*quota)),
            Self::CpuQuotaPeriodUSec(period) => ("CPUQuotaPeriodUSec", U64(*period)),
            Self::AllowedCpus(mask) => ("AllowedCPUs", Bytes(mask)),
            Self::AllowedMemoryNodes(mask) => ("AllowedMemoryNodes", Bytes(mask)),
            Self::MemoryAccounting(on) => ("MemoryAccounting", Bool(*on)),
            Self::MemoryMax(bytes) => ("MemoryMax", U64(*bytes)),
            Self::MemoryLimit(bytes) => ("MemoryLimit", U64(*bytes)),
            Self::MemoryHigh(bytes) => ("MemoryHigh", U64(*bytes)),
            Self::MemoryLow(bytes) => ("MemoryLow", U64(*bytes)),
            Self::MemoryMin(bytes) => ("MemoryMin", U64(*bytes)),
            Self::MemorySwapMax(bytes) => ("MemorySwapMax", U64(*bytes)),
            Self::IoAccounting(on) => ("IOAccounting", Bool(*on)),
            Self::IoWeight(weight) => ("IOWeight", U64(*weight)),
            Self::BlockIoWeight(weight) => ("BlockIOWeight", U64(*weight)),
            Self::TasksAccounting(on) => ("TasksAccounting", Bool(*on)),
            Self::TasksMax(count) => ("TasksMax", U64(*count)),
            Self::OomPolicy(policy) => ("OOMPolicy", Text(policy.name())),
            Self::ManagedOomMemoryPressure(what) => ("ManagedOOMMemoryPressure", Text(what.name())),
            Self::ManagedOomSwap(what) => ("ManagedOOMSwap", Text(what.name())),
        }
    }

    /// Writes one `(sv)` element of a property array.
    pub(crate) fn write(&self, out: &mut Writer) {
        let (name, value) = self.parts();
        out.align(8);
        out.string(name);
        match value {
            Value::Bool(on) => {
                out.signature("b");
                out.u32(u32::from(on));
            }
            Value::U64(number) => {
                out.signature("t");
                out.u64(number);
            }
            Value::I32(number) => {
                out.signature("i");
                out.i32(number);
            }
            Value::Text(text) => {
                out.signature("s");
                out.string(text);
            }
            Value::Texts(texts) => {
                out.signature("as");
                out.array(4, |out| texts.iter().for_each(|text| out.string(text)));
            }
            Value::Pids(pids) => {
                out.signature("au");
                // Process ids are positive; a negative one becomes a number that no process has, and systemd refuses it.
                out.array(4, |out| pids.iter().for_each(|pid| out.i32(*pid)));
            }
            Value::Bytes(bytes) => {
                out.signature("ay");
                out.array(1, |out| bytes.iter().for_each(|byte| out.u8(*byte)));
            }
        }
    }
}

impl KillMode {
    fn name(self) -> &'static str {
        match self {
            Self::ControlGroup => "control-group",
            Self::Mixed => "mixed",
            Self::Process => "process",
            Self::None => "none",
        }
    }
}

impl OomPolicy {
    fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Kill => "kill",
        }
    }
}

impl ManagedOom {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kill => "kill",
        }
    }
}
