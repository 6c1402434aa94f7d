//! The layer: the cache and the options that all services wrapped by it share. `service` handles
//! requests.

use larder_core::{Cache, FetchOptions};
use tower::Layer;

use crate::CacheService;

/// A layer that puts an HTTP cache in front of a service.
///
/// It wraps any service that takes `http::Request` and returns `http::Response`: a router or
/// handler on a server, or an HTTP client. To the cache, the wrapped service is the origin.
///
/// ```
/// use std::sync::Arc;
/// use larder_core::Cache;
/// use larder_memory::MemoryStore;
/// use larder_tower::CacheLayer;
///
/// let cache = Cache::builder(Arc::new(MemoryStore::default())).build();
/// let router: axum::Router = axum::Router::new()
///     .route("/", axum::routing::get(|| async { ([("cache-control", "max-age=60")], "hello") }))
///     .layer(CacheLayer::new(cache));
/// ```
#[derive(Debug, Clone)]
pub struct CacheLayer {
    pub(crate) cache: Cache,
    pub(crate) options: FetchOptions,
    pub(crate) scheme: &'static str,
}

impl CacheLayer {
    /// Creates a layer that uses this cache.
    ///
    /// Layers that use the same cache share its stored responses. The cache key contains no
    /// service name: two services that answer for the same URL share one stored response.
    pub fn new(cache: Cache) -> Self {
        Self { cache, options: FetchOptions::default(), scheme: "http" }
    }

    /// Sets the cache options of all requests, such as a default freshness for responses that
    /// specify none, groups, or further request headers that select a response.
    ///
    /// Default: [`FetchOptions::default`], which changes nothing.
    #[must_use]
    pub fn options(mut self, options: FetchOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets `https` as the scheme of requests with a relative URI, for the cache key and the target.
    ///
    /// Default: `http`. Use it on a server that clients reach over TLS.
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
