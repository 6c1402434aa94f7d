//! Redirects (RFC 9110 §15.4): how many the client follows, and the request that each one leads to.
//!
//! They are followed here and not by reqwest, so that each response of a chain is stored under its
//! own URL.

use http::{
    Method, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION,
        TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
};
use larder_core::CacheResponse;
use reqwest::{Request, Url};

use crate::{Error, ErrorKind, replayable_body::ReplayableBody};

/// The number of redirects that a client follows. Default: up to 10.
///
/// It replaces [`reqwest::redirect::Policy`]: the client follows redirects itself, so that each
/// response of a chain is stored under its own URL.
///
/// ```
/// use larder_reqwest::{CachedClient, RedirectPolicy};
///
/// # fn main() -> Result<(), larder_reqwest::Error> {
/// let five = CachedClient::builder().redirect(RedirectPolicy::limited(5)).build()?;
/// let none = CachedClient::builder().redirect(RedirectPolicy::none()).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedirectPolicy {
    /// The limit; `None` if no redirect is followed.
    max: Option<usize>,
}

impl RedirectPolicy {
    /// Creates a policy that follows up to `max` redirects of one request.
    ///
    /// One more is an error of kind [`Redirect`](ErrorKind::Redirect).
    pub fn limited(max: usize) -> Self {
        Self { max: Some(max) }
    }

    /// Creates a policy that follows no redirect: the client returns the redirect response itself.
    pub fn none() -> Self {
        Self { max: None }
    }

    /// Returns whether the policy follows redirects at all.
    pub(crate) fn follows(self) -> bool {
        self.max.is_some()
    }

    /// Checks that one more redirect may follow the `followed` ones before it. `url` is the URL
    /// that it leads to.
    pub(crate) fn check(self, followed: usize, url: &Url) -> Result<(), Error> {
        match self.max {
            Some(max) if followed >= max => {
                Err(Error::new(ErrorKind::Redirect, Some(url))
                    .with_source(format!("more than {max} redirects")))
            }
            _ => Ok(()),
        }
    }
}

impl Default for RedirectPolicy {
    /// Returns `RedirectPolicy::limited(10)`.
    fn default() -> Self {
        Self::limited(10)
    }
}

/// Turns the request into the one that the response redirects to.
///
/// Returns `false` and leaves the request unchanged if the response is no redirect, or if it would
/// repeat a body that cannot be sent again. The rules are reqwest's: 301, 302 and 303 lead to a GET
/// without body, except for GET and HEAD, which keep their method; 307 and 308 repeat method and
/// body. A redirect to another origin, or from https to http, loses its credentials.
pub(crate) fn follow(
    response: &CacheResponse,
    request: &mut Request,
    body: &mut ReplayableBody,
) -> Result<bool, Error> {
    let status = response.status();
    let same_method = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            matches!(*request.method(), Method::GET | Method::HEAD)
        }
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return Ok(false),
    };
    let Some(location) = response.headers().get(LOCATION) else { return Ok(false) };
    if same_method && matches!(body, ReplayableBody::Stream(_)) {
        return Ok(false);
    }
    let failed = || Error::new(ErrorKind::Redirect, Some(request.url()));
    let location = std::str::from_utf8(location.as_bytes()).map_err(|error| failed().with_source(error))?;
    let next = request.url().join(location).map_err(|error| failed().with_source(error))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(failed().with_source(format!("unsupported scheme '{}'", next.scheme())));
    }
    let headers = request.headers_mut();
    if !same_method {
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
            headers.remove(name);
        }
    }
    if is_cross_origin(request.url(), &next) {
        let headers = request.headers_mut();
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE] {
            headers.remove(name);
        }
    }
    if !same_method {
        *request.method_mut() = Method::GET;
        *body = ReplayableBody::InMemory(bytes::Bytes::new());
    }
    let mut next = next;
    if next.fragment().is_none() {
        next.set_fragment(request.url().fragment());
    }
    *request.url_mut() = next;
    Ok(true)
}

/// Returns whether a redirect leaves the host or port, or leads from https to http, so that
/// credentials must not follow.
fn is_cross_origin(from: &Url, to: &Url) -> bool {
    from.host() != to.host()
        || from.port_or_known_default() != to.port_or_known_default()
        || from.scheme() == "https" && to.scheme() == "http"
}
