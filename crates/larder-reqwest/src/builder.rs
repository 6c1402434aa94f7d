//! How a client is put together: its cache, and reqwest's own settings.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header::USER_AGENT};
use larder_core::{
    Cache, CacheMode, CacheStore, Clock, Limits, Observer, OverrideFn, Overrides, ResponseContext, Rules,
};
use wildmatch::WildMatch;

use crate::{
    CachedClient, Error, ErrorKind, RedirectPolicy, ReqwestOrigin, client::Inner, cookies::Cookies,
    request_options::RequestOptions,
};

/// Settings of a [`CachedClient`].
///
/// Those of `reqwest::ClientBuilder` that most programs use are here under the same names; the rest are reached through
/// [`reqwest`](Self::reqwest).
#[must_use]
pub struct CachedClientBuilder {
    http: reqwest::ClientBuilder,
    store: Option<Arc<dyn CacheStore>>,
    partition: Option<String>,
    rules: Rules,
    limits: Limits,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn Observer>>,
    default_headers: HeaderMap,
    cookies: Cookies,
    options: RequestOptions,
    redirect: RedirectPolicy,
    user_agent: Result<(), Error>,
}

impl CachedClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            http: reqwest::Client::builder(),
            store: None,
            partition: None,
            rules: Rules::private(),
            limits: Limits::default(),
            clock: None,
            observer: None,
            default_headers: HeaderMap::new(),
            cookies: Cookies::default(),
            options: RequestOptions::default(),
            redirect: RedirectPolicy::default(),
            user_agent: Ok(()),
        }
    }

    // The cache.

    /// Where responses are kept. Default: in memory, for as long as the client lives (feature `memory`; without it a store
    /// has to be given).
    ///
    /// A private cache is one user's. What this client keeps in a store that others may use, too, is therefore found by
    /// this client alone, and by nobody once it is gone, until [`partition`](Self::partition) says whose it is.
    pub fn store(mut self, store: Arc<dyn CacheStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Whose responses these are: clients that say the same share what they keep in one store, now and after a restart.
    /// Only for clients that act for the same user.
    pub fn partition(mut self, name: &str) -> Self {
        self.partition = Some(name.to_owned());
        self
    }

    /// A shared cache (RFC 9111 §1): keeps only what may be served to everybody, and shares it with every shared cache on
    /// its store. Default: a private one.
    pub fn shared(self) -> Self {
        self.rules(Rules::shared())
    }

    /// The rules to decide by. Default: [`Rules::private`].
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// The cache's bounds. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the cache's time comes from. Default: the system.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Who is told what the cache does. Default: nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// What requests want of the cache unless they say otherwise. Default: what the rules say.
    pub fn mode(mut self, mode: CacheMode) -> Self {
        self.options.mode = mode;
        self
    }

    /// Everything from the cache, stale if need be, and an error of kind [`NotCached`](ErrorKind::NotCached) where there is
    /// nothing. What has to be revalidated (RFC 9111 §5.2.2.2) counts as nothing.
    pub fn offline(self) -> Self {
        self.mode(CacheMode::Offline)
    }

    /// How long responses of some URLs are fresh, where their server says nothing. `pattern` is the whole URL, in which `*`
    /// stands for anything and `?` for one character, as in `https://api.example.com/*`. Of several that match, the last
    /// one added counts.
    pub fn default_freshness(self, pattern: &str, freshness: Duration) -> Self {
        let mut overrides = Overrides::default();
        overrides.default_freshness = Some(freshness);
        self.for_urls(pattern, overrides)
    }

    /// How long responses of some URLs are fresh, whatever their server says; see [`Overrides::freshness`]. The pattern is
    /// as for [`default_freshness`](Self::default_freshness).
    pub fn override_freshness(self, pattern: &str, freshness: Duration) -> Self {
        let mut overrides = Overrides::default();
        overrides.freshness = Some(freshness);
        self.for_urls(pattern, overrides)
    }

    fn for_urls(self, pattern: &str, overrides: Overrides) -> Self {
        let pattern = WildMatch::new(pattern);
        self.overrides(move |arrived| {
            let matches = pattern.matches(&arrived.uri.to_string());
            if matches { overrides.clone() } else { Overrides::default() }
        })
    }

    /// What is said of each response that arrives, over what its server says. Several add up; the last one goes first.
    pub fn overrides(
        mut self,
        says: impl Fn(&ResponseContext<'_>) -> Overrides + Send + Sync + 'static,
    ) -> Self {
        self.options.override_fn = Some(OverrideFn::by(says).or(self.options.override_fn.take()));
        self
    }

    /// The longest body that responses may have, in bytes: a longer one is an error, also in the middle, and is not
    /// stored. Default: none, but what is read into memory at once ([`Response::bytes`](crate::Response::bytes), `text`,
    /// `json`) ends at 256 MiB.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.options.max_body = Some(bytes);
        self
    }

    // Requests.

    /// The `User-Agent` of requests that have none.
    pub fn user_agent(mut self, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.default_headers.insert(USER_AGENT, value);
            }
            Err(error) => self.user_agent = Err(Error::new(ErrorKind::Request, None).with_source(error)),
        }
        self
    }

    /// Fields for requests that don't have them.
    pub fn default_headers(mut self, fields: HeaderMap) -> Self {
        self.default_headers.extend(fields);
        self
    }

    /// Where cookies are kept. Stored responses set none again.
    #[cfg(feature = "cookies")]
    pub fn cookie_provider(mut self, jar: Arc<dyn reqwest::cookie::CookieStore>) -> Self {
        self.cookies = Cookies(Some(jar));
        self
    }

    /// A jar of the client's own.
    #[cfg(feature = "cookies")]
    pub fn cookie_store(mut self, enable: bool) -> Self {
        self.cookies = Cookies(enable.then(|| Arc::new(reqwest::cookie::Jar::default()) as _));
        self
    }

    /// Sets how many redirects are followed. Default: up to 10.
    ///
    /// Each response of a chain is stored under its own URL.
    pub fn redirect(mut self, policy: RedirectPolicy) -> Self {
        self.redirect = policy;
        self
    }

    // Connections.

    /// How long an exchange with the origin may take, from connecting to the end of the body. Default: no limit.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.reqwest(|http| http.timeout(timeout))
    }

    /// How long a pause within a response may be. Default: no limit.
    pub fn read_timeout(self, timeout: Duration) -> Self {
        self.reqwest(|http| http.read_timeout(timeout))
    }

    /// How long connecting may take. Default: no limit.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.reqwest(|http| http.connect_timeout(timeout))
    }

    /// How long an idle connection is kept. Default: reqwest's, 90 s.
    pub fn pool_idle_timeout(self, timeout: Option<Duration>) -> Self {
        self.reqwest(|http| http.pool_idle_timeout(timeout))
    }

    /// Idle connections for each host. Default: no limit.
    pub fn pool_max_idle_per_host(self, most: usize) -> Self {
        self.reqwest(|http| http.pool_max_idle_per_host(most))
    }

    /// Goes through a proxy.
    pub fn proxy(self, proxy: reqwest::Proxy) -> Self {
        self.reqwest(|http| http.proxy(proxy))
    }

    /// Goes through none, whatever the environment says.
    pub fn no_proxy(self) -> Self {
        self.reqwest(reqwest::ClientBuilder::no_proxy)
    }

    /// Refuses what is not https.
    pub fn https_only(self, enabled: bool) -> Self {
        self.reqwest(|http| http.https_only(enabled))
    }

    /// Resolves a name to this address.
    pub fn resolve(self, domain: &str, address: SocketAddr) -> Self {
        self.reqwest(|http| http.resolve(domain, address))
    }

    /// Any other setting of reqwest. Not its redirects, default headers, user agent and cookies: those are this builder's,
    /// since the cache has to see them.
    pub fn reqwest(mut self, set: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Self {
        self.http = set(self.http);
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// If a setting can't be used, such as a user agent that is no field value, or TLS can't be set up.
    pub fn build(self) -> Result<CachedClient, Error> {
        self.user_agent?;
        let http = self.http.redirect(reqwest::redirect::Policy::none()).build()?;
        let partition = match (&self.store, self.partition, self.rules.kind) {
            (_, Some(name), _) => Some(name.into_bytes().into()),
            (Some(_), None, larder_core::CacheKind::Private) => Some(random_partition()?),
            _ => None,
        };
        let store = self.store.map_or_else(default_store, Ok)?;
        let mut cache = Cache::builder(store).rules(self.rules).limits(self.limits);
        if let Some(clock) = self.clock {
            cache = cache.clock(clock);
        }
        if let Some(observer) = self.observer {
            cache = cache.observer(observer);
        }
        Ok(CachedClient {
            inner: Arc::new(Inner {
                origin: Arc::new(ReqwestOrigin::new(http.clone())),
                http,
                cache: cache.build(),
                partition,
                default_headers: self.default_headers,
                cookies: self.cookies,
                options: self.options,
                redirect: self.redirect,
            }),
        })
    }
}

#[cfg(feature = "memory")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn default_store() -> Result<Arc<dyn CacheStore>, Error> {
    Ok(Arc::new(larder_memory::MemoryStore::default()))
}

#[cfg(not(feature = "memory"))]
fn default_store() -> Result<Arc<dyn CacheStore>, Error> {
    let why = "give it a store, or build larder-reqwest with the feature `memory`";
    Err(Error::new(ErrorKind::Request, None).with_source(why))
}

/// What no other client has.
fn random_partition() -> Result<Box<[u8]>, Error> {
    let mut random = vec![0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(ErrorKind::Request, None).with_source(error.to_string()))?;
    Ok(random.into())
}

impl fmt::Debug for CachedClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedClientBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}
