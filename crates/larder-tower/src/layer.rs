//! The layer: the cache and the options that all services wrapped by it share. `service` handles
//! requests.

use std::fmt;

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
#[derive(Clone)]
pub struct CacheLayer {
    pub(crate) cache: Cache,
    pub(crate) options: FetchOptions,
    pub(crate) scheme: &'static str,
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer")
            .field("cache", &self.cache)
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl CacheLayer {
    /// Creates a layer that uses this cache.
    ///
    /// Layers with the same cache share its stored responses. The key of a response is its URL: if
    /// two services respond to the same URL, they share one stored response.
    pub fn new(cache: Cache) -> Self {
        Self { cache, options: FetchOptions::default(), scheme: "http" }
    }

    /// Sets the cache options of all requests, such as a default freshness for responses without a
    /// lifetime, groups, or additional request headers that select a response.
    ///
    /// Default: [`FetchOptions::default`], which changes nothing. A second call replaces the first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use larder_core::{Cache, FetchOptions, OverrideFn, Overrides};
    /// use larder_tower::CacheLayer;
    ///
    /// fn layer(cache: Cache) -> CacheLayer {
    ///     let overrides = Overrides::default().with_default_freshness(Duration::from_secs(60));
    ///     let options = FetchOptions::default().with_overrides(OverrideFn::always(overrides));
    ///     CacheLayer::new(cache).options(options)
    /// }
    /// ```
    #[must_use]
    pub fn options(mut self, options: FetchOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets `https` as the scheme of requests that have only a path in their URI, as on a server.
    ///
    /// The scheme is part of the cache key. Default: `http`. Use it on a server that clients reach
    /// over TLS, so that a purge of an `https` URL finds its responses.
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
