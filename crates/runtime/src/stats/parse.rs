//! The text formats of control group files.

use super::{IoStats, Pressure, PressureLine};

/// Version 1 writes "no limit" as the largest multiple of the page size, some kernels as a little less.
const UNLIMITED_V1: u64 = 1 << 62;

/// The value behind `key` in lines of `key value`.
pub(crate) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A file with one number.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file with a limit: `Some(None)` is no limit, `None` is not a limit at all.
#[allow(clippy::option_option, reason = "`no limit` and `not a limit` differ")]
pub(super) fn limit(text: &str) -> Option<Option<u64>> {
    match text.trim() {
        "max" => Some(None),
        text => text.parse().ok().map(|limit| Some(limit).filter(|limit| *limit < UNLIMITED_V1)),
    }
}

/// `io.stat`: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0` per device.
pub(super) fn io_v2(text: &str) -> IoStats {
    let mut sum = IoStats::default();
    for pair in text.lines().flat_map(|line| line.split(' ').skip(1)) {
        let Some((key, number)) = pair.split_once('=') else { continue };
        let number: u64 = number.trim().parse().unwrap_or(0);
        match key {
            "rbytes" => sum.read_bytes = sum.read_bytes.saturating_add(number),
            "wbytes" => sum.written_bytes = sum.written_bytes.saturating_add(number),
            "rios" => sum.reads = sum.reads.saturating_add(number),
            "wios" => sum.writes = sum.writes.saturating_add(number),
            _ => {}
        }
    }
    sum
}

/// `blkio.throttle.*_recursive`: `8:0 Read 1` per device and operation; returns (read, written).
pub(super) fn io_v1(text: &str) -> (u64, u64) {
    let (mut read, mut written) = (0u64, 0u64);
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(_device), Some(operation), Some(number)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let number = number.trim().parse().unwrap_or(0);
        match operation {
            "Read" => read = read.saturating_add(number),
            "Write" => written = written.saturating_add(number),
            _ => {}
        }
    }
    (read, written)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, then the same with `full`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(pressure_line)
    };
    // CPU pressure has no `full` line before Linux 5.13.
    Some(Pressure { some: line("some")?, full: line("full").unwrap_or_default() })
}

fn pressure_line(text: &str) -> PressureLine {
    let mut line = PressureLine::default();
    for (key, number) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
        match key {
            "avg10" => line.avg10 = number.parse().unwrap_or_default(),
            "avg60" => line.avg60 = number.parse().unwrap_or_default(),
            "avg300" => line.avg300 = number.parse().unwrap_or_default(),
            "total" => line.total_us = number.parse().unwrap_or_default(),
            _ => {}
        }
    }
    line
}
