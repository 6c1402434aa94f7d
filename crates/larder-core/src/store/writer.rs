//! How a body gets into a store.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use larder_policy::StoredHead;

use super::{BodySource, EntryId, StoreError};

/// The right to store what comes of one request to the origin, until a removal takes it.
///
/// Dropping it is how it is given up. It may live as long as the origin takes: it keeps nobody else from storing.
#[async_trait]
pub trait Reservation: fmt::Debug + Send {
    /// Begins an entry whose body has `length` bytes, where that is known.
    ///
    /// # Errors
    ///
    /// [`Full`](super::StoreErrorKind::Full) if `length` alone tells that it won't fit;
    /// [`Gone`](super::StoreErrorKind::Gone) if it is known by now that it could not be committed.
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
    ) -> Result<Box<dyn StoreWriter>, StoreError>;
}

/// Receives the body of one response.
///
/// Dropping it, at any point, is how a write is abandoned: there is no `abort`, so no path can forget to
/// call it.
#[async_trait]
pub trait StoreWriter: fmt::Debug + Send {
    /// Takes the next chunk, in order, and returns when the store is ready for another: this is the
    /// back-pressure. After an error the writer is only good for dropping.
    ///
    /// # Errors
    ///
    /// [`Full`](super::StoreErrorKind::Full) when the body outgrows what the store takes, or whatever else
    /// stopped the store.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError>;

    /// What has been written so far, for clients of this fetch that are slower than it.
    ///
    /// The only way to an uncommitted body: a lookup never finds it. A stream of all of it waits at its end
    /// for more, ends when the writer commits and fails when it is dropped; a stream of a range that is
    /// written already needs to wait for nothing. The source stays good after the commit. `None` if the store
    /// cannot; the fetch then goes at the speed of its slowest client.
    fn follow(&self) -> Option<Arc<dyn BodySource>>;

    /// Makes the entry visible in one step, in place of any with the same selecting header values.
    ///
    /// Call it only when the origin's own framing has proven the end of the body (RFC 9112 §8).
    /// By value: a second commit, or a write after it, is not a run-time question.
    ///
    /// # Errors
    ///
    /// [`Gone`](super::StoreErrorKind::Gone) if the key, or a group of the entry, was removed since it was reserved.
    /// Nothing is visible then.
    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError>;
}
