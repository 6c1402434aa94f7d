//! Applies the limits on a request's content while it is forwarded: the time between its parts, and
//! its length.
//!
//! The time runs only while the client owes bytes: it starts when the origin's connection reads and
//! nothing is there, and ends when more has arrived.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use larder_core::{Body, BodyError, adapter::Forwarding};
use tokio::time::{Sleep, sleep};

/// The reason why the content of a request is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentFailure {
    /// The client sent nothing for the content timeout.
    TimedOut,
    /// The content is longer than the limit.
    TooLong,
    /// The client has disconnected, or its content is malformed.
    Broken,
}

impl ContentFailure {
    /// All failures. Each has its position plus one as a code.
    const ALL: [Self; 3] = [Self::TimedOut, Self::TooLong, Self::Broken];
}

impl fmt::Display for ContentFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the client did not send the content in time",
            Self::TooLong => "the content is longer than the limit",
            Self::Broken => "the client did not send the whole content",
        })
    }
}

impl std::error::Error for ContentFailure {}

/// The limits on the content of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContentLimits {
    pub(crate) timeout: Duration,
    pub(crate) max_length: Option<u64>,
}

/// Reports how the content of a request has failed, if it has. The origin's error does not show it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContentOutcome(Arc<AtomicU8>);

/// Longest time between two parts once the response has begun, if that of the options is shorter.
const ANSWERED_TIMEOUT: Duration = Duration::from_secs(3600);

/// The code of content to which the origin has responded.
const ANSWERED: u8 = u8::MAX;

impl ContentOutcome {
    /// Records that the response has begun. From now on, the client may be silent for long: the
    /// origin does not wait for it.
    pub(crate) fn answer(&self) {
        let _ = self.0.compare_exchange(0, ANSWERED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether the response has begun.
    fn is_answered(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ANSWERED
    }

    /// Returns the failure, if there was one.
    pub(crate) fn failure(&self) -> Option<ContentFailure> {
        ContentFailure::ALL.get(usize::from(self.0.load(Ordering::Relaxed)).checked_sub(1)?).copied()
    }

    /// Records a failure, and returns it as an error.
    fn fail(&self, failure: ContentFailure) -> BodyError {
        let code = ContentFailure::ALL.iter().position(|one| *one == failure).unwrap_or_default() + 1;
        self.0.store(u8::try_from(code).unwrap_or_default(), Ordering::Relaxed);
        failure.into()
    }
}

/// Applies the limits to the content of a request. Returns the content, and its outcome if there is
/// content. Trailers that must not be forwarded are removed.
///
/// # Errors
///
/// Returns [`ContentFailure::TooLong`] if the announced length is beyond the limit.
pub(crate) fn limited<B>(
    content: B,
    limits: ContentLimits,
) -> Result<(Body, Option<ContentOutcome>), ContentFailure>
where
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    // Over HTTP/2, a request without content ends with its head (RFC 9113 §8.1).
    if content.is_end_stream() {
        return Ok((Body::empty(), None));
    }
    if limits.max_length.is_some_and(|max| content.size_hint().lower() > max) {
        return Err(ContentFailure::TooLong);
    }
    let outcome = ContentOutcome::default();
    let remaining = limits.max_length.unwrap_or(u64::MAX);
    let timeout = limits.timeout;
    let content = Limited {
        content,
        remaining,
        timeout,
        timer: None,
        waiting: false,
        is_answered: false,
        outcome: outcome.clone(),
    };
    Ok((Body::stream(content), Some(outcome)))
}

pin_project_lite::pin_project! {
    /// Content with limits.
    struct Limited<B> {
        #[pin]
        content: B,
        // Bytes up to the limit.
        remaining: u64,
        timeout: Duration,
        // Created at the first wait.
        timer: Option<Pin<Box<Sleep>>>,
        waiting: bool,
        // Whether the timer was set after the response had begun.
        is_answered: bool,
        outcome: ContentOutcome,
    }
}

impl<B> http_body::Body for Limited<B>
where
    B: http_body::Body<Error: Into<BodyError>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut this = self.project();
        while let Poll::Ready(frame) = this.content.as_mut().poll_frame(cx) {
            *this.waiting = false;
            let Some(frame) = frame else { return Poll::Ready(None) };
            let Ok(frame) = frame else {
                return Poll::Ready(Some(Err(this.outcome.fail(ContentFailure::Broken))));
            };
            match frame.into_data() {
                Ok(mut data) => {
                    let data = data.copy_to_bytes(data.remaining());
                    let Some(remaining) = this.remaining.checked_sub(data.len() as u64) else {
                        return Poll::Ready(Some(Err(this.outcome.fail(ContentFailure::TooLong))));
                    };
                    *this.remaining = remaining;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        Forwarding::prepare_trailers(&mut trailers);
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(*this.timeout)));
        let is_answered = this.outcome.is_answered();
        if !std::mem::replace(this.waiting, true) || is_answered != *this.is_answered {
            *this.is_answered = is_answered;
            let limit = if is_answered { ANSWERED_TIMEOUT.max(*this.timeout) } else { *this.timeout };
            timer.set(sleep(limit));
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(this.outcome.fail(ContentFailure::TimedOut)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}
