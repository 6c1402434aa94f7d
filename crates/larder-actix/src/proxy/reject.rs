//! Requests that a public listener does not serve, and how it says so.

use actix_http::{RequestHead, Response};
use actix_web::http::{
    Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, UPGRADE},
};

use crate::AnswerBody;

/// Removing what is stored is for the owner, and not for whoever reaches the public listener.
const PURGING: [&str; 4] = ["PURGE", "BAN", "PURGEKEYS", "REFRESH"];

/// The refusal, if the request is not one to serve.
pub(super) fn reject(head: &RequestHead) -> Option<Response<AnswerBody>> {
    if matches!(head.method, Method::GET | Method::HEAD | Method::POST) {
        return upgrades(head).then(|| {
            text(
                StatusCode::NOT_IMPLEMENTED,
                "501 Not Implemented: this proxy passes no WebSocket or other upgrade\n",
            )
        });
    }
    if head.method == Method::CONNECT {
        return Some(text(StatusCode::NOT_IMPLEMENTED, "501 Not Implemented: this proxy opens no tunnels\n"));
    }
    if head.method == Method::TRACE {
        return Some(text(
            StatusCode::NOT_IMPLEMENTED,
            "501 Not Implemented: TRACE would show fields added here\n",
        ));
    }
    if PURGING.contains(&head.method.as_str()) {
        let mut refusal = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "405 Method Not Allowed: nothing can be purged through the public listener\n",
        );
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return Some(refusal);
    }
    None
}

/// Whether the connection is asked to become something else. HTTP/2 without TLS is offered by some clients with each
/// request, and may be passed over in silence (RFC 9110 §7.8).
fn upgrades(head: &RequestHead) -> bool {
    head.headers.get_all(UPGRADE).any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// 400, with the reason.
pub(super) fn bad_request(reason: &'static str) -> Response<AnswerBody> {
    text(StatusCode::BAD_REQUEST, reason)
}

/// 404: no route is for this host and path.
pub(super) fn not_found() -> Response<AnswerBody> {
    text(StatusCode::NOT_FOUND, "404 Not Found: this proxy has no route for this host and path\n")
}

fn text(status: StatusCode, reason: &'static str) -> Response<AnswerBody> {
    let mut response = Response::with_body(status, AnswerBody::text(reason));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
