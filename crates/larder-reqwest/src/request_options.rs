//! What a request wants of the cache, beyond its fields.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use larder_core::{CacheKey, CacheMode, FetchOptions, OverrideFn, Overrides};
use reqwest::Request;

use crate::replayable_body::ReplayableBody;

/// Longest content that stands in a key.
const LONGEST_QUESTION: usize = 64 * 1024;

/// What requests want of the cache. A client has some for all, and each request may change them for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestOptions {
    pub(crate) mode: CacheMode,
    /// What the client's user says of all responses.
    pub(crate) override_fn: Option<OverrideFn>,
    /// What is said of this request's.
    pub(crate) overrides: Overrides,
    pub(crate) extra: Vec<Bytes>,
    pub(crate) query: bool,
    pub(crate) max_body: Option<u64>,
}

impl RequestOptions {
    /// The key of a question that is asked with content; `None` for any other request, and for content that can't be sent
    /// again or is too long.
    pub(crate) fn question(
        &self,
        key: &CacheKey,
        request: &Request,
        content: &ReplayableBody,
    ) -> Option<CacheKey> {
        let ReplayableBody::Whole(content) = content else { return None };
        if !self.query || content.len() > LONGEST_QUESTION {
            return None;
        }
        let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let method = request.method().as_str().as_bytes();
        Some(key.with_extra(method).with_extra(kind).with_extra(content))
    }

    pub(crate) fn options(&self, query: bool) -> FetchOptions {
        let mut options = FetchOptions::default();
        options.body_in_key = query;
        options.max_object = self.max_body;
        options.overrides = if self.overrides == Overrides::default() {
            self.override_fn.clone()
        } else {
            Some(OverrideFn::always(self.overrides.clone()).or(self.override_fn.clone()))
        };
        options
    }
}
