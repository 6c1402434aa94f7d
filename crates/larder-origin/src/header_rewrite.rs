//! An origin that adds and removes headers of requests and responses by fixed rules.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use larder_core::{Body, Origin, OriginError};

/// Headers to remove from a request or response, and headers to set.
///
/// Removals are applied first. The default changes nothing.
///
/// ```
/// use http::{HeaderValue, header};
/// use larder_origin::HeaderRules;
///
/// let rules = HeaderRules::default()
///     .with_remove([header::SERVER])
///     .with_set([(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))]);
/// assert!(!rules.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderRules {
    /// Names of headers to remove, with all their values.
    pub remove: Vec<HeaderName>,
    /// Headers to set. Each replaces all headers of the same name; if a name is listed twice, the
    /// last value applies.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderRules {
    /// Returns whether these rules change nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    /// Sets the names of headers to remove, with all their values ([`remove`](Self::remove)).
    #[must_use]
    pub fn with_remove(mut self, remove: impl IntoIterator<Item = HeaderName>) -> Self {
        self.remove = remove.into_iter().collect();
        self
    }

    /// Sets the headers to set, each in place of all headers of the same name ([`set`](Self::set)).
    #[must_use]
    pub fn with_set(mut self, set: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        self.set = set.into_iter().collect();
        self
    }

    /// Applies the rules to `fields`.
    fn apply(&self, fields: &mut HeaderMap) {
        self.remove.iter().for_each(|name| drop(fields.remove(name)));
        self.set.iter().for_each(|(name, value)| drop(fields.insert(name, value.clone())));
    }
}

/// An origin that applies [`HeaderRules`] to the requests and responses of another origin.
///
/// The cache sees the request before the rules are applied, and the response after they have been
/// applied. A header that a rule sets in a response is therefore stored with it and adds no work to
/// a hit. A rule can set `Cache-Control`, which then decides how the response is cached.
///
/// ```
/// use std::sync::Arc;
///
/// use http::{HeaderValue, header};
/// use larder_origin::{HeaderRewrite, HeaderRules, HyperOptions, HyperOrigin};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inner = HyperOrigin::new(HyperOptions::to("http://127.0.0.1:3000")?)?;
/// let response = HeaderRules::default()
///     .with_remove([header::SERVER])
///     .with_set([(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
/// let origin = HeaderRewrite::new(Arc::new(inner), HeaderRules::default(), response);
/// # drop(origin);
/// # Ok(())
/// # }
/// ```
pub struct HeaderRewrite {
    inner: Arc<dyn Origin>,
    request: HeaderRules,
    response: HeaderRules,
}

impl fmt::Debug for HeaderRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderRewrite").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl HeaderRewrite {
    /// Creates an origin that applies `request` to the requests to `inner`, and `response` to its
    /// responses.
    pub fn new(inner: Arc<dyn Origin>, request: HeaderRules, response: HeaderRules) -> Self {
        Self { inner, request, response }
    }
}

#[async_trait]
impl Origin for HeaderRewrite {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        self.request.apply(request.headers_mut());
        let mut response = self.inner.fetch(request).await?;
        self.response.apply(response.headers_mut());
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        self.inner.supports_background_revalidation()
    }
}
