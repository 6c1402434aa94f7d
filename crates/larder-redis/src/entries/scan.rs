//! Scans all keys, for the operations that have no index: removing or marking as stale by URL
//! prefix, removing everything, and counting. What happens to one key is decided in `removal` and
//! `freshen`.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{StoreError, StoreErrorKind, Timestamp};

use crate::{
    entries::{
        barrier::begin_epoch, freshen::freshen, keys::Names, lookup::look_up, record, removal::remove_names,
    },
    shared::Shared,
};

/// Keys that one SCAN command examines.
const SCAN_COUNT: usize = 1000;
/// Removals sent at once. The last of them must complete within the timeout of a command.
const MAX_IN_FLIGHT: usize = 64;

/// What a scan does with each key it finds.
#[derive(Debug, Clone, Copy)]
enum ScanAction {
    /// Counts the key.
    Count,
    /// Removes the entry and its bodies, and stores a tombstone.
    Remove,
    /// Removes only the key.
    Unlink,
    /// Marks the entry stale as of a time.
    MarkStale(Timestamp),
}

/// Returns how many cache keys have a stored response.
pub(crate) async fn count(shared: &Arc<Shared>) -> Result<u64, StoreError> {
    scan(shared, &shared.keys.prefix_pattern(""), ScanAction::Count).await
}

/// Removes the entries with a URL that begins with `url`, and publishes that. Returns how many
/// cache keys had one.
pub(crate) async fn remove_prefix(shared: &Arc<Shared>, url: &str) -> Result<u64, StoreError> {
    begin_epoch(shared).await?;
    let count = scan(shared, &shared.keys.prefix_pattern(url), ScanAction::Remove).await?;
    shared.publish(shared.sender.everything()).await?;
    Ok(count)
}

/// Removes everything and publishes that.
pub(crate) async fn clear(shared: &Arc<Shared>) -> Result<(), StoreError> {
    begin_epoch(shared).await?;
    scan(shared, &shared.keys.all_pattern(), ScanAction::Unlink).await?;
    shared.publish(shared.sender.everything()).await
}

/// Marks the entries with a URL that begins with `url` stale as of a time, and publishes that.
pub(crate) async fn mark_prefix_stale(
    shared: &Arc<Shared>,
    url: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    scan(shared, &shared.keys.prefix_pattern(url), ScanAction::MarkStale(at)).await?;
    shared.publish(shared.sender.everything()).await
}

/// Applies an action to the keys that match a pattern, on every master. Returns how many keys
/// it found.
async fn scan(shared: &Arc<Shared>, pattern: &str, action: ScanAction) -> Result<u64, StoreError> {
    let mut count = 0;
    for node in shared.client.masters().await? {
        let mut cursor = 0u64;
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
            let (next, found): (u64, Vec<Vec<u8>>) =
                shared.client.query_at(node.as_ref(), "key scan", command).await?;
            count += found.len() as u64;
            match action {
                ScanAction::Count => {}
                ScanAction::Unlink => unlink(shared, found).await?,
                ScanAction::Remove => {
                    let names: Vec<Names> = found.into_iter().filter_map(Names::of_entry).collect();
                    for batch in names.chunks(MAX_IN_FLIGHT) {
                        // The caller publishes one invalidation when all are removed.
                        let removed = batch.iter().map(|names| remove_names(shared, names, Vec::new()));
                        futures_util::future::try_join_all(removed).await?;
                    }
                }
                ScanAction::MarkStale(at) => {
                    for name in found {
                        mark_entry_stale(shared, &name, at).await?;
                    }
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(count)
}

/// Marks all variants under the name of an entry stale.
async fn mark_entry_stale(shared: &Arc<Shared>, name: &[u8], at: Timestamp) -> Result<(), StoreError> {
    let records: Vec<Bytes> = shared.client.query("lookup", redis::cmd("HVALS").arg(name)).await?;
    let Some(key) = records.iter().find_map(record::stored_key) else { return Ok(()) };
    for candidate in look_up(shared, &key).await?.iter() {
        let Some(stale) = candidate.head.marked_stale(at) else { continue };
        match freshen(shared, &key, candidate.id, Arc::new(stale)).await {
            // The entry has been removed or replaced since the lookup.
            Err(error) if error.kind() == StoreErrorKind::Gone => {}
            result => result?,
        }
    }
    Ok(())
}

/// Removes keys, in one command where one server has all of them.
async fn unlink(shared: &Shared, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
    if shared.client.is_cluster() {
        // The keys are in different slots, which one command may not access together.
        let commands: Vec<_> = keys.iter().map(|key| redis::cmd("UNLINK").arg(key).to_owned()).collect();
        let removed = commands.iter().map(|command| shared.client.query::<i64>("removal", command));
        futures_util::future::try_join_all(removed).await?;
    } else if !keys.is_empty() {
        let _: i64 = shared.client.query("removal", redis::cmd("UNLINK").arg(keys)).await?;
    }
    Ok(())
}
