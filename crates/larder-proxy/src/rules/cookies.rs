//! Finds cookies in all the ways in which programs read them, and removes cookies by name.

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::glob::Glob;

/// Returns whether a request has a cookie with this name and value, however a program reads it:
/// separated by semicolons, commas or spaces, in quotes, with its name in upper or lower case.
///
/// A value that one of them could find must not be missed, since a rule for it may be there to keep
/// a response out of the cache.
pub(super) fn contains(headers: &HeaderMap, name: &Glob, value: &Glob) -> bool {
    let mut lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    lines
        .any(|line| pairs(line).any(|(n, v)| name.matches_ignoring_case(n) && value.matches_ignoring_case(v)))
}

/// Returns what could be names and values of cookies: around each `=` of a line.
fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let equals = line.iter().enumerate().filter(|(_, byte)| **byte == b'=').map(|(at, _)| at);
    equals.map(|at| {
        let is_end = |byte: &u8| b";, \t\"".contains(byte);
        let before = line[..at].trim_ascii_end();
        let name = before
            .iter()
            .rposition(|byte| is_end(byte) || *byte == b'=')
            .map_or(before, |end| &before[end + 1..]);
        let after = line[at + 1..].trim_ascii_start();
        let after = after.strip_prefix(b"\"").unwrap_or(after);
        let value = after.iter().position(is_end).map_or(after, |end| &after[..end]);
        (name, value)
    })
}

/// Removes the cookies with these names. Returns the others as one line, if there are any, or
/// `None` if all stay.
pub(super) fn without(headers: &HeaderMap, names: &[Glob]) -> Option<Option<HeaderValue>> {
    let (mut kept, mut is_changed) = (Vec::new(), false);
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii_end();
            if names.iter().any(|glob| glob.matches(name)) {
                is_changed = true;
            } else if !pair.is_empty() {
                kept.push(pair);
            }
        }
    }
    is_changed.then(|| HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|_| !kept.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn a_cookie_is_found_however_it_is_written() {
        let (name, any, one) = (Glob::new("session*"), Glob::new("*"), Glob::new("1"));
        for line in [
            "session=1",
            "a=2; session_id=1",
            "a=2, session=1",
            "a=2 session=1",
            "a=\"2; session=1\"",
            "SESSION=1",
            "session = 1",
            "session=\"1\"",
            "a=b=c;session=1;",
            "a=session=1",
        ] {
            let found = headers(&["x=y", line]);
            assert!(contains(&found, &name, &any) && contains(&found, &name, &one), "{line}");
        }
        for line in ["", "session", "my_session=1", "a=session", "session;=1"] {
            assert!(!contains(&headers(&[line]), &name, &any), "{line}");
        }
        assert!(!contains(&headers(&["session=2"]), &name, &one));
    }

    #[test]
    fn cookies_are_removed_by_name() {
        let names = [Glob::new("_ga*"), Glob::new("x")];
        for (lines, expected) in [
            (&["a=1; b=2"][..], None),
            (&["_gab=1"], Some(None)),
            (&["a=1;_ga=2 ; x ; b=_ga=3"], Some(Some("a=1; b=_ga=3"))),
            (&["a=1", "x=2", "c=3"], Some(Some("a=1; c=3"))),
            (&["x=1; X=2"], Some(Some("X=2"))),
        ] {
            let kept = without(&headers(lines), &names);
            let kept = kept.map(|kept| kept.map(|kept| kept.to_str().expect("text").to_owned()));
            assert_eq!(kept.as_ref().map(Option::as_deref), expected, "{lines:?}");
        }
    }
}
