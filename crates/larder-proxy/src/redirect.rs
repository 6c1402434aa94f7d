//! Redirects requests from HTTP to HTTPS.

use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{HOST, LOCATION},
    request::Parts,
};
use larder_core::{Body, TargetUri, adapter::RequestTarget};

use crate::reject;

/// The paths by which certificate authorities check who controls a host (RFC 8555 §8.3).
const ACME_CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The default port of HTTPS.
const HTTPS: u16 = 443;

/// Redirects all requests of a listener to HTTPS: to the same host, path and query.
///
/// A request that a trusted proxy in front has received over HTTPS is served instead (see
/// [`ProxyOptions::trusted_proxies`](crate::ProxyOptions::trusted_proxies)). A request without a
/// valid host gets a 400, and one for which there is no route a 404.
///
/// ```
/// use http::StatusCode;
/// use larder_proxy::HttpsRedirect;
///
/// // https://www.example.com:8443 for all hosts, and certificates by way of the routes.
/// let redirect = HttpsRedirect::default()
///     .with_host("www.example.com")
///     .with_port(8443)
///     .with_acme_challenges(true);
/// assert_eq!(redirect.status, StatusCode::PERMANENT_REDIRECT);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpsRedirect {
    /// Status code: 301, 302, 307 or 308; any other counts as 308. Default: 308, with which clients
    /// keep the method and content of the request. Browsers store 301 and 308.
    pub status: StatusCode,
    /// The host of the new URL, without a port. Default: none, the host of the request.
    pub host: Option<String>,
    /// The port of the new URL: the one that clients use from outside. Default: 443.
    pub port: u16,
    /// Whether requests for `/.well-known/acme-challenge/` are served from the routes instead, so
    /// that a certificate authority can check the host (RFC 8555 §8.3). Default: false.
    pub acme_challenges: bool,
}

impl Default for HttpsRedirect {
    fn default() -> Self {
        Self { status: StatusCode::PERMANENT_REDIRECT, host: None, port: HTTPS, acme_challenges: false }
    }
}

impl HttpsRedirect {
    /// Sets the status code ([`status`](Self::status)).
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets the host of the new URL ([`host`](Self::host)).
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the port of the new URL ([`port`](Self::port)).
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets whether requests of certificate authorities are served
    /// ([`acme_challenges`](Self::acme_challenges)).
    #[must_use]
    pub fn with_acme_challenges(mut self, acme_challenges: bool) -> Self {
        self.acme_challenges = acme_challenges;
        self
    }

    /// Returns the host of the new URL if it is not valid: empty, with a port, or no host at all.
    pub(crate) fn invalid_host(&self) -> Option<&str> {
        let host = self.host.as_deref()?;
        let normal = TargetUri::new("https", host, "/");
        let is_valid = normal.is_ok_and(|normal| {
            normal.authority().eq_ignore_ascii_case(host) && without_port(host).len() == host.len()
        });
        (!is_valid).then_some(host)
    }

    /// Returns the response to a request; `None` for one that is to be served.
    pub(crate) fn response(&self, head: &Parts, target: &RequestTarget<'_>) -> Option<Response<Body>> {
        if target.scheme == "https" {
            return None;
        }
        let has_host = head.uri.authority().is_some() || head.headers.contains_key(HOST);
        if self.host.is_none() && head.version <= Version::HTTP_10 && !has_host {
            return Some(reject::bad_request("400 Bad Request: the Host header is missing\n"));
        }
        // `OPTIONS *` is about the server, not about one of its resources.
        let path = if target.path == "*" { "/" } else { target.path };
        let Ok(normal) = TargetUri::new("http", &target.authority, path) else {
            return Some(reject::bad_request("400 Bad Request: the Host header is not a valid name\n"));
        };
        if self.acme_challenges && normal.path_and_query().starts_with(ACME_CHALLENGES) {
            return None;
        }
        let host = self.host.as_deref().unwrap_or_else(|| without_port(normal.authority()));
        let port = if self.port == HTTPS { String::new() } else { format!(":{}", self.port) };
        let location = format!("https://{host}{port}{}", normal.path_and_query());
        let Ok(location) = HeaderValue::try_from(location) else {
            return Some(reject::bad_request("400 Bad Request: the request target is not a valid URI\n"));
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = match self.status.as_u16() {
            301 | 302 | 307 => self.status,
            _ => StatusCode::PERMANENT_REDIRECT,
        };
        response.headers_mut().insert(LOCATION, location);
        Some(response)
    }
}

/// Removes the port from an authority.
fn without_port(authority: &str) -> &str {
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].find(':') {
        Some(colon) => &authority[..end + colon],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_host_is_a_host() {
        for host in ["", "a.test:80", "a.test/", "a b", "user@a.test", "https://a.test", "a.test:443"] {
            assert_eq!(HttpsRedirect::default().with_host(host).invalid_host(), Some(host));
        }
        for host in ["a.test", "A.test", "[2001:db8::1]", "192.0.2.7"] {
            assert_eq!(HttpsRedirect::default().with_host(host).invalid_host(), None, "{host}");
        }
    }

    #[test]
    fn only_the_port_is_removed() {
        for (authority, host) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:8080", "[2001:db8::1]"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}
