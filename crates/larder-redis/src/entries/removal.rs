//! Removes the entries of a key, and evicts one entry. Removal of a group is in `groups`, that by
//! URL prefix, which needs a scan, in `scan`; that no earlier write is committed afterwards is
//! decided in `barrier`.

use larder_core::{CacheKey, EntryId, Purged, StoreError};

use crate::{
    entries::{
        keys::Names,
        ttl::{BODY_GRACE, millis},
    },
    fleet::acknowledgements::{publish_number, settle},
    shared::Shared,
};

/// Removes all entries of a key, publishes that, and waits for the nodes with near copies.
pub(crate) async fn remove(shared: &Shared, key: &CacheKey) -> Result<Purged, StoreError> {
    let message = shared.sender.key(key.as_bytes());
    let is_cluster = shared.client.is_cluster();
    let names = shared.keys.of(key);
    let script = script(shared, &names, &message, !is_cluster);
    let (count, number, nodes): (u64, u64, Vec<String>) = shared.client.invoke("removal", &script).await?;
    let published = if is_cluster { publish_number(shared, message).await? } else { (number, nodes) };
    Ok(settle(shared, published, count.into()).await)
}

/// Removes all entries under the names of a key. Returns the number of entries removed.
pub(crate) async fn remove_names(shared: &Shared, names: &Names) -> Result<u64, StoreError> {
    let script = script(shared, names, &[], false);
    let (count, _, _): (u64, u64, Vec<String>) = shared.client.invoke("removal", &script).await?;
    Ok(count)
}

/// Prepares the script that removes all entries under the names of a key and publishes `message`
/// unless it is empty; with the number that nodes acknowledge or without it.
fn script<'a>(
    shared: &'a Shared,
    names: &Names,
    message: &[u8],
    with_number: bool,
) -> redis::ScriptInvocation<'a> {
    let mut script = shared.scripts.remove.prepare_invoke();
    script.key(&names.entry).key(names.token());
    if with_number {
        script.key(shared.keys.nodes()).key(shared.keys.acknowledgements());
    }
    script.arg(names.bodies()).arg(millis(BODY_GRACE)).arg(shared.keys.channel()).arg(message);
    script.arg(shared.sender.number_prefix());
    script
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
