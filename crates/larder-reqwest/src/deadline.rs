//! The time limit of one caller's request: from its start to the end of its response's body, as in
//! reqwest.
//!
//! It applies to the caller's wait and does not travel with the request to the origin: a fetch that
//! other callers share goes on.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use larder_core::{Body, BodyError};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

/// The instant at which a caller's limit passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    limit: Duration,
    /// `None` if it is too far away to be represented.
    at: Option<Instant>,
}

impl Deadline {
    /// Starts a limit now.
    pub(crate) fn start(limit: Duration) -> Self {
        Self { limit, at: Instant::now().checked_add(limit) }
    }

    /// Waits for `future` until the limit passes, and drops it then.
    ///
    /// # Errors
    ///
    /// Returns an error of kind [`TimedOut`](io::ErrorKind::TimedOut) if the limit has passed.
    pub(crate) async fn wait<F: Future>(self, future: F) -> io::Result<F::Output> {
        match self.at {
            Some(at) => timeout_at(at, future).await.map_err(|_| self.passed()),
            None => Ok(future.await),
        }
    }

    /// Limits the time for reading a body. A body in memory is returned unchanged.
    pub(crate) fn limit(self, body: Body) -> Body {
        match (self.at, body.try_into_bytes()) {
            (_, Ok(bytes)) => Body::from(bytes),
            (None, Err(body)) => body,
            (Some(at), Err(body)) => {
                Body::stream(LimitedBody { body, timer: Box::pin(sleep_until(at)), deadline: self })
            }
        }
    }

    /// Creates the error of a limit that has passed. reqwest recognizes its kind as a timeout.
    fn passed(self) -> io::Error {
        let text = format!("the request's limit of {:?} has passed", self.limit);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

/// A body that fails when its reader's limit passes.
struct LimitedBody {
    body: Body,
    timer: Pin<Box<Sleep>>,
    deadline: Deadline,
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // First, so that an endless body ends.
        if self.timer.as_mut().poll(cx).is_ready() {
            // The engine need not wait for this reader any longer.
            self.body = Body::empty();
            return Poll::Ready(Some(Err(self.deadline.passed().into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
