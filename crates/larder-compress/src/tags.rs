//! Translates entity tags between the origin and the encoded responses (RFC 9110 §8.8.3.3).
//!
//! Each coding has its own tag, and the origin knows only that of the unencoded response.
//! `"abc"` becomes `W/"abc-br"`: weak, because another version of an encoder may produce other
//! bytes from the same content. `If-None-Match: W/"abc-br"` is translated to a condition on `"abc"`
//! for the origin, and the tag in the origin's 304 is replaced by the one in the request.

use http::{HeaderMap, HeaderValue};
use larder_core::policy::{
    entity_tags,
    header_names::{ETAG, IF_MATCH, IF_NONE_MATCH},
};

use crate::Coding;

/// Codings that [`mark`] appends to a tag.
const MARKED: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Zstd];

/// Changes the entity tag of a response to that of the coding. Does nothing without a tag; removes
/// an invalid one.
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
        // An invalid tag can't be compared.
        None => response.remove(ETAG),
    };
}

/// Translates the tags in `If-None-Match` to those of the origin. Returns the original tags, in
/// order.
pub(crate) fn unmark_conditions(request: &mut HeaderMap) -> Vec<Box<[u8]>> {
    let original: Vec<Box<[u8]>> = condition_tags(request).map(Box::from).collect();
    if original.iter().all(|tag| unmarked(tag).is_none()) {
        return original;
    }
    // The original form is sent as well: a tag of the origin may end with the name of a coding.
    let mut sent: Vec<Vec<u8>> = Vec::with_capacity(original.len() + 1);
    for tag in &original {
        for form in unmarked(tag).into_iter().chain([tag.to_vec()]) {
            if !sent.contains(&form) {
                sent.push(form);
            }
        }
    }
    if let Ok(value) = HeaderValue::from_bytes(&sent.join(&b", "[..])) {
        request.insert(IF_NONE_MATCH, value);
    }
    original
}

/// Replaces the tag in a 304 by the tag of the request that it matches, if that is a weak one.
pub(crate) fn restore_tag(not_modified: &mut HeaderMap, requested: &[Box<[u8]>]) {
    let Some(tag) = not_modified.get(ETAG) else { return };
    let confirmed = opaque(tag.as_bytes());
    let matches = |tag: &[u8]| {
        opaque(tag) == confirmed || unmarked(tag).is_some_and(|plain| opaque(&plain) == confirmed)
    };
    let matching = requested.iter().find(|tag| matches(tag)).filter(|tag| tag.starts_with(b"W/"));
    if let Some(value) = matching.and_then(|tag| HeaderValue::from_bytes(tag).ok()) {
        not_modified.insert(ETAG, value);
    }
}

/// Changes the tag of a decoded response to that of the unencoded one. The result is weak;
/// `If-None-Match` compares it as equal to the strong one.
pub(crate) fn unmark(response: &mut HeaderMap) {
    let plain = response.get(ETAG).and_then(|tag| unmarked(tag.as_bytes()));
    if let Some(value) = plain.and_then(|plain| HeaderValue::from_bytes(&plain).ok()) {
        response.insert(ETAG, value);
    }
}

/// Returns whether the response's tag is in the request's `If-None-Match`, by the weak comparison
/// (RFC 9110 §8.8.3.2).
pub(crate) fn matches_condition(response: &HeaderMap, request: &HeaderMap) -> bool {
    let Some(tag) = response.get(ETAG).map(|tag| opaque(tag.as_bytes())) else { return false };
    condition_tags(request).any(|listed| opaque(listed) == tag)
}

/// Makes the entity tag of a response weak: its content is not byte for byte that of the origin.
/// Removes an invalid one.
pub(crate) fn weaken(response: &mut HeaderMap) {
    let Some(tag) = response.get(ETAG) else { return };
    let tag = tag.as_bytes();
    if tag.starts_with(b"W/") {
        return;
    }
    let is_valid = tag.len() > 1 && tag.starts_with(b"\"") && tag.ends_with(b"\"");
    match HeaderValue::from_bytes(&[b"W/", tag].concat()) {
        Ok(weak) if is_valid => response.insert(ETAG, weak),
        _ => response.remove(ETAG),
    };
}

/// Adds the strong form of each weak tag to the conditions of a request, since [`weaken`] may have
/// made it weak. Returns the original tags of `If-None-Match`, in order.
///
/// Of a tag that the origin has made weak, the strong form matches nothing in `If-Match`, which
/// compares strongly, and the same as the weak one in `If-None-Match` (RFC 9110 §13.1).
pub(crate) fn add_strong_conditions(request: &mut HeaderMap) -> Vec<Box<[u8]>> {
    let original: Vec<Box<[u8]>> = condition_tags(request).map(Box::from).collect();
    for name in [IF_NONE_MATCH, IF_MATCH] {
        let lines = request.get_all(&name).iter().map(HeaderValue::as_bytes);
        let tags: Vec<&[u8]> = entity_tags(lines).collect();
        if !tags.iter().any(|tag| tag.starts_with(b"W/")) {
            continue;
        }
        // The strong form comes first: some origins read only the first tag.
        let mut sent: Vec<&[u8]> = Vec::with_capacity(tags.len() + 1);
        for form in tags.iter().flat_map(|tag| [opaque(tag), tag]) {
            if !sent.contains(&form) {
                sent.push(form);
            }
        }
        if let Ok(value) = HeaderValue::from_bytes(&sent.join(&b", "[..])) {
            request.insert(name, value);
        }
    }
    original
}

/// Makes the tag in a 304 weak if the request had only its weak form.
pub(crate) fn restore_weakness(not_modified: &mut HeaderMap, requested: &[Box<[u8]>]) {
    let Some(tag) = not_modified.get(ETAG).map(HeaderValue::as_bytes) else { return };
    if !requested.iter().any(|requested| &**requested == tag)
        && requested.iter().any(|requested| requested.starts_with(b"W/") && opaque(requested) == tag)
    {
        weaken(not_modified);
    }
}

/// Returns the tags in a request's `If-None-Match`.
fn condition_tags(request: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    entity_tags(request.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes))
}

/// Returns the tag of the unencoded response, if [`mark`] made this tag; `None` otherwise. The
/// result is weak; `If-None-Match` compares it as equal to the strong one.
fn unmarked(tag: &[u8]) -> Option<Vec<u8>> {
    let start = tag.strip_prefix(b"W/")?.strip_suffix(b"\"")?;
    let plain = MARKED.iter().find_map(|coding| {
        start.strip_suffix(coding.name().as_bytes()).and_then(|start| start.strip_suffix(b"-"))
    })?;
    Some([b"W/", plain, b"\""].concat())
}

/// Returns the tag without the mark of weakness, `W/`.
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
    fn each_coding_has_its_own_tag() {
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

    /// With compression, a page with the tag `"a,b"` was never revalidated: the list of tags was
    /// split at each comma.
    #[test]
    fn a_tag_may_have_a_comma() {
        let response = with(ETAG, "\"a,b\"");
        assert!(matches_condition(&response, &with(IF_NONE_MATCH, "\"x\", W/\"a,b\"")));
        assert!(!matches_condition(&response, &with(IF_NONE_MATCH, "\"a\", \"b\"")));
    }

    #[test]
    fn a_304_has_the_tag_of_the_request() {
        for (requested, sent, confirmed, expected) in [
            ("W/\"a-br\", W/\"a-gzip\"", "W/\"a\", W/\"a-br\", W/\"a-gzip\"", "\"a\"", "W/\"a-br\""),
            ("W/\"a-gzip\", \"a\"", "W/\"a\", W/\"a-gzip\", \"a\"", "\"a\"", "W/\"a-gzip\""),
            ("\"a\", W/\"a-gzip\"", "\"a\", W/\"a\", W/\"a-gzip\"", "\"a\"", "\"a\""),
            ("W/\"a-br\"", "W/\"a\", W/\"a-br\"", "\"a-br\"", "W/\"a-br\""),
            ("W/\"a,b-br\", \"c\"", "W/\"a,b\", W/\"a,b-br\", \"c\"", "\"a,b\"", "W/\"a,b-br\""),
            ("\"x\"", "\"x\"", "\"y\"", "\"y\""),
            ("*", "*", "\"y\"", "\"y\""),
        ] {
            let mut request = with(IF_NONE_MATCH, requested);
            let tags = unmark_conditions(&mut request);
            assert_eq!(request[IF_NONE_MATCH], sent);
            let mut not_modified = with(ETAG, confirmed);
            restore_tag(&mut not_modified, &tags);
            assert_eq!(not_modified[ETAG], expected, "{requested}");
        }
    }
}
