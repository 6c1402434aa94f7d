//! Answers purges that are requests on the public listener: `PURGE`, `BAN` and `PURGEKEYS`, as
//! programs for other caches send them.
//!
//! `reject` answers those of clients that may not purge.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{Response, StatusCode, header::CONTENT_TYPE, request::Parts};
use larder_core::{
    Body, Cache,
    adapter::{KeyRules, PurgeError, PurgeRequest},
};

/// Who may purge by a request.
#[derive(Clone)]
pub(crate) struct PurgePermission(pub(crate) Arc<PermitFn>);

/// Returns whether a request may purge that came over a connection from this address.
type PermitFn = dyn Fn(&Parts, Option<IpAddr>) -> bool + Send + Sync;

impl fmt::Debug for PurgePermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PurgePermission")
    }
}

impl PurgePermission {
    /// Returns whether this is a purge by a client that may purge.
    pub(crate) fn permits(&self, head: &Parts, peer: Option<IpAddr>) -> bool {
        PurgeRequest::is_purge(&head.method) && (self.0)(head, peer)
    }
}

/// Purges, and returns the response. `authority` and `path` are those of the target.
pub(crate) async fn purge<'a>(
    cache: &Cache,
    rules: impl Iterator<Item = &'a KeyRules>,
    head: &Parts,
    (authority, path): (&str, &str),
) -> Response<Body> {
    let request = match PurgeRequest::parse(&head.method, authority, path, &head.headers) {
        Ok(request) => request,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("400 Bad Request: {error}\n")),
    };
    if !request.tags().is_empty() && cache.rules().tag_fields.is_empty() {
        let reason = "400 Bad Request: no response has tags: tag_fields is not configured\n";
        return text(StatusCode::BAD_REQUEST, reason);
    }
    match request.purge(cache, rules).await {
        Ok(purged) => {
            let done = if request.is_soft() { "marked as stale" } else { "purged" };
            text(StatusCode::OK, format!("200 OK: {done}: {purged}\n"))
        }
        Err(PurgeError::Target(error)) => {
            text(StatusCode::BAD_REQUEST, format!("400 Bad Request: {error}\n"))
        }
        Err(PurgeError::Store(error)) => {
            tracing::warn!(?error, "a purge could not be confirmed, and is repeated");
            let reason = "503 Service Unavailable: the store could not confirm the purge; it is repeated\n";
            text(StatusCode::SERVICE_UNAVAILABLE, reason)
        }
    }
}

/// Creates a response of plain text.
fn text(status: StatusCode, content: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(content.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
