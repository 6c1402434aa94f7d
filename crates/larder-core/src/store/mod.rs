//! Defines [`CacheStore`], the contract between the engine and its stores.
//!
//! Nothing in this module depends on the engine, on origins or on an HTTP rule. A store holds bytes
//! under keys, makes each entry visible in one step, and removes entries permanently when
//! requested.

mod body;
mod error;
mod invalidation;
mod leases;
mod prepared;
mod writer;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use larder_policy::{CacheGroup, CacheKey, StoredHead, Timestamp};

pub use body::{BodySource, ByteStream, StoredBody};
pub use error::{StoreError, StoreErrorKind};
pub use invalidation::{Invalidation, InvalidationFeed, InvalidationStream};
pub use leases::{Claim, HeldLease, Lease, Leases};
pub use writer::{Reservation, StoreWriter};

/// Identifies one committed entry for as long as the store holds it. A store never reuses an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(pub u64);

/// One stored response of a key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// The entry's id, for [`CacheStore::freshen`].
    pub id: EntryId,
    /// Everything except the body. It is shared, never copied.
    pub head: Arc<StoredHead>,
    /// The body, not yet read.
    pub body: StoredBody,
    /// The form of the head that an adapter has prepared from it.
    pub(crate) prepared: prepared::Prepared,
}

impl Candidate {
    /// Creates a candidate.
    pub fn new(id: EntryId, head: Arc<StoredHead>, body: StoredBody) -> Self {
        Self { id, head, body, prepared: prepared::Prepared::default() }
    }
}

/// The stored responses of one key, newest first.
///
/// Cloning increments one reference count.
#[derive(Debug, Clone, Default)]
pub struct Candidates(Option<Arc<[Candidate]>>);

impl Candidates {
    /// Returns an empty list.
    pub const fn none() -> Self {
        Self(None)
    }
}

impl Candidates {
    /// Returns the candidates with each head marked as stale at the time that `by` returns for it.
    ///
    /// A head is unchanged if `by` returns `None`, if it is stale at that time anyway, or if its
    /// response was requested after that time. For use by stores.
    #[must_use]
    pub fn marked_stale(self, by: impl Fn(&StoredHead) -> Option<Timestamp>) -> Self {
        let heads: Vec<_> = self
            .iter()
            .map(|candidate| candidate.head.marked_stale(by(&candidate.head)?).map(Arc::new))
            .collect();
        if heads.iter().all(Option::is_none) {
            return self;
        }
        let each = self.iter().zip(heads);
        let marked = each.map(|(candidate, head)| match head {
            Some(head) => Candidate::new(candidate.id, head, candidate.body.clone()),
            None => candidate.clone(),
        });
        Self(Some(marked.collect()))
    }
}

impl From<Candidate> for Candidates {
    fn from(candidate: Candidate) -> Self {
        Self(Some(Arc::new([candidate])))
    }
}

impl From<Arc<[Candidate]>> for Candidates {
    fn from(candidates: Arc<[Candidate]>) -> Self {
        Self(Some(candidates))
    }
}

impl std::ops::Deref for Candidates {
    type Target = [Candidate];

    fn deref(&self) -> &[Candidate] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Stores responses.
///
/// Implement this trait to write a store. Applications call the engine, not the store.
///
/// # What the engine relies on
///
/// 1. *Whole or absent.* An entry can be looked up from the moment [`StoreWriter::commit`] returns
///    and not before. A writer that is dropped leaves nothing behind that a lookup can find.
/// 2. *An opened body can be read to its end*, even if its entry is replaced, removed or evicted in
///    the meantime. A store that cannot guarantee this fails the stream. A stream never ends early
///    as if it were complete.
/// 3. *Removal wins.* A response that was reserved before its key, a group of its head, or a prefix
///    of its URL was removed cannot be committed afterwards. The engine reserves before it sends
///    the request to the origin, because a response may date from before the removal, however late
///    it arrives.
/// 4. *Freshening changes only the head*, and only of the entry with the given id.
/// 5. *One entry for each set of selecting header values.* A commit replaces the entry of the key
///    that has equal values, and leaves the key's other entries unchanged.
///
/// Everything else is allowed: a store may evict entries, reject writes, be slow and fail. It needs
/// no clock and no HTTP rule, because it neither expires nor compares what it stores.
///
/// # Wrappers
///
/// No method has a default implementation, on purpose: a wrapper that omits one does not compile.
/// `larder_testkit::store_suite!` checks each sentence of this page.
///
/// # Cost
///
/// A call through the trait costs about five nanoseconds and one allocation. A wrapper that only
/// counts or delegates should return the future of its inner store instead of awaiting it.
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "implement `larder_core::CacheStore` with `#[async_trait]`; the engine takes an `Arc<dyn CacheStore>`"
)]
pub trait CacheStore: fmt::Debug + Send + Sync + 'static {
    /// Returns all entries under `key`, one for each variant, newest first. An empty list is not an
    /// error.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not be read. The engine treats it as a miss.
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError>;

    /// Reserves the right to store a response for `key`, before the request is sent to the origin.
    ///
    /// Removals from now on prevent the commit of whatever is written through this reservation.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not guarantee this. The response is then not
    /// stored.
    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError>;

    /// Replaces the head of entry `id` after the origin has validated it (RFC 9111 §4.3.4).
    ///
    /// The body and the entry's id stay the same.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`](StoreErrorKind::Gone) if the entry no longer exists; nothing changes then.
    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError>;

    /// Removes every entry of `key`. It is not an error if there is none.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are removed.
    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError>;

    /// Removes every entry of `group` (RFC 9875), in time that does not depend on the number of
    /// entries.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are removed.
    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError>;

    /// Removes the entries of all URLs that begin with `url`, and returns how many it found.
    ///
    /// It may examine every entry. It may also reject writes that are in progress at the same time,
    /// including those of other URLs.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are removed.
    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError>;

    /// Removes every entry.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are removed.
    async fn clear(&self) -> Result<(), StoreError>;

    /// Marks as stale the entries of `group` that were requested from the origin at `at` or before.
    ///
    /// From now on a lookup returns such an entry with its head [marked as
    /// stale](StoredHead::marked_stale), until it is freshened or replaced. Takes time that does
    /// not depend on the number of entries.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are stale.
    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError>;

    /// Marks as stale the entries of URLs that begin with `url`, if they were requested from the
    /// origin at `at` or before.
    ///
    /// An empty `url` marks all entries. It may examine every entry.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are stale.
    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError>;

    /// Returns the interface for request collapsing across processes, if the store supports it.
    fn leases(&self) -> Option<&dyn Leases>;

    /// Returns the feed of invalidations by other processes, if the store supports it.
    fn invalidations(&self) -> Option<&dyn InvalidationFeed>;
}
