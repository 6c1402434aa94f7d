//! Scans all keys, for the operations that have no index: removing or marking as stale by URL
//! prefix, removing everything, and counting. What happens to one key is decided in `removal` and
//! `freshen`.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{CacheStore, StoreError, Timestamp, mark_key_stale};

use crate::{
    entries::{
        barrier::refuse_pending_writes,
        keys::{Names, is_body, is_entry},
        record,
        removal::remove_names,
        ttl::{BODY_GRACE, millis},
    },
    shared::Shared,
};

/// Keys that one SCAN command examines.
const SCAN_COUNT: usize = 1000;
/// Removals sent at once. The last of them must complete within the timeout of a command.
const MAX_IN_FLIGHT: usize = 64;

/// What a scan does with each key it finds.
#[derive(Debug, Clone, Copy)]
enum ScanAction<'a> {
    /// Counts the key.
    Count,
    /// Removes the entry and its token, and releases its bodies.
    Remove,
    /// Removes the key, or releases it if it is a body.
    Unlink,
    /// Marks the entry stale as of a time, in this store.
    MarkStale(&'a dyn CacheStore, Timestamp),
}

/// Returns how many cache keys have a stored response.
pub(crate) async fn count(shared: &Arc<Shared>) -> Result<u64, StoreError> {
    scan(shared, &shared.keys.prefix_pattern(""), ScanAction::Count).await
}

/// Removes the entries with a URL that begins with `url`, and publishes that. Returns how many
/// entries it has removed.
pub(crate) async fn remove_prefix(shared: &Arc<Shared>, url: &str) -> Result<u64, StoreError> {
    refuse_pending_writes(shared).await?;
    let count = scan(shared, &shared.keys.prefix_pattern(url), ScanAction::Remove).await?;
    shared.publish(shared.sender.everything()).await?;
    Ok(count)
}

/// Removes everything and publishes that. Returns how many entries it has removed.
pub(crate) async fn remove_all(shared: &Arc<Shared>) -> Result<u64, StoreError> {
    refuse_pending_writes(shared).await?;
    let count = scan(shared, &shared.keys.all_pattern(), ScanAction::Unlink).await?;
    shared.publish(shared.sender.everything()).await?;
    Ok(count)
}

/// Marks the entries with a URL that begins with `url` stale as of a time, and publishes that.
/// Returns how many entries it has marked. `store` is the store that has `shared`.
pub(crate) async fn mark_prefix_stale(
    shared: &Arc<Shared>,
    store: &dyn CacheStore,
    url: &str,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let pattern = shared.keys.prefix_pattern(url);
    let count = scan(shared, &pattern, ScanAction::MarkStale(store, at)).await?;
    shared.publish(shared.sender.everything()).await?;
    Ok(count)
}

/// Applies an action to the keys that match a pattern, on every master. Returns how many keys it
/// has counted, or how many entries it has removed or marked.
async fn scan(shared: &Arc<Shared>, pattern: &str, action: ScanAction<'_>) -> Result<u64, StoreError> {
    let mut count = 0;
    for node in shared.client.masters().await? {
        let mut cursor = 0u64;
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
            let (next, found): (u64, Vec<Vec<u8>>) =
                shared.client.query_at(node.as_ref(), "key scan", command).await?;
            count += match action {
                ScanAction::Count => found.len() as u64,
                ScanAction::Unlink => unlink(shared, &found).await?,
                ScanAction::Remove => remove_entries(shared, found).await?,
                ScanAction::MarkStale(store, at) => mark_entries_stale(shared, store, &found, at).await?,
            };
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(count)
}

/// Removes the entries with these names and returns how many they were. The caller publishes one
/// invalidation when all are removed.
async fn remove_entries(shared: &Shared, found: Vec<Vec<u8>>) -> Result<u64, StoreError> {
    let names: Vec<Names> = found.into_iter().filter_map(Names::of_entry).collect();
    let mut count = 0;
    for batch in names.chunks(MAX_IN_FLIGHT) {
        let removed = batch.iter().map(|names| remove_names(shared, names));
        count += futures_util::future::try_join_all(removed).await?.iter().sum::<u64>();
    }
    Ok(count)
}

/// Marks all variants of the entries with these names stale, and returns how many it has marked.
async fn mark_entries_stale(
    shared: &Shared,
    store: &dyn CacheStore,
    found: &[Vec<u8>],
    at: Timestamp,
) -> Result<u64, StoreError> {
    let mut marked = 0;
    for name in found {
        let records: Vec<Bytes> = shared.client.query("lookup", redis::cmd("HVALS").arg(name)).await?;
        if let Some(key) = records.iter().find_map(record::stored_key) {
            marked += mark_key_stale(store, &key, at).await?;
        }
    }
    Ok(marked)
}

/// Removes keys, and returns how many entries they had. Bodies stay for a grace time. One server
/// gets all commands at once.
async fn unlink(shared: &Shared, found: &[Vec<u8>]) -> Result<u64, StoreError> {
    let (bodies, keys): (Vec<_>, Vec<_>) = found.iter().partition(|key| is_body(key));
    release_bodies(shared, &bodies).await?;
    let entries = keys.iter().filter(|key| is_entry(key));
    let counting = entries.map(|key| redis::cmd("HLEN").arg(key).to_owned());
    if shared.client.is_cluster() {
        // The keys are in different slots, which one command may not access together.
        let counting: Vec<_> = counting.collect();
        let counts = counting.iter().map(|command| shared.client.query::<u64>("removal", command));
        let count = futures_util::future::try_join_all(counts).await?.iter().sum();
        let removing: Vec<_> = keys.iter().map(|key| redis::cmd("UNLINK").arg(key).to_owned()).collect();
        let removed = removing.iter().map(|command| shared.client.query::<i64>("removal", command));
        futures_util::future::try_join_all(removed).await?;
        return Ok(count);
    }
    if keys.is_empty() {
        return Ok(0);
    }
    let mut pipeline = redis::pipe();
    counting.for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline.cmd("UNLINK").arg(keys).ignore();
    let counts: Vec<u64> = shared.client.pipeline("removal", &pipeline).await?;
    Ok(counts.iter().sum())
}

/// Releases bodies. On a Cluster each is on its own node.
async fn release_bodies(shared: &Shared, bodies: &[&Vec<u8>]) -> Result<(), StoreError> {
    let at_once = if shared.client.is_cluster() { 1 } else { bodies.len().max(1) };
    let release = async |bodies: &[&Vec<u8>]| {
        let mut script = shared.scripts.release_bodies.prepare_invoke();
        bodies.iter().for_each(|body| {
            script.key(*body);
        });
        shared.client.invoke::<i64>("removal", script.arg(millis(BODY_GRACE))).await
    };
    futures_util::future::try_join_all(bodies.chunks(at_once).map(release)).await.map(drop)
}
