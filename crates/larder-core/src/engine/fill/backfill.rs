//! Reads a body that is still arriving, for one client: from the window while the client keeps up,
//! and from the store where it does not.
//!
//! The window and its readers' positions belong to [`BodyFanout`].

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::fanout::{BodyFanout, Completion, WINDOW};
use crate::{BodySource, ByteStream, StoreError, StoreErrorKind};

#[async_trait]
impl BodySource for Arc<BodyFanout> {
    fn content_length(&self) -> Option<u64> {
        self.length
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let range = range.unwrap_or(0..u64::MAX);
        let mut state = self.state.lock();
        if state.completion == Some(Completion::Broken) {
            // A client that arrives now can still get the whole body from another fetch.
            return Err(StoreError::new(StoreErrorKind::Gone, "in-flight", "the body has failed"));
        }
        if range.start < state.start && state.follow.is_none() {
            return Err(StoreError::new(
                StoreErrorKind::Gone,
                "in-flight",
                "the start of the body is no longer available",
            ));
        }
        let index = state.readers.add(range.start);
        drop(state);
        let reader = Reader {
            body: Arc::clone(self),
            index,
            position: range.start,
            until: range.end,
            backfill: Backfill::None,
        };
        Ok(Box::pin(reader))
    }
}

/// One client's position in an arriving body.
struct Reader {
    body: Arc<BodyFanout>,
    index: usize,
    position: u64,
    until: u64,
    backfill: Backfill,
}

/// The future that opens a range of the store's copy.
type Opening = Pin<Box<dyn Future<Output = Result<ByteStream, StoreError>> + Send>>;

/// The state of reading chunks that have left the window.
enum Backfill {
    None,
    /// Opening the store's copy. The number is the offset at which the window continues.
    Opening(Opening, u64),
    /// Reading the store's copy, up to the offset at which the window continues.
    Reading(ByteStream, u64),
}

impl Reader {
    /// Records that the client takes `chunk`, and returns the part of it that is within the
    /// reader's range.
    fn advance(&mut self, mut chunk: Bytes) -> Bytes {
        let left = usize::try_from(self.until - self.position).unwrap_or(usize::MAX);
        chunk.truncate(left);
        self.position += chunk.len() as u64;
        let mut state = self.body.state.lock();
        if let Some(slot) = &mut state.readers.slots[self.index] {
            slot.position = self.position;
        }
        state.readers.notify_moved();
        let full = state.end - state.start > WINDOW;
        drop(state);
        if full {
            self.body.progress.notify_one();
        }
        chunk
    }

    /// Starts to read from the store if the next byte has left the window.
    fn start_backfill(&mut self) -> Result<(), StoreError> {
        let state = self.body.state.lock();
        if self.position >= state.start {
            return Ok(());
        }
        let follow = state
            .follow
            .clone()
            .ok_or_else(|| broken("the client fell too far behind and the store has no copy"))?;
        let range = self.position..state.start.min(self.until);
        let end = range.end;
        drop(state);
        self.backfill = Backfill::Opening(Box::pin(async move { follow.stream(Some(range)).await }), end);
        Ok(())
    }

    /// Polls the window for the next chunk, the end or the failure of the body.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        let mut state = self.body.state.lock();
        if let Some(chunk) = state.chunk_at(self.position) {
            drop(state);
            return Poll::Ready(Some(Ok(self.advance(chunk))));
        }
        match state.completion {
            Some(Completion::Whole) => Poll::Ready(None),
            Some(Completion::Broken) => {
                let error = broken("the origin ended the body early");
                let cause = state.cause.clone();
                Poll::Ready(Some(Err(match cause {
                    Some(cause) => error.with_source(cause),
                    None => error,
                })))
            }
            None => {
                let index = self.index;
                let Some(slot) = &mut state.readers.slots[index] else { return Poll::Ready(None) };
                if slot.disconnected {
                    return Poll::Ready(Some(Err(broken("the client did not read in time"))));
                }
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Creates the error of a body that cannot be read further.
fn broken(why: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "in-flight", why)
}

impl Stream for Reader {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.position >= this.until {
                return Poll::Ready(None);
            }
            match &mut this.backfill {
                Backfill::None => {
                    if let Err(error) = this.start_backfill() {
                        return Poll::Ready(Some(Err(error)));
                    }
                    if matches!(this.backfill, Backfill::None) {
                        return this.poll_window(cx);
                    }
                }
                Backfill::Opening(opening, end) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(stream) => this.backfill = Backfill::Reading(stream, *end),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Backfill::Reading(stream, end) => match ready!(stream.as_mut().poll_next(cx)) {
                    Some(Ok(chunk)) => return Poll::Ready(Some(Ok(this.advance(chunk)))),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None if this.position < *end => {
                        return Poll::Ready(Some(Err(broken(
                            "the store returned fewer bytes than were written",
                        ))));
                    }
                    None => this.backfill = Backfill::None,
                },
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.body.state.lock().readers.remove(self.index);
        self.body.progress.notify_one();
    }
}
