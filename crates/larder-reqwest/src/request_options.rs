//! The cache options of a request: mode, overrides, additional key parts and limits.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use larder_core::{CacheKey, CacheMode, FetchOptions, OverrideFn, Overrides};
use reqwest::Request;

use crate::replayable_body::ReplayableBody;

/// Longest request body that becomes part of a cache key, in bytes.
const MAX_QUERY_BODY: usize = 64 * 1024;

/// Cache options. A client has one set for all requests; each request may change a copy of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestOptions {
    /// The mode, which sets the request's `Cache-Control`.
    pub(crate) mode: CacheMode,
    /// The client's overrides, computed for each response.
    pub(crate) override_fn: Option<OverrideFn>,
    /// The overrides of this request, which take precedence over the client's.
    pub(crate) overrides: Overrides,
    /// Additional parts of the cache key, in their order.
    pub(crate) extra: Vec<Bytes>,
    /// Whether the request is a safe query, whatever its method: its body becomes part of the key.
    pub(crate) query: bool,
    /// Longest response body, in bytes. `None`: no limit.
    pub(crate) max_body: Option<u64>,
}

impl RequestOptions {
    /// Returns the key of a safe query, which includes its method, content type and body.
    ///
    /// Returns `None` for any other request, and if the body is a stream or longer than 64 KiB.
    pub(crate) fn query_key(
        &self,
        key: &CacheKey,
        request: &Request,
        body: &ReplayableBody,
    ) -> Option<CacheKey> {
        let ReplayableBody::InMemory(body) = body else { return None };
        if !self.query || body.len() > MAX_QUERY_BODY {
            return None;
        }
        let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let method = request.method().as_str().as_bytes();
        Some(key.with_extra(method).with_extra(content_type).with_extra(body))
    }

    /// Returns the engine's options for a fetch. `body_in_key`: the key is that of a safe query.
    pub(crate) fn fetch_options(&self, body_in_key: bool) -> FetchOptions {
        let mut options = FetchOptions::default();
        options.body_in_key = body_in_key;
        options.max_object = self.max_body;
        options.overrides = if self.overrides == Overrides::default() {
            self.override_fn.clone()
        } else {
            Some(OverrideFn::always(self.overrides.clone()).or(self.override_fn.clone()))
        };
        options
    }
}
