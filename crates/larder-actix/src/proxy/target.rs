//! Determines the target of a request: its authority and path (RFC 9112 §3.2, §3.3).
//!
//! Normalization is left to the cache key ([`larder_core::CacheKey`]).

use actix_http::{RequestHead, Response};
use actix_web::http::{Method, header::HOST};

use super::reject::bad_request;
use crate::ResponseBody;

/// The authority, and the path with query, as they are in the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Target<'a> {
    /// Reads the target from the request line and `Host`.
    ///
    /// In the absolute form, and in HTTP/2, both contain the authority. They must be the same:
    /// otherwise a server in front of this one may have routed the request by the other.
    ///
    /// # Errors
    ///
    /// Returns a 400 response if `Host` is missing, not text or there more than once, if the
    /// authorities differ, if an HTTP/1 request names another scheme than this listener's, or if
    /// the target is `*` and the method is not OPTIONS.
    pub(super) fn of(scheme: &str, head: &'a RequestHead) -> Result<Self, Response<ResponseBody>> {
        let mut hosts = head.headers.get_all(HOST);
        let host = match hosts.next().map(|host| host.to_str()) {
            Some(Ok(host)) => Some(host.trim()),
            Some(Err(_)) => {
                return Err(bad_request("400 Bad Request: the Host header is not a valid name\n"));
            }
            None => None,
        };
        if hosts.next().is_some() {
            return Err(bad_request("400 Bad Request: the request has more than one Host header\n"));
        }
        let uri_authority = head.uri.authority().map(|authority| authority.as_str());
        let authority = match (uri_authority, host) {
            (Some(authority), Some(host)) if !is_same_authority(scheme, authority, host) => {
                return Err(bad_request(
                    "400 Bad Request: Host and the authority of the request target differ\n",
                ));
            }
            (Some(authority), _) | (None, Some(authority)) => authority,
            (None, None) => return Err(bad_request("400 Bad Request: the Host header is missing\n")),
        };
        if head.uri.scheme_str().is_some_and(|uri_scheme| {
            !uri_scheme.eq_ignore_ascii_case(scheme) && head.uri.authority().is_some()
        }) && head.version < actix_web::http::Version::HTTP_2
        {
            return Err(bad_request(
                "400 Bad Request: this listener does not serve the scheme of the request target\n",
            ));
        }
        let path = match head.uri.path_and_query().map(|path| path.as_str()) {
            Some("*") if head.method != Method::OPTIONS => {
                return Err(bad_request("400 Bad Request: the request target * is valid for OPTIONS only\n"));
            }
            Some(path) if !path.is_empty() => path,
            _ => "/",
        };
        Ok(Self { authority, path })
    }

    /// Returns the target as an absolute URI.
    pub(super) fn uri(self, scheme: &str) -> String {
        let path = if self.path == "*" { "" } else { self.path };
        format!("{scheme}://{}{path}", self.authority)
    }
}

/// Returns whether two authorities are the same, in upper or lower case, with or without the
/// scheme's default port.
fn is_same_authority(scheme: &str, one: &str, other: &str) -> bool {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let without_port =
        |authority: &'_ str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    one.eq_ignore_ascii_case(other) || without_port(one) == without_port(other)
}
