//! Where stored responses are kept: the contract between the engine and its stores.
//!
//! Nothing here knows of the engine, of origins or of any rule of HTTP. A store keeps bytes under keys,
//! makes them visible in one step, and forgets them for good when told to.

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

/// Names one committed entry for as long as the store keeps it; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(pub u64);

/// One stored response of a key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// Which entry this is, for [`CacheStore::freshen`].
    pub id: EntryId,
    /// Everything but the body; shared, never copied.
    pub head: Arc<StoredHead>,
    /// The body, unread.
    pub body: StoredBody,
    /// What an adapter has made of the head.
    pub(crate) prepared: prepared::Prepared,
}

impl Candidate {
    /// Puts a candidate together.
    pub fn new(id: EntryId, head: Arc<StoredHead>, body: StoredBody) -> Self {
        Self { id, head, body, prepared: prepared::Prepared::default() }
    }
}

/// The stored responses of one key, newest first. Cloning is one reference count.
#[derive(Debug, Clone, Default)]
pub struct Candidates(Option<Arc<[Candidate]>>);

impl Candidates {
    /// Nothing is stored.
    pub const fn none() -> Self {
        Self(None)
    }
}

impl Candidates {
    /// The same, each with its head outdated by the instant that is said of it. For stores.
    #[must_use]
    pub fn marked_stale(self, by: impl Fn(&StoredHead) -> Option<Timestamp>) -> Self {
        let heads: Vec<_> =
            self.iter().map(|one| one.head.marked_stale(by(&one.head)?).map(Arc::new)).collect();
        if heads.iter().all(Option::is_none) {
            return self;
        }
        let each = self.iter().zip(heads);
        let outdated = each.map(|(one, head)| match head {
            Some(head) => Candidate::new(one.id, head, one.body.clone()),
            None => one.clone(),
        });
        Self(Some(outdated.collect()))
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

/// Where stored responses are kept. Implement this; callers use the engine, not the store.
///
/// # What the engine relies on
///
/// 1. *Whole or absent.* An entry can be looked up from the moment [`StoreWriter::commit`] returns
///    and not before. A writer that is dropped leaves nothing behind that a lookup can find.
/// 2. *A body once opened is read to its end*, whatever is replaced, removed or evicted meanwhile;
///    where that cannot be kept, the stream fails. It never ends early as if it were complete.
/// 3. *Removal wins.* What was reserved before its key, a group of its head, or a beginning of its URL was removed cannot be
///    committed after it. The engine reserves before it asks the origin, since the answer may be of before the removal however
///    late it comes.
/// 4. *Freshening touches the head alone*, and only of the entry it was meant for.
/// 5. *One entry for each set of selecting header values.* A commit replaces the entry whose values are
///    equal, and leaves the others of the key alone.
///
/// Everything else is allowed: a store may forget, refuse, be slow and fail. It needs no clock and no
/// rule of HTTP: it neither expires nor compares what it keeps.
///
/// # Wrappers
///
/// No method has a default, on purpose: a wrapper that forgets one does not compile.
/// `larder_testkit::store_suite!` checks this page, sentence by sentence.
///
/// # Cost
///
/// The trait is a boundary of about five nanoseconds and one allocation a call. A wrapper that only counts or
/// delegates returns its inner store's future as it is, instead of awaiting it.
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "a store implements `larder_core::CacheStore` with `#[async_trait]`; `Arc<dyn CacheStore>` is what the engine takes"
)]
pub trait CacheStore: fmt::Debug + Send + Sync + 'static {
    /// All entries under `key`, one for each variant, newest first; none is not an error.
    ///
    /// # Errors
    ///
    /// Any [`StoreError`] is a miss to the engine.
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError>;

    /// Notes that `key` is about to be asked for: what is removed from now on is not stored by what comes of this.
    ///
    /// # Errors
    ///
    /// If it could not be kept from that.
    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError>;

    /// Gives entry `id` a new head, after the origin has confirmed it (RFC 9111 §4.3.4). The body stays, and
    /// so does the entry's id.
    ///
    /// # Errors
    ///
    /// [`Gone`](StoreErrorKind::Gone) if that entry is no longer there: nothing changes then.
    async fn freshen(&self, key: &CacheKey, id: EntryId, head: Arc<StoredHead>) -> Result<(), StoreError>;

    /// Removes every entry of `key`. None is not an error.
    ///
    /// # Errors
    ///
    /// If it can't be known that the entries are gone.
    async fn remove(&self, key: &CacheKey) -> Result<(), StoreError>;

    /// Removes every entry of `group` (RFC 9875), in time that does not depend on how many there are.
    ///
    /// # Errors
    ///
    /// If it can't be known that the entries are gone.
    async fn invalidate_group(&self, group: &CacheGroup) -> Result<(), StoreError>;

    /// Removes the entries of all URLs that begin so, and says how many it found. May look at every entry, and may refuse
    /// whatever is being stored meanwhile, also of other URLs.
    ///
    /// # Errors
    ///
    /// If it can't be known that the entries are gone.
    async fn remove_prefix(&self, url: &str) -> Result<u64, StoreError>;

    /// Removes everything.
    ///
    /// # Errors
    ///
    /// If it can't be known that the entries are gone.
    async fn clear(&self) -> Result<(), StoreError>;

    /// Makes every entry of `group` stale that was asked for at `at` or before: from now on it is found with its head
    /// [outdated](StoredHead::marked_stale), until it is freshened or replaced. In time that does not depend on how many there are.
    ///
    /// # Errors
    ///
    /// If it can't be known that the entries are stale.
    async fn mark_group_stale(&self, group: &CacheGroup, at: Timestamp) -> Result<(), StoreError>;

    /// The same for the entries of all URLs that begin so, and for all there are if nothing is said. May look at every entry.
    ///
    /// # Errors
    ///
    /// If it can't be known that the entries are stale.
    async fn mark_prefix_stale(&self, url: &str, at: Timestamp) -> Result<(), StoreError>;

    /// Collapsing across processes, if this store can.
    fn leases(&self) -> Option<&dyn Leases>;

    /// Hearing of what other processes remove, if this store can.
    fn invalidations(&self) -> Option<&dyn InvalidationFeed>;
}
