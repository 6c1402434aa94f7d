//! Opens connections within one timeout, and records for each whether a response has arrived on it.
//!
//! `origin` uses that record to decide whether a request that failed may be retried.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use larder_core::BodyError;
use tower_service::Service;

/// Flag of a connection: set when the first response has arrived on it. A connection that breaks
/// before its first response was not closed while idle, so its request is not retried.
#[derive(Debug, Clone, Default)]
pub(crate) struct HasResponded(Arc<AtomicBool>);

impl HasResponded {
    /// Sets the flag.
    pub(crate) fn set(&self) {
        if !self.get() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the flag is set.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connects with `inner`. Name resolution, TCP and TLS together must finish within `limit`.
#[derive(Debug, Clone)]
pub(crate) struct Connector<C> {
    pub(crate) inner: C,
    pub(crate) limit: Duration,
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri> + Send,
    C::Future: Send + 'static,
    C::Error: Into<BodyError>,
{
    type Response = TrackedConnection<C::Response>;
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BodyError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(to), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(io)) => Ok(TrackedConnection { io, responded: HasResponded::default() }),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(format!("could not connect within {limit:?}").into()),
            }
        })
    }
}

pin_project_lite::pin_project! {
    /// A connection with its [`HasResponded`] flag, which hyper's pool hands to each response.
    pub(crate) struct TrackedConnection<T> {
        #[pin]
        io: T,
        responded: HasResponded,
    }
}

impl<T: Connection> Connection for TrackedConnection<T> {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.responded.clone());
        if self.io.connected().is_negotiated_h2() { connected.negotiated_h2() } else { connected }
    }
}

impl<T: Read> Read for TrackedConnection<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buffer)
    }
}

impl<T: Write> Write for TrackedConnection<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bytes)
    }
}
