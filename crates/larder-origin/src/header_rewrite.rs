//! Rules for header fields, on the way to an origin and back.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use larder_core::{Body, Origin, OriginError};

/// What is taken out of a header section, and then put into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Fields that are taken out.
    pub remove: Vec<HeaderName>,
    /// Fields that are put in, in the place of those of their name.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderRules {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    fn apply(&self, fields: &mut HeaderMap) {
        self.remove.iter().for_each(|name| drop(fields.remove(name)));
        self.set.iter().for_each(|(name, value)| drop(fields.insert(name, value.clone())));
    }
}

/// An origin whose requests and responses are changed by rules.
///
/// The cache sees requests before and responses after that: what a rule puts into a response is stored with it, decides how it is
/// cached, and costs a hit nothing.
#[derive(Debug)]
pub struct HeaderRewrite {
    inner: Arc<dyn Origin>,
    request: HeaderRules,
    response: HeaderRules,
}

impl HeaderRewrite {
    /// Rules for the requests to `inner`, and for its responses.
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
