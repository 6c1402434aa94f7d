//! Records a response while it passes to the client.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use larder_core::{Body, BodyError, Timestamp, policy::strip_hop_by_hop};

use crate::{
    CassetteError, CassetteErrorKind, RecordedExchange, RecordedRequest, RecordedResponse,
    matching::Compared, message, shared::Shared,
};

/// Records the response to one request; see [`Cassette::play`](crate::Cassette::play).
///
/// Dropped without a response, the request is listed by [`Cassette::check`](crate::Cassette::check)
/// as not recorded.
pub struct Recorder {
    shared: Arc<Shared>,
    pending: Box<Pending>,
    /// Bytes that are kept of the bodies, which are counted until the exchange is added.
    reserved: u64,
    is_settled: bool,
}

/// What is known of an exchange before its response.
struct Pending {
    request: RecordedRequest,
    compared: Compared,
    number: usize,
    started: Timestamp,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({} {})", self.pending.request.method, self.pending.request.url)
    }
}

impl Recorder {
    /// Creates the recorder of a request, which is pending.
    pub(crate) fn new(
        shared: Arc<Shared>,
        mut request: RecordedRequest,
        compared: Compared,
        number: usize,
        started: Timestamp,
    ) -> Self {
        let mut reserved = request.body.len() as u64;
        if !shared.reserve(reserved) {
            request.omitted = Some(std::mem::take(&mut reserved));
            request.body.clear();
        }
        Self {
            shared,
            pending: Box::new(Pending { request, compared, number, started }),
            reserved,
            is_settled: false,
        }
    }

    /// Returns the response with a body that is recorded while it is read.
    ///
    /// The exchange is written when the body has ended, before its reader learns that. If the
    /// reader drops the body before that, its rest is read in a task of the tokio runtime. A body
    /// that breaks is not recorded. A response with status 101 is passed on and not recorded.
    ///
    /// # Errors
    ///
    /// Returns a [`CassetteError`] if the response has no body and cannot be written. For others,
    /// this is an error of the body.
    pub fn record(self, response: Response<Body>) -> Result<Response<Body>, CassetteError> {
        let (parts, body) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            self.fail("the connection has switched to another protocol");
            return Ok(Response::from_parts(parts, body));
        }
        let mut head = RecordedResponse::new(parts.status);
        head.version = parts.version;
        head.headers = parts.headers.clone();
        strip_hop_by_hop(&mut head.headers);
        if body.is_end_stream() {
            self.commit(head)?;
            return Ok(Response::from_parts(parts, body));
        }
        let recording = Recording {
            body,
            recorder: Some(self),
            head: Some(head),
            kept: Vec::new(),
            length: 0,
            drains: true,
        };
        Ok(Response::from_parts(parts, Body::stream(recording)))
    }

    /// Writes the exchange.
    fn commit(mut self, mut response: RecordedResponse) -> Result<(), CassetteError> {
        let Pending { request, compared, number, started } = &*self.pending;
        let options = &self.shared.options;
        let duration = options.clock.now().since(*started);
        options.redaction.response(&mut response);
        let (recorded, request) = (Some(*started), request.clone());
        let exchange = RecordedExchange { recorded, duration, request, response };
        self.shared.release(std::mem::take(&mut self.reserved));
        let result = self.shared.add(exchange, compared.clone(), *number, true);
        match &result {
            Ok(()) => self.settle(None),
            Err(error) => self.settle(Some(&error.to_string())),
        }
        result
    }

    /// Notes that the exchange could not be recorded.
    fn fail(mut self, reason: &str) {
        self.settle(Some(reason));
    }

    fn settle(&mut self, failure: Option<&str>) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        self.shared.release(std::mem::take(&mut self.reserved));
        let mut state = self.shared.state.lock();
        state.pending -= 1;
        if let Some(reason) = failure {
            let request = &self.pending.request;
            let text = format!("{} {}: {reason}", request.method, request.url);
            tracing::warn!("not recorded: {text}");
            state.not_recorded(text);
        }
        drop(state);
        self.shared.settled.notify_waiters();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.settle(Some("there was no response, or the request was cancelled"));
    }
}

/// A body that is recorded while it is read.
struct Recording {
    body: Body,
    /// `None` once the exchange is recorded, or cannot be.
    recorder: Option<Recorder>,
    /// The response without its body, as long as there is a recorder.
    head: Option<RecordedResponse>,
    kept: Vec<Bytes>,
    length: u64,
    /// Whether the rest is read if the body is dropped.
    drains: bool,
}

impl Recording {
    /// Keeps a frame. Returns an error if the body is longer than it may be.
    fn keep(&mut self, frame: &Frame<Bytes>) -> Result<(), CassetteError> {
        let (Some(recorder), Some(head)) = (&mut self.recorder, &mut self.head) else { return Ok(()) };
        if let Some(trailers) = frame.trailers_ref() {
            head.trailers = Some(trailers.clone());
        }
        let Some(data) = frame.data_ref() else { return Ok(()) };
        self.length += data.len() as u64;
        let limit = recorder.shared.options.max_body;
        if head.omitted.is_some() {
            head.omitted = Some(self.length);
        } else if self.length > limit && !recorder.shared.omits_long_bodies() {
            let text = format!("the body is longer than {limit} bytes: see CassetteOptions::max_body");
            return Err(CassetteError::new(CassetteErrorKind::TooLong, text));
        } else if self.length <= limit && recorder.shared.reserve(data.len() as u64) {
            recorder.reserved += data.len() as u64;
            self.kept.push(data.clone());
        } else {
            head.omitted = Some(self.length);
            let kept = self.kept.drain(..).map(|data| data.len() as u64).sum();
            recorder.shared.release(kept);
            recorder.reserved -= kept;
        }
        Ok(())
    }

    /// Records the exchange.
    fn commit(&mut self) -> Result<(), CassetteError> {
        let (Some(recorder), Some(mut head)) = (self.recorder.take(), self.head.take()) else {
            return Ok(());
        };
        head.body = message::joined(std::mem::take(&mut self.kept));
        recorder.commit(head)
    }

    /// Returns the error of a body that cannot be recorded, and notes it.
    fn failed(&mut self, error: CassetteError) -> BodyError {
        if let Some(recorder) = self.recorder.take() {
            recorder.fail(&error.to_string());
        }
        error.into()
    }
}

impl http_body::Body for Recording {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                if let Some(recorder) = this.recorder.take() {
                    recorder.fail(&format!("the response broke: {error}"));
                }
                return Poll::Ready(Some(Err(error)));
            }
            None => return Poll::Ready(this.commit().err().map(|error| Err(this.failed(error)))),
        };
        let mut result = this.keep(&frame);
        // A reader that knows the end does not poll again.
        if result.is_ok() && (frame.is_trailers() || this.body.is_end_stream()) {
            result = this.commit();
        }
        Poll::Ready(Some(result.map(|()| frame).map_err(|error| this.failed(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.recorder.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(recorder) = self.recorder.take() else { return };
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| self.drains);
        let Some(runtime) = runtime else {
            return recorder.fail("the client has dropped the response before its end");
        };
        let limit = recorder.shared.options.drain_timeout;
        let mut rest = Self {
            body: std::mem::take(&mut self.body),
            recorder: Some(recorder),
            head: self.head.take(),
            kept: std::mem::take(&mut self.kept),
            length: self.length,
            drains: false,
        };
        // The timer is created in the task: a runtime without one must not panic in this drop.
        runtime.spawn(async move {
            let reading = async move {
                while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {}
            };
            tokio::time::timeout(limit, reading).await
        });
    }
}
