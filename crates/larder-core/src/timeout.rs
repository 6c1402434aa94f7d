//! Time limits for futures: [`within`] for a whole future, [`head_within`] for a request that is still uploading.
//!
//! A future that is ready at the first poll costs no timer.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{sync::Notify, time::sleep};

use crate::{Body, BodyError};

/// Runs `future` for at most `limit`; `None` when that has passed. The timer is only made when `future` waits.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match poll_once(future.as_mut()).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => tokio::time::timeout(limit, future).await.ok(),
    }
}

/// Polls once, in the current task.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Waits for what `fetch` makes of a request's `body`, for as long as `limit` after the last chunk of it was taken.
///
/// An upload over a slow line may so take longer than the origin may take to answer it. `None` when the time has
/// passed with neither a chunk nor an answer.
pub async fn head_within<T, F>(limit: Duration, body: Body, fetch: impl FnOnce(Body) -> F) -> Option<T>
where
    F: Future<Output = T>,
{
    if body.is_whole() {
        return within(limit, fetch(body)).await;
    }
    let moved = Arc::new(Notify::new());
    let mut head = pin!(fetch(Body::stream(Watched { body, moved: Arc::clone(&moved) })));
    loop {
        tokio::select! {
            biased;
            head = &mut head => return Some(head),
            () = moved.notified() => {}
            () = sleep(limit) => return None,
        }
    }
}

/// A request's body that tells when a chunk of it was taken.
struct Watched {
    body: Body,
    moved: Arc<Notify>,
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
            self.moved.notify_one();
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
