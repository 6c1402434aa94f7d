//! What a request wants of the cache, beyond its fields.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use larder_core::{CacheKey, CacheMode, FetchOptions, Overrides, Overriding};
use reqwest::Request;

use crate::content::Content;

/// Longest content that stands in a key.
const LONGEST_QUESTION: usize = 64 * 1024;

/// What requests want of the cache. A client has some for all, and each request may change them for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) mode: CacheMode,
    /// What the client's user says of all responses.
    pub(crate) overriding: Option<Overriding>,
    /// What is said of this request's.
    pub(crate) overrides: Overrides,
    pub(crate) extra: Vec<Bytes>,
    pub(crate) query: bool,
    pub(crate) max_body: Option<u64>,
}

impl Wishes {
    /// The key of a question that is asked with content; `None` for any other request, and for content that can't be sent
    /// again or is too long.
    pub(crate) fn question(&self, key: &CacheKey, request: &Request, content: &Content) -> Option<CacheKey> {
        let Content::Whole(content) = content else { return None };
        if !self.query || content.len() > LONGEST_QUESTION {
            return None;
        }
        let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let method = request.method().as_str().as_bytes();
        Some(key.with_extra(method).with_extra(kind).with_extra(content))
    }

    pub(crate) fn options(&self, query: bool) -> FetchOptions {
        let mut options = FetchOptions::default();
        options.query = query;
        options.max_object = self.max_body;
        options.overrides = if self.overrides == Overrides::default() {
            self.overriding.clone()
        } else {
            Some(Overriding::always(self.overrides.clone()).or(self.overriding.clone()))
        };
        options
    }
}
