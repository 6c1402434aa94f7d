//! Responses on their way to a client, and the tasks of HTTP/2 streams.
//!
//! A client of HTTP/2 can take nothing of one response while the connection as a whole goes on. The
//! task of each stream therefore watches whether its chunks are taken.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use larder_core::BodyError;
use tokio::time::{Sleep, sleep};

use super::activity::InFlight;
use crate::ProxyBody;

/// Whether the connection has taken the chunks of one response.
#[derive(Debug, Default)]
pub(super) struct StreamProgress {
    /// Number of chunks that were handed out.
    chunks: Cell<u64>,
    /// Whether the connection has not read on since.
    is_waiting: Cell<bool>,
}

/// The body of a response that a connection sends. The request is in flight until it is dropped.
#[derive(Debug)]
pub(super) struct ServedBody {
    body: ProxyBody,
    progress: Option<Rc<StreamProgress>>,
    _in_flight: InFlight,
}

impl ServedBody {
    /// Creates the body of a response. `progress` is for HTTP/2.
    pub(super) fn new(body: ProxyBody, progress: Option<Rc<StreamProgress>>, in_flight: InFlight) -> Self {
        Self { body, progress, _in_flight: in_flight }
    }
}

impl http_body::Body for ServedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(progress) = &self.progress {
            progress.is_waiting.set(false);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(progress) = &self.progress {
            progress.is_waiting.set(true);
            progress.chunks.set(progress.chunks.get() + 1);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Spawns the streams of one HTTP/2 connection on its thread.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// The progress of the request for which the next task is spawned. hyper calls the service and
    /// then spawns the task.
    next: Rc<Cell<Option<Rc<StreamProgress>>>>,
    send_timeout: Duration,
}

impl StreamExecutor {
    /// Creates an executor that ends a stream if the client takes nothing for `send_timeout`.
    pub(super) fn new(send_timeout: Duration) -> Self {
        Self { next: Rc::default(), send_timeout }
    }

    /// Creates the progress of a request. The next task that is spawned follows it.
    pub(super) fn next_progress(&self) -> Rc<StreamProgress> {
        let progress = Rc::<StreamProgress>::default();
        self.next.set(Some(Rc::clone(&progress)));
        progress
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        match self.next.take().filter(|_| !self.send_timeout.is_zero()) {
            Some(progress) => {
                let limit = self.send_timeout;
                tokio::task::spawn_local(StreamTask { stream, progress, limit, timer: None, seen: 0 });
            }
            None => {
                tokio::task::spawn_local(stream);
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// The task of one stream. When it ends early, hyper resets the stream.
    struct StreamTask<F> {
        #[pin]
        stream: F,
        progress: Rc<StreamProgress>,
        limit: Duration,
        // Created when the client has to make room for the first time.
        timer: Option<Pin<Box<Sleep>>>,
        // Number of chunks when the timer was set.
        seen: u64,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !this.progress.is_waiting.get() {
            return Poll::Pending;
        }
        let chunks = this.progress.chunks.get();
        if std::mem::replace(this.seen, chunks) != chunks {
            match this.timer {
                Some(timer) => timer.set(sleep(*this.limit)),
                None => *this.timer = Some(Box::pin(sleep(*this.limit))),
            }
        }
        let timer = this.timer.as_mut();
        ready!(timer.map_or(Poll::Pending, |timer| timer.as_mut().poll(cx)));
        tracing::debug!(limit = ?this.limit, "reset a stream: the client took nothing of the response");
        Poll::Ready(())
    }
}
