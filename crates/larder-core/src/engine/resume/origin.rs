//! Holds the origin of a response that is read from a store, and fetches the rest of its body.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Method, Request};

use crate::{
    Body, Origin, StoredHead, TargetUri,
    policy::{ByteRange, is_rest_of, request_rest, strip_unforwardable},
    timeout::within,
};

/// The origin of a response that is read from a store, and the request that it answers. Both are
/// unknown until the adapter provides them.
///
/// The response and its body share it.
#[derive(Debug, Default)]
pub(crate) struct RestOrigin(OnceLock<(Request<()>, Arc<dyn Origin>)>);

impl RestOrigin {
    /// Sets the request and its origin, unless they are set.
    pub(crate) fn set(&self, request: Request<()>, origin: Arc<dyn Origin>) {
        // A range of another method is not defined (RFC 9110 §14.2).
        if *request.method() == Method::GET {
            let _ = self.0.set((request, origin));
        }
    }

    /// Returns the bytes `rest` of the representation that `stored` has. Waits at most `limit` for
    /// the head of the origin's response.
    ///
    /// Returns `None` if no origin is known, or if its response does not have exactly these bytes.
    pub(super) async fn fetch(&self, stored: &StoredHead, rest: &ByteRange, limit: Duration) -> Option<Body> {
        let (request, origin) = self.0.get()?;
        let mut outgoing = Request::new(Body::empty());
        *outgoing.headers_mut() = request.headers().clone();
        strip_unforwardable(outgoing.headers_mut());
        if !request_rest(outgoing.headers_mut(), stored, rest) {
            return None;
        }
        let target = TargetUri::from_uri(request.uri()).ok()?;
        *outgoing.uri_mut() = target.to_uri()?;
        *outgoing.extensions_mut() = request.extensions().clone();
        match within(limit, origin.fetch(outgoing)).await? {
            Ok(response) if is_rest_of(response.status(), response.headers(), stored, rest) => {
                Some(response.into_body())
            }
            Ok(response) => {
                tracing::debug!(status = %response.status(), "the origin has other bytes now");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the origin failed");
                None
            }
        }
    }
}
