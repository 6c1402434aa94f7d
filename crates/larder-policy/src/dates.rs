//! Parses and formats HTTP dates (RFC 9110 §5.6.7), exactly as strictly as RFC 9111 §4.2 and §5.3
//! require.
//!
//! Three formats are accepted, with day and month names in any case. A time zone other than GMT, a
//! one-digit hour, misplaced dashes or a missing comma make a date invalid. An invalid `Expires`
//! means that the response has already expired. A lenient parser would make a response fresh
//! against the sender's intent.

use crate::Timestamp;

/// Parses an HTTP date in one of the three formats of RFC 9110 §5.6.7. Returns `None` for anything
/// else.
///
/// `now` resolves two-digit years: a year that appears to be more than 50 years in the future is
/// taken as the most recent past year with the same last two digits.
///
/// ```
/// use larder_policy::{Timestamp, parse_http_date};
///
/// let now = Timestamp::from_secs(1_700_000_000);
/// let date = parse_http_date(b"Sun, 06 Nov 1994 08:49:37 GMT", now);
/// assert_eq!(date, Some(Timestamp::from_secs(784_111_777)));
/// assert_eq!(parse_http_date(b"0", now), None);
/// ```
pub fn parse_http_date(text: &[u8], now: Timestamp) -> Option<Timestamp> {
    let text = text.trim_ascii();
    let comma = text.iter().position(|byte| *byte == b',');
    let civil = match comma {
        Some(3) => imf_fixdate(text)?,
        Some(at) => rfc850(text, at, now)?,
        None => asctime(text)?,
    };
    civil.timestamp()
}

/// Returns the date in the preferred format, such as `Sun, 06 Nov 1994 08:49:37 GMT`, truncated to
/// whole seconds (RFC 9110 §5.6.7). Times after the year 9999 are formatted as its last second.
pub fn format_http_date(time: Timestamp) -> String {
    // The format has four-digit years: 9999-12-31T23:59:59Z is the last second that it can express.
    let secs = (time.as_millis() / 1000).min(253_402_300_799);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
}

/// A date and time of day in the proleptic Gregorian calendar, UTC.
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    seconds: u64,
}

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// Parses the preferred format, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &[u8]) -> Option<Civil> {
    let text: &[u8; 29] = text.try_into().ok()?;
    let fixed = text[4] == b' ' && text[7] == b' ' && text[11] == b' ' && text[16] == b' ';
    let named = short_day(&text[..3]) && text[25..].eq_ignore_ascii_case(b" gmt");
    if !(fixed && named) {
        return None;
    }
    Some(Civil {
        day: digits(&text[5..7])?,
        month: month(&text[8..11])?,
        year: digits(&text[12..16])?,
        seconds: clock(&text[17..25])?,
    })
}

/// Parses the obsolete RFC 850 format, such as `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(text: &[u8], comma: usize, now: Timestamp) -> Option<Civil> {
    if !DAYS.iter().any(|day| text[..comma].eq_ignore_ascii_case(day)) {
        return None;
    }
    let rest: &[u8; 23] = text.get(comma + 1..)?.try_into().ok()?;
    let fixed = rest[0] == b' ' && rest[3] == b'-' && rest[7] == b'-' && rest[10] == b' ';
    if !(fixed && rest[19..].eq_ignore_ascii_case(b" gmt")) {
        return None;
    }
    let this_year = 1970 + now.as_millis() / 1000 / 31_556_952;
    let mut year = this_year / 100 * 100 + digits(&rest[8..10])?;
    if year > this_year + 50 {
        year -= 100;
    }
    Some(Civil {
        day: digits(&rest[1..3])?,
        month: month(&rest[4..7])?,
        year,
        seconds: clock(&rest[11..19])?,
    })
}

/// Parses the obsolete format of ANSI C's `asctime()`, such as `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &[u8]) -> Option<Civil> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let fixed = text[3] == b' ' && text[7] == b' ' && text[10] == b' ' && text[19] == b' ';
    if !(fixed && short_day(&text[..3])) {
        return None;
    }
    let day = if text[8] == b' ' { digits(&text[9..10])? } else { digits(&text[8..10])? };
    Some(Civil {
        day,
        month: month(&text[4..7])?,
        year: digits(&text[20..])?,
        seconds: clock(&text[11..19])?,
    })
}

/// Returns whether `name` is a three-letter day name in any case.
fn short_day(name: &[u8]) -> bool {
    DAYS.iter().any(|day| day[..3].eq_ignore_ascii_case(name))
}

/// Returns the number of a month, 1 to 12, from its three-letter name in any case.
fn month(name: &[u8]) -> Option<u64> {
    let index = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    Some(index as u64 + 1)
}

/// Parses a number that consists of digits only.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// Parses a time of day, such as `08:49:37`, into seconds since midnight. A leap second is
/// accepted.
fn clock(text: &[u8]) -> Option<u64> {
    let (hour, minute, second) = (digits(&text[..2])?, digits(&text[3..5])?, digits(&text[6..])?);
    let valid = text[2] == b':' && text[5] == b':' && hour < 24 && minute < 60 && second <= 60;
    valid.then_some(hour * 3600 + minute * 60 + second)
}

impl Civil {
    /// Converts the date to a timestamp. Returns `None` if the month does not have that day.
    fn timestamp(&self) -> Option<Timestamp> {
        let leap =
            self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let longest = match self.month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if self.day == 0 || self.day > longest {
            return None;
        }
        // Days from civil date, after Howard Hinnant. Days before 1970 count as 1970-01-01.
        let year = self.year.checked_sub(u64::from(self.month <= 2))?;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).saturating_sub(719_468);
        Some(Timestamp::from_secs(days * 86_400 + self.seconds))
    }
}
