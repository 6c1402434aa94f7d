//! Validation (RFC 9111 §4.3): asking the origin whether a stored response is still good.

use http::{HeaderMap, HeaderValue};

use crate::{
    Rules, StoredHead, Timestamp,
    dates::parse_http_date,
    header_names::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE},
};

/// Entity tags of other variants beyond this many are not sent along.
const MOST_TAGS: usize = 16;

/// What a response can be compared by (RFC 9110 §8.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validator<'a> {
    /// A strong entity tag, as it was sent.
    Strong(&'a [u8]),
    /// A weak entity tag, as it was sent.
    Weak(&'a [u8]),
    /// `Last-Modified`, for a response without entity tag.
    LastModified(&'a [u8]),
}

impl<'a> Validator<'a> {
    /// The best that a response has.
    pub(crate) fn of(fields: &'a HeaderMap) -> Option<Self> {
        if let Some(tag) = fields.get(ETAG).map(HeaderValue::as_bytes).filter(|tag| !tag.is_empty()) {
            return Some(if tag.starts_with(b"W/") { Self::Weak(tag) } else { Self::Strong(tag) });
        }
        let modified = fields.get(LAST_MODIFIED)?.as_bytes();
        parse_http_date(modified, Timestamp::default()).map(|_| Self::LastModified(modified))
    }
}

/// Without the mark of weakness: two tags that are equal then are equal in the weak comparison (RFC 9110 §8.8.3.2).
pub(crate) fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

impl StoredHead {
    /// What this response can be compared by.
    pub fn validator(&self) -> Option<Validator<'_>> {
        Validator::of(&self.fields)
    }

    /// A strong entity tag, if there is one.
    pub(crate) fn strong_tag(&self) -> Option<&[u8]> {
        match self.validator() {
            Some(Validator::Strong(tag)) => Some(tag),
            _ => None,
        }
    }
}

impl Rules {
    /// Makes a request conditional on what is stored (§4.3.1), and says whether it could.
    ///
    /// The tag of the selected response comes first, then those of the other variants, so that the origin may point to
    /// any of them. The client's own conditions and range are taken off: the whole is asked for, and they are answered
    /// from it. Without a validator the request stays as it is.
    pub fn make_conditional<'c>(
        &self,
        fields: &mut HeaderMap,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        selected: usize,
    ) -> bool {
        let candidates: Vec<&StoredHead> = candidates.into_iter().collect();
        let Some(stored) = candidates.get(selected).filter(|stored| stored.part.is_none()) else {
            return false;
        };
        if stored.validator().is_none() {
            return false;
        }
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
            fields.remove(name);
        }
        if let Some(Validator::Strong(_) | Validator::Weak(_)) = stored.validator() {
            let others = candidates.iter().filter(|other| other.part.is_none());
            let mut tags: Vec<&[u8]> = Vec::new();
            for tag in std::iter::once(stored).chain(others).filter_map(|head| head.fields.get(ETAG)) {
                let tag = tag.as_bytes();
                if !tag.is_empty() && !tags.contains(&tag) && tags.len() < MOST_TAGS {
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
