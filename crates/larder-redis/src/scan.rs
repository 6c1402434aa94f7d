//! Going through the keys: removals and counts that no index could answer.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{StoreError, StoreErrorKind, Timestamp};

use crate::{keys::Names, record, store::Shared};

/// Keys that one step of a removal looks at.
const SCAN_COUNT: usize = 1000;
/// Entries whose scripts are on their way at once: the last of them has to be answered within a command's time.
const MAX_IN_FLIGHT: usize = 64;

/// What is done with what a scan finds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ScanAction {
    Count,
    /// The entry and its bodies.
    Remove,
    /// The key alone.
    Unlink,
    Outdate(Timestamp),
}

impl Shared {
    /// Makes the entries under one name stale.
    async fn outdate(self: &Arc<Self>, name: &[u8], at: Timestamp) -> Result<(), StoreError> {
        let records: Vec<Bytes> = self.client.query("looking up", redis::cmd("HVALS").arg(name)).await?;
        let Some(key) = records.iter().find_map(record::stored_key) else { return Ok(()) };
        for candidate in self.look_up(&key).await?.iter() {
            let Some(stale) = candidate.head.marked_stale(at) else { continue };
            match self.freshen(&key, candidate.id, Arc::new(stale)).await {
                // Removed or replaced meanwhile.
                Err(error) if error.kind() == StoreErrorKind::Gone => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Goes through the keys of a pattern, on every node, a step at a time.
    pub(crate) async fn scan(self: &Arc<Self>, pattern: &str, each: ScanAction) -> Result<u64, StoreError> {
        let mut count = 0;
        for node in self.client.masters().await? {
            let mut cursor = 0u64;
            loop {
                let mut command = redis::cmd("SCAN");
                command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
                let (next, found): (u64, Vec<Vec<u8>>) =
                    self.client.query_at(node.as_ref(), "looking through keys", command).await?;
                count += found.len() as u64;
                match each {
                    ScanAction::Count => {}
                    ScanAction::Unlink => self.unlink(found).await?,
                    ScanAction::Remove => {
                        let names: Vec<Names> = found.into_iter().filter_map(Names::of_entry).collect();
                        for some in names.chunks(MAX_IN_FLIGHT) {
                            // The others are told when all are gone.
                            let removed = some.iter().map(|names| self.remove_names(names, Vec::new()));
                            futures_util::future::try_join_all(removed).await?;
                        }
                    }
                    ScanAction::Outdate(at) => {
                        for name in found {
                            self.outdate(&name, at).await?;
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

    async fn unlink(&self, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        if self.client.is_cluster() {
            // They are in different slots.
            let commands: Vec<_> = keys.iter().map(|key| redis::cmd("UNLINK").arg(key).to_owned()).collect();
            let removed = commands.iter().map(|command| self.client.query::<i64>("removing", command));
            futures_util::future::try_join_all(removed).await?;
        } else if !keys.is_empty() {
            let _: i64 = self.client.query("removing", redis::cmd("UNLINK").arg(keys)).await?;
        }
        Ok(())
    }
}
