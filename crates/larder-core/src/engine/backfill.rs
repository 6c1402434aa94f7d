//! One client's way through an arriving body: from the window while it keeps up, from the store where it does not.

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
            // Who comes now can still be given the whole, by another fetch.
            return Err(StoreError::new(StoreErrorKind::Gone, "arriving", "it has broken off"));
        }
        if range.start < state.start && state.follow.is_none() {
            return Err(StoreError::new(
                StoreErrorKind::Gone,
                "arriving",
                "its beginning has passed already",
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

/// One client's way through an arriving body.
struct Reader {
    body: Arc<BodyFanout>,
    index: usize,
    position: u64,
    until: u64,
    backfill: Backfill,
}

type Opening = Pin<Box<dyn Future<Output = Result<ByteStream, StoreError>> + Send>>;

/// Reading back what has left the window.
enum Backfill {
    None,
    /// With the offset at which the window takes over again.
    Opening(Opening, u64),
    Reading(ByteStream, u64),
}

impl Reader {
    fn advance(&mut self, mut chunk: Bytes) -> Bytes {
        let left = usize::try_from(self.until - self.position).unwrap_or(usize::MAX);
        chunk.truncate(left);
        self.position += chunk.len() as u64;
        let mut state = self.body.state.lock();
        if let Some(place) = &mut state.readers.slots[self.index] {
            place.position = self.position;
        }
        state.readers.moved();
        let full = state.end - state.start > WINDOW;
        drop(state);
        if full {
            self.body.progress.notify_one();
        }
        chunk
    }

    /// Turns to the store, if what comes next has left the window.
    fn start_backfill(&mut self) -> Result<(), StoreError> {
        let state = self.body.state.lock();
        if self.position >= state.start {
            return Ok(());
        }
        let follow = state.follow.clone().ok_or_else(|| broken("this client fell too far behind"))?;
        let range = self.position..state.start.min(self.until);
        let end = range.end;
        drop(state);
        self.backfill = Backfill::Opening(Box::pin(async move { follow.stream(Some(range)).await }), end);
        Ok(())
    }

    /// Piece, end, failure or waiting, from the window.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        let mut state = self.body.state.lock();
        if let Some(chunk) = state.chunk_at(self.position) {
            drop(state);
            return Poll::Ready(Some(Ok(self.advance(chunk))));
        }
        match state.completion {
            Some(Completion::Whole) => Poll::Ready(None),
            Some(Completion::Broken) => {
                let error = broken("the origin broke off the body");
                let cause = state.cause.clone();
                Poll::Ready(Some(Err(match cause {
                    Some(cause) => error.with_source(cause),
                    None => error,
                })))
            }
            None => {
                let index = self.index;
                let Some(place) = &mut state.readers.slots[index] else { return Poll::Ready(None) };
                if place.disconnected {
                    return Poll::Ready(Some(Err(broken("this client took nothing for too long"))));
                }
                place.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

fn broken(why: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "arriving", why)
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
                        return Poll::Ready(Some(Err(broken("the store gave back less than it was given"))));
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
