//! Times and spans of time in requests.

use crate::contract::Instant;
use crate::groupwise::asked::whole_number;

const DAY: u64 = 86_400;

/// A span of time in seconds: xs:duration, or a plain number of days as clients write it. None: it is neither, or
/// negative.
pub fn duration(text: &str) -> Option<u64> {
    let Some(said) = text.strip_prefix('P') else {
        return u64::try_from(whole_number(text).ok()?).ok()?.checked_mul(DAY);
    };
    let (date, time) = said.split_once('T').unwrap_or((said, ""));
    if said.is_empty() || said.ends_with('T') {
        return None;
    }
    // A month and a year are as long as they are on average, nearly.
    let date = parts(date, &[('Y', 365 * DAY), ('M', 30 * DAY), ('D', DAY)])?;
    date.checked_add(parts(time, &[('H', 3600), ('M', 60), ('S', 1)])?)
}

/// Numbers, each with its unit, which come in this order at most once.
fn parts(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0u64;
    for (unit, seconds) in units {
        let Some((number, rest)) = text.split_once(*unit) else {
            continue;
        };
        let whole = number.split_once('.').map_or(number, |(whole, _)| whole);
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return None;
        }
        sum = sum.checked_add(whole.parse::<u64>().ok()?.checked_mul(*seconds)?)?;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

/// A span of time as xs:duration.
pub fn duration_text(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let date = ["P", &days.to_string(), "D"].concat();
    if rest == 0 { date } else { [&date, "T", &rest.to_string(), "S"].concat() }
}

/// A moment (xs:dateTime) in seconds since the Unix epoch: one without a zone is UTC, one before the epoch counts as its
/// beginning.
pub fn moment(text: &str) -> Option<Instant> {
    let (date, time) = text.split_once('T')?;
    let days = days(date)?;
    let (time, offset) = zone(time)?;
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let [hour, minute, second] = numbers(time, ':')?;
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days * DAY as i64 + hour * 3600 + minute * 60 + second - offset * 60;
    Some(seconds.max(0) as u64)
}

/// A time without its zone, and the zone's offset in minutes.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, 0));
    };
    let (time, zone) = time.split_at(at);
    let [hours, minutes] = numbers(zone.get(1..)?, ':')?;
    let minutes = hours * 60 + minutes;
    Some((time, if zone.starts_with('-') { -minutes } else { minutes }))
}

/// Days since the epoch (H. Hinnant, "chrono-compatible low-level date algorithms").
fn days(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-')?;
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year / 400, year % 400);
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(between);
    for number in &mut numbers {
        let part = parts.next().filter(|part| part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_either_form() {
        for (text, seconds) in [
            ("1", Some(DAY)),
            ("0", Some(0)),
            ("1.000000", Some(DAY)),
            ("P1D", Some(DAY)),
            ("P7DT0H0M0S", Some(7 * DAY)),
            ("PT36H", Some(36 * 3600)),
            ("P1Y2M3DT4H5M6.7S", Some(428 * DAY + 4 * 3600 + 306)),
            ("-P1D", None),
            ("-1", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("P1S", None),
            ("PDT", None),
            ("P99999999999999999999D", None),
            ("a week", None),
        ] {
            assert_eq!(duration(text), seconds, "{text}");
        }
        assert_eq!((duration_text(DAY), duration_text(DAY + 5)), ("P1D".into(), "P1DT5S".into()));
    }

    #[test]
    fn moments_are_read_with_and_without_a_zone() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T00:00:00", Some(951_782_400)),
            ("2026-08-22T10:00:01Z", Some(1_787_392_801)),
            ("2026-08-22T12:00:01.5+02:00", Some(1_787_392_801)),
            ("2026-08-22T05:00:01-05:00", Some(1_787_392_801)),
            ("1969-12-31T23:59:59Z", Some(0)),
            ("2026-08-22", None),
            ("2026-13-22T10:00:01Z", None),
            ("2026-08-22T10:00Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(moment(text), seconds, "{text}");
        }
    }
}
