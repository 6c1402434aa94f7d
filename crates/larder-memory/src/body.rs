//! Builds and reads bodies in memory: a short body (up to 1 MiB) is one buffer, a longer one
//! consists of segments.

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

/// Longest body that is joined to one buffer at the commit, so that a hit is one reference
/// count. Joining a longer body would need memory for both copies at the same time.
pub(crate) const MAX_JOINED: u64 = 1024 * 1024;

/// Chunks shorter than this are copied when they are written, because they may be slices that keep
/// a larger read buffer alive.
pub(crate) const COPY_BELOW: usize = 16 * 1024;

/// Length of a segment in bytes, except for the last one.
const SEGMENT: u64 = 256 * 1024;

/// Copies the chunks of a long body into segments of its own. The chunks are slices of read
/// buffers, of which more than half may be unused: a connection takes another buffer if little room
/// is left in the last one.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// The room that is left in the last segment.
    room: BytesMut,
}

impl Segments {
    /// Copies a chunk, and calls `push` with each piece of it. `left` is the length of the body
    /// from this chunk on, if it is known.
    pub(crate) fn copy(&mut self, mut chunk: &[u8], left: Option<u64>, mut push: impl FnMut(Bytes)) {
        let mut left = left.unwrap_or(u64::MAX);
        while !chunk.is_empty() {
            if self.room.capacity() == 0 {
                self.room = BytesMut::with_capacity(usize::try_from(left.min(SEGMENT)).unwrap_or_default());
            }
            let (piece, rest) = chunk.split_at(chunk.len().min(self.room.capacity()));
            self.room.extend_from_slice(piece);
            push(self.room.split().freeze());
            left = left.saturating_sub(piece.len() as u64);
            chunk = rest;
        }
    }
}

/// Builds the committed body from its chunks, of `length` bytes in total.
pub(crate) fn joined(mut chunks: Vec<Bytes>, length: u64) -> StoredBody {
    if length > MAX_JOINED {
        return StoredBody::Source(Arc::new(Chunks(chunks.into())));
    }
    if chunks.len() == 1 && length < COPY_BELOW as u64 {
        return StoredBody::Whole(shared(chunks.swap_remove(0)));
    }
    // A single longer chunk is copied too: it may be a small slice that keeps a large read buffer
    // alive.
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    StoredBody::Whole(shared(whole.freeze()))
}

/// Returns the buffer with its reference count. The first clone of a buffer allocates it, which
/// would otherwise be the first hit.
fn shared(buffer: Bytes) -> Bytes {
    let shared = buffer.clone();
    drop(buffer);
    shared
}

/// A long body, in chunks.
#[derive(Debug)]
struct Chunks(Box<[Bytes]>);

#[async_trait]
impl BodySource for Chunks {
    fn content_length(&self) -> Option<u64> {
        Some(self.0.iter().map(|chunk| chunk.len() as u64).sum())
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        Ok(Box::pin(ChunkStream(slices(&self.0, &range.unwrap_or(0..u64::MAX)))))
    }
}

/// Returns the parts of the chunks that lie in a range of the body, without a copy.
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

/// A stream of chunks that are all in memory.
struct ChunkStream(VecDeque<Bytes>);

impl Stream for ChunkStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
