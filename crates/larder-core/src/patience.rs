//! How long a response's head may take: counted from the last sign of life of the request that is being sent.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::{Body, BodyError, bounded::within};

/// Waits for what `fetch` makes of a request's `body`, for as long as `limit` after the last piece of it was taken.
///
/// An upload over a slow line may so take longer than the origin may take to answer it. `None` when the time has
/// passed with neither a piece nor an answer.
pub async fn head_within<T, F>(limit: Duration, body: Body, fetch: impl FnOnce(Body) -> F) -> Option<T>
where
    F: Future<Output = T>,
{
    if body.is_whole() {
        return within(limit, fetch(body)).await;
    }
    let sending = Arc::new(Sending { begun: Instant::now(), moved: AtomicU64::new(0) });
    let mut head = pin!(fetch(Body::stream(Watched { body, sending: Arc::clone(&sending) })));
    loop {
        let deadline = sending.last_moved() + limit;
        tokio::select! {
            biased;
            head = &mut head => return Some(head),
            () = sleep_until(deadline) => if sending.last_moved() + limit <= deadline {
                return None;
            },
        }
    }
}

/// When a request's body moved, shared between the body and whoever waits for the answer.
struct Sending {
    begun: Instant,
    /// Nanoseconds after `begun`.
    moved: AtomicU64,
}

impl Sending {
    fn last_moved(&self) -> Instant {
        self.begun + Duration::from_nanos(self.moved.load(Ordering::Relaxed))
    }

    fn moved(&self) {
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.moved.store(nanos, Ordering::Relaxed);
    }
}

struct Watched {
    body: Body,
    sending: Arc<Sending>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.sending.moved();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
