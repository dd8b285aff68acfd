//! One record: `2006-01-02T15:04:05.999999999Z stdout F text\n` (the kubelet's CRI log format; its parser accepts any
//! RFC 3339 offset, UTC is always written).

use ochre_types::Timestamp;

use crate::poll::Stream;

/// Whether the record ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Full,
    Partial,
}

/// A formatted time, `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`.
pub(super) type Stamp = [u8; 30];

pub(super) fn now() -> Stamp {
    // Not rustix's clock: it panics on kernels whose vDSO has no clock (user-mode Linux).
    let nanos = Timestamp::now().nanos();
    stamp(nanos.div_euclid(1_000_000_000), u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0))
}

/// Years 0 to 9999; anything else is clamped.
pub(super) fn stamp(seconds: i64, nanos: u32) -> Stamp {
    let seconds = seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    put(&mut text[0..4], year);
    put(&mut text[5..7], month);
    put(&mut text[8..10], day);
    put(&mut text[11..13], of_day / 3600);
    put(&mut text[14..16], of_day / 60 % 60);
    put(&mut text[17..19], of_day % 60);
    put(&mut text[20..29], i64::from(nanos));
    text
}

fn put(digits: &mut [u8], mut value: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970 to a date in the proleptic Gregorian calendar, counted in years that begin in March so that the leap
/// day is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

pub(super) fn push_record(out: &mut Vec<u8>, at: &Stamp, stream: Stream, tag: Tag, content: &[&[u8]]) {
    out.extend_from_slice(at);
    out.extend_from_slice(match stream {
        Stream::Stdout => b" stdout ",
        Stream::Stderr => b" stderr ",
    });
    out.extend_from_slice(match tag {
        Tag::Full => b"F ",
        Tag::Partial => b"P ",
    });
    for part in content {
        out.extend_from_slice(part);
    }
    out.push(b'\n');
}
