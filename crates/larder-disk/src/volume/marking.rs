//! Marks entries stale: of a key, of a group, by URL prefix, and all. The marks are on the disk
//! when this returns.

use std::{io, sync::Arc};

use larder_core::{CacheGroup, CacheKey, Purged, Scope, StoreError, StoreErrorKind, Timestamp};

use crate::{
    error::failed,
    fs::pread::ReadMode,
    state::tombstones::TombstoneKind,
    volume::{Volume, commit::freshen, lookup::lookup, scan::for_each_key},
};

/// Marks the entries of `scope` stale that were requested at `at` or before. Returns the number of
/// entries that it has marked, if it is known.
pub(crate) fn mark_stale(
    volume: &Arc<Volume>,
    scope: Scope<'_>,
    at: Timestamp,
) -> Result<Purged, StoreError> {
    let marked = match scope {
        Scope::Group(group) => {
            let marked = mark_group_stale(volume, group, at);
            return marked.map(|()| Purged::UNKNOWN).map_err(failed("could not mark a group stale"));
        }
        Scope::Key(key) => mark_key_stale(volume, key, at)?,
        Scope::Prefix(url) => mark_prefix_stale(volume, url, at)?,
        Scope::All => mark_prefix_stale(volume, "", at)?,
    };
    if marked > 0 {
        // If the head itself is lost in a power failure, the entry is a miss.
        volume.index.sync().map_err(failed("could not sync to the disk"))?;
    }
    Ok(marked.into())
}

/// Marks the entries of a group stale that were requested at `at` or before, and waits until the
/// disk has the mark.
fn mark_group_stale(volume: &Volume, group: &CacheGroup, at: Timestamp) -> io::Result<()> {
    let mut guard = volume.state_file.lock()?;
    let of = TombstoneKind::Group(volume.state_file.group_hash(group));
    guard.state.used += volume.stale.set(of, at.as_millis(), volume.state_file.sizes())?;
    guard.save()?;
    drop(guard);
    volume.stale.sync()
}

/// Marks the entries of a key stale that were requested at `at` or before. Returns the number of
/// entries that it has marked.
fn mark_key_stale(volume: &Arc<Volume>, key: &CacheKey, at: Timestamp) -> Result<u64, StoreError> {
    let mut marked = 0;
    let found = lookup(volume, key, ReadMode::Blocking).map_err(failed("could not look up an entry"))?;
    for candidate in found.iter() {
        let Some(stale) = candidate.head.marked_stale(at) else { continue };
        match freshen(volume, key, candidate.id, &Arc::new(stale)) {
            Ok(()) => marked += 1,
            // The entry has been removed or replaced meanwhile.
            Err(error) if error.kind() == StoreErrorKind::Gone => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marked)
}

/// Marks the entries of all URLs that begin with `url` stale. Returns the number of entries that it
/// has marked.
fn mark_prefix_stale(volume: &Arc<Volume>, url: &str, at: Timestamp) -> Result<u64, StoreError> {
    let (mut marked, mut failure) = (0, None);
    let result = for_each_key(volume, |key, _| {
        if key.target().starts_with(url) {
            match mark_key_stale(volume, &key, at) {
                Ok(of_key) => marked += of_key,
                Err(error) => failure = Some(error),
            }
        }
        Ok(())
    });
    result.map_err(failed("could not read the index"))?;
    failure.map_or(Ok(marked), Err)
}
