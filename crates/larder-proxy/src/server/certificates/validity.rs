//! Reads the end of a certificate's validity (RFC 5280 §4.1.2.5).
//!
//! Only the operator's own certificates are read, and a mistake here would only change a warning.
//! rustls reads them without reporting this date.

use std::time::{Duration, SystemTime};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Returns the time after which a certificate in DER is no longer valid. `None` if it cannot be
/// read, or is before 1970.
pub(super) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let mut outer = Reader(certificate).value(SEQUENCE)?;
    let mut to_be_signed = outer.value(SEQUENCE)?;
    to_be_signed.value(VERSION);
    to_be_signed.value(INTEGER)?; // serial number
    to_be_signed.value(SEQUENCE)?; // signature algorithm
    to_be_signed.value(SEQUENCE)?; // issuer
    let mut validity = to_be_signed.value(SEQUENCE)?;
    validity.any()?; // not before
    let (tag, value) = validity.any()?;
    time(tag, value.0)
}

/// Reads values of DER: a tag, a length and the content.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads the next value if it has this tag.
    fn value(&mut self, tag: u8) -> Option<Self> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.any().map(|(_, value)| value)
    }

    /// Reads the next value.
    fn any(&mut self) -> Option<(u8, Self)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if bytes.len() > 3 {
                return None;
            }
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, Self(content)))
    }
}

/// Parses `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let mut digits = text.strip_suffix(b"Z")?;
    let mut number = |length: usize| -> Option<u64> {
        let (number, rest) = digits.split_at_checked(length)?;
        digits = rest;
        number
            .iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
    };
    let year = match tag {
        UTC_TIME => match number(2)? {
            year @ 0..50 => 2000 + year,
            year => 1900 + year,
        },
        GENERALIZED_TIME => number(4)?,
        _ => return None,
    };
    let (month, day) = (number(2)?, number(2)?);
    let (hour, minute, second) = (number(2)?, number(2)?, number(2)?);
    let is_valid =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !is_valid || !digits.is_empty() || year < 1970 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Returns the number of days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March, so that a leap day is the last one of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
        time(tag, text)?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    #[test]
    fn times_of_certificates() {
        for (tag, text, expected) in [
            (UTC_TIME, &b"700101000000Z"[..], Some(0)),
            (UTC_TIME, b"240229235959Z", Some(1_709_251_199)),
            (UTC_TIME, b"491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, b"20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, b"21000301000000Z", Some(4_107_542_400)),
            (GENERALIZED_TIME, b"99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, b"500101000000Z", None),
            (UTC_TIME, b"240229235959", None),
            (UTC_TIME, b"241329235959Z", None),
            (UTC_TIME, b"24022923595xZ", None),
            (UTC_TIME, b"2402292359590Z", None),
            (INTEGER, b"240229235959Z", None),
        ] {
            assert_eq!(seconds(tag, text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn the_end_of_a_real_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key");
        for (year, expected) in [(2031, 1_932_940_800), (2077, 3_384_633_600)] {
            let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
            params.not_after = rcgen::date_time_ymd(year, 4, 3);
            let certificate = params.self_signed(&key).expect("a certificate");
            let end = not_after(certificate.der()).expect("a date");
            assert_eq!(end, SystemTime::UNIX_EPOCH + Duration::from_secs(expected));
            for length in 0..certificate.der().len() {
                // Neither a panic nor another date.
                let part = not_after(&certificate.der()[..length]);
                assert!(part.is_none(), "{length} bytes");
            }
        }
    }
}
