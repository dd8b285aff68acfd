//! How Go writes times and empty values.

use ochre_types::Timestamp;
use serde::{Deserialize, Deserializer};

/// RFC 3339 with nanoseconds, as `time.RFC3339Nano` prints a UTC time.
pub(crate) fn time(at: Timestamp) -> String {
    // Every 64-bit number of nanoseconds lies between the years 1677 and 2262, inside jiff's range.
    jiff::Timestamp::from_nanosecond(i128::from(at.nanos())).unwrap_or_default().to_string()
}

/// `None` for Go's zero time, for text that is no time, and for times outside 1677 to 2262.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(parsed.as_nanosecond()).ok().map(Timestamp::from_nanos)
}

/// Go writes `null` for nil slices and maps where this crate has empty ones.
pub(crate) fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Go's `omitempty` for numbers.
pub(crate) fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_in_go_s_spelling() {
        for text in
            ["2024-01-02T03:04:05.123456789Z", "2026-11-21T04:48:31.77121988Z", "1970-01-01T00:00:00Z"]
        {
            assert_eq!(time(parse_time(text).unwrap()), text);
        }
        assert_eq!(parse_time("2024-01-02T03:04:05+02:00"), parse_time("2024-01-02T01:04:05Z"));
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), None);
        assert_eq!(parse_time("yesterday"), None);
    }
}
