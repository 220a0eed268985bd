//! Text of answers, appended to bytes by hand: formatting machinery costs more here than the sandbox does.

use crate::soap::is_xml_char;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
        let (year, month, day) = civil(seconds / 86_400);
        let of_day = seconds % 86_400;
        padded(self, year, 4);
        self.push(b'-');
        padded(self, month, 2);
        self.push(b'-');
        padded(self, day, 2);
        self.push(b'T');
        padded(self, of_day / 3600, 2);
        self.push(b':');
        padded(self, of_day / 60 % 60, 2);
        self.push(b':');
        padded(self, of_day % 60, 2);
        self.push(b'Z');
    }

    fn base64(&mut self, bytes: &[u8]) {
        encode(self, bytes, STANDARD);
        for _ in 0..(3 - bytes.len() % 3) % 3 {
            self.push(b'=');
        }
    }

    fn base64url(&mut self, bytes: &[u8]) {
        encode(self, bytes, URL_SAFE);
    }
}

/// Bytes as base64 text of the URL-safe alphabet.
pub fn base64url_text(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    text.base64url(bytes);
    text.into_iter().map(char::from).collect()
}

/// Bytes of base64 text of the URL-safe alphabet without padding; none if it is not exactly what encoding gives.
pub fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for byte in chunk {
            bits = bits << 6 | sextet(*byte)?;
        }
        match chunk.len() {
            4 => bytes.extend_from_slice(&bits.to_be_bytes()[1..]),
            3 if bits & 0b11 == 0 => bytes.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
            2 if bits & 0b1111 == 0 => bytes.push((bits >> 4) as u8),
            _ => return None,
        }
    }
    Some(bytes)
}

fn encode(out: &mut Vec<u8>, bytes: &[u8], alphabet: &[u8; 64]) {
    let letter = |bits: u32, shift: u32| alphabet[(bits >> shift & 63) as usize];
    let mut chunks = bytes.chunks_exact(3);
    for chunk in &mut chunks {
        let bits = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        out.extend_from_slice(&[letter(bits, 18), letter(bits, 12), letter(bits, 6), letter(bits, 0)]);
    }
    match *chunks.remainder() {
        [one] => {
            let bits = u32::from(one) << 4;
            out.extend_from_slice(&[letter(bits, 6), letter(bits, 0)]);
        }
        [one, two] => {
            let bits = u32::from_be_bytes([0, 0, one, two]) << 2;
            out.extend_from_slice(&[letter(bits, 12), letter(bits, 6), letter(bits, 0)]);
        }
        _ => {}
    }
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

fn padded(out: &mut Vec<u8>, number: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10u64.pow(place) % 10) as u8);
    }
}

/// Year, month and day of a day since the epoch (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
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
