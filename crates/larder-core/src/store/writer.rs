//! Defines how a response is written to a store: reserve, begin, write, commit. `engine::fetch`
//! reserves, `engine::fill` does the rest.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use larder_policy::{StoredHead, Timestamp};

use super::{BodySource, EntryId, StoreError};

/// The right to store the response to one request, unless a removal revokes it.
///
/// Dropping it releases it. It may live as long as the origin takes to respond (60 s by default).
/// It does not prevent other writes: several reservations of one key can exist at the same time.
///
/// The page of [`CacheStore`](crate::CacheStore) has a complete implementation.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, the
/// method is `async fn begin(self: Box<Self>, head: Arc<StoredHead>, ...) -> Result<...>`.
#[async_trait]
pub trait Reservation: fmt::Debug + Send {
    /// Starts an entry with this head.
    ///
    /// `length` is the body's length in bytes, if it is known; the engine then commits only after
    /// exactly that many bytes. After `keep_until` the engine has no use for the entry
    /// ([`StoredHead::keep_until`]): a store may remove it then, earlier or later, or ignore this.
    /// A store without the engine's clock can count from the arrival of the response: the entry is
    /// useful for `keep_until.since(head.freshness.response_time)`.
    ///
    /// # Errors
    ///
    /// Returns [`Full`](super::StoreErrorKind::Full) if an entry of `length` bytes cannot fit, or
    /// [`Gone`](super::StoreErrorKind::Gone) if a removal has already revoked the reservation.
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError>;
}

/// Writes the body of one response to a store.
///
/// Dropping it at any point abandons the write. There is no `abort` method that a code path could
/// omit.
///
/// The page of [`CacheStore`](crate::CacheStore) has a complete implementation.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, a method is
/// `async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError>`.
#[async_trait]
pub trait StoreWriter: fmt::Debug + Send {
    /// Appends the next chunk, which is not empty, and returns when the store can accept another.
    ///
    /// The engine waits for this before it calls again (back-pressure). After an error the writer
    /// can only be dropped. An entry with an empty body has no call of `write`.
    ///
    /// # Errors
    ///
    /// Returns [`Full`](super::StoreErrorKind::Full) if the body exceeds the store's limit, or
    /// another [`StoreError`] if the store failed.
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError>;

    /// Returns a source of the bytes written so far, for clients that read more slowly than the
    /// body arrives.
    ///
    /// Returns `None` if the store does not support this; the fetch then proceeds at the speed of
    /// its slowest client.
    ///
    /// The source is the only access to an uncommitted body: a lookup never finds it. A stream of
    /// the whole body waits at its end for more, ends when the writer commits, and fails when the
    /// writer is dropped. A stream of a range that is already written never waits. The source stays
    /// valid after the commit.
    fn follow(&self) -> Option<Arc<dyn BodySource>>;

    /// Makes the entry visible in one step. It replaces the entry of the key with the same
    /// selecting header values.
    ///
    /// Call it only when the origin's own framing has proven that the body is complete (RFC 9112
    /// §8). It consumes the writer, so that a second commit or a later write does not compile.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`](super::StoreErrorKind::Gone) if the key, a group of the entry or a prefix
    /// of its URL was removed since it was reserved, or if the store refuses to replace an entry
    /// that was reserved later. Nothing becomes visible then.
    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError>;
}
