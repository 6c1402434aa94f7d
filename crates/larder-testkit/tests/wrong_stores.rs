//! Checks the suite itself: each store here breaks one promise on purpose, and the suite must
//! detect it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheGroup, CacheKey, CacheStore, Candidate, Candidates, EntryId, Purged, RemovalToken,
    Removals, Reservation, Scope, StoreError, StoreErrorKind, StoreWriter, StoredBody, StoredHead, Timestamp,
};
use larder_memory::MemoryStore;
use larder_testkit::{DelegatingStore, FaultyStore, StoreDelegate, contract, store_suite};

// A wrapper without a fault keeps the contract.
store_suite!(around_memory, async { FaultyStore::new(Arc::new(MemoryStore::default())) });

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    VisibleAtBegin,
    CommitsWhenDropped,
    CommitsAfterRemoval,
    ReservesLate,
    IgnoresGroups,
    IgnoresPrefixes,
    IgnoresAll,
    IgnoresTheEmptyPrefix,
    CountsKeys,
    CountsStaleEntries,
    MarksOneVariant,
    IgnoresMarkStale,
    RemovesOneVariant,
    EvictsTheKey,
    EvictsTheOldest,
    EvictsNothing,
    EvictsReplacements,
    FreshensAnyEntry,
    FreshensById,
    FreshensWithOldGroups,
    StoresOneVariant,
    OldestFirst,
    Truncates,
    RemovesOldEntryAtBegin,
    FollowerEndsEarly,
    TokenIgnoresGroups,
    TokenIsReused,
}

#[derive(Debug, Clone)]
struct WrongStore {
    inner: MemoryStore,
    wrong: Wrong,
    /// The groups that were removed, for [`Wrong::FreshensById`].
    removed: Arc<Mutex<Vec<CacheGroup>>>,
    /// The number of removals.
    removals: Arc<AtomicU64>,
}

impl WrongStore {
    fn new(wrong: Wrong) -> Self {
        Self { inner: MemoryStore::default(), wrong, removed: Arc::default(), removals: Arc::default() }
    }
}

#[async_trait]
impl StoreDelegate for WrongStore {
    fn inner(&self) -> &dyn CacheStore {
        &self.inner
    }

    async fn lookup(&self, key: &CacheKey) -> Result<Candidates, StoreError> {
        let mut found = self.inner.lookup(key).await?.to_vec();
        if self.wrong == Wrong::OldestFirst {
            found.reverse();
        }
        let removed = self.removed.lock().expect("no panic").clone();
        found.retain(|one| !one.head.groups.iter().any(|group| removed.contains(group)));
        if self.wrong == Wrong::Truncates {
            for one in &mut found {
                if let StoredBody::Whole(bytes) = &one.body {
                    let bytes = bytes.slice(..bytes.len().saturating_sub(1));
                    *one = Candidate::new(one.id, Arc::clone(&one.head), StoredBody::Whole(bytes));
                }
            }
        }
        Ok(Candidates::from(Arc::<[Candidate]>::from(found)))
    }

    async fn reserve(&self, key: &CacheKey) -> Result<Box<dyn Reservation>, StoreError> {
        let inner = Some(self.inner.reserve(key).await?);
        Ok(Box::new(WrongReservation { store: self.clone(), key: key.clone(), inner }))
    }

    async fn freshen(
        &self,
        key: &CacheKey,
        id: EntryId,
        head: Arc<StoredHead>,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        if self.wrong == Wrong::FreshensAnyEntry
            && let Some(there) = self.inner.lookup(key).await?.first()
        {
            return self.inner.freshen(key, there.id, head, keep_until).await;
        }
        if self.wrong == Wrong::FreshensWithOldGroups
            && let Some(old) = self.inner.lookup(key).await?.iter().find(|one| one.id == id)
        {
            let mut head = Arc::unwrap_or_clone(head);
            head.groups.clone_from(&old.head.groups);
            return self.inner.freshen(key, id, Arc::new(head), keep_until).await;
        }
        self.inner.freshen(key, id, head, keep_until).await
    }

    async fn evict(&self, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
        match self.wrong {
            Wrong::EvictsTheKey => Ok(self.inner.remove(Scope::Key(key)).await?.entries > Some(0)),
            Wrong::EvictsTheOldest => match self.inner.lookup(key).await?.last() {
                Some(oldest) => self.inner.evict(key, oldest.id).await,
                None => Ok(false),
            },
            Wrong::EvictsNothing => Ok(true),
            Wrong::EvictsReplacements if !self.inner.evict(key, id).await? => {
                match &*self.inner.lookup(key).await? {
                    [only] => self.inner.evict(key, only.id).await,
                    _ => Ok(false),
                }
            }
            Wrong::EvictsReplacements => Ok(true),
            _ => self.inner.evict(key, id).await,
        }
    }

    fn removals(&self) -> Option<&dyn Removals> {
        Some(self)
    }

    async fn remove(&self, scope: Scope<'_>) -> Result<Purged, StoreError> {
        if self.wrong != Wrong::TokenIgnoresGroups || !matches!(scope, Scope::Group(_)) {
            self.removals.fetch_add(1, Ordering::SeqCst);
        }
        match (self.wrong, scope) {
            (Wrong::RemovesOneVariant, Scope::Key(key)) => {
                let entries = self.inner.lookup(key).await?.to_vec();
                let removed = self.inner.remove(scope).await?;
                for one in entries.iter().skip(1) {
                    let (reserved, keep_until) = (self.inner.reserve(key).await?, one.head.keep_until());
                    reserved.begin(Arc::clone(&one.head), None, keep_until).await?.commit().await?;
                }
                Ok(removed)
            }
            // Lookups leave out what has a removed group, and freshening compares only the id.
            (Wrong::FreshensById, Scope::Group(group)) => {
                self.removed.lock().expect("no panic").push(group.clone());
                Ok(Purged::UNKNOWN)
            }
            (Wrong::IgnoresGroups, Scope::Group(_))
            | (Wrong::IgnoresPrefixes, Scope::Prefix(_))
            | (Wrong::IgnoresAll, Scope::All)
            | (Wrong::IgnoresTheEmptyPrefix, Scope::Prefix("")) => Ok(Purged::UNKNOWN),
            (Wrong::CountsKeys, Scope::Key(_)) => {
                let removed = self.inner.remove(scope).await?.entries;
                Ok(removed.map_or(Purged::UNKNOWN, |count| Purged::from(count.min(1))))
            }
            _ => self.inner.remove(scope).await,
        }
    }

    async fn mark_stale(&self, scope: Scope<'_>, at: Timestamp) -> Result<Purged, StoreError> {
        match (self.wrong, scope) {
            (Wrong::IgnoresMarkStale, _) => Ok(Purged::UNKNOWN),
            (Wrong::MarksOneVariant, Scope::Key(key)) => {
                let found = self.inner.lookup(key).await?;
                if let Some((one, stale)) =
                    found.first().and_then(|one| Some((one, one.head.marked_stale(at)?)))
                {
                    let keep_until = stale.keep_until();
                    self.inner.freshen(key, one.id, Arc::new(stale), keep_until).await?;
                }
                Ok(Purged::UNKNOWN)
            }
            (Wrong::CountsStaleEntries, Scope::Key(key)) => {
                self.inner.mark_stale(scope, at).await?;
                Ok(Purged::from(self.inner.lookup(key).await?.len() as u64))
            }
            _ => self.inner.mark_stale(scope, at).await,
        }
    }
}

#[async_trait]
impl Removals for WrongStore {
    async fn token(&self, _: &CacheKey) -> Result<RemovalToken, StoreError> {
        let removals = self.removals.load(Ordering::SeqCst);
        Ok(RemovalToken(if self.wrong == Wrong::TokenIsReused { removals % 2 } else { removals }))
    }
}

#[derive(Debug)]
struct WrongReservation {
    store: WrongStore,
    key: CacheKey,
    inner: Option<Box<dyn Reservation>>,
}

#[async_trait]
impl Reservation for WrongReservation {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { store, key, inner } = *self;
        let mut inner = inner.expect("taken once");
        let reserve = || store.inner.reserve(&key);
        match store.wrong {
            Wrong::VisibleAtBegin => {
                reserve().await?.begin(Arc::clone(&head), length, keep_until).await?.commit().await?;
            }
            Wrong::StoresOneVariant | Wrong::RemovesOldEntryAtBegin => {
                store.inner.remove(Scope::Key(&key)).await?;
                inner = reserve().await?;
            }
            Wrong::ReservesLate => inner = reserve().await?,
            _ => {}
        }
        let inner = Some(inner.begin(Arc::clone(&head), length, keep_until).await?);
        Ok(Box::new(WrongWriter { store, key, head, inner, written: Vec::new() }))
    }
}

#[derive(Debug)]
struct WrongWriter {
    store: WrongStore,
    key: CacheKey,
    head: Arc<StoredHead>,
    inner: Option<Box<dyn StoreWriter>>,
    written: Vec<u8>,
}

#[async_trait]
impl StoreWriter for WrongWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.written.extend_from_slice(&chunk);
        self.inner.as_mut().expect("not committed").write(chunk).await
    }

    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        let inner = self.inner.as_ref()?.follow()?;
        if self.store.wrong == Wrong::FollowerEndsEarly {
            Some(Arc::new(EndsEarly(inner)))
        } else {
            Some(inner)
        }
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        let inner = self.inner.take().expect("not committed");
        if self.store.wrong != Wrong::CommitsAfterRemoval {
            return inner.commit().await;
        }
        match inner.commit().await {
            Err(error) if error.kind() == StoreErrorKind::Gone => {
                let (head, keep_until) = (Arc::clone(&self.head), self.head.keep_until());
                let reserved = self.store.inner.reserve(&self.key).await?;
                let mut retry = reserved.begin(head, None, keep_until).await?;
                retry.write(std::mem::take(&mut self.written).into()).await?;
                retry.commit().await
            }
            result => result,
        }
    }
}

impl Drop for WrongWriter {
    fn drop(&mut self) {
        if let (Wrong::CommitsWhenDropped, Some(inner)) = (self.store.wrong, self.inner.take()) {
            tokio::task::block_in_place(|| {
                let _ = tokio::runtime::Handle::current().block_on(inner.commit());
            });
        }
    }
}

#[derive(Debug)]
struct EndsEarly(Arc<dyn BodySource>);

#[async_trait]
impl BodySource for EndsEarly {
    fn content_length(&self) -> Option<u64> {
        self.0.content_length()
    }

    async fn stream(&self, _: Option<std::ops::Range<u64>>) -> Result<larder_core::ByteStream, StoreError> {
        self.0.stream(Some(0..1)).await
    }
}

/// Runs each wrong store against the contract functions that must detect it.
#[test]
fn each_wrong_store_is_detected() {
    macro_rules! detected {
        ($($wrong:ident: $($promise:ident),+;)*) => {
            $($(
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
                let store = Arc::new(DelegatingStore::new(WrongStore::new(Wrong::$wrong)));
                let result = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(contract::$promise(store))));
                assert!(result.is_err(), "{} was not detected by {}", stringify!($wrong), stringify!($promise));
            )+)*
        };
    }
    std::panic::set_hook(Box::new(|_| {}));
    detected! {
        VisibleAtBegin: nothing_is_found_before_the_commit;
        CommitsWhenDropped: a_dropped_writer_leaves_nothing;
        CommitsAfterRemoval: a_commit_after_the_removal_of_its_key_is_refused, a_commit_after_a_clear_is_refused,
            a_commit_after_the_removal_of_its_group_is_refused;
        ReservesLate: a_reservation_before_a_removal_is_refused;
        IgnoresGroups: invalidating_a_group_removes_all_its_entries;
        IgnoresPrefixes: removing_a_prefix_removes_all_its_urls, a_reservation_before_a_removal_is_refused;
        IgnoresTheEmptyPrefix: the_empty_prefix_is_everything, a_reservation_before_a_removal_is_refused;
        CountsKeys: a_removal_returns_how_many_entries_it_removed;
        CountsStaleEntries: marking_stale_returns_how_many_entries_it_marked;
        MarksOneVariant: marking_a_key_stale_marks_all_its_variants;
        IgnoresAll: a_clear_removes_everything, the_empty_prefix_is_everything;
        IgnoresMarkStale: marking_a_group_stale_marks_all_its_entries, marking_a_prefix_stale_marks_all_its_urls,
            marking_a_key_stale_marks_all_its_variants;
        RemovesOneVariant: a_removal_removes_every_variant;
        EvictsTheKey: an_eviction_removes_one_entry, an_eviction_revokes_no_write;
        EvictsTheOldest: an_eviction_removes_one_entry;
        EvictsNothing: an_eviction_removes_one_entry;
        EvictsReplacements: an_eviction_leaves_a_newer_entry;
        FreshensAnyEntry: freshening_a_removed_entry_changes_nothing;
        FreshensById: freshening_restores_no_entry_of_a_removed_group;
        FreshensWithOldGroups: freshening_replaces_the_groups;
        StoresOneVariant: a_commit_replaces_only_the_same_variant, a_removal_removes_every_variant;
        OldestFirst: the_newest_entry_comes_first;
        Truncates: a_body_comes_back_byte_for_byte, a_range_returns_exactly_its_bytes, an_entry_is_found_once_it_is_committed;
        RemovesOldEntryAtBegin: a_dropped_writer_leaves_nothing;
        TokenIgnoresGroups: a_removal_changes_the_token;
        TokenIsReused: a_removal_changes_the_token;
        FollowerEndsEarly: a_follower_of_an_abandoned_write_fails, an_uncommitted_write_can_be_followed;
    }
    let _ = std::panic::take_hook();
}
