//! Rejects requests that a public listener does not serve, and creates the error responses of the
//! proxy.

use http::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING},
    request::Parts,
};
use larder_core::{
    Body,
    adapter::{PurgeRequest, TargetRejection},
};

use crate::{content::ContentFailure, route::NoRoute};

/// Returns the error response for a request that is not served; `None` for all others. Purging is
/// for the operator: `may_purge` is whether this client may do so.
pub(crate) fn reject(head: &Parts, has_content: bool, may_purge: bool) -> Option<Response<Body>> {
    if has_content && head.headers.contains_key(TRANSFER_ENCODING) && !is_only_chunked(&head.headers) {
        // Where the request ends is in doubt, so nothing is read behind it.
        let reason = "501 Not Implemented: this proxy knows no transfer coding but chunked, once\n";
        return Some(closing(text(StatusCode::NOT_IMPLEMENTED, reason), head.version));
    }
    if head.version >= Version::HTTP_2 && !has_one_length(&head.headers) {
        return Some(bad_request("400 Bad Request: Content-Length is invalid or differs between lines\n"));
    }
    if matches!(head.method, Method::GET | Method::HEAD | Method::POST) {
        return None;
    }
    if head.method == Method::CONNECT {
        let reason = "501 Not Implemented: this proxy does not open tunnels (CONNECT)\n";
        return Some(closing(text(StatusCode::NOT_IMPLEMENTED, reason), head.version));
    }
    if head.method == Method::TRACE {
        return Some(text(
            StatusCode::NOT_IMPLEMENTED,
            "501 Not Implemented: TRACE is disabled, it would reveal headers that this proxy adds\n",
        ));
    }
    if !may_purge && (PurgeRequest::is_purge(&head.method) || head.method.as_str() == "REFRESH") {
        let mut rejection =
            text(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed: this client may not purge\n");
        rejection
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return Some(rejection);
    }
    None
}

/// Returns whether the content is in chunks, and they have no other coding (RFC 9112 §6.1).
fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    lines.next().is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && lines.next().is_none()
}

/// Returns whether there is at most one `Content-Length`, with a number (RFC 9110 §8.6). Servers of
/// HTTP/1.1 check it themselves, because it is the framing there.
fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let is_number = |line: &[u8]| !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    lines.next().is_none_or(is_number) && lines.next().is_none()
}

/// Creates the 501 response for a request to switch protocols on a route that does not allow it. A
/// client may send bytes of the other protocol before the response has arrived.
pub(crate) fn no_upgrade(version: Version) -> Response<Body> {
    let reason = "501 Not Implemented: this route does not pass WebSocket or other upgrades\n";
    closing(text(StatusCode::NOT_IMPLEMENTED, reason), version)
}

/// Creates a 400 response with this text.
pub(crate) fn bad_request(reason: &'static str) -> Response<Body> {
    text(StatusCode::BAD_REQUEST, reason)
}

/// Creates the 400 response for a request with a target that no URI can have.
pub(crate) fn not_a_uri() -> Response<Body> {
    bad_request("400 Bad Request: the request target is not a valid URI\n")
}

/// Creates the 400 response for a request without a target that can be trusted.
pub(crate) fn bad_target(rejection: TargetRejection) -> Response<Body> {
    text(StatusCode::BAD_REQUEST, format!("400 Bad Request: {rejection}\n"))
}

/// Creates the response for a request for which no route can be chosen.
pub(crate) fn no_route(no_route: NoRoute) -> Response<Body> {
    match no_route {
        NoRoute::Unknown => {
            text(StatusCode::NOT_FOUND, "404 Not Found: this proxy has no route for this host and path\n")
        }
        NoRoute::Ambiguous => bad_request(
            "400 Bad Request: origins read this path in two ways, which belong to different routes\n",
        ),
    }
}

/// Creates the 508 response for a request that this proxy has sent to itself.
pub(crate) fn loop_detected() -> Response<Body> {
    text(StatusCode::LOOP_DETECTED, "508 Loop Detected: an origin of this proxy is the proxy itself\n")
}

/// Creates the 431 response for a request with too many header fields (RFC 6585 §5).
pub(crate) fn too_many_fields() -> Response<Body> {
    text(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "431 Request Header Fields Too Large: the request has too many header fields\n",
    )
}

/// Creates the response for a request of which the content has failed. The rest of the content is
/// not read, so the connection is closed over HTTP/1.
pub(crate) fn content(failure: ContentFailure, version: Version) -> Response<Body> {
    let response = match failure {
        ContentFailure::TimedOut => {
            text(StatusCode::REQUEST_TIMEOUT, "408 Request Timeout: the content did not arrive in time\n")
        }
        ContentFailure::TooLong => text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "413 Content Too Large: the content is longer than this proxy accepts\n",
        ),
        ContentFailure::Broken => bad_request("400 Bad Request: the content of the request is incomplete\n"),
    };
    closing(response, version)
}

/// Makes the response the last one of its connection over HTTP/1. Over HTTP/2, the end of the
/// stream is certain.
fn closing(mut response: Response<Body>, version: Version) -> Response<Body> {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Creates a response of plain text.
fn text(status: StatusCode, reason: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(reason.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
