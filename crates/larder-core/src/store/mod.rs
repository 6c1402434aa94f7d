//! Defines [`CacheStore`], the contract between the engine and its stores.
//!
//! Nothing in this module depends on the engine, on origins or on an HTTP rule. A store holds bytes
//! under keys, makes each entry visible in one step, and removes entries permanently when
//! requested. `writer` has the traits for writing an entry, `body` those for reading one, `scope`
//! what a removal selects, `purged` its result, `marking` the part of a soft purge that stores
//! share, `leases`, `removals` and `invalidation` the optional abilities of stores that several
//! processes share, and `pointers` the trait for `Arc` and `Box`. When these methods are called is
//! decided in `engine`; the bytes of an entry outside memory are defined by `codec`.

mod body;
mod epochs;
mod error;
mod invalidation;
mod key_value;
mod leases;
mod marking;
mod pointers;
mod prepared;
mod purged;
mod removals;
mod scope;
mod writer;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use larder_policy::{CacheKey, StoredHead, Timestamp};

pub use body::{BodySource, ByteStream, StoredBody};
pub use epochs::{Change, Epochs, Removal, Ticket};
pub use error::{StoreError, StoreErrorKind};
pub use invalidation::{Invalidation, InvalidationFeed, InvalidationStream};
pub use key_value::{KeyValue, KeyValueStore};
pub use leases::{Claim, HeldLease, Lease, Leases};
pub use marking::mark_key_stale;
pub use purged::Purged;
pub use removals::{RemovalToken, Removals};
pub use scope::{OwnedScope, Scope};
pub use writer::{Reservation, StoreWriter};

/// Identifies one committed entry of a store.
///
/// The store chooses the number and never uses it for another entry. A store that outlives the
/// process should choose it at random: see [`encode_head`](crate::codec::encode_head).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId(pub u64);

impl EntryId {
    /// The id in candidates that are not stored, or not yet. That a store has chosen the same
    /// number for an entry is improbable, and does no harm.
    pub(crate) const NOT_STORED: Self = Self(u64::MAX);
}

/// One stored response of a key.
#[derive(Clone)]
#[non_exhaustive]
pub struct Candidate {
    /// The entry's id, for [`CacheStore::freshen`] and [`CacheStore::evict`].
    pub id: EntryId,
    /// Everything except the body. It is shared, never copied.
    pub head: Arc<StoredHead>,
    /// The body, not yet read.
    pub body: StoredBody,
    /// A value that an adapter has derived from the head, such as its framework's header map.
    pub(crate) prepared: prepared::Prepared,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("id", &self.id)
            .field("status", &self.head.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// Creates a candidate from what a store has read.
    pub fn new(id: EntryId, head: Arc<StoredHead>, body: StoredBody) -> Self {
        Self { id, head, body, prepared: prepared::Prepared::default() }
    }
}

/// The stored responses of one key, newest first.
///
/// Create it with `From`, from one [`Candidate`] or from an `Arc<[Candidate]>`; read it as a slice.
/// Cloning increments one reference count.
///
/// ```
/// use std::sync::Arc;
///
/// use larder_core::{Candidate, Candidates, EntryId, StoredBody, StoredHead};
///
/// fn candidates(newer: Arc<StoredHead>, older: Arc<StoredHead>) -> Candidates {
///     let body = StoredBody::Whole("hello".into());
///     let newer = Candidate::new(EntryId(2), newer, body.clone());
///     let older = Candidate::new(EntryId(1), older, body);
///     Candidates::from(Arc::from([newer, older]))
/// }
/// assert!(Candidates::none().is_empty());
/// ```
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
/// Implement this trait to write a store. Applications call the engine, not the store. If the
/// backend is a map, implement [`KeyValue`] instead, which is shorter.
///
/// # Signatures
///
/// The trait is implemented with `#[async_trait]` of the crate `async-trait`. This page shows the
/// signatures that it generates; written by hand, a method is
/// `async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError>`.
///
/// # Order of calls
///
/// - For a request: [`lookup`](Self::lookup), then [`BodySource::stream`] unless the body is in
///   memory.
/// - For a response that may be stored: [`reserve`](Self::reserve) before the request is sent to
///   the origin, [`Reservation::begin`] once the head of the response has arrived,
///   [`StoreWriter::write`] for each chunk, and [`StoreWriter::commit`] after the last one. The
///   engine drops the reservation or the writer if the response is not storable, fails, or is too
///   long.
/// - After a 304: [`freshen`](Self::freshen), with the id that a lookup returned.
/// - If a key has more variants than the engine's limit: [`evict`](Self::evict), with the id of the
///   least recently used one.
/// - For a purge and for an unsafe request: [`remove`](Self::remove), with the [`Scope`] of what is
///   no longer valid.
/// - For a soft purge: [`mark_stale`](Self::mark_stale), with its scope and the current time.
///
/// Calls overlap, including several writes of one key.
///
/// # What the engine relies on
///
/// 1. *Whole or absent.* An entry can be looked up once [`StoreWriter::commit`] has returned, and
///    not before it is called. A writer that is dropped leaves nothing behind that a lookup can
///    find.
/// 2. *An opened body can be read to its end*, even if its entry is replaced, removed or evicted in
///    the meantime. A store that cannot guarantee this fails the stream. A stream never ends early
///    as if it were complete.
/// 3. *Removal wins.* A response that was reserved before its key, a group of its head, a prefix of
///    its URL, or everything was removed cannot be committed afterwards. The engine reserves before
///    it sends the request to the origin, because a response may date from before the removal,
///    however late it arrives.
/// 4. *Freshening changes only the head*, and only of the entry with the given id.
/// 5. *One entry for each set of selecting header values.* A commit replaces the key's entry with
///    an equal [`StoredHead::selecting`], and leaves the key's other entries unchanged.
/// 6. *Eviction concerns one entry*, and no write in progress.
/// 7. *A removal changes the tokens* of the keys that it may concern, before it returns, if the
///    store has [`removals`](Self::removals). A request after it then joins no fetch from before.
///
/// Everything else is allowed: a store may evict entries, reject writes, be slow and fail. It needs
/// no clock and no HTTP rule: it need not expire what it stores, and with each head it gets the
/// time after which the engine has no use for the entry (`keep_until`).
///
/// `larder_testkit::store_suite!` generates tests of these guarantees and of each method except
/// [`invalidations`](Self::invalidations).
///
/// # Cancel safety
///
/// The engine drops the future of a call when a timeout passes or the client disconnects. The call
/// may then have taken effect or not. It must not leave a part of an entry that a lookup finds: a
/// commit is visible or not, and a head is the old one or the new one. A removal of many entries
/// may have removed some of them.
///
/// # Wrappers
///
/// No method has a default implementation, on purpose: a wrapper that omits one does not compile.
/// An `Arc` or a `Box` of a store is a store itself, also of a `dyn CacheStore`. A wrapper can
/// therefore be generic over its inner store:
///
/// ```
/// use std::sync::Arc;
/// use larder_core::{CacheKey, CacheStore, StoreError};
///
/// /// Returns the number of variants that a store has of a page.
/// async fn variants(store: impl CacheStore, page: &CacheKey) -> Result<usize, StoreError> {
///     Ok(store.lookup(page).await?.len())
/// }
///
/// # async fn example(shared: Arc<dyn CacheStore>, page: &CacheKey) -> Result<(), StoreError> {
/// assert_eq!(variants(Arc::clone(&shared), page).await?, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Example
///
/// A complete store in the memory of the process.
///
/// ```
#[doc = include_str!("../../tests/map_store.rs")]
/// ```
///
/// # Cost
///
/// A call through the trait costs about five nanoseconds and one allocation. A wrapper that only
/// counts or delegates should return the future of its inner store instead of awaiting it. A call
/// through an `Arc` or a `Box` costs nothing more.
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "implement `larder_core::CacheStore` with `#[async_trait]`; the engine takes an `Arc<dyn CacheStore>`"
)]
pub trait CacheStore: fmt::Debug + Send + Sync + 'static {
    /// Returns all entries under `key`, one for each variant, newest first: the one that was
    /// committed last. An entry that is freshened keeps its place. An empty list is not an error.
    ///
    /// If a store keeps decoded entries in memory, it should return clones of the same
    /// [`Candidates`] each time: adapters store a converted head in them.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not be read. The engine treats it as a miss.
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError>;

    /// Reserves the right to store a response for `key`, before the request is sent to the origin.
    ///
    /// A removal of the key, of one of the entry's groups, of a prefix of its URL, or of everything
    /// after this call prevents the commit of an entry that is written through this reservation.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not guarantee this. The response is then not
    /// stored.
    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError>;

    /// Replaces the head of entry `id` after the origin has validated it (RFC 9111 §4.3.4).
    ///
    /// The body and the entry's id stay the same. `keep_until` replaces the time that was passed to
    /// [`Reservation::begin`], and has the same meaning. A store that implements
    /// [`mark_stale`](Self::mark_stale) with [`mark_key_stale`] gets calls of this method from
    /// there, too, with a head that is [marked as stale](StoredHead::marked_stale).
    ///
    /// The new head may have other `groups` and another `selecting` than the old one. A later
    /// removal of one of its new groups removes the entry, one of its former groups does not. The
    /// epoch of the reservation ([`Ticket::epoch`]) stays with the entry. If a new group was
    /// removed between that reservation and this call, the store may keep the entry or drop it. The
    /// other entries of the key stay, even one with an equal `selecting`.
    ///
    /// # Errors
    ///
    /// Returns [`Gone`](StoreErrorKind::Gone) if the entry no longer exists; nothing changes then.
    /// If a group of the entry's old head was removed since the entry was reserved, the entry no
    /// longer exists: check [`Epochs::removed_since`] with the groups of the *old* head. The origin
    /// may have taken the page out of that group, so that the new head does not show the removal.
    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError>;

    /// Removes entry `id` of `key`, because the key has too many variants, and returns whether it
    /// was stored. It is not an error if it was not.
    ///
    /// This frees space and invalidates nothing. The key's other entries stay, and responses that
    /// were reserved before can be committed, also one with the same `selecting`. Near copies of
    /// the entry in other processes may stay.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store could not remove the entry.
    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError>;

    /// Removes every entry of `scope`, and returns how many entries that were, as far as
    /// the store can know it without more work. It is not an error if there are none.
    ///
    /// The number counts entries, not keys. It may include entries that no lookup would have found,
    /// such as those of a group that was removed before.
    ///
    /// - [`Scope::Key`]: every variant of the key. Takes time that does not depend on the number of
    ///   other entries.
    /// - [`Scope::Group`]: takes time that does not depend on the number of entries (RFC 9875), so
    ///   the number is usually unknown.
    /// - [`Scope::Prefix`]: the entries of all URLs that begin with the text. The URL of an entry
    ///   is [`CacheKey::target`]. The store may examine every entry, and may reject writes that are
    ///   in progress at the same time, including those of other URLs. The engine waits for it
    ///   without a timeout. The empty text removes the same entries as [`Scope::All`].
    /// - [`Scope::All`]: every entry.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are removed.
    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError>;

    /// Marks as stale the entries of `scope` that were requested from the origin at `at` or before,
    /// and returns how many entries it has marked, as far as the store can know it without more
    /// work.
    ///
    /// From now on a lookup returns such an entry with its head marked as stale
    /// ([`StoredHead::marked_stale`]), until it is freshened or replaced. An entry that was stale
    /// at `at` anyway is not changed and not counted.
    ///
    /// - [`Scope::Key`]: every variant of the key. It need not apply to entries that are committed
    ///   later. [`mark_key_stale`] implements it.
    /// - [`Scope::Group`]: takes time that does not depend on the number of entries, so the number
    ///   is usually unknown. It also applies to an entry that is committed later, if it was
    ///   requested at `at` or before. [`Candidates::marked_stale`] applies it in a lookup.
    /// - [`Scope::Prefix`] and [`Scope::All`]: the entries of all URLs that begin with the text, or
    ///   every entry. The store may examine every entry; the engine waits for it without a timeout.
    ///   It need not apply to entries that are committed later. The empty text marks the same
    ///   entries as [`Scope::All`].
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot confirm that the entries are stale.
    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError>;

    /// Returns the interface for request collapsing across processes, or `None` if the store does
    /// not support it. The engine then collapses requests of its own process only.
    fn leases(&self) -> Option<&dyn Leases>;

    /// Returns the interface by which removals of other processes reach fetches that are in
    /// progress, or `None` if the store does not support it. Then a request may share a fetch that
    /// began before another process removed the key.
    fn removals(&self) -> Option<&dyn Removals>;

    /// Returns the feed of invalidations by other processes, or `None` if the store does not
    /// support it. The engine does not use it; `larder-tiered` uses the feed of its far store.
    fn invalidations(&self) -> Option<&dyn InvalidationFeed>;
}
