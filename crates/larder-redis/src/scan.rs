//! Scans all keys, for the operations that have no index: removing or marking as stale by URL
//! prefix, removing everything, and counting.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{StoreError, StoreErrorKind, Timestamp};

use crate::{keys::Names, record, store::Shared};

/// Keys that one SCAN command examines.
const SCAN_COUNT: usize = 1000;
/// Removals sent at once. The last of them must complete within the timeout of a command.
const MAX_IN_FLIGHT: usize = 64;

/// What a scan does with each key it finds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScanAction {
    /// Counts the key.
    Count,
    /// Removes the entry and its bodies, and stores a tombstone.
    Remove,
    /// Removes only the key.
    Unlink,
    /// Marks the entry stale as of a time.
    MarkStale(Timestamp),
}

impl Shared {
    /// Marks all variants under the name of an entry stale.
    async fn mark_entry_stale(self: &Arc<Self>, name: &[u8], at: Timestamp) -> Result<(), StoreError> {
        let records: Vec<Bytes> = self.client.query("lookup", redis::cmd("HVALS").arg(name)).await?;
        let Some(key) = records.iter().find_map(record::stored_key) else { return Ok(()) };
        for candidate in self.look_up(&key).await?.iter() {
            let Some(stale) = candidate.head.marked_stale(at) else { continue };
            match self.freshen(&key, candidate.id, Arc::new(stale)).await {
                // The entry has been removed or replaced since the lookup.
                Err(error) if error.kind() == StoreErrorKind::Gone => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Applies an action to the keys that match a pattern, on every master. Returns how many keys
    /// it found.
    pub(crate) async fn scan(self: &Arc<Self>, pattern: &str, action: ScanAction) -> Result<u64, StoreError> {
        let mut count = 0;
        for node in self.client.masters().await? {
            let mut cursor = 0u64;
            loop {
                let mut command = redis::cmd("SCAN");
                command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
                let (next, found): (u64, Vec<Vec<u8>>) =
                    self.client.query_at(node.as_ref(), "key scan", command).await?;
                count += found.len() as u64;
                match action {
                    ScanAction::Count => {}
                    ScanAction::Unlink => self.unlink(found).await?,
                    ScanAction::Remove => {
                        let names: Vec<Names> = found.into_iter().filter_map(Names::of_entry).collect();
                        for batch in names.chunks(MAX_IN_FLIGHT) {
                            // The caller publishes one invalidation when all are removed.
                            let removed = batch.iter().map(|names| self.remove_names(names, Vec::new()));
                            futures_util::future::try_join_all(removed).await?;
                        }
                    }
                    ScanAction::MarkStale(at) => {
                        for name in found {
                            self.mark_entry_stale(&name, at).await?;
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

    /// Removes keys, in one command where one server has all of them.
    async fn unlink(&self, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        if self.client.is_cluster() {
            // The keys are in different slots, which one command may not access together.
            let commands: Vec<_> = keys.iter().map(|key| redis::cmd("UNLINK").arg(key).to_owned()).collect();
            let removed = commands.iter().map(|command| self.client.query::<i64>("removal", command));
            futures_util::future::try_join_all(removed).await?;
        } else if !keys.is_empty() {
            let _: i64 = self.client.query("removal", redis::cmd("UNLINK").arg(keys)).await?;
        }
        Ok(())
    }
}
