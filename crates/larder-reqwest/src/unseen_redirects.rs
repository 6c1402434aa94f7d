//! The origin of a client that was built outside, and may follow redirects below the cache.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use http::{Request, Response};
use larder_core::{Body, Origin, OriginError, OverrideFn, Overrides};
use reqwest::Url;

/// The URL of a response that reqwest has reached by redirects.
#[derive(Debug, Clone)]
pub(crate) struct FinalUrl(pub(crate) Url);

/// An origin for one request, which reports whether reqwest has followed redirects.
#[derive(Debug)]
pub(crate) struct UnseenRedirects {
    origin: Arc<dyn Origin>,
    redirected: Arc<AtomicBool>,
}

impl UnseenRedirects {
    /// Wraps the origin of a request. Returns it with overrides that keep a response to another URL
    /// from being stored.
    pub(crate) fn wrap(
        origin: Arc<dyn Origin>,
        overrides: Option<OverrideFn>,
    ) -> (Arc<dyn Origin>, Option<OverrideFn>) {
        let redirected = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&redirected);
        let unstored =
            OverrideFn::new(move |_| Overrides::default().with_no_store(flag.load(Ordering::Relaxed)));
        (Arc::new(Self { origin, redirected }), Some(unstored.or(overrides)))
    }
}

#[async_trait]
impl Origin for UnseenRedirects {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let response = self.origin.fetch(request).await?;
        if response.extensions().get::<FinalUrl>().is_some() {
            self.redirected.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        self.origin.supports_background_revalidation()
    }
}
