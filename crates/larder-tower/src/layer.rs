//! The layer: what is the same for every service that it is put around.

use larder_core::{Cache, FetchOptions};
use tower::Layer;

use crate::CacheService;

/// Puts a cache around a service.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    pub(crate) cache: Cache,
    pub(crate) options: FetchOptions,
    pub(crate) scheme: &'static str,
}

impl CacheLayer {
    /// A layer on this cache. Layers on the same cache share what it keeps, and tell services apart only by the URLs that
    /// they answer for.
    pub fn new(cache: Cache) -> Self {
        Self { cache, options: FetchOptions::default(), scheme: "http" }
    }

    /// What requests want of the cache beyond their fields: a freshness for responses that say none, groups, what else
    /// selects them.
    #[must_use]
    pub fn options(mut self, options: FetchOptions) -> Self {
        self.options = options;
        self
    }

    /// The server is reached by https: the scheme of requests that name none is that. Default: http.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.scheme = "https";
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, service: S) -> CacheService<S> {
        CacheService { layer: self.clone(), service }
    }
}
