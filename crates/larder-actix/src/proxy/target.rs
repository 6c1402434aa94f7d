//! Which resource a request is for (RFC 9112 §3.2, §3.3).

use actix_http::{RequestHead, Response};
use actix_web::http::{Method, header::HOST};

use super::reject::bad_request;
use crate::AnswerBody;

/// Authority, and path with query, as the request has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
}

impl<'a> Target<'a> {
    /// From the target of the request line and `Host`. Both name the authority in the absolute form, and in HTTP/2:
    /// if they disagree, whoever routed the request here may have gone by the other.
    pub(super) fn of(scheme: &str, head: &'a RequestHead) -> Result<Self, Response<AnswerBody>> {
        let mut hosts = head.headers.get_all(HOST);
        let host = match hosts.next().map(|host| host.to_str()) {
            Some(Ok(host)) => Some(host.trim()),
            Some(Err(_)) => return Err(bad_request("400 Bad Request: Host is not a name\n")),
            None => None,
        };
        if hosts.next().is_some() {
            return Err(bad_request("400 Bad Request: more than one Host\n"));
        }
        let named = head.uri.authority().map(|authority| authority.as_str());
        let authority = match (named, host) {
            (Some(named), Some(host)) if !is_same(scheme, named, host) => {
                return Err(bad_request("400 Bad Request: Host and the target's authority disagree\n"));
            }
            (Some(authority), _) | (None, Some(authority)) => authority,
            (None, None) => return Err(bad_request("400 Bad Request: Host is missing\n")),
        };
        if head
            .uri
            .scheme_str()
            .is_some_and(|named| !named.eq_ignore_ascii_case(scheme) && head.uri.authority().is_some())
            && head.version < actix_web::http::Version::HTTP_2
        {
            return Err(bad_request("400 Bad Request: the target's scheme is not this listener's\n"));
        }
        let path = match head.uri.path_and_query().map(|path| path.as_str()) {
            Some("*") if head.method != Method::OPTIONS => {
                return Err(bad_request("400 Bad Request: * is a target for OPTIONS only\n"));
            }
            Some(path) if !path.is_empty() => path,
            _ => "/",
        };
        Ok(Self { authority, path })
    }

    /// As an absolute URI, for the engine.
    pub(super) fn uri(self, scheme: &str) -> String {
        let path = if self.path == "*" { "" } else { self.path };
        format!("{scheme}://{}{path}", self.authority)
    }
}

/// With and without the scheme's own port is the same.
fn is_same(scheme: &str, one: &str, other: &str) -> bool {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let plain = |authority: &'_ str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    one.eq_ignore_ascii_case(other) || plain(one) == plain(other)
}
