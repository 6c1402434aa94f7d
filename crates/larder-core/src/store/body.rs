//! Defines how a store returns bodies: whole in memory, or as streams of ranges. `engine::serve`
//! opens them.

use std::{fmt, ops::Range, pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::StoreError;

/// The chunks of a stored body, in order.
///
/// `Stream` is that of the crate `futures-core` 0.3, which the streams of `futures-util`,
/// `tokio-stream` and `async-stream` implement. [`BlockReader::into_stream`] creates this type from
/// ranged reads of a stored body, and verifies them.
///
/// ```
/// use larder_core::{ByteStream, StoreError};
///
/// fn one_chunk(chunk: bytes::Bytes) -> ByteStream {
///     Box::pin(futures_util::stream::iter([Ok::<_, StoreError>(chunk)]))
/// }
/// # let _ = one_chunk;
/// ```
///
/// [`BlockReader::into_stream`]: crate::codec::BlockReader::into_stream
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// The body of a stored response. It costs nothing until it is read.
#[derive(Clone)]
pub enum StoredBody {
    /// The whole body, in memory. A hit clones a reference and copies nothing.
    Whole(Bytes),
    /// A body that has to be opened, whole or for a range.
    Source(Arc<dyn BodySource>),
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "StoredBody::Whole({} bytes)", bytes.len()),
            Self::Source(source) => f.debug_tuple("StoredBody::Source").field(source).finish(),
        }
    }
}

impl StoredBody {
    /// Returns the length in bytes, if the store knows it.
    pub fn content_length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Source(source) => source.content_length(),
        }
    }
}

/// Opens a stored body, any number of times and for any range.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, the
/// method is
/// `async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError>`.
#[async_trait]
pub trait BodySource: fmt::Debug + Send + Sync {
    /// Returns the length in bytes, or `None` while the body is being written and its length is not
    /// known.
    fn content_length(&self) -> Option<u64>;

    /// Opens the bytes of `range`, or the whole body for `None`.
    ///
    /// The range lies within the body; it may be empty. Once this has returned, the bytes stay
    /// readable to their end, even if the entry is replaced, removed or evicted. A store that
    /// cannot guarantee this fails the stream. A stream never ends early as if it were complete.
    /// [`BlockReader::into_stream`](crate::codec::BlockReader::into_stream) creates such a stream
    /// for a body that is stored with its checksums.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`](super::StoreErrorKind::Gone) if the entry was removed after it was looked
    /// up. The engine treats it as a miss.
    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError>;
}
