//! Requests that switch the protocol of their connection (RFC 9110 §7.8): each has a connection of
//! its own, of HTTP/1.1, which never returns to the pool once it has switched.

use std::sync::Arc;

use http::{Request, Response, StatusCode, uri::Authority};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use larder_core::{Body, OriginError, OriginErrorKind, Upgrade, Upgraded};

use crate::{
    error::exchange_error,
    pool::{Lease, Server},
};

/// Sends the request once, on a new connection, and waits for the head of the response.
pub(crate) async fn exchange(
    server: &Arc<Server>,
    authority: &Authority,
    mut request: Request<Body>,
    upgrade: &Upgrade,
) -> Result<(Response<Incoming>, Lease), OriginError> {
    upgrade.write_to(request.headers_mut());
    let mut lease = server.lease_own().await?;
    match lease.send(request, authority).await? {
        Ok(response) => Ok((response, lease)),
        Err(error) => Err(exchange_error(error.into_error())),
    }
}

/// Returns the 101 response with its connection, which keeps the place of `lease` among the
/// connections to the server.
///
/// # Errors
///
/// Returns a [`Protocol`](OriginErrorKind::Protocol) error if the origin has switched to another
/// protocol than `upgrade`.
pub(crate) async fn switched(
    mut response: Response<Incoming>,
    lease: Lease,
    upgrade: Option<&Upgrade>,
) -> Result<Response<Body>, OriginError> {
    let is_accepted = upgrade.is_some_and(|upgrade| upgrade.is_accepted_by(response.headers()));
    if response.status() != StatusCode::SWITCHING_PROTOCOLS || !is_accepted {
        let error = OriginError::new(OriginErrorKind::Protocol);
        return Err(error.with_source("the origin switched to a protocol that the request does not name"));
    }
    // The task of the connection hands it over as soon as it runs.
    let connection = hyper::upgrade::on(&mut response).await.map_err(exchange_error)?;
    let mut response = response.map(|_| Body::empty());
    Upgraded::new(TokioIo::new(connection)).with_guard(lease).attach(&mut response);
    Ok(response)
}
