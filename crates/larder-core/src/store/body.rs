//! Bodies as a store hands them out.

use std::{fmt, ops::Range, pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::StoreError;

/// The chunks of a stored body, in order.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// The body of a stored response. It costs nothing until it is read.
#[derive(Debug, Clone)]
pub enum StoredBody {
    /// All of it, in memory already: a hit clones a reference and copies nothing.
    Whole(Bytes),
    /// To be opened, at any range.
    Source(Arc<dyn BodySource>),
}

impl StoredBody {
    /// Bytes, where the store knows.
    pub fn content_length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Source(source) => source.content_length(),
        }
    }
}

/// A stored body that can be opened, as often as wanted and at any range.
#[async_trait]
pub trait BodySource: fmt::Debug + Send + Sync {
    /// Length in bytes; `None` only while the body is still being written.
    fn content_length(&self) -> Option<u64>;

    /// Opens the bytes of `range`; all of them for `None`.
    ///
    /// From the moment this returns they stay readable to their end, whatever is replaced, removed or
    /// evicted meanwhile. Where a store can't keep that the stream fails: it never ends early as if whole.
    ///
    /// # Errors
    ///
    /// [`Gone`](super::StoreErrorKind::Gone) if the entry went away since it was looked up: a miss.
    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError>;
}
