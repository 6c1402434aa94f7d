//! Bodies in memory: whole where they are short, the chunks as they came where they are long.

use std::{
    collections::VecDeque,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use larder_core::{BodySource, ByteStream, StoreError, StoredBody};

/// Up to this length the chunks are joined, once, at the commit: every hit is then one reference count. Above, joining
/// would hold both for a moment.
const JOINED: u64 = 1024 * 1024;

/// A committed body.
pub(crate) fn stored(chunks: &[Bytes], length: u64) -> StoredBody {
    if length > JOINED {
        return StoredBody::Source(Arc::new(Pieces(chunks.into())));
    }
    // Also a single chunk: it may be a small slice of a large read buffer, which it would keep alive.
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    StoredBody::Whole(whole.freeze())
}

/// A long body.
#[derive(Debug)]
struct Pieces(Box<[Bytes]>);

#[async_trait]
impl BodySource for Pieces {
    fn content_length(&self) -> Option<u64> {
        Some(self.0.iter().map(|chunk| chunk.len() as u64).sum())
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        Ok(Box::pin(Slices(slices(&self.0, &range.unwrap_or(0..u64::MAX)))))
    }
}

/// What of these chunks lies in a range.
pub(crate) fn slices(chunks: &[Bytes], range: &Range<u64>) -> VecDeque<Bytes> {
    let mut found = VecDeque::new();
    let mut start = 0;
    for chunk in chunks {
        let length = chunk.len() as u64;
        let from = range.start.saturating_sub(start).min(length);
        let to = range.end.saturating_sub(start).min(length);
        if from < to {
            // Both are at most the length of a chunk, which is a usize.
            found.push_back(chunk.slice(from as usize..to as usize));
        }
        start += length;
    }
    found
}

/// Pieces that are all here.
struct Slices(VecDeque<Bytes>);

impl Stream for Slices {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
