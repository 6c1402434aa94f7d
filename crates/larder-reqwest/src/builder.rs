//! The builder of a client: settings of its cache, and those of reqwest.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::USER_AGENT};
use larder_core::{
    Cache, CacheMode, CacheStore, Clock, Limits, Observer, Origin, OverrideFn, Overrides, ResponseContext,
    Rules,
};
use wildmatch::WildMatch;

use crate::{
    CachedClient, Error, ErrorKind, RateLimit, RedirectPolicy, ReqwestOrigin,
    codings::Codings,
    cookies::Cookies,
    defaults,
    origin::{NetworkOrigin, WrapOrigin},
    rate::Rates,
    request_options::RequestOptions,
    sending::Inner,
};

/// Most header fields of a response over HTTP/1.1. hyper's own limit is 100, which real servers
/// exceed; that of a head in bytes remains.
const MAX_FIELDS: usize = 1000;

/// A builder of a [`CachedClient`], with the settings of its cache and connections; created by
/// [`CachedClient::builder`].
///
/// The common settings of `reqwest::ClientBuilder` have the same names here.
/// [`reqwest`](Self::reqwest) gives access to all others.
///
/// ```
/// use std::time::Duration;
/// use larder_reqwest::CachedClient;
///
/// # fn main() -> Result<(), larder_reqwest::Error> {
/// let client = CachedClient::builder()
///     .user_agent("example/1.0")
///     .timeout(Duration::from_secs(30))
///     .default_freshness("https://api.example.com/*", Duration::from_secs(60))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct CachedClientBuilder {
    http: reqwest::ClientBuilder,
    store: Option<Arc<dyn CacheStore>>,
    partition: Option<String>,
    client_partition: Option<Box<[u8]>>,
    rules: Rules,
    limits: Limits,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn Observer>>,
    default_headers: HeaderMap,
    cookies: Cookies,
    codings: Codings,
    options: RequestOptions,
    redirect: RedirectPolicy,
    referer: bool,
    https_only: bool,
    client: Option<reqwest::Client>,
    timeout: Option<Duration>,
    wrap_origin: Option<WrapOrigin>,
    /// The error of an invalid `User-Agent`, which `build` returns.
    user_agent: Result<(), Error>,
}

impl CachedClientBuilder {
    /// Creates a builder with the default settings.
    pub(crate) fn new() -> Self {
        Self {
            http: reqwest::Client::builder().http1_max_headers(MAX_FIELDS),
            store: None,
            partition: None,
            client_partition: None,
            rules: Rules::private(),
            limits: Limits::default(),
            clock: None,
            observer: None,
            default_headers: HeaderMap::new(),
            cookies: Cookies::default(),
            codings: Codings::default(),
            options: RequestOptions::default(),
            redirect: RedirectPolicy::default(),
            referer: true,
            https_only: false,
            client: None,
            timeout: None,
            wrap_origin: None,
            user_agent: Ok(()),
        }
    }

    // The cache.

    /// Sets the store for responses.
    ///
    /// Default: a store in memory of up to 64 MiB, which lives as long as the client (feature
    /// `memory`). Without that feature a store must be set.
    ///
    /// A private cache belongs to one user, and clients of other users may share the store.
    /// Therefore only this client finds the responses that it stores there, and no client finds
    /// them after it has been dropped. Set a [`partition`](Self::partition) to share them with
    /// other clients of the same user.
    pub fn store(mut self, store: Arc<dyn CacheStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets the name of the user or tenant that the stored responses belong to.
    ///
    /// Clients with the same partition share the responses in a store, also after a restart. Use
    /// the same name only for clients that act for the same user. Default: a random name for a
    /// private cache with its own [`store`](Self::store) setting, and none otherwise.
    pub fn partition(mut self, name: &str) -> Self {
        self.partition = Some(name.to_owned());
        self
    }

    /// Sets what makes the responses for this client different from those for others, such as the
    /// identity in its client certificate: servers answer by it, and no header shows it.
    ///
    /// Clients with different values share no responses, also in a [shared](Self::shared) cache and
    /// beside a [`partition`](Self::partition). The keys of the responses have a digest of the value.
    /// Default: none. Set it with every certificate:
    ///
    /// ```
    /// use larder_reqwest::{CachedClient, CachedClientBuilder, reqwest};
    ///
    /// fn builder(identity: reqwest::Identity, pem: &[u8]) -> CachedClientBuilder {
    ///     CachedClient::builder().reqwest(|http| http.identity(identity)).client_partition(pem)
    /// }
    /// ```
    pub fn client_partition(mut self, value: impl AsRef<[u8]>) -> Self {
        self.client_partition = Some(value.as_ref().into());
        self
    }

    /// Uses a shared cache (RFC 9111 §1) instead of a private one.
    ///
    /// It stores only responses that may be served to any user, and shares them with every shared
    /// cache on the same store. Default: a private cache.
    pub fn shared(self) -> Self {
        self.rules(Rules::shared())
    }

    /// Sets the caching rules, including the kind of cache. Default: [`Rules::private`].
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets the limits of the cache, such as its timeouts for the origin and the store. Default:
    /// [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the clock of the cache, for tests. Default: the system clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the observer that receives the events of the cache, such as the counters of
    /// `larder-metrics`. Default: none.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the cache mode of requests that set none. Default: [`CacheMode::Default`].
    pub fn mode(mut self, mode: CacheMode) -> Self {
        self.options.mode = mode;
        self
    }

    /// Returns only stored responses, also stale ones, and sends nothing to the origin.
    ///
    /// A request without a usable stored response is an error of kind
    /// [`NotCached`](ErrorKind::NotCached). A stale response that must be revalidated
    /// (RFC 9111 §5.2.2.2) is not usable.
    pub fn offline(self) -> Self {
        self.mode(CacheMode::Offline)
    }

    /// Sets how long responses from matching URLs are fresh, if the server specifies no lifetime.
    ///
    /// `pattern` has to match the whole URL: `*` stands for any number of characters and `?` for
    /// one, as in `https://api.example.com/*`. If several patterns match, the one added last
    /// applies.
    pub fn default_freshness(self, pattern: &str, freshness: Duration) -> Self {
        let overrides = Overrides::default().with_default_freshness(freshness);
        self.for_urls(pattern, overrides)
    }

    /// Sets how long responses from matching URLs are fresh, in place of what the server specifies.
    ///
    /// It replaces the server's lifetimes, `no-cache`, `no-store` and `must-revalidate` for 2xx and
    /// 3xx responses; see [`Overrides::freshness`]. For the pattern, see
    /// [`default_freshness`](Self::default_freshness).
    pub fn override_freshness(self, pattern: &str, freshness: Duration) -> Self {
        let overrides = Overrides::default().with_freshness(freshness);
        self.for_urls(pattern, overrides)
    }

    /// Adds overrides for responses from matching URLs.
    fn for_urls(self, pattern: &str, overrides: Overrides) -> Self {
        let pattern = WildMatch::new(pattern);
        self.overrides(move |response| {
            let matches = pattern.matches(&response.uri.to_string());
            if matches { overrides.clone() } else { Overrides::default() }
        })
    }

    /// Adds a function that overrides the caching directives of each response that arrives.
    ///
    /// All added functions apply. If they set the same value, the function added last takes
    /// precedence.
    pub fn overrides(
        mut self,
        override_fn: impl Fn(&ResponseContext<'_>) -> Overrides + Send + Sync + 'static,
    ) -> Self {
        self.options.override_fn = Some(OverrideFn::new(override_fn).or(self.options.override_fn.take()));
        self
    }

    /// Sets the longest response body, in bytes.
    ///
    /// A longer body is not stored. Reading it returns an error of kind
    /// [`BodyTooLarge`](ErrorKind::BodyTooLarge) when the limit is exceeded. Default: no limit,
    /// except for methods that read the whole body into memory
    /// ([`Response::bytes`](crate::Response::bytes), `text`, `json`, `buffered`): 256 MiB.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.options.max_body = Some(bytes);
        self
    }

    // Requests.

    /// Sets the `User-Agent` of requests that have none.
    ///
    /// Default: none. An invalid value is an error of [`build`](Self::build).
    pub fn user_agent(mut self, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.default_headers.insert(USER_AGENT, value);
            }
            Err(error) => self.user_agent = Err(Error::new(ErrorKind::Request, None).with_source(error)),
        }
        self
    }

    /// Adds headers to requests that do not have them. Default: none. A later call
    /// replaces headers of the same name.
    pub fn default_headers(mut self, headers: HeaderMap) -> Self {
        self.default_headers.extend(headers);
        self
    }

    /// Sets the cookie jar. Responses from the cache set no cookies again. Default: none.
    #[cfg(feature = "cookies")]
    pub fn cookie_provider(mut self, jar: Arc<dyn reqwest::cookie::CookieStore>) -> Self {
        self.cookies = Cookies(Some(jar));
        self
    }

    /// Enables or disables a cookie jar in memory that belongs to the client. Default: disabled.
    #[cfg(feature = "cookies")]
    pub fn cookie_store(mut self, enable: bool) -> Self {
        self.cookies = Cookies(enable.then(|| Arc::new(reqwest::cookie::Jar::default()) as _));
        self
    }

    /// Enables or disables decoding of gzip, with any number of members. Default: enabled.
    ///
    /// Content is decoded before it is stored. `Accept-Encoding` lists the enabled codings, unless
    /// the request has that header. A body that is broken, or that goes on after the end of the
    /// coded data, is an error of kind [`Body`](ErrorKind::Body). For the head of a decoded
    /// response, see [`larder_compress::Decoding`](https://docs.rs/larder-compress).
    ///
    /// ```
    /// # fn main() -> Result<(), larder_reqwest::Error> {
    /// let client = larder_reqwest::CachedClient::builder().gzip(false).build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self, enable: bool) -> Self {
        self.codings.0.gzip = enable;
        self
    }

    /// Enables or disables decoding of Brotli. Default: enabled.
    #[cfg(feature = "brotli")]
    pub fn brotli(mut self, enable: bool) -> Self {
        self.codings.0.brotli = enable;
        self
    }

    /// Enables or disables decoding of Zstandard. Default: enabled.
    #[cfg(feature = "zstd")]
    pub fn zstd(mut self, enable: bool) -> Self {
        self.codings.0.zstd = enable;
        self
    }

    /// Enables or disables decoding of `deflate`: zlib, or raw deflate. Default: enabled.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, enable: bool) -> Self {
        self.codings.0.deflate = enable;
        self
    }

    /// Sets how many redirects are followed. Default: up to 10.
    ///
    /// Each response of a chain is stored under its own URL.
    pub fn redirect(mut self, policy: RedirectPolicy) -> Self {
        self.redirect = policy;
        self
    }

    /// Enables or disables `Referer` on redirects. Default: enabled, except from https to http.
    pub fn referer(mut self, enable: bool) -> Self {
        self.referer = enable;
        self
    }

    /// Limits the rate of the requests to each host. Default: no limit.
    ///
    /// Only requests that need the origin count: hits are free. They wait for their turn, which
    /// counts for the [timeout of the request](crate::RequestBuilder::timeout), but not for that of
    /// the exchange with the origin. Each redirect is a request. Each of several requests for one
    /// URL at the same time counts, and a stale response that is served while it is revalidated
    /// waits, too; its revalidation in the background is the request that counts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use larder_reqwest::{CachedClient, RateLimit};
    ///
    /// let builder = CachedClient::builder().rate_limit(RateLimit::new(2, Duration::from_secs(1)));
    /// ```
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.options.rates = vec![Arc::new(Rates::new(limit))];
        self
    }

    // Connections.

    /// Sets the timeout of an exchange with the origin, from connecting to the end of the body.
    ///
    /// Default: no timeout. The cache's own timeouts apply in any case: 60 s for the head of a
    /// response ([`Limits::origin_timeout`]), and 60 s between two chunks of a body that is being
    /// stored ([`Limits::body_timeout`]).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.reqwest(|http| http.timeout(timeout))
    }

    /// Sets the longest time between two reads of a response. Default: no timeout.
    pub fn read_timeout(self, timeout: Duration) -> Self {
        self.reqwest(|http| http.read_timeout(timeout))
    }

    /// Sets the timeout for connecting. Default: no timeout of its own.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.reqwest(|http| http.connect_timeout(timeout))
    }

    /// Sets how long an idle connection stays open. Default: 90 s. `None`: no limit.
    pub fn pool_idle_timeout(self, timeout: Option<Duration>) -> Self {
        self.reqwest(|http| http.pool_idle_timeout(timeout))
    }

    /// Sets the largest number of idle connections to each host. Default: no limit.
    pub fn pool_max_idle_per_host(self, max: usize) -> Self {
        self.reqwest(|http| http.pool_max_idle_per_host(max))
    }

    /// Adds a proxy for requests. Default: the proxy of the environment variables.
    pub fn proxy(self, proxy: reqwest::Proxy) -> Self {
        self.reqwest(|http| http.proxy(proxy))
    }

    /// Disables all proxies, including those of the environment variables.
    pub fn no_proxy(self) -> Self {
        self.reqwest(reqwest::ClientBuilder::no_proxy)
    }

    /// Rejects requests to URLs that are not https. Default: disabled.
    pub fn https_only(mut self, enabled: bool) -> Self {
        self.https_only = enabled;
        self.reqwest(|http| http.https_only(enabled))
    }

    /// Maps a host name to this address, without DNS.
    pub fn resolve(self, domain: &str, address: SocketAddr) -> Self {
        self.reqwest(|http| http.resolve(domain, address))
    }

    /// Changes any other setting of the underlying `reqwest::ClientBuilder`.
    ///
    /// Set redirects, default headers, the user agent, cookies and content codings with this
    /// builder's own methods: the cache has to see them. reqwest's redirect policy is always
    /// replaced, and its decompression disabled.
    pub fn reqwest(
        mut self,
        configure: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        self.http = configure(self.http);
        self
    }

    /// Puts an origin between the cache and the network, such as a cassette of `larder-cassette`,
    /// which records the exchanges of a test and replays them. Default: none. A second call
    /// replaces the first.
    ///
    /// It gets each request of the cache, and of a chain of redirects, and responses with their
    /// content codings decoded. Its errors of kind
    /// [`Internal`](larder_core::OriginErrorKind::Internal) become [`ErrorKind::Request`].
    ///
    /// ```
    /// // An `Arc` of an origin is an origin, too.
    /// let builder = larder_reqwest::CachedClient::builder().map_origin(std::sync::Arc::new);
    /// ```
    pub fn map_origin<O: Origin>(
        mut self,
        wrap: impl FnOnce(NetworkOrigin) -> O + Send + Sync + 'static,
    ) -> Self {
        self.wrap_origin = Some(Box::new(|network| Arc::new(wrap(network))));
        self
    }

    /// Uses a client that has been built, with its connections, in place of the settings of this
    /// builder for reqwest.
    ///
    /// Build it with `redirect(Policy::none())`, so that each response of a chain is stored under
    /// its own URL. Otherwise a response that it has reached by redirects is returned and not
    /// stored. The cache does not see the headers and cookies that it adds.
    ///
    /// ```
    /// use larder_reqwest::{CachedClient, reqwest};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    /// let client = CachedClient::builder().client(http).offline().build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn client(mut self, client: reqwest::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Creates the client.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of kind [`Request`](ErrorKind::Request) if a setting is invalid, such
    /// as a user agent that is not a header value, if there is no store, or if TLS cannot be
    /// initialized.
    pub fn build(self) -> Result<CachedClient, Error> {
        self.user_agent?;
        let is_foreign = self.client.is_some();
        let http = match self.client {
            Some(client) => client,
            None => {
                let http = self.http.redirect(reqwest::redirect::Policy::none());
                // Another crate of the program may have enabled them.
                http.no_brotli().no_deflate().no_gzip().no_zstd().build()?
            }
        };
        let partition = match (&self.store, self.partition, self.rules.kind) {
            (_, Some(name), _) => Some(name.into_bytes().into()),
            (Some(_), None, larder_core::CacheKind::Private) => Some(defaults::partition()?),
            _ => None,
        };
        let store = self.store.map_or_else(defaults::store, Ok)?;
        let mut cache = Cache::builder(store).rules(self.rules).limits(self.limits);
        if let Some(clock) = self.clock {
            cache = cache.clock(clock);
        }
        if let Some(observer) = self.observer {
            cache = cache.observer(observer);
        }
        let network = self.codings.decoding(ReqwestOrigin::new(http.clone()));
        let origin = match self.wrap_origin {
            Some(wrap) => wrap(network),
            None => network,
        };
        Ok(CachedClient {
            inner: Arc::new(Inner {
                origin,
                http,
                cache: cache.build(),
                partition,
                client_partition: self.client_partition,
                default_headers: self.default_headers,
                cookies: self.cookies,
                codings: self.codings,
                options: self.options,
                redirect: self.redirect,
                referer: self.referer,
                https_only: self.https_only,
                is_foreign,
                timeout: self.timeout,
            }),
        })
    }
}

impl fmt::Debug for CachedClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedClientBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}
