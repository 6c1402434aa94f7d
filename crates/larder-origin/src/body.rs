//! Wraps a response body from hyper and limits the time between two of its chunks.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use larder_core::BodyError;
use tokio::time::{Instant, Sleep, sleep};

pin_project_lite::pin_project! {
    /// A response body that fails if the origin sends nothing for `limit`. A pause never counts as
    /// the end of the body.
    pub(crate) struct IdleTimeoutBody {
        #[pin]
        body: Incoming,
        limit: Duration,
        // Created at the first wait, and reset at the first wait after each chunk: a body that has
        // arrived already needs no timer, and a body that streams needs one.
        timer: Option<Pin<Box<Sleep>>>,
        waiting: bool,
    }
}

impl IdleTimeoutBody {
    /// Creates a body that fails after `limit` without data.
    pub(crate) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, timer: None, waiting: false }
    }
}

impl Body for IdleTimeoutBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            *this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(*this.limit)));
        if !*this.waiting {
            *this.waiting = true;
            let deadline = timer.deadline().max(deadline(*this.limit));
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let error = format!("the origin sent no body data for {:?}", this.limit);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the instant that is `limit` from now.
fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit
}
