//! Removes the entries of a key, and evicts one entry. Removal of a group is in `groups`, that by
//! URL prefix, which needs a scan, in `scan`; that no earlier write is committed afterwards is
//! decided in `barrier`.

use larder_core::{CacheKey, EntryId, StoreError};

use crate::{
    entries::{
        keys::Names,
        ttl::{BODY_GRACE, millis},
    },
    shared::Shared,
};

/// Removes all entries of a key and publishes that. Returns the number of entries removed.
pub(crate) async fn remove(shared: &Shared, key: &CacheKey) -> Result<u64, StoreError> {
    remove_names(shared, &shared.keys.of(key), shared.sender.key(key.as_bytes())).await
}

/// Removes all entries under the names of a key and publishes `message` unless it is empty. Returns
/// the number of entries removed.
pub(crate) async fn remove_names(
    shared: &Shared,
    names: &Names,
    message: Vec<u8>,
) -> Result<u64, StoreError> {
    let mut script = shared.scripts.remove.prepare_invoke();
    script.key(&names.entry).key(names.token());
    script.arg(names.bodies()).arg(millis(BODY_GRACE)).arg(shared.keys.channel()).arg(message);
    shared.client.invoke("removal", &script).await
}

/// Removes one entry of a key. Returns whether it was stored. Near copies elsewhere stay: nothing
/// has become invalid.
pub(crate) async fn evict(shared: &Shared, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
    let names = shared.keys.of(key);
    let (id, _) = shared.suspects.resolve(id);
    let mut script = shared.scripts.evict.prepare_invoke();
    script.key(&names.entry).arg(&id.0.to_le_bytes()[..]).arg(names.body(id)).arg(millis(BODY_GRACE));
    shared.client.invoke("eviction", &script).await
}
