//! Sizes, ages, durations and times in the words crictl uses.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// A size in decimal units with so many significant digits: 3 for images, 4 elsewhere.
#[allow(clippy::cast_precision_loss)] // Four digits are shown.
pub(crate) fn size(bytes: u64, digits: usize) -> String {
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit < UNITS.len() - 1 {
        size /= 1000.0;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), UNITS[unit])
}

/// C's `%.{digits}g`: that many significant digits, no zeros at the end.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(0) - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// How long ago a time was, in words; nanoseconds since the epoch.
pub(crate) fn ago(nanoseconds: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let passed = i128::try_from(now).unwrap_or(i128::MAX) - i128::from(nanoseconds);
    let passed = u64::try_from(passed.max(0) / 1_000_000_000).unwrap_or(u64::MAX);
    format!("{} ago", words(passed))
}

/// A duration in words.
fn words(seconds: u64) -> String {
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", seconds / 60),
        _ => match hours {
            0 | 1 => "About an hour".to_owned(),
            2..48 => format!("{hours} hours"),
            48..336 => format!("{} days", hours / 24),
            336..1440 => format!("{} weeks", hours / 168),
            1440..17520 => format!("{} months", hours / 720),
            _ => format!("{} years", seconds / 3600 / 24 / 365),
        },
    }
}

/// A Go duration such as `1h2m3.5s` or `-5ms`; a number without a unit is none, except 0. Negative ones are 0.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !one.is_ascii_digit() && one != '.')?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let (seconds, after) = UNITS_OF_TIME
            .iter()
            .find_map(|(unit, seconds)| after.strip_prefix(unit).map(|after| (seconds, after)))?;
        total += number * seconds;
        rest = after;
    }
    if negative { Some(Duration::ZERO) } else { Duration::try_from_secs_f64(total).ok() }
}

/// Longer names first: `ms` is not minutes.
const UNITS_OF_TIME: [(&str, f64); 7] =
    [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// RFC 3339 in the local zone with as many digits of the second as there are; the year 1 is "never".
pub(crate) fn rfc3339(nanoseconds: Option<i64>) -> String {
    let Some(nanoseconds) = nanoseconds else { return "0001-01-01T00:00:00Z".to_owned() };
    let Some((mut text, fraction, zone)) = local(nanoseconds, "%Y-%m-%dT%H:%M:%S", "%:z") else {
        return nanoseconds.to_string();
    };
    text.push_str(&fraction);
    text.push_str(if zone == "+00:00" { "Z" } else { &zone });
    text
}

/// The way Go prints a time by default: `2026-01-02 03:04:05.6 +0000 UTC`.
pub(crate) fn go_time(nanoseconds: i64) -> String {
    match local(nanoseconds, "%Y-%m-%d %H:%M:%S", "%z %Z") {
        Some((text, fraction, zone)) => format!("{text}{fraction} {zone}"),
        None => nanoseconds.to_string(),
    }
}

fn local(nanoseconds: i64, time: &str, zone: &str) -> Option<(String, String, String)> {
    let moment = Timestamp::from_nanosecond(nanoseconds.into()).ok()?.to_zoned(TimeZone::system());
    let mut fraction = String::new();
    if moment.subsec_nanosecond() != 0 {
        fraction = format!(".{:09}", moment.subsec_nanosecond());
        fraction.truncate(fraction.trim_end_matches('0').len());
    }
    Some((moment.strftime(time).to_string(), fraction, moment.strftime(zone).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_significant_digits_and_decimal_units() {
        for (bytes, three, four) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1kB"),
            (28_674, "28.7kB", "28.67kB"),
            (13_434_880, "13.4MB", "13.43MB"),
            (191_234_567, "191MB", "191.2MB"),
            (999_999, "1e+03kB", "1000kB"),
            (1_500_000_000, "1.5GB", "1.5GB"),
        ] {
            assert_eq!((size(bytes, 3).as_str(), size(bytes, 4).as_str()), (three, four), "{bytes}");
        }
    }

    #[test]
    fn ages_are_in_words() {
        for (seconds, said) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (119, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(words(seconds), said, "{seconds}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("-2s"), Some(Duration::ZERO));
        for wrong in ["", "10", "s", "1x", "1.2.3s", "-"] {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
    }
}
