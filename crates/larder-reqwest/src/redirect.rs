//! Redirects (RFC 9110 §15.4), followed here and not by reqwest: each response of a chain is stored as its own.

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

/// How many redirects a client follows, like [`reqwest::redirect::Policy`].
///
/// The default follows up to 10.
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

/// Makes of the request the one that the answer leads to; `false` if it is the end of the chain. As reqwest does: after 301,
/// 302 and 303 a GET, after 307 and 308 the same again if its content can be sent again; without credentials where it
/// leads to another host.
pub(crate) fn follow(
    answer: &CacheResponse,
    request: &mut Request,
    content: &mut ReplayableBody,
) -> Result<bool, Error> {
    let status = answer.status();
    let same_method = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            matches!(*request.method(), Method::GET | Method::HEAD)
        }
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return Ok(false),
    };
    let Some(location) = answer.headers().get(LOCATION) else { return Ok(false) };
    if same_method && matches!(content, ReplayableBody::Stream(_)) {
        return Ok(false);
    }
    let nowhere = || Error::new(ErrorKind::Redirect, Some(request.url()));
    let location = std::str::from_utf8(location.as_bytes()).map_err(|error| nowhere().with_source(error))?;
    let next = request.url().join(location).map_err(|error| nowhere().with_source(error))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(nowhere().with_source(format!("'{}' is not fetched", next.scheme())));
    }
    let fields = request.headers_mut();
    if !same_method {
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
            fields.remove(name);
        }
    }
    if is_elsewhere(request.url(), &next) {
        let fields = request.headers_mut();
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE] {
            fields.remove(name);
        }
    }
    if !same_method {
        *request.method_mut() = Method::GET;
        *content = ReplayableBody::Whole(bytes::Bytes::new());
    }
    let mut next = next;
    if next.fragment().is_none() {
        next.set_fragment(request.url().fragment());
    }
    *request.url_mut() = next;
    Ok(true)
}

/// Whether what was meant for the one must not reach the other.
fn is_elsewhere(from: &Url, to: &Url) -> bool {
    from.host() != to.host()
        || from.port_or_known_default() != to.port_or_known_default()
        || from.scheme() == "https" && to.scheme() == "http"
}
