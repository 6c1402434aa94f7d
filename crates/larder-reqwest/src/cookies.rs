//! The cookie jar. It is read and filled here and not by reqwest: the cache has to see the `Cookie`
//! header of a request, and a stored response must not set its cookies again.

#[cfg(feature = "cookies")]
use http::header::COOKIE;
use larder_core::CacheResponse;
use reqwest::{Request, Url};

#[cfg(feature = "cookies")]
type Jar = Option<std::sync::Arc<dyn reqwest::cookie::CookieStore>>;
#[cfg(not(feature = "cookies"))]
type Jar = Option<std::convert::Infallible>;

/// The client's cookie jar, if it has one.
#[derive(Default)]
pub(crate) struct Cookies(pub(crate) Jar);

impl Cookies {
    /// Adds the jar's cookies for the request's URL, unless the request already has a `Cookie`
    /// header.
    pub(crate) fn add_to(&self, request: &mut Request) {
        #[cfg(feature = "cookies")]
        if let Some(jar) = &self.0
            && !request.headers().contains_key(COOKIE)
            && let Some(cookies) = jar.cookies(request.url())
        {
            request.headers_mut().insert(COOKIE, cookies);
        }
        let _ = request;
    }

    /// Stores the cookies of a response in the jar if the origin sent it for this request.
    pub(crate) fn store_from(&self, response: &CacheResponse, url: &Url) {
        #[cfg(feature = "cookies")]
        if let Some(jar) = &self.0
            && response.is_from_origin()
        {
            let mut lines = response.headers().get_all(http::header::SET_COOKIE).iter().peekable();
            if lines.peek().is_some() {
                jar.set_cookies(&mut lines, url);
            }
        }
        let _ = (response, url);
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Cookies(a jar)" } else { "Cookies(none)" })
    }
}
