//! The middleware's settings: what an application says of its routes.

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
    Error, HttpRequest,
    dev::{ServiceRequest, ServiceResponse},
};
use http::{Response, StatusCode};
use larder_core::{Body, CacheKey, FetchOptions, OverrideFn, Overrides, ResponseContext, set_immutable};

use crate::{
    AnswerBody, encoding::Encoding, etag::tagged, middleware::CacheMiddlewareService, query::IgnoredQuery,
};

type Extra = dyn Fn(&ServiceRequest) -> Vec<u8> + Send + Sync;
type Passes = dyn Fn(&ServiceRequest) -> bool + Send + Sync;
type Immutable = dyn Fn(&str) -> bool + Send + Sync;

/// Wraps an application, a scope or a route in a cache: `App::new().wrap(CacheMiddleware::new(cache))`.
///
/// The handlers' `Cache-Control` decides; what they don't say, this may. Stale responses that may be served while they are
/// revalidated are, and the handler runs behind the answer. Upgrades and requests with content pass untouched.
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
    etags: bool,
    immutable: Option<Arc<Immutable>>,
    pub(crate) encoding: Encoding,
    extra: Option<Arc<Extra>>,
    passes: Option<Arc<Passes>>,
    pub(crate) ignored: IgnoredQuery,
}

impl CacheMiddleware {
    /// The middleware, on this cache.
    pub fn new(cache: larder_core::Cache) -> Self {
        Self {
            cache,
            options: FetchOptions::default(),
            etags: true,
            immutable: None,
            encoding: Encoding::default(),
            extra: None,
            passes: None,
            ignored: IgnoredQuery::default(),
        }
    }

    /// What is said of each response, over what its handler says. Several add up; the last one goes first.
    #[must_use]
    pub fn overrides(
        mut self,
        says: impl Fn(&ResponseContext<'_>) -> Overrides + Send + Sync + 'static,
    ) -> Self {
        self.options.overrides = Some(OverrideFn::by(says).or(self.options.overrides.take()));
        self
    }

    fn always(self, set: impl FnOnce(&mut Overrides)) -> Self {
        let mut overrides = Overrides::default();
        set(&mut overrides);
        self.overrides(move |_| overrides.clone())
    }

    /// How long responses are fresh whose handlers say nothing of it.
    #[must_use]
    pub fn default_freshness(self, freshness: Duration) -> Self {
        self.always(|overrides| overrides.default_freshness = Some(freshness))
    }

    /// How long after that they may be served while they are made anew (RFC 5861 §3), where handlers don't say.
    #[must_use]
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.always(|overrides| overrides.stale_while_revalidate = Some(window))
    }

    /// How long they may be served in the place of an error (RFC 5861 §4), where handlers don't say.
    #[must_use]
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.always(|overrides| overrides.stale_if_error = Some(window))
    }

    /// Fields of the request that select responses, beside those that their `Vary` nominates.
    #[must_use]
    pub fn vary(self, names: impl IntoIterator<Item = http::HeaderName>) -> Self {
        self.always(|overrides| overrides.vary = names.into_iter().collect())
    }

    /// Groups that a response belongs to (RFC 9875), beside those that its handler names: to remove them together.
    #[must_use]
    pub fn groups<G>(self, of: impl Fn(&ResponseContext<'_>) -> G + Send + Sync + 'static) -> Self
    where
        G: IntoIterator<Item: Into<Box<str>>>,
    {
        self.overrides(move |arrived| {
            let mut overrides = Overrides::default();
            overrides.groups = of(arrived).into_iter().map(Into::into).collect();
            overrides
        })
    }

    /// More that responses are found by: a user's id, a tenant. Requests for which it says different things share nothing.
    #[must_use]
    pub fn key(mut self, of: impl Fn(&ServiceRequest) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.extra = Some(Arc::new(of));
        self
    }

    /// Parameters of the query that responses don't depend on; a `*` at the end stands for anything. Handlers get them all
    /// the same.
    #[must_use]
    pub fn ignore_query<P: Into<String>>(mut self, parameters: impl IntoIterator<Item = P>) -> Self {
        self.ignored = parameters.into_iter().collect();
        self
    }

    /// Requests that the cache keeps out of.
    #[must_use]
    pub fn unless(mut self, passes: impl Fn(&ServiceRequest) -> bool + Send + Sync + 'static) -> Self {
        self.passes = Some(Arc::new(passes));
        self
    }

    /// Whether responses that have no entity tag and are in memory as a whole get a strong one of their content, so that
    /// they can be confirmed (304) and asked for in parts. Default: yes.
    #[must_use]
    pub fn etags(mut self, make: bool) -> Self {
        self.etags = make;
        self
    }

    /// Paths under which nothing ever changes: what they are answered with and says nothing of its freshness is marked so that
    /// browsers keep it for a year and don't ask again (RFC 8246), as this cache does. [`fingerprinted`](crate::fingerprinted)
    /// finds those that build tools name after their content.
    #[must_use]
    pub fn immutable(mut self, paths: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.immutable = Some(Arc::new(paths));
        self
    }

    /// Keeps the codings that clients ask for, each made once, and serves them ready: in the place of actix's `Compress`, which
    /// encodes a page for each request.
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, how: larder_compress::Compression) -> Self {
        self.encoding.settings = Some(Arc::new(how));
        self
    }

    /// A handler's response with what the application says of it.
    pub(crate) fn completed(&self, request: &HttpRequest, mut response: Response<Body>) -> Response<Body> {
        let found = response.status() == StatusCode::OK;
        if found && self.immutable.as_ref().is_some_and(|immutable| immutable(request.path())) {
            set_immutable(response.headers_mut());
        }
        if self.etags { tagged(response) } else { response }
    }

    pub(crate) fn passes(&self, request: &ServiceRequest) -> bool {
        self.passes.as_ref().is_some_and(|passes| passes(request))
    }

    pub(crate) fn with_extra(&self, key: CacheKey, request: &ServiceRequest) -> CacheKey {
        match &self.extra {
            Some(extra) => key.with_extra(&extra(request)),
            None => key,
        }
    }
}

impl fmt::Debug for CacheMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("cache", &self.cache)
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for CacheMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, AnswerBody>>;
    type Error = Error;
    type Transform = CacheMiddlewareService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(CacheMiddlewareService { settings: Rc::new(self.clone()), service: Rc::new(service) }))
    }
}
