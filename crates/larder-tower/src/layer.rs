//! The layer: the cache and the options that all services wrapped by it share. `service` handles
//! requests.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{Extensions, request::Parts};
use larder_core::{
    Cache, FetchOptions, Purged, TargetError,
    adapter::{FieldNormalization, KeyRules, PurgeError, PurgePrefix, PurgeUrl, TrustedProxies},
    policy::ClientDirectives,
};
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
    pub(crate) key_rules: KeyRules,
    pub(crate) partition_fn: Option<Arc<PartitionFn>>,
    pub(crate) client_directives: ClientDirectives,
    pub(crate) normalization: FieldNormalization,
}

/// Returns the partition of the client that has sent a request.
type PartitionFn = dyn Fn(&Parts) -> Option<Vec<u8>> + Send + Sync;

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
            client_directives: ClientDirectives::for_server(cache.rules().kind),
            normalization: FieldNormalization::default(),
            cache,
            options: FetchOptions::default(),
            scheme: "http",
            trust: Trust { proxies: TrustedProxies::default(), peer: |_| None },
            key_rules: KeyRules::default(),
            partition_fn: None,
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

    /// Sets what the cache does with the caching directives of requests, such as `no-cache` of a
    /// browser's reload. Default: they are collapsed in a shared cache, and honored in a private
    /// one ([`ClientDirectives::for_server`]). A second call replaces the first.
    ///
    /// ```
    /// use larder_core::{Cache, policy::ClientDirectives};
    /// use larder_tower::CacheLayer;
    ///
    /// fn layer(cache: Cache) -> CacheLayer {
    ///     CacheLayer::new(cache).client_directives(ClientDirectives::Ignore)
    /// }
    /// ```
    ///
    /// RFC 9111 §5.2.1.
    #[must_use]
    pub fn client_directives(mut self, directives: ClientDirectives) -> Self {
        self.client_directives = directives;
        self
    }

    /// Sets the request headers that are replaced by one of a few values before the lookup, so that
    /// they select few responses. The wrapped service sees the replaced values. Default: none. A
    /// second call replaces the first.
    ///
    /// ```
    /// use larder_core::{Cache, adapter::FieldNormalization};
    /// use larder_tower::CacheLayer;
    ///
    /// fn layer(cache: Cache) -> Result<CacheLayer, Box<dyn std::error::Error>> {
    ///     let normalization = FieldNormalization::default().with_languages(["en", "de"])?;
    ///     Ok(CacheLayer::new(cache).normalize(normalization))
    /// }
    /// ```
    #[must_use]
    pub fn normalize(mut self, normalization: FieldNormalization) -> Self {
        self.normalization = normalization;
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

    /// Sets the rules by which requests get their keys: the query parameters, headers, cookies and
    /// contents that responses depend on. Default: the URL. A second call replaces the first.
    ///
    /// The wrapped service does not get ignored query parameters.
    ///
    /// ```
    /// use larder_core::{Cache, adapter::{ContentInKey, KeyRules}};
    /// use larder_tower::CacheLayer;
    ///
    /// fn layer(cache: Cache) -> CacheLayer {
    ///     let rules = KeyRules::default()
    ///         .with_ignored_query(["utm_*"])
    ///         .with_cookies(["currency"])
    ///         .with_content(ContentInKey::default());
    ///     CacheLayer::new(cache).key_rules(rules)
    /// }
    /// ```
    #[must_use]
    pub fn key_rules(mut self, rules: KeyRules) -> Self {
        self.key_rules = rules;
        self
    }

    /// Sets the client, or group of clients, that the response to a request is for, such as the
    /// name of the user or the identity in a client certificate.
    ///
    /// Clients of different partitions share no responses, and those without one (`None`) share
    /// theirs. The key has a digest of the value. A second call replaces the first.
    ///
    /// ```
    /// use larder_core::Cache;
    /// use larder_tower::CacheLayer;
    ///
    /// fn layer(cache: Cache) -> CacheLayer {
    ///     CacheLayer::new(cache)
    ///         .partition(|request| Some(request.headers.get("x-user")?.as_bytes().to_vec()))
    /// }
    /// ```
    #[must_use]
    pub fn partition(mut self, compute: impl Fn(&Parts) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        self.partition_fn = Some(Arc::new(compute));
        self
    }

    /// Removes all stored responses of a URL, and returns how many entries that were,
    /// as far as the store knows it.
    ///
    /// The URL is that of the client: with its public scheme and host, in any spelling, and with
    /// ignored query parameters or without. All its forms are removed, for every header, cookie,
    /// partition and content in the key ([`PurgeUrl`]). Behind a load balancer, the public name is
    /// in the key if the balancer is one of the [trusted proxies](Self::trusted_proxies).
    ///
    /// # Errors
    ///
    /// Returns a [`PurgeError`] if the URL is invalid, or if the store cannot confirm the removal.
    pub async fn purge_url(&self, url: &str) -> Result<Purged, PurgeError> {
        Ok(PurgeUrl::parse(url, &self.rules())?.purge(&self.cache).await?)
    }

    /// Marks all stored responses of a URL as stale, and returns how many entries that were,
    /// as far as the store knows it. It concerns the same responses as
    /// [`purge_url`](Self::purge_url).
    ///
    /// # Errors
    ///
    /// Returns a [`PurgeError`] if the URL is invalid, or if the store cannot confirm that they are
    /// stale.
    pub async fn soft_purge_url(&self, url: &str) -> Result<Purged, PurgeError> {
        Ok(PurgeUrl::parse(url, &self.rules())?.soft_purge(&self.cache).await?)
    }

    /// Removes the stored responses of a URL and of all below it ([`PurgePrefix`]), and returns how
    /// many entries that were, as far as the store knows it. It examines all entries of
    /// the store.
    ///
    /// # Errors
    ///
    /// Returns a [`PurgeError`] if the prefix is invalid, or if the store cannot confirm the
    /// removal.
    pub async fn purge_prefix(&self, prefix: &str) -> Result<Purged, PurgeError> {
        Ok(self.prefix(prefix)?.purge(&self.cache).await?)
    }

    /// Marks the stored responses of a URL and of all below it as stale ([`PurgePrefix`]), and
    /// returns how many entries that were, as far as the store knows it.
    ///
    /// # Errors
    ///
    /// Returns a [`PurgeError`] if the prefix is invalid, or if the store cannot confirm that they
    /// are stale.
    pub async fn soft_purge_prefix(&self, prefix: &str) -> Result<Purged, PurgeError> {
        Ok(self.prefix(prefix)?.soft_purge(&self.cache).await?)
    }

    /// Returns whether keys can have more than the URL.
    pub(crate) fn has_key_parts(&self) -> bool {
        self.partition_fn.is_some() || self.key_rules.has_parts()
    }

    /// Returns the rules of a purge.
    fn rules(&self) -> KeyRules {
        self.key_rules.clone().with_partitioned(self.has_key_parts())
    }

    /// Parses a prefix by these rules.
    fn prefix(&self, prefix: &str) -> Result<PurgePrefix, TargetError> {
        let prefix = PurgePrefix::parse(prefix)?;
        Ok(if self.has_key_parts() { prefix.and_forms() } else { prefix })
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, service: S) -> CacheService<S> {
        CacheService { layer: self.clone(), service }
    }
}
