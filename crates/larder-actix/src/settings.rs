//! The options of the caching middleware.
//!
//! How requests are handled is in [`crate::middleware`].

use std::{
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::body::{EitherBody, MessageBody};
use actix_service::{Service, Transform};
use actix_web::{
    Error,
    dev::{ServiceRequest, ServiceResponse},
};
use larder_core::{
    CacheKey, FetchOptions, OverrideFn, Overrides, Purged, ResponseContext, TargetError,
    adapter::{FieldNormalization, KeyRules, PurgeError, PurgePrefix, PurgeUrl, TrustedProxies},
    policy::ClientDirectives,
};

use crate::{ResponseBody, encoding::Encoding, etag::Additions, middleware::CacheMiddlewareService};

/// Returns the addition to the cache key of a request.
type KeyFn = dyn Fn(&ServiceRequest) -> Vec<u8> + Send + Sync;
/// Returns the partition of the client that has sent a request.
type PartitionFn = dyn Fn(&ServiceRequest) -> Option<Vec<u8>> + Send + Sync;
/// Returns whether a request bypasses the cache.
type SkipFn = dyn Fn(&ServiceRequest) -> bool + Send + Sync;

/// A middleware that caches the responses of an application, a scope or a route:
/// `App::new().wrap(CacheMiddleware::new(cache))`.
///
/// The `Cache-Control` of a handler's response decides whether it is stored, and how long it is
/// fresh. Most options apply where the response leaves that open; [`overrides`](Self::overrides)
/// can replace what it states. A response within its `stale-while-revalidate` is served stale, and
/// its handler runs in the background afterwards.
///
/// Upgrade requests, and GET and HEAD requests with content, go to their handler without the cache.
/// So do requests with a path that is not in normal form, such as `/a/../b`: handlers see it as it
/// was sent. Of other requests they see `Host` in normal form, and the cookies in one line.
///
/// Each setter consumes and returns the middleware. Clones share the cache.
///
/// ```
/// use std::time::Duration;
/// # fn example(cache: larder_core::Cache) -> larder_actix::CacheMiddleware {
/// larder_actix::CacheMiddleware::new(cache)
///     .default_freshness(Duration::from_secs(60))
///     .stale_while_revalidate(Duration::from_secs(30))
///     .ignore_query(["utm_*"])
///     .unless(|request| request.path().starts_with("/admin"))
/// # }
/// ```
#[derive(Clone)]
pub struct CacheMiddleware {
    pub(crate) cache: larder_core::Cache,
    pub(crate) options: FetchOptions,
    pub(crate) additions: Additions,
    pub(crate) encoding: Encoding,
    key_fn: Option<Arc<KeyFn>>,
    partition_fn: Option<Arc<PartitionFn>>,
    skip: Option<Arc<SkipFn>>,
    pub(crate) key_rules: KeyRules,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) client_directives: ClientDirectives,
    pub(crate) normalization: FieldNormalization,
}

impl CacheMiddleware {
    /// Creates a middleware that stores responses in this cache, with default options.
    pub fn new(cache: larder_core::Cache) -> Self {
        Self {
            client_directives: ClientDirectives::for_server(cache.rules().kind),
            cache,
            options: FetchOptions::default(),
            additions: Additions::default(),
            encoding: Encoding::default(),
            key_fn: None,
            partition_fn: None,
            skip: None,
            key_rules: KeyRules::default(),
            trusted_proxies: TrustedProxies::default(),
            normalization: FieldNormalization::default(),
        }
    }

    /// Adds overrides of the caching directives of each response, computed from the response.
    ///
    /// Several calls add up. If they set the same override, the last call takes precedence; header
    /// names for `Vary` and groups are combined. See [`Overrides`] for what can be overridden.
    #[must_use]
    pub fn overrides(
        mut self,
        compute: impl Fn(&ResponseContext<'_>) -> Overrides + Send + Sync + 'static,
    ) -> Self {
        self.options.overrides = Some(OverrideFn::new(compute).or(self.options.overrides.take()));
        self
    }

    /// Adds the same overrides for every response.
    fn always(self, set: impl FnOnce(&mut Overrides)) -> Self {
        let mut overrides = Overrides::default();
        set(&mut overrides);
        self.overrides(move |_| overrides.clone())
    }

    /// Sets how long a response is fresh if it states neither a lifetime nor `no-cache`.
    ///
    /// Default: the heuristic of RFC 9111 §4.2.2: a tenth of the time since `Last-Modified`, at
    /// most 24 hours, and zero without `Last-Modified`.
    #[must_use]
    pub fn default_freshness(self, freshness: Duration) -> Self {
        self.always(|overrides| overrides.default_freshness = Some(freshness))
    }

    /// Sets how long past its lifetime a response may be served while it is revalidated in the
    /// background, if it has no `stale-while-revalidate` itself. Default: zero.
    ///
    /// RFC 5861 §3.
    #[must_use]
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.always(|overrides| overrides.stale_while_revalidate = Some(window))
    }

    /// Sets how long past its lifetime a response may be served instead of a 500, 502, 503 or 504,
    /// if it has no `stale-if-error` itself. Default: zero.
    ///
    /// RFC 5861 §4.
    #[must_use]
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.always(|overrides| overrides.stale_if_error = Some(window))
    }

    /// Adds names of request headers that select among the responses of a URL, in addition to those
    /// in the response's `Vary`.
    #[must_use]
    pub fn vary(self, names: impl IntoIterator<Item = http::HeaderName>) -> Self {
        self.always(|overrides| overrides.vary = names.into_iter().collect())
    }

    /// Adds names of cache groups, computed from the response, in addition to those in its
    /// `Cache-Groups` (RFC 9875).
    ///
    /// [`Cache::purge`](larder_core::Cache::purge) with [`Scope::Group`](larder_core::Scope::Group)
    /// removes the responses of a group together.
    #[must_use]
    pub fn groups<G>(self, compute: impl Fn(&ResponseContext<'_>) -> G + Send + Sync + 'static) -> Self
    where
        G: IntoIterator<Item: Into<Box<str>>>,
    {
        self.overrides(move |response| Overrides::default().with_groups(compute(response)))
    }

    /// Sets an addition to the cache key, computed from the request, such as the id of a user or a
    /// tenant.
    ///
    /// Requests with different additions share no responses. [`purge_url`](Self::purge_url) removes
    /// those of all additions. A second call replaces the first. [`partition`](Self::partition) does
    /// the same, and keeps no value in the key.
    #[must_use]
    pub fn key(mut self, compute: impl Fn(&ServiceRequest) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.key_fn = Some(Arc::new(compute));
        self
    }

    /// Sets the query parameters that responses do not depend on, such as `utm_*`.
    ///
    /// They are left out of the cache key, and handlers do not receive them: a parameter that only
    /// one client sends must not change the response of all. A `*` at the end of a name matches
    /// any rest. Default: none. A second call replaces the first.
    #[must_use]
    pub fn ignore_query<P: Into<String>>(mut self, parameters: impl IntoIterator<Item = P>) -> Self {
        self.key_rules = self.key_rules.with_ignored_query(parameters);
        self
    }

    /// Sets the proxies in front of the application, of which `Forwarded` and `X-Forwarded-*` are
    /// trusted. Default: none.
    ///
    /// The scheme and host that a trusted proxy has received are the target of the request: they
    /// are in the cache key, and handlers get them from `connection_info()`. From any other peer
    /// these fields and similar ones are removed before the handler is called, because any client
    /// can send them. A second call replaces the first.
    ///
    /// ```
    /// # fn example(cache: larder_core::Cache) -> Result<larder_actix::CacheMiddleware, Box<dyn std::error::Error>> {
    /// # Ok(
    /// larder_actix::CacheMiddleware::new(cache).trusted_proxies("10.0.0.0/8".parse()?)
    /// # )
    /// # }
    /// ```
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// Sets what the cache does with the caching directives of requests, such as `no-cache` of a
    /// browser's reload. Default: they are collapsed in a shared cache, and honored in a private
    /// one ([`ClientDirectives::for_server`]). A second call replaces the first.
    ///
    /// ```
    /// use larder_core::policy::ClientDirectives;
    /// # fn example(cache: larder_core::Cache) -> larder_actix::CacheMiddleware {
    /// larder_actix::CacheMiddleware::new(cache).client_directives(ClientDirectives::Ignore)
    /// # }
    /// ```
    ///
    /// RFC 9111 §5.2.1.
    #[must_use]
    pub fn client_directives(mut self, directives: ClientDirectives) -> Self {
        self.client_directives = directives;
        self
    }

    /// Sets the request headers that are replaced by one of a few values before the lookup, so that
    /// they select few responses. Handlers see the replaced values. Default: none. A second call
    /// replaces the first.
    ///
    /// ```
    /// use larder_core::adapter::FieldNormalization;
    /// # fn example(cache: larder_core::Cache) -> Result<larder_actix::CacheMiddleware, Box<dyn std::error::Error>> {
    /// let normalization = FieldNormalization::default().with_languages(["en", "de"])?;
    /// # Ok(
    /// larder_actix::CacheMiddleware::new(cache).normalize(normalization)
    /// # )
    /// # }
    /// ```
    #[must_use]
    pub fn normalize(mut self, normalization: FieldNormalization) -> Self {
        self.normalization = normalization;
        self
    }

    /// Sets the client, or group of clients, that the response to a request is for, such as the
    /// name of the user or the identity in a client certificate.
    ///
    /// Clients of different partitions share no responses, and those without one (`None`) share
    /// theirs. The key has a digest of the value. A second call replaces the first.
    ///
    /// ```
    /// # fn example(cache: larder_core::Cache) -> larder_actix::CacheMiddleware {
    /// larder_actix::CacheMiddleware::new(cache)
    ///     .partition(|request| Some(request.headers().get("x-user")?.as_bytes().to_vec()))
    /// # }
    /// ```
    #[must_use]
    pub fn partition(
        mut self,
        compute: impl Fn(&ServiceRequest) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.partition_fn = Some(Arc::new(compute));
        self
    }

    /// Sets the rules by which requests get their keys: the query parameters, headers, cookies and
    /// contents that responses depend on. Default: the URL. A call replaces
    /// [`ignore_query`](Self::ignore_query).
    ///
    /// ```
    /// use larder_core::adapter::{ContentInKey, KeyRules};
    /// # fn example(cache: larder_core::Cache) -> larder_actix::CacheMiddleware {
    /// let rules = KeyRules::default().with_cookies(["currency"]).with_content(ContentInKey::default());
    /// larder_actix::CacheMiddleware::new(cache).key_rules(rules)
    /// # }
    /// ```
    #[must_use]
    pub fn key_rules(mut self, rules: KeyRules) -> Self {
        self.key_rules = rules;
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

    /// Returns the key of a URL, with ignored query parameters or without.
    ///
    /// What [`key`](Self::key), [`partition`](Self::partition) and [`key_rules`](Self::key_rules) add
    /// is not part of it: [`purge_url`](Self::purge_url) reaches all keys of a URL.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the URL is invalid.
    pub fn key_of_url(&self, url: &str) -> Result<CacheKey, TargetError> {
        self.key_rules.key_of_url(url)
    }

    /// Sets a predicate for requests that go to their handler without the cache. Default: none. A
    /// second call replaces the first.
    #[must_use]
    pub fn unless(mut self, skip: impl Fn(&ServiceRequest) -> bool + Send + Sync + 'static) -> Self {
        self.skip = Some(Arc::new(skip));
        self
    }

    /// Sets whether 200 responses without an entity tag get one. Default: true.
    ///
    /// The tag is strong, a hash of the content. Clients can then revalidate the response (304) and
    /// request parts of it. Streamed or empty responses, and those with `no-store`, get no tag.
    #[must_use]
    pub fn etags(mut self, enabled: bool) -> Self {
        self.additions.etags = enabled;
        self
    }

    /// Sets a predicate for paths under which the content never changes. Default: none. A second
    /// call replaces the first.
    ///
    /// A 200 response under such a path that has neither `Cache-Control` nor `Expires` is marked
    /// `immutable` (RFC 8246), with a lifetime of one year: browsers and this cache store it that
    /// long without revalidating it. [`is_fingerprinted`](crate::is_fingerprinted) is the predicate
    /// for files that build tools name after their content.
    #[must_use]
    pub fn immutable(mut self, paths: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.additions.immutable = Some(Arc::new(paths));
        self
    }

    /// Enables compression: a response is encoded once for each content coding that clients accept,
    /// and the results are stored. Default: off.
    ///
    /// Use it instead of actix's `Compress`, which encodes a page for each request.
    ///
    /// ```
    /// # fn example(cache: larder_core::Cache) -> larder_actix::CacheMiddleware {
    /// larder_actix::CacheMiddleware::new(cache).compress(larder_compress::Compression::default())
    /// # }
    /// ```
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, compression: larder_compress::Compression) -> Self {
        self.encoding.settings = Some(Arc::new(compression));
        self
    }

    /// Returns whether a request is configured to bypass the cache.
    pub(crate) fn skips(&self, request: &ServiceRequest) -> bool {
        self.skip.as_ref().is_some_and(|skip| skip(request))
    }

    /// Returns whether keys can have more than the URL.
    pub(crate) fn has_key_parts(&self) -> bool {
        self.key_fn.is_some() || self.partition_fn.is_some() || self.key_rules.has_parts()
    }

    /// Returns the partition of the client that has sent a request.
    pub(crate) fn partition_of(&self, request: &ServiceRequest) -> Option<Vec<u8>> {
        self.partition_fn.as_ref().and_then(|compute| compute(request))
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

    /// Returns the key with the configured addition.
    pub(crate) fn extend_key(&self, key: CacheKey, request: &ServiceRequest) -> CacheKey {
        match &self.key_fn {
            Some(compute) => key.with_extra(&compute(request)),
            None => key,
        }
    }
}

impl fmt::Debug for CacheMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheMiddleware").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for CacheMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, ResponseBody>>;
    type Error = Error;
    type Transform = CacheMiddlewareService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(CacheMiddlewareService { settings: Rc::new(self.clone()), service: Rc::new(service) }))
    }
}
