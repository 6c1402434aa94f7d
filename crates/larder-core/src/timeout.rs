//! Limits how long a future may take.
//!
//! [`within`] limits a whole future. [`head_within`] limits a request with a body that may still be
//! uploading. A future that is ready at its first poll costs no timer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    sync::Notify,
    task::unconstrained,
    time::{Sleep, sleep},
};

use crate::{Body, BodyError};

/// Runs `future` for at most `limit` and returns its output, or `None` if the time has passed.
///
/// The timer is created only if `future` is not ready at its first poll.
pub(crate) fn within<F: Future>(limit: Duration, future: F) -> Within<F> {
    Within { future, limit, timer: None }
}

pin_project! {
    /// The future of [`within`]. An `async` function would have room for `future` twice.
    pub(crate) struct Within<F> {
        #[pin]
        future: F,
        limit: Duration,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep(*this.limit)));
        }
        match this.timer.as_pin_mut() {
            // A future that uses up the task's budget at each poll is limited, too.
            Some(timer) => pin!(unconstrained(timer)).poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

/// Polls `future` once, in the current task.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Longest time that a request's body may leave its reader waiting, if the limit for the response
/// is shorter. Servers usually have a shorter limit of their own.
const BODY_LIMIT: Duration = Duration::from_secs(300);

/// Waits for the response that `fetch` produces from a request's `body`, for at most `limit` of the
/// origin's time.
///
/// While the origin waits for the next chunk of the body, the client's time runs and not the
/// origin's. It starts again with each chunk, so an upload over a slow connection may take longer
/// than `limit`. Returns `None` if `limit` passes without a chunk or a response, or if the body is
/// silent for `limit` and for 5 minutes.
///
/// # Cancel safety
///
/// Dropping the future drops the one that `fetch` returned.
pub async fn head_within<T, F>(limit: Duration, body: Body, fetch: impl FnOnce(Body) -> F) -> Option<T>
where
    F: Future<Output = T>,
{
    if body.is_whole() {
        return within(limit, fetch(body)).await;
    }
    let turn = Arc::new(Turn::default());
    let body = Body::stream(WatchedBody { body, turn: Arc::clone(&turn) });
    let mut head = pin!(fetch(body));
    loop {
        let limit = if turn.is_clients.load(Ordering::Relaxed) { limit.max(BODY_LIMIT) } else { limit };
        tokio::select! {
            biased;
            head = &mut head => return Some(head),
            () = turn.changed.notified() => {}
            () = sleep(limit) => return None,
        }
    }
}

/// The side that has to send next: the client, which owes a chunk of the body, or the origin.
#[derive(Debug, Default)]
struct Turn {
    is_clients: AtomicBool,
    /// Notified when the turn changes, and at each chunk.
    changed: Notify,
}

/// A request's body that records which side has to send next.
struct WatchedBody {
    body: Body,
    turn: Arc<Turn>,
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        // A reader that has stopped waits for the origin.
        self.turn.is_clients.store(false, Ordering::Relaxed);
        self.turn.changed.notify_one();
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let was_clients = self.turn.is_clients.swap(frame.is_pending(), Ordering::Relaxed);
        if frame.is_ready() || !was_clients {
            self.turn.changed.notify_one();
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
