//! Limits how long a future may take.
//!
//! [`within`] limits a whole future. [`head_within`] limits a request with a body that may still be
//! uploading. A future that is ready at its first poll costs no timer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use crate::{Body, BodyEnd, body::BodyEvent};

/// Runs `future` for at most `limit` and returns its output, or `None` if the time has passed.
///
/// The timer is created only if `future` is not ready at its first poll.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match poll_once(future.as_mut()).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => tokio::time::timeout(limit, future).await.ok(),
    }
}

/// Polls `future` once, in the current task.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Waits for the response that `fetch` produces from a request's `body`, for at most `limit` after
/// the last chunk of the body was taken.
///
/// An upload over a slow connection may therefore take longer than `limit`, the time that an origin
/// may take to respond. Returns `None` if `limit` passes without a chunk or a response.
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
    let progress = Arc::new(Notify::new());
    let read = Arc::clone(&progress);
    let body = body.observe(move |event| {
        if !matches!(event, BodyEvent::End(BodyEnd::Dropped)) {
            read.notify_one();
        }
    });
    let mut head = pin!(fetch(body));
    loop {
        tokio::select! {
            biased;
            head = &mut head => return Some(head),
            () = progress.notified() => {}
            () = sleep(limit) => return None,
        }
    }
}
