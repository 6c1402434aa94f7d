//! The layer: the cache and the options that all services wrapped by it share. `service` handles
//! requests.

use std::fmt;

use std::net::IpAddr;

use http::Extensions;
use larder_core::{Cache, FetchOptions, adapter::TrustedProxies};
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
    pub(crate) trust: Trust,
}

/// Which peers are trusted, and how the peer of a request is found.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    pub(crate) proxies: TrustedProxies,
    pub(crate) peer: fn(&Extensions) -> Option<IpAddr>,
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
        Self {
            cache,
            options: FetchOptions::default(),
            scheme: "http",
            trust: Trust { proxies: TrustedProxies::default(), peer: |_| None },
        }
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

    /// Sets the proxies in front of the server, of which `Forwarded` and `X-Forwarded-*` are
    /// trusted. Default: none. A second call replaces the first.
    ///
    /// The scheme and host that a trusted proxy has received are the target of the request: they
    /// are in the cache key, and the wrapped service gets them in `X-Forwarded-Proto` and
    /// `X-Forwarded-Host`. From any other peer these fields and similar ones are removed, because
    /// any client can send them.
    ///
    /// `peer` returns the address of the connection's other end from the request's extensions.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use larder_core::Cache;
    /// use larder_tower::CacheLayer;
    ///
    /// fn layer(cache: Cache) -> Result<CacheLayer, Box<dyn std::error::Error>> {
    ///     let proxies = "10.0.0.0/8".parse()?;
    ///     Ok(CacheLayer::new(cache).trusted_proxies(proxies, |extensions| {
    ///         // Set by the server, for example from axum's `ConnectInfo`.
    ///         extensions.get::<SocketAddr>().map(SocketAddr::ip)
    ///     }))
    /// }
    /// ```
    #[must_use]
    pub fn trusted_proxies(
        mut self,
        proxies: TrustedProxies,
        peer: fn(&Extensions) -> Option<IpAddr>,
    ) -> Self {
        self.trust = Trust { proxies, peer };
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, service: S) -> CacheService<S> {
        CacheService { layer: self.clone(), service }
    }
}
