//! Limits in systemd's words.
//!
//! What systemd is not told it resets to its own defaults when it next writes the scope's files: after `daemon-reload`,
//! as soon as a property changes or any other unit starts in the same slice (systemd 257). So it is told everything it
//! has a word for, the v2 files that are asked for by name among it. What it has no word for (`cpu.max.burst`, `hugetlb.*`,
//! `rdma.max`, limits of single devices) is written to the files alone; that `cpu.max.burst` survives was seen, of the
//! others it is not known.

use ochre_systemd::{OomPolicy, Property};

use super::{convert, v2};
use crate::spec::Resources;

/// More processors than any kernel counts.
const MOST_PROCESSORS: usize = 8192;

/// Properties of a scope.
#[derive(Debug, Clone, Default)]
pub(super) struct Properties {
    /// Those that every systemd knows which containers meet.
    pub(super) known: Vec<Property>,
    /// Those that an older one may refuse.
    pub(super) newer: Vec<Property>,
}

impl Properties {
    /// The limits that the resources set. A value that cannot be read is left to the kernel's judgement.
    pub(super) fn of(resources: &Resources, v2: bool) -> Self {
        let mut properties = Self::default();
        properties.typed(resources, v2);
        if v2 {
            properties.only_v2(resources);
            for (file, value) in &resources.unified {
                // The last one wins in systemd too, as does the file that is written last.
                value.lines().for_each(|line| properties.file(file, line.trim()).unwrap_or_default());
            }
        }
        properties
    }

    /// What can be changed while the scope runs.
    pub(super) fn changeable(mut self) -> Self {
        self.newer.retain(|property| !matches!(property, Property::OomPolicy(_)));
        self
    }

    fn typed(&mut self, resources: &Resources, v2: bool) {
        let known = &mut self.known;
        if let Some(limit) = resources.memory.limit.filter(|limit| *limit != 0) {
            known.push(if v2 {
                Property::MemoryMax(bytes(limit))
            } else {
                Property::MemoryLimit(bytes(limit))
            });
        }
        if let Some(shares) = resources.cpu.shares.filter(|shares| *shares > 0) {
            known.push(if v2 {
                Property::CpuWeight(convert::cpu_weight(shares))
            } else {
                Property::CpuShares(shares.clamp(2, 262_144))
            });
        }
        if let Some(quota) = resources.cpu.quota.filter(|quota| *quota != 0) {
            let period = resources.cpu.period.filter(|period| *period > 0).unwrap_or(100_000);
            known.extend(processor_time(u64::try_from(quota).unwrap_or(u64::MAX), period));
        }
        if let Some(limit) = resources.pids.limit {
            known.push(Property::TasksMax(if limit > 0 { bytes(limit) } else { u64::MAX }));
        }
    }

    fn only_v2(&mut self, resources: &Resources) {
        self.known.extend(resources.memory.reservation.map(|low| Property::MemoryLow(bytes(low))));
        // A sum that makes no sense is refused when it is to be written.
        let swap = v2::swap_max(&resources.memory).ok().flatten();
        self.known.extend(swap.as_deref().and_then(size).map(Property::MemorySwapMax));
        let weight = resources.block_io.weight.filter(|weight| *weight > 0);
        self.known.extend(weight.map(|weight| Property::IoWeight(convert::io_weight(weight))));
        let set = |list: &Option<String>| list.as_deref().and_then(bits);
        self.newer.extend(set(&resources.cpu.cpus).map(Property::AllowedCpus));
        self.newer.extend(set(&resources.cpu.mems).map(Property::AllowedMemoryNodes));
        if resources.cpu.idle == Some(1) {
            self.newer.push(Property::CpuWeight(0));
        }
    }

    /// Translates a line for a file of the group; `None` for one that systemd has no word for.
    fn file(&mut self, file: &str, line: &str) -> Option<()> {
        match file {
            "memory.max" => self.known.push(Property::MemoryMax(size(line)?)),
            "memory.high" => self.known.push(Property::MemoryHigh(size(line)?)),
            "memory.low" => self.known.push(Property::MemoryLow(size(line)?)),
            "memory.min" => self.known.push(Property::MemoryMin(size(line)?)),
            "memory.swap.max" => self.known.push(Property::MemorySwapMax(size(line)?)),
            "memory.oom.group" if line == "1" => self.newer.push(Property::OomPolicy(OomPolicy::Kill)),
            "pids.max" => self.known.push(Property::TasksMax(size(line)?)),
            "cpu.weight" => self.known.push(Property::CpuWeight(weight(line)?)),
            "cpu.idle" if line == "1" => self.newer.push(Property::CpuWeight(0)),
            "cpu.max" => {
                let mut words = line.split_ascii_whitespace();
                let quota = size(words.next()?)?;
                let period = words.next().map_or(Some(100_000), |word| word.parse().ok())?;
                self.known.extend(processor_time(quota, period));
            }
            "io.weight" => {
                let value = line.strip_prefix("default").map_or(line, str::trim_start);
                self.known.push(Property::IoWeight(weight(value)?));
            }
            "cpuset.cpus" => self.newer.push(Property::AllowedCpus(bits(line)?)),
            "cpuset.mems" => self.newer.push(Property::AllowedMemoryNodes(bits(line)?)),
            _ => return None,
        }
        Some(())
    }
}

/// A limit in bytes; negative means none.
fn bytes(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// systemd counts in hundredths of a processor; rounded up, so that the finer value set later fits in.
fn processor_time(quota: u64, period: u64) -> [Property; 2] {
    let per_second = match quota {
        u64::MAX => u64::MAX,
        quota => quota.saturating_mul(1_000_000) / period.max(1),
    };
    let rounded = per_second.checked_next_multiple_of(10_000).unwrap_or(u64::MAX);
    [Property::CpuQuotaPerSecUSec(rounded), Property::CpuQuotaPeriodUSec(period)]
}

/// A number as the kernel reads it: `max`, or with a suffix that stands for a power of 1024.
fn size(text: &str) -> Option<u64> {
    if text == "max" {
        return Some(u64::MAX);
    }
    let (digits, power) = match text.char_indices().next_back() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => {
            (&text[..at], "KMGTPE".find(letter.to_ascii_uppercase())? as u32 + 1)
        }
        _ => (text, 0),
    };
    let scale = 1024_u64.checked_pow(power)?;
    number(digits)?.checked_mul(scale)
}

/// Digits alone; the library's parser also takes a sign.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.starts_with(|first: char| first.is_ascii_digit()))
}

/// A weight within systemd's and the kernel's bounds.
fn weight(text: &str) -> Option<u64> {
    text.parse().ok().filter(|weight| (1..=10_000).contains(weight))
}

/// A list such as `0-2,7` as little-endian bits.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST_PROCESSORS {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0_u8);
        }
        (first..=last).for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, v2: bool) -> Properties {
        Properties::of(&serde_json::from_str(json).unwrap(), v2)
    }

    #[test]
    fn limits_are_told_in_the_words_of_the_world() {
        let text = r#"{"memory":{"limit":5,"swap":8},"cpu":{"shares":1024,"quota":15000,"cpus":"0-1,8"},
            "pids":{"limit":-1},"unified":{"memory.high":"4"}}"#;
        let v2 = of(text, true);
        for property in [
            Property::MemoryMax(5),
            Property::MemorySwapMax(3),
            Property::CpuWeight(100),
            Property::CpuQuotaPerSecUSec(150_000),
            Property::TasksMax(u64::MAX),
            Property::MemoryHigh(4),
        ] {
            assert!(v2.known.contains(&property), "{property:?}");
        }
        assert_eq!(v2.newer, [Property::AllowedCpus(vec![0b11, 1])]);
        let v1 = of(text, false);
        assert!(v1.known.contains(&Property::CpuShares(1024)) && v1.newer.is_empty());
        assert!(!v1.known.contains(&Property::MemoryHigh(4)));
    }

    #[test]
    fn files_asked_for_by_name_are_told_where_systemd_has_a_word() {
        let cases = [
            ("memory.high", "100M", vec![Property::MemoryHigh(100 << 20)], vec![]),
            ("memory.min", "max", vec![Property::MemoryMin(u64::MAX)], vec![]),
            ("memory.oom.group", "1", vec![], vec![Property::OomPolicy(OomPolicy::Kill)]),
            ("memory.oom.group", "0", vec![], vec![]),
            ("cpu.max", "max 50000", processor_time(u64::MAX, 50_000).into(), vec![]),
            ("cpu.max", "5000", processor_time(5000, 100_000).into(), vec![]),
            ("cpu.idle", "1", vec![], vec![Property::CpuWeight(0)]),
            ("io.weight", "default 50", vec![Property::IoWeight(50)], vec![]),
            ("io.weight", "8:0 70\n60", vec![Property::IoWeight(60)], vec![]),
            ("cpuset.mems", "1", vec![], vec![Property::AllowedMemoryNodes(vec![2])]),
            ("io.max", "8:0 rbps=1", vec![], vec![]),
            ("pids.max", "9", vec![Property::TasksMax(9)], vec![]),
        ];
        for (file, value, known, newer) in cases {
            let resources =
                Resources { unified: [(file.to_owned(), value.to_owned())].into(), ..Default::default() };
            let told = Properties::of(&resources, true);
            assert_eq!((told.known, told.newer), (known, newer), "{file} {value}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_told() {
        for text in ["", "-1", "+1", "1KM", "1X", "KM", "M", "é", "99999999999E", "18446744073709551616"] {
            assert_eq!(size(text), None, "{text}");
        }
        for list in ["", "-", "1-", "2-1", "a", "8192", "0-18446744073709551615", "0,,1", "0-6:2/4"] {
            assert_eq!(bits(list), None, "{list}");
        }
        for text in ["0", "10001", "x", ""] {
            assert_eq!(weight(text), None, "{text}");
        }
    }

    #[test]
    fn the_answer_to_killing_is_given_at_the_start_only() {
        let text = r#"{"cpu":{"mems":"0"},"unified":{"memory.oom.group":"1"}}"#;
        assert_eq!(of(text, true).newer.len(), 2);
        assert_eq!(of(text, true).changeable().newer, [Property::AllowedMemoryNodes(vec![1])]);
    }
}
