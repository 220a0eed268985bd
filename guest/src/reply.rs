//! Text of answers, appended to bytes by hand: formatting machinery costs more here than the sandbox does.

use base64_simd::{STANDARD, URL_SAFE_NO_PAD};

use crate::soap::is_xml_char;

/// The last millisecond of the year 9999, the last that a date on the wire can say.
const LAST_DATE: u64 = 253_402_300_799_999;

/// What an answer is written into.
pub trait Text {
    /// Appends markup as it is.
    fn raw(&mut self, markup: &str);
    /// Appends text, escaped; characters that XML does not allow become U+FFFD.
    fn text(&mut self, text: &str);
    /// Appends a number in decimal.
    fn number(&mut self, number: u64);
    /// Appends milliseconds since the epoch as `2026-08-22T10:00:01Z`; parts of a second are cut.
    fn date(&mut self, instant: u64);
    /// Appends base64 with padding.
    fn base64(&mut self, bytes: &[u8]);
    /// Appends base64 of the URL-safe alphabet, without padding.
    fn base64url(&mut self, bytes: &[u8]);
}

impl Text for Vec<u8> {
    fn raw(&mut self, markup: &str) {
        self.extend_from_slice(markup.as_bytes());
    }

    fn text(&mut self, text: &str) {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"')) {
            return self.raw(text);
        }
        let mut done = 0;
        for (at, character) in text.char_indices() {
            let instead = match character {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\r' => "&#13;",
                _ if is_xml_char(character) => continue,
                _ => "\u{FFFD}",
            };
            self.raw(&text[done..at]);
            self.raw(instead);
            done = at + character.len_utf8();
        }
        self.raw(&text[done..]);
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.extend_from_slice(&digits[at..]);
    }

    fn date(&mut self, instant: u64) {
        let seconds = instant.min(LAST_DATE) / 1000;
        let (year, month, day) = civil((seconds / 86_400) as u32);
        let of_day = (seconds % 86_400) as u32;
        let pairs = [year / 100, year % 100, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60];
        let mut text = *b"0000-00-00T00:00:00Z";
        for (at, pair) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(pairs) {
            text[at] += (pair / 10) as u8;
            text[at + 1] += (pair % 10) as u8;
        }
        self.extend_from_slice(&text);
    }

    fn base64(&mut self, bytes: &[u8]) {
        STANDARD.encode_append(bytes, self);
    }

    fn base64url(&mut self, bytes: &[u8]) {
        URL_SAFE_NO_PAD.encode_append(bytes, self);
    }
}

/// Bytes as base64 text of the URL-safe alphabet.
pub fn base64url_text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Bytes of base64 text of the URL-safe alphabet without padding; none if it is not exactly what encoding gives.
pub fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// Year, month and day of a day since the epoch (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u32) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text is UTF-8")
    }

    #[test]
    fn dates() {
        for (instant, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_787_392_801_999, "2026-08-22T10:00:01Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(written(|out| out.date(instant)), expected);
        }
    }

    #[test]
    fn numbers_and_text() {
        assert_eq!(written(|out| out.number(0)), "0");
        assert_eq!(written(|out| out.number(u64::MAX)), "18446744073709551615");
        assert_eq!(written(|out| out.text("a<b>&\"\u{1}\r\u{FFFF}ü")), "a&lt;b&gt;&amp;&quot;\u{FFFD}&#13;\u{FFFD}ü");
    }

    #[test]
    fn base64_round_trips_and_refuses_other_spellings() {
        assert_eq!(written(|out| out.base64(b"foobar!")), "Zm9vYmFyIQ==");
        for length in 0..20u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(251)).collect();
            assert_eq!(decode_base64url(&base64url_text(&bytes)), Some(bytes));
        }
        for bad in ["A", "AB", "AAB", "AA==", "A+/A", "ÄA"] {
            assert_eq!(decode_base64url(bad), None, "{bad}");
        }
    }
}
