//! Metrics of pods and containers under the names that cAdvisor made known (CRI `ListPodSandboxMetrics`).
//!
//! ```text
//!   included_pod_metrics ─▶ Groups ─┬─▶ descriptors()        what will be told, static for the engine's life
//!                                   └─▶ Sheet ─▶ metrics      samples; only of described names
//!   CgroupStats, Details, Processes, Disk, limits ──┘
//! ```
//!
//! A sample refers to its descriptor, so one that is not described cannot be published. A value that this kernel or
//! control group version does not have is left out; 0 always means a counted zero.

mod collect;
mod details;
mod processes;
mod table;

pub use collect::{ContainerReading, Disk, of_container, of_network};
pub use details::{Details, DetailsReader, DeviceIo, HugePages};
pub use processes::Processes;

/// Labels that every metric has, before its own (CRI-O's order).
pub const BASE_LABELS: [&str; 6] = ["id", "name", "image", "namespace", "pod", "container"];

/// A word of `included_pod_metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `cpu`
    Cpu,
    /// `disk`
    Disk,
    /// `diskIO`
    DiskIo,
    /// `hugetlb`
    Hugetlb,
    /// `memory`
    Memory,
    /// `network`
    Network,
    /// `oom`
    Oom,
    /// `process`
    Process,
    /// `spec`
    Spec,
    /// `pressure`
    Pressure,
}

const WORDS: [(&str, Group); 10] = [
    ("cpu", Group::Cpu),
    ("disk", Group::Disk),
    ("diskIO", Group::DiskIo),
    ("hugetlb", Group::Hugetlb),
    ("memory", Group::Memory),
    ("network", Group::Network),
    ("oom", Group::Oom),
    ("process", Group::Process),
    ("spec", Group::Spec),
    ("pressure", Group::Pressure),
];

/// The groups that are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups(u16);

impl Groups {
    /// Those that the words of `included_pod_metrics` name; `all` is every one. The configuration has refused other
    /// words, which mean nothing here.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut groups = Self::default();
        for word in words {
            for (name, group) in WORDS {
                if word == name || word == "all" {
                    groups.0 |= 1 << group as u16;
                }
            }
        }
        groups
    }

    /// Whether a group is told.
    pub fn has(self, group: Group) -> bool {
        self.0 & (1 << group as u16) != 0
    }
}

/// How a value changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// What a metric is.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Its own labels, after [`BASE_LABELS`].
    pub labels: &'static [&'static str],
    /// How it changes.
    pub kind: MetricKind,
    /// Its group; `None` is told always.
    pub group: Option<Group>,
}

/// What will be told, by name.
pub fn descriptors(groups: Groups) -> impl Iterator<Item = &'static Descriptor> {
    table::TABLE.iter().filter(move |descriptor| described(descriptor, groups))
}

fn described(descriptor: &Descriptor, groups: Groups) -> bool {
    descriptor.group.is_none_or(|group| groups.has(group))
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// What it is.
    pub descriptor: &'static Descriptor,
    /// Values of the descriptor's own labels, in its order.
    pub labels: Vec<String>,
    /// The value.
    pub value: u64,
}

/// Collects the samples of one object.
#[derive(Debug)]
struct Sheet {
    groups: Groups,
    metrics: Vec<Metric>,
}

impl Sheet {
    fn new(groups: Groups) -> Self {
        Self { groups, metrics: Vec::new() }
    }

    /// Adds a sample, unless its group is not told or it has no value.
    fn add(&mut self, name: &str, labels: &[&str], value: impl Into<Option<u64>>) {
        let Some(value) = value.into() else { return };
        let Some(descriptor) = table::find(name).filter(|found| described(found, self.groups)) else {
            return;
        };
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.metrics.push(Metric { descriptor, labels, value });
    }
}

#[cfg(test)]
mod tests;
