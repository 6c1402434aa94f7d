//! The public store: the operations of the contract on a map.

use std::sync::Arc;

use async_trait::async_trait;
use larder_policy::{CacheKey, StoredHead, Timestamp};

use super::{
    KeyValue,
    body::PieceBody,
    names,
    shared::{Found, Names, Shared, gone},
    sweep,
    values::{BodyPlace, Entry},
    writer::{KeyValueReservation, closing, not_encodable},
};
use crate::{
    CacheStore, Candidate, Candidates, Clock, EntryId, InvalidationFeed, Leases, Purged, Removals,
    Reservation, Scope, StoreError, StoredBody, SystemClock, mark_key_stale,
};

/// Longest body that is stored by default, in bytes.
const DEFAULT_MAX_OBJECT: u64 = 1 << 30;
/// Longest body that the store can have, in bytes: its checksums are stored with its head.
const MAX_OBJECT: u64 = 64 << 30;

/// Stores responses in any [`KeyValue`] backend. [`KeyValue`] has an example.
///
/// Clones share the store. It needs a tokio runtime.
///
/// # What is stored
///
/// Each variant of a key has one value with its head and, up to 64 KiB, its body. A longer body is
/// in pieces of 1 MiB, of which one at a time is in memory. The head is put last, which is the
/// commit. A response is stored for at most 30 days after it was stored or validated, and its body
/// in pieces for at most 60.
///
/// A lookup takes one scan and one `get` for each variant, and two more for each group of them. A
/// removal by prefix reads all heads. A body that is replaced or removed while it is read ends with
/// an error. The body of an unfinished write can't be read back.
///
/// # Several processes
///
/// Stores in several processes may use one backend: each finds what the others have committed, and
/// no longer finds what they have removed; a removed group stays removed. These promises hold
/// within one process only: a write or a freshening of another process that was in progress when
/// something was removed may take effect after that, and bring the entry back. If two processes
/// write one variant at the same time, the body of one of them stays in the backend until its time.
/// If one freshens an entry while another replaces it, the old entry may stay, and its body end
/// with an error. There are neither leases nor a feed of invalidations. Processes that need these
/// promises across all of them use a store such as `larder-redis`.
///
/// # What a dead process leaves
///
/// Nothing that a lookup finds: removals are in the backend when they return, and ids are random. A
/// write that was in progress can leave pieces of its body. The backend deletes them after their
/// time, or [`sweep`](Self::sweep) does.
#[derive(Debug, Clone)]
pub struct KeyValueStore {
    shared: Arc<Shared>,
}

impl KeyValueStore {
    /// Creates a store on a backend, which may have entries already.
    pub fn new(backend: impl KeyValue) -> Self {
        let shared = Shared::new(Arc::new(backend), Arc::new(SystemClock), DEFAULT_MAX_OBJECT);
        Self { shared: Arc::new(shared) }
    }

    /// Sets the longest body that is stored, in bytes. Default: 1 GiB. More than 64 GiB counts as
    /// 64 GiB. Call it before the store is used or cloned: it begins a new one on the same backend.
    #[must_use]
    pub fn with_max_object(self, bytes: u64) -> Self {
        let Shared { backend, clock, .. } = &*self.shared;
        let shared = Shared::new(Arc::clone(backend), Arc::clone(clock), bytes.min(MAX_OBJECT));
        Self { shared: Arc::new(shared) }
    }

    /// Sets the clock, for tests. Default: [`SystemClock`]. Call it before the store is used or
    /// cloned: it begins a new one on the same backend.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let Shared { backend, max_object, .. } = &*self.shared;
        Self { shared: Arc::new(Shared::new(Arc::clone(backend), clock, *max_object)) }
    }

    /// Deletes the values that the store has no use for: entries after their time, and pieces of
    /// bodies that are over a day old and have no head. Returns how many values it has deleted.
    ///
    /// It examines every value. Call it from time to time, such as once a day, if the backend does
    /// not delete values by itself.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the backend failed. Some values may have been deleted.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. Some values may have been deleted.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        sweep::sweep(&self.shared).await
    }

    /// Returns the key of a head, if its URL begins with `prefix`. No lookup returns a damaged one.
    async fn key_with(&self, name: &str, prefix: &str) -> Result<Option<CacheKey>, StoreError> {
        let Some(bytes) = self.shared.backend.get(name).await? else { return Ok(None) };
        Ok(Entry::key(&bytes).ok().filter(|key| key.target().starts_with(prefix)))
    }

    /// Deletes the entries of all URLs that begin with `prefix`. Returns their number.
    async fn delete_prefix(&self, prefix: &str) -> Result<u64, StoreError> {
        let (mut count, all) = (0, names::all_entries());
        let mut names = Names::new(&all);
        while let Some(name) = names.next(&*self.shared.backend).await? {
            let Some(key) = self.key_with(&name, prefix).await? else { continue };
            let _change = self.shared.epochs.change(&key).await;
            count += u64::from(self.shared.delete_named(&name).await?);
        }
        Ok(count)
    }

    /// Marks the entries of all URLs that begin with `prefix` as stale. Returns their number.
    async fn mark_prefix_stale(&self, prefix: &str, at: Timestamp) -> Result<u64, StoreError> {
        let (mut count, mut last, all) = (0, None, names::all_entries());
        let mut names = Names::new(&all);
        while let Some(name) = names.next(&*self.shared.backend).await? {
            let Some(key) = self.key_with(&name, prefix).await? else { continue };
            // The variants of a key follow each other.
            if last.as_ref() != Some(&key) {
                count += mark_key_stale(self, &key, at).await?;
                last = Some(key);
            }
        }
        Ok(count)
    }

    /// Converts what a lookup has found.
    fn candidate(&self, key: &CacheKey, found: Found) -> Candidate {
        let Found { name, entry } = found;
        let body = match entry.body {
            BodyPlace::Inline(bytes) => StoredBody::Whole(bytes),
            BodyPlace::Pieces(trailer) => StoredBody::Source(Arc::new(PieceBody {
                shared: Arc::clone(&self.shared),
                key: key.clone(),
                pieces: names::body(&name, entry.envelope.written_at, entry.id),
                entry: name,
                trailer,
            })),
        };
        Candidate::new(entry.id, Arc::new(entry.head), body)
    }
}

#[async_trait]
impl CacheStore for KeyValueStore {
    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        let (found, damaged) = self.shared.visible(key).await?;
        for name in damaged {
            self.shared.delete_damaged(key, &name).await?;
        }
        let candidates: Arc<[Candidate]> = found.into_iter().map(|one| self.candidate(key, one)).collect();
        Ok(if candidates.is_empty() { Candidates::none() } else { candidates.into() })
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let ticket = self.shared.epochs.reserve(key);
        Ok(Box::new(KeyValueReservation { shared: Arc::clone(&self.shared), ticket }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let change = self.shared.epochs.change(key).await;
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        // As in a commit, a put that has been sent cannot be recalled.
        let task = tokio::spawn(async move {
            let _change = change;
            freshen(&shared, &key, id, head, keep_until).await
        });
        task.await.unwrap_or_else(|_| Err(closing()))
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        let _change = self.shared.epochs.change(key).await;
        let found = self.shared.visible(key).await?.0;
        match found.into_iter().find(|one| one.entry.id == id) {
            Some(one) => self.shared.delete_named(&one.name).await,
            None => Ok(false),
        }
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        let removal = self.shared.epochs.remove(scope);
        Ok(match scope {
            Scope::Key(key) => {
                let _change = self.shared.epochs.change(key).await;
                Purged::from(self.shared.delete_all_of(key).await?)
            }
            Scope::Group(group) => {
                self.shared.renew_token(group).await?;
                Purged::UNKNOWN
            }
            Scope::Prefix(prefix) => {
                removal.settled().await;
                Purged::from(self.delete_prefix(prefix).await?)
            }
            Scope::All => {
                removal.settled().await;
                Purged::from(self.delete_prefix("").await?)
            }
        })
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        Ok(match scope {
            Scope::Key(key) => Purged::from(mark_key_stale(self, key, at).await?),
            Scope::Group(group) => {
                self.shared.mark_group_stale(group, at).await?;
                Purged::UNKNOWN
            }
            Scope::Prefix(prefix) => Purged::from(self.mark_prefix_stale(prefix, at).await?),
            Scope::All => Purged::from(self.mark_prefix_stale("", at).await?),
        })
    }

    fn leases(&self) -> Option<&dyn Leases> {
        None
    }

    fn removals(&self) -> Option<&dyn Removals> {
        None
    }

    fn invalidations(&self) -> Option<&dyn InvalidationFeed> {
        None
    }
}

/// Replaces the head of an entry. The caller has begun a change of its key.
async fn freshen(
    shared: &Shared,
    key: &CacheKey,
    id: EntryId,
    head: Arc<StoredHead>,
    keep_until: Timestamp,
) -> Result<(), StoreError> {
    let found = shared.visible(key).await?.0.into_iter().find(|one| one.entry.id == id);
    let Found { name, mut entry } =
        found.ok_or_else(|| gone("the entry was removed, replaced or evicted"))?;
    // The tokens of unchanged groups have just been compared. New groups get their current ones.
    if head.groups != entry.head.groups {
        entry.envelope.tokens = shared.tokens(&head.groups).await?;
    }
    entry.head = Arc::unwrap_or_clone(head);
    entry.envelope.expires = shared.expiry(&entry.head, keep_until);
    if let BodyPlace::Pieces(_) = entry.body {
        entry.envelope.expires = entry.envelope.expires.min(entry.envelope.pieces_expire);
    }
    let value = entry.encode(key).map_err(not_encodable)?;
    shared.backend.put(&name, value, entry.envelope.expires).await
}
