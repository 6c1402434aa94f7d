//! Marks the entries of one key as stale by replacing their heads: the part of a soft purge that is
//! the same in every store.

use std::sync::Arc;

use larder_policy::{CacheKey, Timestamp};

use super::{CacheStore, StoreError, StoreErrorKind};

/// Marks as stale the entries of `key` that were requested from the origin at `at` or before, and
/// returns how many entries it has marked.
///
/// For use by stores, as their [`CacheStore::mark_stale`] for [`Scope::Key`](crate::Scope::Key): it
/// looks up the key and freshens each entry with a head that is
/// [marked as stale](crate::StoredHead::marked_stale). Entries that were stale already are not
/// changed. Those that are removed or replaced meanwhile are skipped.
///
/// ```
/// use larder_core::{CacheKey, CacheStore, StoreError, Timestamp, mark_key_stale};
///
/// /// Marks the entries of several keys, such as those that a scan for a prefix has found.
/// async fn mark_all(
///     store: &dyn CacheStore,
///     keys: &[CacheKey],
///     at: Timestamp,
/// ) -> Result<u64, StoreError> {
///     let mut count = 0;
///     for key in keys {
///         count += mark_key_stale(store, key, at).await?;
///     }
///     Ok(count)
/// }
/// ```
///
/// # Errors
///
/// Returns a [`StoreError`] if the key cannot be looked up or an entry cannot be freshened.
///
/// # Cancel safety
///
/// If the future is dropped, some of the entries may be marked.
pub async fn mark_key_stale(
    store: &dyn CacheStore,
    key: &CacheKey,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let mut marked = 0;
    for candidate in store.lookup(key).await?.iter() {
        let Some(stale) = candidate.head.marked_stale(at) else { continue };
        let keep_until = stale.keep_until();
        match store.freshen(key, candidate.id, Arc::new(stale), keep_until).await {
            Ok(()) => marked += 1,
            Err(error) if error.kind() == StoreErrorKind::Gone => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marked)
}
