//! Reads the cookies of a request (RFC 6265 §4.2, RFC 9113 §8.2.3).

use crate::RequestHeaders;

/// Returns the cookies of a request as one line if they are on several lines, and `None` otherwise.
///
/// HTTP/2 clients send each cookie as a line of its own, and programs behind HTTP/1.1 read the
/// first line only (RFC 9113 §8.2.3).
///
/// ```
/// use http::HeaderMap;
/// use larder_core::adapter::joined_cookies;
///
/// let mut headers = HeaderMap::new();
/// headers.append("cookie", "a=1".parse()?);
/// assert_eq!(joined_cookies(&headers), None);
/// headers.append("cookie", "b=2".parse()?);
/// assert_eq!(joined_cookies(&headers).as_deref(), Some(&b"a=1; b=2"[..]));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn joined_cookies<H: RequestHeaders>(headers: &H) -> Option<Vec<u8>> {
    let mut lines = headers.lines("cookie");
    let mut joined = [lines.next()?, b"; ", lines.next()?].concat();
    for line in lines {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line);
    }
    Some(joined)
}

/// Calls `each` with the values of all cookies called `name`, in their order.
///
/// Programs read cookies in different ways: some separate them at spaces and commas, some know
/// quotes, some ignore the case of names. A line in which one of them could find a value of this
/// name that another does not find counts as a whole: such a value must not be missing in the key.
pub(super) fn cookie_values<'h, H: RequestHeaders>(
    headers: &'h H,
    name: &str,
    mut each: impl FnMut(&'h [u8]),
) {
    for line in headers.lines("cookie") {
        let mut plain = 0;
        for pair in line.split(|byte| *byte == b';') {
            if let Some(value) = value_of(pair.trim_ascii(), name) {
                plain += if is_plain(value) { 1 } else { 0 };
                each(value);
            }
        }
        if mentions(line, name) != plain {
            each(line);
        }
    }
}

/// Returns the value of a cookie if it has this name.
fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    (pair[..equals].trim_ascii() == name.as_bytes()).then(|| pair[equals + 1..].trim_ascii())
}

/// Returns whether all programs find the same end of a value: it has no quote, or one at each end.
fn is_plain(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    !inner.contains(&b'"')
}

/// Returns how often `name` precedes `=` in a line, in any case, after another character than those
/// of a name.
fn mentions(line: &[u8], name: &str) -> usize {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_mentioned = |at: &usize| {
        let (before, here) = line.split_at(*at);
        here[..name.len()].eq_ignore_ascii_case(name.as_bytes())
            && here[name.len()..].trim_ascii_start().first() == Some(&b'=')
            && !before.last().is_some_and(|byte| is_of_name(*byte))
    };
    (0..(line.len() + 1).saturating_sub(name.len())).filter(is_mentioned).count()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::COOKIE};

    use super::*;

    #[test]
    fn values_by_name() {
        for (lines, expected) in [
            (&[][..], &[][..]),
            (&["a=1"], &["1"]),
            (&["b=2; a=1; c=3"], &["1"]),
            (&["a=1;a=2", "a=3"], &["1", "2", "3"]),
            (&["a="], &[""]),
            (&["a"], &[]),
            (&["aa=2; ba=3"], &[]),
            (&[" a = 1 ;b=2"], &["1"]),
            (&["a=b=c"], &["b=c"]),
            (&["a=\"1\""], &["\"1\""]),
            (&[";;; a=1;"], &["1"]),
            (&["b=x a y; c={\"z\": 1, 2}"], &[]),
        ] {
            assert_eq!(values(lines), expected, "{lines:?}");
        }
    }

    /// A program that separates cookies at spaces read the second value, and the page for it was
    /// stored for those who had no such cookie.
    #[test]
    fn a_line_that_programs_read_differently_counts_as_a_whole() {
        for line in [
            "b=1 a=2",
            "b=1,a=2",
            "b=\"1;\" a=2",
            "b=\"x\\\"; a=2; c=\" a=3",
            "a=\"1; b=2\"",
            "A=2",
            "b=1; a=1, a=2",
            "b=(a=2)",
        ] {
            assert_eq!(values(&[line]).last().map(String::as_str), Some(line), "{line}");
        }
    }

    fn values(lines: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.extend(lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))));
        let mut values = Vec::new();
        cookie_values(&headers, "a", |value| values.push(String::from_utf8_lossy(value).into_owned()));
        values
    }
}
