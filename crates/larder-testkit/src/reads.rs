//! Bodies of a [`FaultyStore`](crate::FaultyStore) that are read in chunks and fail in the middle.

use std::{
    collections::VecDeque,
    future::poll_fn,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use larder_core::{BodySource, ByteStream, Candidate, Candidates, StoreError, StoreErrorKind, StoredBody};
use parking_lot::Mutex;

/// Length of a chunk, in bytes.
const CHUNK: usize = 4;

/// The failure of a body while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadFailure {
    /// Offset in the stored body of the first byte that cannot be read.
    pub at: u64,
    /// The kind of the error.
    pub kind: StoreErrorKind,
}

impl ReadFailure {
    /// Creates a failure of this kind, before the byte at this offset.
    pub fn new(at: u64, kind: StoreErrorKind) -> Self {
        Self { at, kind }
    }
}

/// The failures of the bodies that are opened next. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads(Arc<Mutex<Option<VecDeque<ReadFailure>>>>);

impl Reads {
    /// Sets the failures of the next bodies that are opened.
    pub(crate) fn set(&self, failures: &[ReadFailure]) {
        *self.0.lock() = Some(failures.iter().copied().collect());
    }

    /// Returns the candidates with bodies that fail.
    pub(crate) fn apply(&self, found: Candidates) -> Candidates {
        if self.0.lock().is_none() || found.is_empty() {
            return found;
        }
        let failing = |candidate: &Candidate| {
            let body = StoredBody::Source(self.source(candidate.body.clone()));
            Candidate::new(candidate.id, Arc::clone(&candidate.head), body)
        };
        Candidates::from(found.iter().map(failing).collect::<Arc<[_]>>())
    }

    /// Returns the source of a body that fails.
    pub(crate) fn source(&self, body: StoredBody) -> Arc<dyn BodySource> {
        Arc::new(FailingSource { body, reads: self.clone() })
    }
}

/// A body of which each stream has the next of the failures.
#[derive(Debug)]
struct FailingSource {
    body: StoredBody,
    reads: Reads,
}

#[async_trait]
impl BodySource for FailingSource {
    fn content_length(&self) -> Option<u64> {
        self.body.content_length()
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        if let StoredBody::Source(source) = &self.body
            && self.reads.0.lock().is_none()
        {
            // It may wait for bytes that are being written.
            return source.stream(range).await;
        }
        let first = range.as_ref().map_or(0, |range| range.start);
        let bytes = match &self.body {
            StoredBody::Whole(bytes) => match range {
                Some(range) => bytes.slice(position(range.start)..position(range.end)),
                None => bytes.clone(),
            },
            StoredBody::Source(source) => read(source.stream(range).await?).await?,
        };
        let failure = self.reads.0.lock().as_mut().and_then(VecDeque::pop_front);
        let mut chunks = VecDeque::new();
        let readable = failure.map_or(bytes.len(), |failure| position(failure.at.saturating_sub(first)));
        let mut left = bytes.slice(..readable.min(bytes.len()));
        while !left.is_empty() {
            chunks.push_back(Ok(left.split_to(CHUNK.min(left.len()))));
        }
        chunks.extend(failure.map(|failure| Err(StoreError::new(failure.kind, "faulty", "a read failed"))));
        Ok(Box::pin(Chunks(chunks)))
    }
}

/// Returns an offset in memory.
fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("a body in memory")
}

/// The chunks of a body, and its failure.
struct Chunks(VecDeque<Result<Bytes, StoreError>>);

impl Stream for Chunks {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// Reads a stream to its end.
async fn read(mut stream: ByteStream) -> Result<Bytes, StoreError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes.into())
}
