//! HTTP dates (RFC 9110 §5.6.7), read as strictly as RFC 9111 §5.3 and §4.2 need them and no more.
//!
//! Three forms, with names in any case. Another zone, one-digit hours, dashes or a missing comma are no date at all:
//! for `Expires` that means expired already, and a lenient parser would make a response fresh that nobody meant to be.

use crate::Timestamp;

/// Reads a date; `None` for anything that is not one of the three forms. `now` places two-digit years: more than
/// 50 years ahead is in the past (RFC 9110 §5.6.7).
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

/// In the preferred form, whole seconds: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn format_http_date(time: Timestamp) -> String {
    // Years beyond 9999 have no such form.
    let secs = (time.as_millis() / 1000).min(253_402_300_799);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
}

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

/// `Sun, 06 Nov 1994 08:49:37 GMT`
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

/// `Sunday, 06-Nov-94 08:49:37 GMT`
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

/// `Sun Nov  6 08:49:37 1994`
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

fn short_day(name: &[u8]) -> bool {
    DAYS.iter().any(|day| day[..3].eq_ignore_ascii_case(name))
}

fn month(name: &[u8]) -> Option<u64> {
    let index = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    Some(index as u64 + 1)
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// `08:49:37`, with a leap second allowed.
fn clock(text: &[u8]) -> Option<u64> {
    let (hour, minute, second) = (digits(&text[..2])?, digits(&text[3..5])?, digits(&text[6..])?);
    let valid = text[2] == b':' && text[5] == b':' && hour < 24 && minute < 60 && second <= 60;
    valid.then_some(hour * 3600 + minute * 60 + second)
}

impl Civil {
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
        // Days from the civil calendar (Hinnant); years before the epoch count as the epoch.
        let year = self.year.checked_sub(u64::from(self.month <= 2))?;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).saturating_sub(719_468);
        Some(Timestamp::from_secs(days * 86_400 + self.seconds))
    }
}
