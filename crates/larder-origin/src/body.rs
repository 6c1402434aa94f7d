//! Wraps a response body from hyper: limits its time, and gives its connection back at its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use larder_core::BodyError;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::pool::Lease;

pin_project_lite::pin_project! {
    /// A response body that fails if the origin sends nothing for some time, or if the whole
    /// exchange takes too long. A pause never counts as the end of the body.
    pub(crate) struct ResponseBody {
        #[pin]
        body: Incoming,
        limits: BodyLimits,
        // Created at the first wait, and reset at the first wait after each chunk: a body that has
        // arrived already needs no timer, and a body that streams needs one.
        timer: Option<Pin<Box<Sleep>>>,
        is_waiting: bool,
        // Given back at the end; dropped with the body otherwise, which closes the connection.
        lease: Option<Lease>,
    }
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Longest time between two chunks.
    pub(crate) pause: Duration,
    /// Limit of the whole exchange, and when it ends.
    pub(crate) total: Option<(Duration, Instant)>,
}

impl BodyLimits {
    /// Returns when a wait that begins now has to end.
    fn deadline(&self) -> Instant {
        let pause = Instant::now() + self.pause;
        self.total.map_or(pause, |(_, end)| end.min(pause))
    }

    /// Returns the error of a wait that has reached its deadline.
    fn error(&self) -> BodyError {
        match self.total {
            Some((limit, end)) if end <= Instant::now() => {
                format!("the origin did not send the whole response within {limit:?}").into()
            }
            _ => format!("the origin sent no body data for {:?}", self.pause).into(),
        }
    }
}

impl ResponseBody {
    /// Creates a body with these limits. `lease` is the exchange that it belongs to.
    pub(crate) fn new(body: Incoming, limits: BodyLimits, lease: Lease) -> Self {
        Self { body, limits, timer: None, is_waiting: false, lease: Some(lease) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            *this.is_waiting = false;
            let has_failed = matches!(frame, Some(Err(_)));
            // Nothing follows trailers, and a reader may not poll again.
            let is_last = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
            let lease = this.lease.take_if(|_| has_failed || is_last || this.body.is_end_stream());
            if let Some(lease) = lease.filter(|_| !has_failed) {
                lease.finish();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(this.limits.deadline())));
        if !*this.is_waiting {
            *this.is_waiting = true;
            timer.as_mut().reset(this.limits.deadline());
        }
        timer.as_mut().poll(cx).map(|()| {
            *this.lease = None;
            Some(Err(this.limits.error()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
