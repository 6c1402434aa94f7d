//! Makes requests conditional (RFC 9111 §4.3), to check with the origin whether a stored response
//! is still current.
//!
//! The `freshening` module applies the origin's response.

use http::{HeaderMap, HeaderValue};

use crate::{
    ByteRange, Rules, StoredHead, Timestamp,
    dates::parse_http_date,
    header_names::{CACHE_CONTROL, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE},
};

/// Maximum number of entity tags in one conditional request. Further ones are omitted.
const MAX_ENTITY_TAGS: usize = 16;

/// The validator of a response, by which it is compared with others (RFC 9110 §8.8).
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validator<'a> {
    /// A strong entity tag, as it was sent.
    Strong(&'a [u8]),
    /// A weak entity tag, as it was sent.
    Weak(&'a [u8]),
    /// `Last-Modified`, for a response without entity tag.
    LastModified(&'a [u8]),
}

impl<'a> Validator<'a> {
    /// Returns the best validator of a response with these fields.
    pub(crate) fn of(fields: &'a HeaderMap) -> Option<Self> {
        if let Some(tag) = fields.get(ETAG).map(HeaderValue::as_bytes).filter(|tag| !tag.is_empty()) {
            return Some(if tag.starts_with(b"W/") { Self::Weak(tag) } else { Self::Strong(tag) });
        }
        let modified = fields.get(LAST_MODIFIED)?.as_bytes();
        parse_http_date(modified, Timestamp::default()).map(|_| Self::LastModified(modified))
    }
}

impl Validator<'_> {
    /// Returns whether two responses with this validator have the same bytes (RFC 9110 §8.8.1).
    pub fn is_strong(&self) -> bool {
        matches!(self, Self::Strong(_))
    }
}

/// Returns an entity tag without its `W/` prefix. Two tags match in the weak comparison if the
/// results are equal (RFC 9110 §8.8.3.2).
pub(crate) fn without_weak_prefix(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Returns the strong entity tag of a response with these fields, if it has one.
pub(crate) fn strong_tag(fields: &HeaderMap) -> Option<&[u8]> {
    match Validator::of(fields) {
        Some(Validator::Strong(tag)) => Some(tag),
        _ => None,
    }
}

/// Removes the range and the conditions of a request, except those that only the origin may
/// evaluate: the complete response is requested. The client is served from it
/// ([`serve_arrived`](crate::serve_arrived)).
pub fn request_whole(fields: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        fields.remove(name);
    }
}

/// Adds `no-cache` to a request, so that no cache on the way to the origin answers it on its own
/// (RFC 9111 §5.2.1.4).
pub fn request_from_origin(fields: &mut HeaderMap) {
    fields.append(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// Replaces the range and the conditions of a request by this range.
pub fn request_range(fields: &mut HeaderMap, range: &ByteRange) {
    request_whole(fields);
    if let Ok(value) = HeaderValue::from_str(&format!("bytes={}-{}", range.first, range.last)) {
        fields.insert(RANGE, value);
    }
}

/// Makes a request for a range conditional on a stored part with a strong entity tag, and returns
/// whether that was possible. If the representation has changed, the response is the new range.
fn make_part_conditional(fields: &mut HeaderMap, stored: &StoredHead) -> bool {
    let tag = strong_tag(&stored.fields).and_then(|tag| HeaderValue::from_bytes(tag).ok());
    let Some((tag, range)) = tag.zip(fields.get(RANGE).cloned()) else { return false };
    request_whole(fields);
    fields.insert(RANGE, range);
    fields.insert(IF_NONE_MATCH, tag);
    true
}

impl Rules {
    /// Makes a request conditional on the stored responses and returns whether that was possible
    /// (§4.3.1).
    ///
    /// `If-None-Match` contains the entity tag of the selected response first, then those of the
    /// other variants, so that the origin can choose any of them; 16 at most. The client's own
    /// conditions and range are removed: the complete response is requested, and the client is
    /// served from it. For a stored part with a strong entity tag, the range stays. Without a
    /// validator the request remains unchanged.
    pub fn make_conditional<'c>(
        &self,
        fields: &mut HeaderMap,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        selected: usize,
    ) -> bool {
        let candidates: Vec<&StoredHead> = candidates.into_iter().collect();
        let Some(stored) = candidates.get(selected) else { return false };
        if stored.part.is_some() {
            return make_part_conditional(fields, stored);
        }
        if stored.validator().is_none() {
            return false;
        }
        request_whole(fields);
        if let Some(Validator::Strong(_) | Validator::Weak(_)) = stored.validator() {
            let others = candidates.iter().filter(|other| other.part.is_none());
            let mut tags: Vec<&[u8]> = Vec::new();
            for tag in std::iter::once(stored).chain(others).filter_map(|head| head.fields.get(ETAG)) {
                let tag = tag.as_bytes();
                if !tag.is_empty() && !tags.contains(&tag) && tags.len() < MAX_ENTITY_TAGS {
                    tags.push(tag);
                }
            }
            if let Ok(value) = HeaderValue::from_bytes(&tags.join(&b", "[..])) {
                fields.insert(IF_NONE_MATCH, value);
            }
        }
        if let Some(modified) = stored.fields.get(LAST_MODIFIED)
            && parse_http_date(modified.as_bytes(), stored.freshness.date).is_some()
        {
            fields.insert(IF_MODIFIED_SINCE, modified.clone());
        }
        true
    }
}
