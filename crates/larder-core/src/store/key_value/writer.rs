//! Writes one entry. A short body is stored with its head, a longer one in pieces of 1 MiB. The
//! head is put last, in one step, which is the commit.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_policy::{StoredHead, Timestamp};

use super::{
    names,
    shared::{PIECE, STORE, Shared, gone},
    values::{BodyPlace, Entry, Envelope},
};
use crate::{
    BodySource, Change, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter, Ticket,
    codec::{BodyChecksum, NotEncodable},
};

/// Longest body in bytes that is stored with its head.
const MAX_INLINE: usize = 64 * 1024;

/// The reservation of a key.
pub(super) struct KeyValueReservation {
    pub(super) shared: Arc<Shared>,
    pub(super) ticket: Ticket,
}

impl fmt::Debug for KeyValueReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueReservation").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reservation for KeyValueReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { shared, ticket } = *self;
        if length.is_some_and(|length| length > shared.max_object) {
            return Err(StoreError::too_long(STORE, shared.max_object));
        }
        if ticket.is_revoked(&head.groups) {
            return Err(removed());
        }
        let expires = shared.expiry(&head, keep_until);
        let written_at = u32::try_from(shared.clock.now().as_millis() / 1000).unwrap_or(u32::MAX);
        let (id, name) = (EntryId(shared.random()), names::entry(ticket.key(), &head.selecting));
        let pieces = Pieces { prefix: names::body(&name, written_at, id), count: 0, shared };
        let envelope = Envelope {
            order: 0,
            expires,
            pieces_expire: Shared::pieces_expiry(expires),
            written_at,
            tokens: Vec::new(),
        };
        let (buffer, checksum) = (Vec::new(), BodyChecksum::new());
        Ok(Box::new(KeyValueWriter { ticket, head, id, name, envelope, pieces, buffer, checksum }))
    }
}

/// Receives the body of one entry.
struct KeyValueWriter {
    ticket: Ticket,
    head: Arc<StoredHead>,
    id: EntryId,
    /// Name of the head.
    name: String,
    envelope: Envelope,
    pieces: Pieces,
    /// Bytes that are not in a piece yet; at most a piece and a chunk.
    buffer: Vec<u8>,
    checksum: BodyChecksum,
}

/// The pieces that a writer has put. Dropping it deletes them.
struct Pieces {
    shared: Arc<Shared>,
    /// Common beginning of their names.
    prefix: String,
    count: u64,
}

impl fmt::Debug for KeyValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueWriter")
            .field("key", self.ticket.key())
            .field("length", &self.checksum.length())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StoreWriter for KeyValueWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let limit = self.pieces.shared.max_object;
        if self.checksum.length() + chunk.len() as u64 > limit {
            return Err(StoreError::too_long(STORE, limit));
        }
        self.checksum.update(&chunk);
        let piece = usize::try_from(PIECE).unwrap_or(usize::MAX);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(piece - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            if self.buffer.len() == piece {
                self.flush().await?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Returns `None`: the last piece is not stored yet. A fetch is as fast as its slowest client.
    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        None
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        if self.pieces.count > 0 || self.buffer.len() > MAX_INLINE {
            self.flush().await?;
        }
        // Before the commit begins: see `Ticket::begin_commit`.
        self.envelope.tokens = self.pieces.shared.tokens(&self.head.groups).await?;
        let Some(change) = self.ticket.begin_commit(&self.head.groups).await else { return Err(removed()) };
        // A put that has been sent cannot be recalled, so the commit runs to its end, and removals
        // wait for that, even if the caller drops this future.
        tokio::spawn(self.publish(change)).await.unwrap_or_else(|_| Err(closing()))
    }
}

impl KeyValueWriter {
    /// Puts the buffered bytes as the next piece.
    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let name = names::piece(&self.pieces.prefix, self.pieces.count);
        // First: if the future is dropped, the piece may have been stored nevertheless.
        self.pieces.count += 1;
        let piece = std::mem::take(&mut self.buffer).into();
        self.pieces.shared.backend.put(&name, piece, self.envelope.pieces_expire).await
    }

    /// Puts the head, and deletes the pieces of the entry that it has replaced.
    async fn publish(self, change: Change) -> Result<EntryId, StoreError> {
        let Self { ticket, head, id, name, mut envelope, mut pieces, buffer, checksum } = self;
        let shared = Arc::clone(&pieces.shared);
        envelope.order = shared.next_order();
        let body = match pieces.count {
            0 => BodyPlace::Inline(buffer.into()),
            _ => BodyPlace::Pieces(checksum.finish(id)),
        };
        let entry = Entry { envelope, id, head: Arc::unwrap_or_clone(head), body };
        let value = entry.encode(ticket.key()).map_err(not_encodable)?;
        let old = shared.backend.get(&name).await?;
        if let Err(error) = shared.backend.put(&name, value, entry.envelope.expires).await {
            // The head may be stored nevertheless. It must not stay without its pieces.
            if shared.backend.delete(&name).await.is_err() {
                pieces.count = 0;
            }
            return Err(error);
        }
        pieces.count = 0; // They belong to the entry: `drop` must not delete them.
        if let Some((id, written_at)) = old.as_ref().and_then(Entry::pieces) {
            shared.delete_pieces(&names::body(&name, written_at, id)).await;
        }
        drop(change);
        Ok(id)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.count > 0
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (shared, prefix) = (Arc::clone(&self.shared), std::mem::take(&mut self.prefix));
            runtime.spawn(async move { shared.delete_pieces(&prefix).await });
        }
    }
}

/// Creates the error of a commit that a removal has refused.
fn removed() -> StoreError {
    gone("the entry was removed while it was being written")
}

/// Creates the error of a head that the format cannot represent.
pub(super) fn not_encodable(error: NotEncodable) -> StoreError {
    let detail = "the response head does not fit the stored format";
    StoreError::new(StoreErrorKind::Full, STORE, detail).with_source(error)
}

/// Creates the error of a task that did not end because the runtime is shutting down.
pub(super) fn closing() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, STORE, "the runtime is shutting down")
}
