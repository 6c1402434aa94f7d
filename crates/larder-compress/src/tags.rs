//! Entity tags of what was encoded here (RFC 9110 §8.8.3.3): each coding has its own, and the origin knows only the first.
//!
//! `"abc"` becomes `W/"abc-br"`: weak, since another version of an encoder may make other bytes of the same content.
//! A condition on it is made one on `"abc"` on its way to the origin, and what the origin confirms is given back the tag
//! that was asked with.

use http::{HeaderMap, HeaderValue};
use larder_core::header_names::{ETAG, IF_NONE_MATCH};

use crate::Coding;

const MADE: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Zstd];

/// Gives an encoded response its own tag.
pub(crate) fn mark(response: &mut HeaderMap, coding: Coding) {
    let Some(tag) = response.get(ETAG) else { return };
    let marked = opaque(tag.as_bytes()).strip_suffix(b"\"").map(|start| {
        let mut marked = Vec::with_capacity(start.len() + 8);
        marked.extend_from_slice(b"W/");
        marked.extend_from_slice(start);
        marked.push(b'-');
        marked.extend_from_slice(coding.name().as_bytes());
        marked.push(b'"');
        marked
    });
    match marked.and_then(|marked| HeaderValue::from_bytes(&marked).ok()) {
        Some(marked) => response.insert(ETAG, marked),
        // What is no tag can't be compared.
        None => response.remove(ETAG),
    };
}

/// Makes conditions on our tags conditions on the origin's. Says what was asked with, in its order.
pub(crate) fn unmark_conditions(request: &mut HeaderMap) -> Vec<Box<[u8]>> {
    let asked: Vec<Box<[u8]>> = asked(request).map(Box::from).collect();
    if asked.iter().all(|tag| unmarked(tag).is_none()) {
        return asked;
    }
    // As they are, too: an origin's own tag may end so.
    let mut sent: Vec<Vec<u8>> = Vec::with_capacity(asked.len() + 1);
    for tag in &asked {
        for form in unmarked(tag).into_iter().chain([tag.to_vec()]) {
            if !sent.contains(&form) {
                sent.push(form);
            }
        }
    }
    if let Ok(value) = HeaderValue::from_bytes(&sent.join(&b", "[..])) {
        request.insert(IF_NONE_MATCH, value);
    }
    asked
}

/// Gives a confirmation (304) the tag that was asked with, if that is a weak one.
pub(crate) fn remark(confirmation: &mut HeaderMap, asked: &[Box<[u8]>]) {
    let Some(tag) = confirmation.get(ETAG) else { return };
    let confirmed = opaque(tag.as_bytes());
    let is_meant = |asked: &[u8]| {
        opaque(asked) == confirmed || unmarked(asked).is_some_and(|plain| opaque(&plain) == confirmed)
    };
    let meant = asked.iter().find(|asked| is_meant(asked)).filter(|asked| asked.starts_with(b"W/"));
    if let Some(value) = meant.and_then(|meant| HeaderValue::from_bytes(meant).ok()) {
        confirmation.insert(ETAG, value);
    }
}

/// Gives what was decoded again the tag of what it was encoded from; weak, which compares the same.
pub(crate) fn unmark(response: &mut HeaderMap) {
    let plain = response.get(ETAG).and_then(|tag| unmarked(tag.as_bytes()));
    if let Some(value) = plain.and_then(|plain| HeaderValue::from_bytes(&plain).ok()) {
        response.insert(ETAG, value);
    }
}

/// Whether a response with this tag is what a condition asks about (the weak comparison, RFC 9110 §8.8.3.2).
pub(crate) fn is_asked_for(response: &HeaderMap, request: &HeaderMap) -> bool {
    let Some(tag) = response.get(ETAG).map(|tag| opaque(tag.as_bytes())) else { return false };
    asked(request).any(|asked| opaque(asked) == tag)
}

fn asked(request: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = request.get_all(IF_NONE_MATCH).iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// The tag of what was encoded, if it is one of ours; weak, which compares the same.
fn unmarked(tag: &[u8]) -> Option<Vec<u8>> {
    let start = tag.strip_prefix(b"W/")?.strip_suffix(b"\"")?;
    let plain = MADE.iter().find_map(|coding| {
        start.strip_suffix(coding.name().as_bytes()).and_then(|start| start.strip_suffix(b"-"))
    })?;
    Some([b"W/", plain, b"\""].concat())
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn each_coding_has_its_own() {
        for (tag, expected) in [
            ("\"abc\"", Some("W/\"abc-br\"")),
            ("W/\"abc\"", Some("W/\"abc-br\"")),
            ("\"\"", Some("W/\"-br\"")),
            ("abc", None),
        ] {
            let mut response = with(ETAG, tag);
            mark(&mut response, Coding::Brotli);
            assert_eq!(response.get(ETAG).map(|tag| tag.to_str().expect("a tag")), expected, "{tag}");
        }
    }

    #[test]
    fn conditions_come_back_as_they_were() {
        for (asked, sent, confirmed, given) in [
            ("W/\"a-br\", W/\"a-gzip\"", "W/\"a\", W/\"a-br\", W/\"a-gzip\"", "\"a\"", "W/\"a-br\""),
            ("W/\"a-gzip\", \"a\"", "W/\"a\", W/\"a-gzip\", \"a\"", "\"a\"", "W/\"a-gzip\""),
            ("\"a\", W/\"a-gzip\"", "\"a\", W/\"a\", W/\"a-gzip\"", "\"a\"", "\"a\""),
            ("W/\"a-br\"", "W/\"a\", W/\"a-br\"", "\"a-br\"", "W/\"a-br\""),
            ("\"x\"", "\"x\"", "\"y\"", "\"y\""),
            ("*", "*", "\"y\"", "\"y\""),
        ] {
            let mut request = with(IF_NONE_MATCH, asked);
            let tags = unmark_conditions(&mut request);
            assert_eq!(request[IF_NONE_MATCH], sent);
            let mut confirmation = with(ETAG, confirmed);
            remark(&mut confirmation, &tags);
            assert_eq!(confirmation[ETAG], given, "{asked}");
        }
    }
}
