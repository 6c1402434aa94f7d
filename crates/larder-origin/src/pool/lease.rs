//! The right to one exchange on a connection.

use std::sync::Arc;

use http::{Request, Response, uri::Authority};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use larder_core::{Body, OriginError};
use tokio::time::Instant;

use super::{Server, shared::SharedState};
use crate::destination::{to_http1, to_http2};

/// One exchange on a connection. Dropping it ends the exchange: a connection of HTTP/1.1 is closed,
/// because the rest of its response would be taken for the next one.
pub(crate) struct Lease {
    server: Arc<Server>,
    connection: Option<Connection>,
    /// Whether a response has arrived on the connection before.
    is_reused: bool,
}

enum Connection {
    Http1 { sender: http1::SendRequest<Body>, opened: Instant },
    Http2 { sender: http2::SendRequest<Body>, state: Arc<SharedState> },
}

/// The result of sending a request.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<Body>>>;

impl Lease {
    /// Creates the lease of a connection of HTTP/1.1. It releases a permit of the server at the
    /// end.
    pub(super) fn http1(
        server: Arc<Server>,
        sender: http1::SendRequest<Body>,
        opened: Instant,
        is_reused: bool,
    ) -> Self {
        Self { server, connection: Some(Connection::Http1 { sender, opened }), is_reused }
    }

    /// Creates the lease of a stream of HTTP/2.
    pub(super) fn http2(
        server: Arc<Server>,
        sender: http2::SendRequest<Body>,
        state: Arc<SharedState>,
    ) -> Self {
        let is_reused = state.has_responded();
        Self { server, connection: Some(Connection::Http2 { sender, state }), is_reused }
    }

    /// Returns whether a response has arrived on the connection before, so that it may have been
    /// closed while it was idle.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Returns whether the exchange is a stream of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.connection, Some(Connection::Http2 { .. }))
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    ///
    /// Returns an [`OriginError`] if the request cannot be written in the connection's protocol.
    /// The inner error is that of the exchange.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Body>,
        authority: &Authority,
    ) -> Result<Sent, OriginError> {
        match self.connection.as_mut() {
            Some(Connection::Http1 { sender, .. }) => {
                to_http1(&mut request, authority)?;
                Ok(sender.try_send_request(request).await)
            }
            Some(Connection::Http2 { sender, state }) => {
                to_http2(&mut request, authority.clone(), self.server.is_tls())?;
                let sent = sender.try_send_request(request).await;
                if sent.is_ok() && !self.is_reused {
                    state.set_responded();
                }
                Ok(sent)
            }
            None => Err(larder_core::OriginErrorKind::Closed.into()),
        }
    }

    /// Ends the exchange on a connection that the origin has closed.
    pub(crate) fn discard(self) {
        if let Some(Connection::Http2 { state, .. }) = &self.connection {
            state.set_broken();
        }
    }

    /// Ends the exchange after the whole response: the connection can be used again.
    pub(crate) fn finish(mut self) {
        match self.connection.take() {
            Some(Connection::Http1 { sender, opened }) => self.server.give_back(sender, opened),
            // Dropped below, like one that was not finished.
            http2 => self.connection = http2,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(Connection::Http1 { sender, .. }) => {
                drop(sender);
                self.server.release_permit();
            }
            Some(Connection::Http2 { state, .. }) => state.leave(),
            None => {}
        }
    }
}
