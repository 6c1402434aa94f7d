//! Defines the options of a single request that its header fields cannot express. `request` and
//! `fetch` apply them.

use std::{fmt, sync::Arc};

use http::{HeaderMap, Method, StatusCode, Uri};

use super::range_options::RangeOptions;
use crate::{CacheKey, Overrides};

/// Options of a single request. The default changes nothing. Cloning is cheap.
///
/// ```
/// use std::time::Duration;
/// use larder_core::{FetchOptions, OverrideFn, Overrides};
///
/// let overrides = Overrides::default().with_default_freshness(Duration::from_secs(60));
/// let options = FetchOptions::default()
///     .with_overrides(OverrideFn::always(overrides))
///     .with_max_object(1 << 20);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FetchOptions {
    /// Overrides of the origin's caching directives for this response. Default: none.
    pub overrides: Option<OverrideFn>,
    /// Longest body of this response that is stored, in bytes.
    /// [`Limits::max_object`](crate::Limits::max_object) applies if it is lower. Default: none.
    pub max_object: Option<u64>,
    /// Whether the request is a safe query although its method is not GET. Default: `false`.
    ///
    /// Its response may then be stored, and reused for requests with the same key. The caller must
    /// add the request's content and content type to the key
    /// ([`CacheKey::with_extra`](crate::CacheKey::with_extra)) and must use GET as the method of
    /// the lookup. The content has to be in memory. If it streams, the response is not stored, and
    /// nothing is invalidated either.
    /// Responses are not revalidated with conditions, because a condition has another meaning with
    /// other methods (RFC 9110 §13.1.2).
    pub body_in_key: bool,
    /// The key of the request's URL, if the request's own key has more parts, such as a cookie.
    /// Default: none.
    ///
    /// The response then joins the group [`forms_of`](crate::forms_of) this key,
    /// by which a purge of the URL and unsafe requests reach it, whatever its own key is.
    pub form_of: Option<CacheKey>,
    /// How requests for ranges are fetched that no stored response answers. Default:
    /// [`RangeOptions::default`].
    pub ranges: RangeOptions,
}

impl FetchOptions {
    /// Sets the overrides of the origin's caching directives for this response
    /// ([`overrides`](Self::overrides)).
    #[must_use]
    pub fn with_overrides(mut self, overrides: OverrideFn) -> Self {
        self.overrides = Some(overrides);
        self
    }

    /// Sets the longest body of this response that is stored, in bytes
    /// ([`max_object`](Self::max_object)).
    #[must_use]
    pub fn with_max_object(mut self, max_object: u64) -> Self {
        self.max_object = Some(max_object);
        self
    }

    /// Sets whether the request is a safe query although its method is not GET
    /// ([`body_in_key`](Self::body_in_key)).
    #[must_use]
    pub fn with_body_in_key(mut self, body_in_key: bool) -> Self {
        self.body_in_key = body_in_key;
        self
    }

    /// Sets the key of the request's URL, if the request's own key has more parts
    /// ([`form_of`](Self::form_of)).
    #[must_use]
    pub fn with_form_of(mut self, key: CacheKey) -> Self {
        self.form_of = Some(key);
        self
    }

    /// Sets how requests for ranges are fetched that no stored response answers
    /// ([`ranges`](Self::ranges)).
    #[must_use]
    pub fn with_ranges(mut self, ranges: RangeOptions) -> Self {
        self.ranges = ranges;
        self
    }
}

/// The function in an [`OverrideFn`].
type Callback = dyn Fn(&ResponseContext<'_>) -> Overrides + Send + Sync;

/// Computes the overrides of a response once its head has arrived. Cloning is cheap.
///
/// ```
/// use std::time::Duration;
/// use larder_core::{OverrideFn, Overrides};
///
/// let images = OverrideFn::new(|response| {
///     let overrides = Overrides::default();
///     if response.uri.path().starts_with("/images/") {
///         overrides.with_default_freshness(Duration::from_secs(3600))
///     } else {
///         overrides
///     }
/// });
/// ```
#[derive(Clone)]
pub struct OverrideFn(Arc<Callback>);

/// The head of a response that has arrived, and its request.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ResponseContext<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's absolute target URI.
    pub uri: &'a Uri,
    /// The request's header fields.
    pub request_headers: &'a HeaderMap,
    /// The response's status. For a 304, that of the stored response that it validates.
    pub status: StatusCode,
    /// The response's header fields. For a 304, those of the stored response that it validates,
    /// before it is freshened.
    pub headers: &'a HeaderMap,
}

impl OverrideFn {
    /// Creates an override from a function, which is called once for each response from the origin.
    pub fn new(decide: impl Fn(&ResponseContext<'_>) -> Overrides + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// Creates an override with the same result for every response.
    pub fn always(overrides: Overrides) -> Self {
        Self::new(move |_| overrides.clone())
    }

    /// Combines two overrides: `fallback` applies to whatever `self` leaves unset
    /// ([`Overrides::or`]).
    #[must_use]
    pub fn or(self, fallback: Option<Self>) -> Self {
        match fallback {
            None => self,
            Some(fallback) => Self::new(move |response| self.apply(response).or(fallback.apply(response))),
        }
    }

    /// Returns the overrides for this response.
    pub fn apply(&self, response: &ResponseContext<'_>) -> Overrides {
        (self.0)(response)
    }
}

impl fmt::Debug for OverrideFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OverrideFn")
    }
}
