//! The cache options of a request: mode, overrides, additional key parts and limits.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{
    Body, CacheKey, CacheMode, FetchOptions, OverrideFn, Overrides,
    adapter::{ContentInKey, KeyParts, KeyRules},
};
use reqwest::{Request, Url};

use crate::{Error, ErrorKind, hosts::Pauses, parts::host, rate::Rates, replayable_body::ReplayableBody};

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
    /// The limits on the rate of requests to each host, of the client, the batch or the refresher.
    pub(crate) rates: Vec<Arc<Rates>>,
    /// The pauses that hosts have requested of the batch or the refresher.
    pub(crate) pauses: Option<Pauses>,
}

impl RequestOptions {
    /// Returns whether requests may have to wait before they are sent.
    pub(crate) fn has_waits(&self) -> bool {
        !self.rates.is_empty() || self.pauses.is_some()
    }

    /// Waits until a request may be sent to the host of `url`. Returns whether it had to wait, and
    /// an error if the host is blocked.
    pub(crate) async fn wait_for_turn(&self, url: &Url) -> Result<bool, Error> {
        let mut has_waited = false;
        loop {
            for rates in &self.rates {
                has_waited |= rates.wait(url).await;
            }
            // The host may have requested a pause meanwhile.
            let Some(pauses) = &self.pauses else { return Ok(has_waited) };
            if let Some(left) = pauses.blocked_for(host(url)) {
                return Err(Error::new(ErrorKind::HostBlocked(left), Some(url)));
            }
            let Some(until) = pauses.paused_until(host(url)) else { return Ok(has_waited) };
            tokio::time::sleep_until(until).await;
            has_waited = true;
        }
    }

    /// Returns whether the request is a safe query with its content in the key. Otherwise a safe
    /// query is forwarded and not stored: its content is a stream, or longer than 64 KiB.
    fn has_content_in_key(&self, body: &ReplayableBody) -> bool {
        let limit = ContentInKey::default().max_length;
        self.query && matches!(body, ReplayableBody::InMemory(content) if content.len() <= limit)
    }

    /// Returns the keys of a request to a URL with this key.
    pub(crate) fn keys(&self, url: CacheKey, request: &Request, body: &ReplayableBody) -> RequestKeys {
        let mut key = url.clone();
        for extra in &self.extra {
            key = key.with_extra(extra);
        }
        let in_key = match body {
            ReplayableBody::InMemory(content) if self.has_content_in_key(body) => Some(content),
            _ => None,
        };
        if let Some(content) = in_key {
            let parts = KeyParts::new(request.headers()).with_query(request.method(), content);
            key = KeyRules::default().key_with(&key, &parts);
        }
        let form_of = (key != url).then_some(url);
        RequestKeys { key, form_of, is_query: in_key.is_some() }
    }

    /// Returns the engine's options for a fetch. `is_safe`: the request is a safe query.
    pub(crate) fn fetch_options(&self, is_safe: bool, form_of: Option<CacheKey>) -> FetchOptions {
        let mut options = FetchOptions::default();
        options.body_in_key = is_safe;
        options.form_of = form_of;
        options.max_object = self.max_body;
        options.overrides = if self.overrides == Overrides::default() {
            self.override_fn.clone()
        } else {
            Some(OverrideFn::always(self.overrides.clone()).or(self.override_fn.clone()))
        };
        options
    }

    /// Returns the content to send. That of a safe query that is not in the key becomes a stream,
    /// so that the engine forwards it and stores nothing.
    pub(crate) fn content(&self, body: &mut ReplayableBody) -> Body {
        let in_key = self.has_content_in_key(body);
        let content = body.take();
        if self.query && !in_key { content.on_end(|_| ()) } else { content }
    }
}

/// The keys of a request.
pub(crate) struct RequestKeys {
    pub(crate) key: CacheKey,
    /// The key of the URL, if the key has more parts.
    pub(crate) form_of: Option<CacheKey>,
    /// Whether the content is a part of the key. The request is then looked up like a GET.
    pub(crate) is_query: bool,
}
