//! The jar, filled and asked here and not by reqwest: the cache has to see what a request carries, and what a stored response
//! once set must not be set again.

use http::{HeaderMap, header::COOKIE};
use larder_core::CacheResponse;
use reqwest::{Request, Url};

#[cfg(feature = "cookies")]
type Jar = Option<std::sync::Arc<dyn reqwest::cookie::CookieStore>>;
#[cfg(not(feature = "cookies"))]
type Jar = Option<std::convert::Infallible>;

/// Where cookies are kept, if they are.
#[derive(Default)]
pub(crate) struct Cookies(pub(crate) Jar);

impl Cookies {
    /// Puts those of the request's URL into it, unless it has its own.
    pub(crate) fn give(&self, request: &mut Request) {
        #[cfg(feature = "cookies")]
        if let Some(jar) = &self.0
            && !request.headers().contains_key(COOKIE)
            && let Some(cookies) = jar.cookies(request.url())
        {
            request.headers_mut().insert(COOKIE, cookies);
        }
        let _ = request;
    }

    /// Takes what the origin has set just now.
    pub(crate) fn take(&self, answer: &CacheResponse, url: &Url) {
        #[cfg(feature = "cookies")]
        if let Some(jar) = &self.0
            && answer.is_from_origin()
        {
            let mut lines = answer.headers().get_all(http::header::SET_COOKIE).iter().peekable();
            if lines.peek().is_some() {
                jar.set_cookies(&mut lines, url);
            }
        }
        let _ = (answer, url);
    }

    /// Before a redirect: another URL, other cookies.
    pub(crate) fn forget(&self, fields: &mut HeaderMap) {
        if self.0.is_some() {
            fields.remove(COOKIE);
        }
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Cookies(a jar)" } else { "Cookies(none)" })
    }
}
