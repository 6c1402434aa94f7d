//! Redirects (RFC 9110 §15.4): how many the client follows, and the request that each one leads to.
//!
//! They are followed here and not by reqwest, so that each response of a chain is stored under its
//! own URL.

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION,
        PROXY_AUTHORIZATION, REFERER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
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
}

impl Default for RedirectPolicy {
    /// Returns `RedirectPolicy::limited(10)`.
    fn default() -> Self {
        Self::limited(10)
    }
}

/// A redirect that a client has followed.
///
/// ```no_run
/// # async fn example(client: larder_reqwest::CachedClient) -> Result<(), larder_reqwest::Error> {
/// let page = client.get("https://example.com/old").send().await?;
/// for redirect in page.redirects() {
///     println!("{} {} -> {}", redirect.status(), redirect.url(), redirect.location());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    status: StatusCode,
    url: Url,
    location: Url,
}

impl Redirect {
    /// Returns the status code: 301, 302, 303, 307 or 308.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the URL that was redirected.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the URL that the redirect led to.
    pub fn location(&self) -> &Url {
        &self.location
    }

    /// Returns whether the redirect is permanent: 301 or 308. Links to its [`url`](Self::url) should
    /// be replaced by its [`location`](Self::location) (RFC 9110 §15.4.2, §15.4.9).
    pub fn is_permanent(&self) -> bool {
        matches!(self.status, StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT)
    }
}

/// The redirects of one request.
///
/// The rules are those of reqwest, with four exceptions. A redirect to another origin also loses a
/// `Host` that the caller has set, and what it has lost does not come back at the next redirect. A
/// `Location` that is not UTF-8 is followed. The fragment of a URL stays.
pub(crate) struct Chain {
    policy: RedirectPolicy,
    sets_referer: bool,
    /// The `Referer` of the caller.
    referer: Option<HeaderValue>,
    /// Whether the request has a `Cookie` of the caller, in place of those of the jar.
    has_cookie: bool,
    pub(crate) followed: Vec<Redirect>,
}

impl Chain {
    /// Creates a chain without redirects, for a request with these headers.
    pub(crate) fn new(policy: RedirectPolicy, sets_referer: bool, headers: &HeaderMap) -> Self {
        let (referer, has_cookie) = (headers.get(REFERER).cloned(), headers.contains_key(COOKIE));
        Self { policy, sets_referer, referer, has_cookie, followed: Vec::new() }
    }

    /// Returns whether no redirect has been followed.
    pub(crate) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Turns the request into the one that the response redirects to.
    ///
    /// Returns `false` and leaves the request unchanged if the response is no redirect, if it leads
    /// to no URL, or if it would repeat a body that cannot be sent again.
    ///
    /// RFC 9110 §15.4.
    pub(crate) fn follow(
        &mut self,
        response: &CacheResponse,
        request: &mut Request,
        body: &mut ReplayableBody,
    ) -> Result<bool, Error> {
        let status = response.status();
        let Some(max) = self.policy.max else { return Ok(false) };
        let Some(becomes_get) = becomes_get(status, request.method()) else { return Ok(false) };
        if !becomes_get && matches!(body, ReplayableBody::Stream(_)) {
            return Ok(false);
        }
        let Some(next) = location(response, request.url()) else { return Ok(false) };
        let failed = |reason: String| Error::new(ErrorKind::Redirect, Some(&next)).with_source(reason);
        if self.followed.len() >= max {
            return Err(failed(format!("more than {max} redirects")));
        }
        if !matches!(next.scheme(), "http" | "https") {
            return Err(failed(format!("unsupported scheme '{}'", next.scheme())));
        }
        if becomes_get {
            *body = ReplayableBody::InMemory(bytes::Bytes::new());
            // That of HEAD stays.
            if *request.method() != Method::HEAD {
                *request.method_mut() = Method::GET;
            }
        }
        let url = request.url().clone();
        self.change_headers(request.headers_mut(), &url, &next, becomes_get);
        *request.url_mut() = next.clone();
        self.followed.push(Redirect { status, url, location: next });
        Ok(true)
    }

    /// Changes the headers of a request to those for the next URL.
    fn change_headers(&self, headers: &mut HeaderMap, url: &Url, next: &Url, drops_content: bool) {
        if drops_content {
            for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
                headers.remove(name);
            }
        }
        if url.origin() != next.origin() {
            for name in [AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION, WWW_AUTHENTICATE] {
                headers.remove(name);
            }
            headers.remove("cookie2");
        }
        // Those of the jar depend on the URL.
        if !self.has_cookie {
            headers.remove(COOKIE);
        }
        if self.sets_referer {
            match referer(url, next).or_else(|| self.referer.clone()) {
                Some(referer) => headers.insert(REFERER, referer),
                None => headers.remove(REFERER),
            };
        }
    }
}

/// Returns whether a redirect with this status drops the content and leads to GET (HEAD stays), or
/// repeats the request; `None` if it is no redirect.
fn becomes_get(status: StatusCode, method: &Method) -> Option<bool> {
    match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => Some(*method == Method::POST),
        StatusCode::SEE_OTHER => Some(true),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => Some(false),
        _ => None,
    }
}

/// Returns the URL in `Location`, with the fragment of `url` if it has none (RFC 9110 §10.2.2).
///
/// Bytes that are not UTF-8 are sent as they are, percent-encoded, as browsers do. The user in the
/// URL is not sent, as with reqwest. `None` without a valid URL.
fn location(response: &CacheResponse, url: &Url) -> Option<Url> {
    let bytes = response.headers().get(LOCATION)?.as_bytes();
    let mut next = match std::str::from_utf8(bytes) {
        Ok(text) => url.join(text),
        Err(_) => {
            let encoded = bytes.iter().map(|byte| match byte {
                0x80.. => format!("%{byte:02X}"),
                _ => char::from(*byte).to_string(),
            });
            url.join(&encoded.collect::<String>())
        }
    }
    .ok()?;
    // Not a URL that a request could have, or too long for it.
    Uri::try_from(next.as_str()).ok()?;
    // The server's, and not the caller's.
    let _ = next.set_username("");
    let _ = next.set_password(None);
    if next.fragment().is_none() {
        next.set_fragment(url.fragment());
    }
    Some(next)
}

/// Returns the `Referer` of a redirect. `None` from https to http (RFC 9110 §10.1.3).
fn referer(url: &Url, next: &Url) -> Option<HeaderValue> {
    if url.scheme() == "https" && next.scheme() == "http" {
        return None;
    }
    let mut referer = url.clone();
    let _ = referer.set_username("");
    let _ = referer.set_password(None);
    referer.set_fragment(None);
    HeaderValue::from_str(referer.as_str()).ok()
}
