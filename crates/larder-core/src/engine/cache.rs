//! [`Cache`] and its builder: the front of the engine. Each method enters the phase that does the
//! work.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};

use super::{
    context::{Context, status_name},
    error::FetchError,
    events::Observer,
    invalidate,
    limits::Limits,
    lookup::{self, Lookup},
    miss::Miss,
    options::FetchOptions,
    pass,
    request::target_of,
    response::CacheResponse,
};
use crate::{
    Body, CacheKey, CacheStatus, CacheStore, Clock, Origin, Purged, RequestHead, RequestHeaders, Rules,
    Scope, StoreError, SystemClock, Upgrade, Upgraded,
};

/// An HTTP cache: looks up, decides, fetches once, stores while it serves, revalidates and
/// invalidates.
///
/// Clones share one cache. [`Limits`] bounds the waits for the store and for the head of the
/// origin's response, and a store failure is a miss. The crate's front page has a complete example.
#[derive(Clone)]
pub struct Cache {
    pub(super) context: Arc<Context>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.context.name)
            .field("kind", &self.context.rules.kind)
            .field("store", &self.context.store)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Creates a builder of a cache on `store`.
    pub fn builder(store: Arc<dyn CacheStore>) -> CacheBuilder {
        CacheBuilder::new(store)
    }

    /// Returns the caching rules.
    pub fn rules(&self) -> &Rules {
        &self.context.rules
    }

    /// Returns the cache's name in `Cache-Status`.
    pub fn name(&self) -> &str {
        &self.context.name
    }

    /// Looks up a request and returns the response if it can be served without the origin.
    ///
    /// For adapters that do not use the `http` crate's request type: a hit converts nothing. A
    /// store failure is a miss. A hit, or the 504 to `only-if-cached`, is reported to the
    /// [`Observer`]. Requests with any method are looked up: for those other than GET and HEAD this
    /// is a miss at once, and [`Miss::fetch`](crate::Miss::fetch) forwards them and invalidates what
    /// they change.
    ///
    /// A hit may need its origin later, if the store fails while the body is read
    /// ([`CacheResponse::with_origin`]).
    ///
    /// An adapter of a server decides what its clients' caching directives do
    /// ([`RequestHead::with_client_directives`]); without that, each of them is obeyed.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use larder_core::{
    ///     Body, Cache, CacheKey, CacheResponse, FetchError, FetchOptions, Lookup, Origin,
    ///     RequestHead, TargetUri,
    /// };
    ///
    /// async fn serve(
    ///     cache: &Cache,
    ///     origin: Arc<dyn Origin>,
    ///     request: http::Request<Body>,
    /// ) -> Result<CacheResponse, FetchError> {
    ///     let key = CacheKey::new(&TargetUri::from_uri(request.uri())?);
    ///     match cache.lookup(&key, &RequestHead::new(request.method(), request.headers())).await {
    ///         Lookup::Hit(response) => Ok(response.with_origin(|| Some((request.map(|_| ()), origin)))),
    ///         Lookup::Miss(miss) => miss.fetch(request, origin, &FetchOptions::default()).await,
    ///     }
    /// }
    /// # let _ = serve;
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn lookup<F: RequestHeaders>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup {
        lookup::lookup(&self.context, key, request, true).await
    }

    /// Looks up a request as [`lookup`](Self::lookup) does, without reporting a hit to the
    /// [`Observer`].
    ///
    /// For a second lookup on behalf of one request, so that the request is counted once.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn peek<F: RequestHeaders>(&self, key: &CacheKey, request: &RequestHead<'_, F>) -> Lookup {
        lookup::lookup(&self.context, key, request, false).await
    }

    /// Returns a miss without a lookup, of which the fetch bypasses the cache: nothing is stored,
    /// collapsed or served from the cache. An unsafe request still invalidates what it changes (RFC
    /// 9111 §4.4).
    ///
    /// For requests that an operator excludes from the cache, with `fwd=bypass` in `Cache-Status`.
    pub fn pass(&self, key: &CacheKey) -> Miss {
        lookup::pass(&self.context, key)
    }

    /// Serves a request: looks it up and, where necessary, fetches it from the origin.
    ///
    /// The request's URI must be absolute, with scheme and authority.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the URI cannot be fetched, or if the origin returned no response
    /// and no stored response may be served instead.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. If other requests wait for the fetch, one of them takes over,
    /// or the fetch continues if its head has arrived.
    pub async fn fetch(
        &self,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
    ) -> Result<CacheResponse, FetchError> {
        let target = target_of(request.uri())?;
        let key = CacheKey::new(&target);
        match self.lookup(&key, &RequestHead::new(request.method(), request.headers())).await {
            Lookup::Hit(response) => Ok(response.with_origin(|| Some((request.map(|_| ()), origin)))),
            Lookup::Miss(miss) => miss.fetch_target(target, request, origin, &FetchOptions::default()).await,
        }
    }

    /// Sends a request to switch protocols to the origin, past the cache. Returns the response, and
    /// the origin's connection if the response is a 101.
    ///
    /// Nothing is looked up, stored, collapsed or invalidated, and what is known of the key stays
    /// as it is. The request has no body. Its hop-by-hop fields are removed; the origin writes
    /// those of `upgrade`, and they are in a 101 response, too. The caller joins the connection
    /// with that of the client; any other response is a final one, with `fwd=bypass` in its
    /// `Cache-Status`.
    ///
    /// RFC 9110 §7.8.
    ///
    /// ```
    /// use larder_core::{Body, Cache, CacheKey, FetchError, Origin, TargetUri, Upgrade};
    ///
    /// async fn switch(
    ///     cache: &Cache,
    ///     origin: &dyn Origin,
    ///     request: http::Request<Body>,
    /// ) -> Result<(), FetchError> {
    ///     let key = CacheKey::new(&TargetUri::from_uri(request.uri())?);
    ///     let (head, body) = request.into_parts();
    ///     let Some(upgrade) = Upgrade::of(&head) else { return Ok(()) };
    ///     let request = http::Request::from_parts(head, body);
    ///     let (response, connection) = cache.pass_upgrade(&key, request, upgrade, origin).await?;
    ///     println!("{}, switched: {}", response.status(), connection.is_some());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the origin returned no response, or a 1xx other than a 101 that
    /// accepts `upgrade`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the exchange.
    pub async fn pass_upgrade(
        &self,
        key: &CacheKey,
        request: Request<Body>,
        upgrade: Upgrade,
        origin: &dyn Origin,
    ) -> Result<(CacheResponse, Option<Upgraded>), FetchError> {
        pass::pass_upgrade(&self.context, key, request, upgrade, origin).await
    }

    /// Returns the value of the `Cache-Status` header for this response: one list member (RFC 9211
    /// §2).
    ///
    /// For adapters with a header map of their own.
    pub fn cache_status(&self, response: &CacheResponse) -> Bytes {
        self.status_bytes(&response.cache_status)
    }

    /// Returns the value of the `Cache-Status` header for this status, as
    /// [`cache_status`](Self::cache_status) does for a response.
    pub fn status_bytes(&self, status: &CacheStatus) -> Bytes {
        status.to_bytes(&self.context.name)
    }

    /// Converts the response to an `http` response, with `Age` and `Cache-Status`.
    ///
    /// `Content-Length` is present only if the origin sent it and the response is whole. An HTTP
    /// server adds it from the size hint of the body. The body of a response to HEAD is empty: read
    /// [`CacheResponse::content_length`] before if the response is to have the field.
    pub fn into_http(&self, response: CacheResponse) -> Response<Body> {
        response.into_http(&self.context.name)
    }

    /// Returns the response that a proxy sends to its client after a failure.
    ///
    /// Its status is that of [`FetchError::status`], and its body is one line of text that names
    /// the failure. The method is not known here: if the request was HEAD and the framework does
    /// not leave out the body by itself, replace it through [`CacheResponse::body_mut`].
    pub fn error_response(&self, error: &FetchError) -> CacheResponse {
        error.to_response()
    }

    /// Removes all responses of `scope`, and returns how many entries that were, in each store,
    /// as far as the store knows it.
    ///
    /// Once this has returned, no later request gets a removed response. A store usually knows the
    /// number for a key and for a prefix. The wait has the limit [`Limits::store_timeout`], except
    /// for [`Scope::Prefix`], for which the store may examine every entry.
    ///
    /// ```no_run
    /// use larder_core::{Cache, CacheGroup, CacheKey, Scope, StoreError, TargetUri};
    ///
    /// # async fn purge(cache: &Cache, target: &TargetUri) -> Result<(), StoreError> {
    /// cache.purge(Scope::Key(&CacheKey::new(target))).await?;
    /// cache.purge(Scope::Group(&CacheGroup::new("https://example.com", "news"))).await?;
    /// cache.purge(Scope::All).await?;
    ///
    /// let purged = cache.purge(Scope::Prefix("https://example.com/news/")).await?;
    /// println!("purged {purged}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm the removal. This cache serves none of
    /// the responses from then on, and repeats the removal in the background until the store
    /// confirms it. Other processes that share the store may serve them until then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the removal continues in the background.
    pub async fn purge(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        invalidate::remove(&self.context, scope).await
    }

    /// Marks all responses of `scope` as stale, and returns how many entries it has marked, as
    /// far as the store knows it. Responses that were stale already are not counted.
    ///
    /// They are revalidated at their next request. Until then they may be served while they are
    /// revalidated, or instead of an error, as far as the response permits that for stale
    /// responses. A fetch in progress is not affected, except that a response of a
    /// [`Scope::Group`] that was requested before and arrives later is stale, too.
    ///
    /// The wait has the limit [`Limits::store_timeout`], except for [`Scope::Prefix`] and
    /// [`Scope::All`], for which the store may examine every entry.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that they are stale. For this cache
    /// they are, and it repeats the call as for [`purge`](Self::purge).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the soft purge continues in the background.
    pub async fn soft_purge(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        invalidate::mark_stale(&self.context, scope).await
    }

    /// Purges several scopes: if the store fails, all of them are repeated.
    pub(crate) async fn purge_each(&self, all: &[Scope<'_>], is_soft: bool) -> Result<Purged, StoreError> {
        invalidate::purge_each(&self.context, all, is_soft).await
    }

    /// Returns the number of removals and soft purges that the store has not confirmed. They are
    /// repeated until it does.
    ///
    /// There are at most 4,096; beyond that, they become one removal of everything.
    pub fn unconfirmed_removals(&self) -> usize {
        self.context.unconfirmed.count()
    }

    /// Waits until no background task is running, for at most `limit`, and returns whether all have
    /// ended.
    ///
    /// Background tasks are fills of which the client may have disconnected, revalidations, and
    /// [removals that the store has not confirmed](Self::unconfirmed_removals). If the process ends
    /// before those are confirmed, other processes and the next one may serve what they concern;
    /// a warning states how many there are.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.context.drain(limit).await
    }
}

/// Builds a [`Cache`]; see [`Cache::builder`].
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
/// use larder_core::{Cache, CacheStore, Limits, Rules};
///
/// fn build(store: Arc<dyn CacheStore>) -> Cache {
///     let limits = Limits::default().with_origin_timeout(Duration::from_secs(10));
///     Cache::builder(store).rules(Rules::shared()).name("edge-1").limits(limits).build()
/// }
/// ```
pub struct CacheBuilder {
    store: Arc<dyn CacheStore>,
    rules: Rules,
    name: Box<str>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for CacheBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("kind", &self.rules.kind)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl CacheBuilder {
    /// Creates a builder with the default settings.
    fn new(store: Arc<dyn CacheStore>) -> Self {
        Self {
            store,
            rules: Rules::shared(),
            name: "larder".into(),
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
            observer: None,
        }
    }

    /// Sets the caching rules. Default: [`Rules::shared`].
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets the cache's name in `Cache-Status` (RFC 9211 §2). Default: `larder`.
    ///
    /// A character that is not allowed in a token (RFC 9110 §5.6.2) is replaced by `-`. A name that
    /// does not start with a letter or `*` gets the prefix `larder-`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = status_name(name);
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the limits. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the observer of the cache's events. Default: none.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Builds the cache.
    pub fn build(self) -> Cache {
        let Self { store, rules, name, clock, limits, observer } = self;
        Cache { context: Arc::new(Context::new(store, rules, name, clock, limits, observer)) }
    }
}
