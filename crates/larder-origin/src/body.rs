//! A response's body on its way in, with a limit on its pauses.

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
    /// Fails when nothing comes for too long: silence is never an end.
    pub(crate) struct Impatient {
        #[pin]
        body: Incoming,
        limit: Duration,
        // Made at the first wait, and moved on at the first wait after a chunk: a body that is here already costs no
        // timer, and one that flows costs one.
        timer: Option<Pin<Box<Sleep>>>,
        waiting: bool,
    }
}

impl Impatient {
    pub(crate) fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, timer: None, waiting: false }
    }
}

impl Body for Impatient {
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
                let error = format!("the origin sent nothing of the body for {:?}", this.limit);
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

fn deadline(limit: Duration) -> Instant {
    Instant::now() + limit
}
