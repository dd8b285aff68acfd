//! Conversions of v1 values, in which the specification speaks, to v2.

use super::CgroupError;

/// `cpu.weight` for v1 shares: 2 → 1, 1024 → 100, 262144 → 10000, and logarithmically between them, so that the
/// kernel's default of one world is that of the other.
pub(super) fn cpu_weight(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The subtraction keeps exact powers from being rounded up by the last bit of the arithmetic.
    ((10_f64.powf(exponent) - 1e-6).ceil() as u64).clamp(1, 10_000)
}

/// `io.weight` (1 to 10000) for a v1 weight (10 to 1000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// `memory.swap.max` for v1's sum of memory and swap; `None` to keep what is.
pub(super) fn swap_max(swap: Option<i64>, limit: Option<i64>) -> Result<Option<String>, CgroupError> {
    let invalid = |value: i64| CgroupError::Invalid { field: "memory.swap", value: value.to_string() };
    match (swap, limit) {
        (None | Some(0), _) => Ok(None),
        (Some(-1), _) | (Some(_), Some(-1)) => Ok(Some("max".to_owned())),
        (Some(swap), Some(limit)) if limit > 0 && swap >= limit => Ok(Some((swap - limit).to_string())),
        (Some(swap), _) => Err(invalid(swap)),
    }
}

/// A byte or process limit as v2 writes it: negative means `max`.
pub(super) fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// `cpu.max`.
pub(super) fn cpu_max(quota: Option<i64>, period: Option<u64>) -> Option<String> {
    match (quota, period) {
        (None, None) => None,
        (Some(quota), period) => {
            let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
            Some(
                period
                    .filter(|period| *period > 0)
                    .map_or(quota.clone(), |period| format!("{quota} {period}")),
            )
        }
        (None, Some(period)) => Some(format!("max {period}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_at_the_ends_and_the_defaults() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert!((2..262_144).step_by(17).map(cpu_weight).is_sorted());
        for (weight, v2) in [(10, 1), (1000, 10_000), (500, 4950), (0, 1)] {
            assert_eq!(io_weight(weight), v2, "{weight}");
        }
    }

    #[test]
    fn swap_is_what_is_beyond_memory() {
        for (swap, limit, expected) in [
            (None, Some(5), Some(None)),
            (Some(-1), Some(5), Some(Some("max"))),
            (Some(7), Some(5), Some(Some("2"))),
            (Some(5), Some(5), Some(Some("0"))),
            (Some(5), Some(-1), Some(Some("max"))),
            (Some(4), Some(5), None),
            (Some(4), None, None),
        ] {
            let got = swap_max(swap, limit).ok();
            assert_eq!(got, expected.map(|text| text.map(str::to_owned)), "{swap:?} {limit:?}");
        }
    }

    #[test]
    fn processor_time() {
        assert_eq!(cpu_max(Some(50_000), Some(100_000)).as_deref(), Some("50000 100000"));
        assert_eq!(cpu_max(Some(-1), Some(100_000)).as_deref(), Some("max 100000"));
        assert_eq!(cpu_max(Some(5000), None).as_deref(), Some("5000"));
        assert_eq!(cpu_max(None, None), None);
        assert_eq!(limit(-1), "max");
    }
}
