//! Rejects requests that a public listener does not serve, and creates the error responses of the
//! proxy.

use actix_http::{RequestHead, Response};
use actix_web::http::{
    Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, UPGRADE},
};

use larder_core::adapter::{ContentError, TargetRejection};

use super::route::NoRoute;
use crate::{ResponseBody, convert};

/// Methods with which other caches purge. Purging is for the operator, not for clients of the
/// public listener.
const PURGE_METHODS: [&str; 4] = ["PURGE", "BAN", "PURGEKEYS", "REFRESH"];

/// Returns the error response for a request that is not served; `None` for all others.
pub(super) fn reject(head: &RequestHead) -> Option<Response<ResponseBody>> {
    if matches!(head.method, Method::GET | Method::HEAD | Method::POST) {
        return is_upgrade(head).then(|| {
            text(
                StatusCode::NOT_IMPLEMENTED,
                "501 Not Implemented: this proxy does not support WebSocket or other upgrades\n",
            )
        });
    }
    if head.method == Method::CONNECT {
        return Some(text(
            StatusCode::NOT_IMPLEMENTED,
            "501 Not Implemented: this proxy does not open tunnels (CONNECT)\n",
        ));
    }
    if head.method == Method::TRACE {
        return Some(text(
            StatusCode::NOT_IMPLEMENTED,
            "501 Not Implemented: TRACE is disabled, it would reveal headers that this proxy adds\n",
        ));
    }
    if PURGE_METHODS.contains(&head.method.as_str()) {
        let mut rejection = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "405 Method Not Allowed: purging is not available on the public listener\n",
        );
        rejection
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return Some(rejection);
    }
    None
}

/// Returns whether the request is to change the protocol of its connection. `h2c`, which some
/// clients send with every request, does not count: a server may ignore it (RFC 9110 §7.8).
fn is_upgrade(head: &RequestHead) -> bool {
    head.headers.get_all(UPGRADE).any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// Creates a 400 response with this text.
pub(super) fn bad_request(reason: &'static str) -> Response<ResponseBody> {
    text(StatusCode::BAD_REQUEST, reason)
}

/// Creates the 400 response for a request without a target that can be trusted.
pub(super) fn bad_target(rejection: TargetRejection) -> Response<ResponseBody> {
    let reason = format!("400 Bad Request: {rejection}\n");
    with_text(StatusCode::BAD_REQUEST, ResponseBody::text(reason))
}

/// Creates the 400 or 408 response for a query of which the content did not arrive.
pub(super) fn bad_content(error: &ContentError) -> Response<ResponseBody> {
    let status = convert::status_to_actix(error.status());
    with_text(status, ResponseBody::text(format!("{status}: {error}\n")))
}

/// Creates the response for a request for which no route can be chosen.
pub(super) fn no_route(no_route: NoRoute) -> Response<ResponseBody> {
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
pub(super) fn loop_detected() -> Response<ResponseBody> {
    text(StatusCode::LOOP_DETECTED, "508 Loop Detected: an origin of this proxy is the proxy itself\n")
}

/// Creates a response of plain text.
fn text(status: StatusCode, reason: &'static str) -> Response<ResponseBody> {
    with_text(status, ResponseBody::text(reason))
}

/// Creates a response of plain text with this body.
fn with_text(status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::with_body(status, body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
