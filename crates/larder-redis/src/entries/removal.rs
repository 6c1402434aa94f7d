//! Removes the entries of a key or a group, marks groups stale, and publishes that. Evicts one
//! entry. Removal by URL prefix, which needs a scan, is in `scan`; that no earlier write is
//! committed afterwards is decided in `barrier`.

use larder_core::{CacheGroup, CacheKey, EntryId, StoreError, Timestamp};

use crate::{
    entries::{
        barrier::removal_time,
        keys::Names,
        ttl::{GROUP_TTL, TOMBSTONE_TTL, millis},
    },
    shared::Shared,
    token::Token,
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
    script.key(&names.entry).key(names.tombstone()).arg(Token::new().as_str()).arg(millis(TOMBSTONE_TTL));
    script.arg(names.bodies()).arg(shared.keys.channel()).arg(message);
    shared.client.invoke("removal", &script).await
}

/// Removes one entry of a key. Returns whether it was stored. Near copies elsewhere stay: nothing
/// has become invalid.
pub(crate) async fn evict(shared: &Shared, key: &CacheKey, id: EntryId) -> Result<bool, StoreError> {
    let names = shared.keys.of(key);
    let mut script = shared.scripts.evict.prepare_invoke();
    script.key(&names.entry).arg(&id.0.to_le_bytes()[..]).arg(names.body(id));
    shared.client.invoke("eviction", &script).await
}

/// Changes the token of a group, so that no lookup returns the entries that were in it, and
/// publishes that.
pub(crate) async fn remove_group(shared: &Shared, group: &CacheGroup) -> Result<(), StoreError> {
    let now = removal_time(shared).await?;
    let mut command = redis::cmd("SET");
    command.arg(shared.keys.group(group)).arg(&now.to_le_bytes()[..]).arg("PX").arg(millis(GROUP_TTL));
    let () = shared.client.query("group removal", &command).await?;
    shared.publish(shared.sender.group(group)).await
}

/// Stores the time as of which the entries of a group are stale, and publishes that.
pub(crate) async fn mark_group_stale(
    shared: &Shared,
    group: &CacheGroup,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut command = redis::cmd("SET");
    command.arg(shared.keys.stale_group(group)).arg(&at.as_millis().to_le_bytes()[..]);
    command.arg("PX").arg(millis(GROUP_TTL));
    let () = shared.client.query("marking a group stale", &command).await?;
    // Near tiers remove their copies and read the stale entries again from here.
    shared.publish(shared.sender.group(group)).await
}
