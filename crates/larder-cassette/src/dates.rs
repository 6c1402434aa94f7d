//! Moves the dates of a recorded response to the time of its replay.

use http::{
    HeaderMap, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use larder_core::{
    Timestamp,
    policy::{
        format_http_date,
        header_names::{EXPIRES, SET_COOKIE},
        parse_http_date,
    },
};

/// Moves `Date`, `Expires`, a date in `Retry-After`, and the `Expires` of cookies by the time from
/// the recording to `now`.
///
/// A cache above the cassette then sees a response of the same age as when it was recorded.
/// `Last-Modified` and entity tags are names of a version, and stay.
pub(crate) fn shift(headers: &mut HeaderMap, recorded: Option<Timestamp>, now: Timestamp) {
    let own_date = || parse_http_date(headers.get(DATE)?.as_bytes(), now);
    let Some(recorded) = recorded.or_else(own_date) else { return };
    let shifted = |date: &[u8]| {
        let date = parse_http_date(date, recorded)?;
        let millis = date.as_millis().saturating_add(now.as_millis()).saturating_sub(recorded.as_millis());
        Some(format_http_date(Timestamp::from_millis(millis)))
    };
    for (name, value) in headers.iter_mut() {
        let new = if [DATE, EXPIRES, RETRY_AFTER].contains(name) {
            shifted(value.as_bytes())
        } else if *name == SET_COOKIE {
            value.to_str().ok().and_then(|cookie| shifted_cookie(cookie, shifted))
        } else {
            None
        };
        if let Some(new) = new.and_then(|new| HeaderValue::try_from(new).ok()) {
            *value = new;
        }
    }
}

/// Returns a cookie with another `Expires`. `None` if it has none.
fn shifted_cookie(cookie: &str, shifted: impl Fn(&[u8]) -> Option<String>) -> Option<String> {
    let mut attributes: Vec<String> = cookie.split(';').map(str::to_owned).collect();
    let expires = attributes.iter_mut().skip(1).find_map(|attribute| {
        let (name, date) = attribute.split_once('=')?;
        let date = shifted(date.trim().as_bytes())?;
        let name = name.to_owned();
        name.trim().eq_ignore_ascii_case("expires").then(|| *attribute = format!("{name}={date}"))
    });
    expires.map(|()| attributes.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_move_and_versions_stay() {
        let recorded = Timestamp::from_secs(784_111_777);
        let now = Timestamp::from_secs(784_111_777 + 3600);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"),
            ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT"),
            ("set-cookie", "a=REDACTED; Path=/; Expires=Mon, 07 Nov 1994 08:49:37 GMT; Secure"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let before = headers.clone();
        shift(&mut headers, Some(recorded), now);
        assert_eq!(headers["date"], "Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(headers["expires"], "Sun, 06 Nov 1994 09:50:37 GMT");
        assert_eq!(headers["retry-after"], "Sun, 06 Nov 1994 09:49:40 GMT");
        assert_eq!(headers["last-modified"], before["last-modified"]);
        assert_eq!(
            headers["set-cookie"],
            "a=REDACTED; Path=/; Expires=Mon, 07 Nov 1994 09:49:37 GMT; Secure"
        );

        let mut by_date = before.clone();
        shift(&mut by_date, None, now);
        assert_eq!(by_date, headers, "without a time of recording, the response's own date is one");
        let mut odd = HeaderMap::new();
        for (name, value) in [("expires", "0"), ("retry-after", "120"), ("set-cookie", "a=b; expires=never")]
        {
            odd.insert(name, HeaderValue::from_static(value));
        }
        let unchanged = odd.clone();
        shift(&mut odd, Some(recorded), now);
        assert_eq!(odd, unchanged);
    }
}
