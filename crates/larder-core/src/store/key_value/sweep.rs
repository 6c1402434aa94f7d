//! Deletes values that no lookup returns any more: entries after their time, and pieces that a dead
//! process has left.

use std::time::Duration;

use super::{
    names::{self, PieceName},
    shared::{Names, Shared},
    values::Entry,
};
use crate::{StoreError, Timestamp};

/// Age from which a piece without a head is deleted. Until then, its write may be in progress, also
/// in another process.
const MIN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Deletes what the store has no use for. Returns the number of values.
pub(super) async fn sweep(shared: &Shared) -> Result<u64, StoreError> {
    Ok(entries(shared).await? + pieces(shared).await?)
}

/// Deletes the entries that are over, and damaged ones.
async fn entries(shared: &Shared) -> Result<u64, StoreError> {
    let (mut count, all) = (0, names::all_entries());
    let mut names = Names::new(&all);
    while let Some(name) = names.next(&*shared.backend).await? {
        let Some(bytes) = shared.backend.get(&name).await? else { continue };
        if !Entry::is_over(&bytes, shared.clock.now()) {
            continue;
        }
        let Ok(key) = Entry::key(&bytes) else {
            shared.backend.delete(&name).await?;
            count += 1;
            continue;
        };
        let _change = shared.epochs.change(&key).await;
        // It may have been freshened or replaced meanwhile.
        let current = shared.backend.get(&name).await?;
        if current.is_some_and(|bytes| Entry::is_over(&bytes, shared.clock.now())) {
            count += u64::from(shared.delete_named(&name).await?);
        }
    }
    Ok(count)
}

/// Deletes the pieces of bodies that have no head.
async fn pieces(shared: &Shared) -> Result<u64, StoreError> {
    let oldest = shared.clock.now().since(Timestamp::default()).saturating_sub(MIN_AGE).as_secs();
    let (mut count, mut last, all) = (0, None, names::all_bodies());
    let mut names = Names::new(&all);
    while let Some(name) = names.next(&*shared.backend).await? {
        let Some(piece) = PieceName::parse(&name) else { continue };
        if u64::from(piece.written_at) > oldest {
            continue;
        }
        // The pieces of a body follow each other.
        let is_used = match &last {
            Some((known, is_used)) if *known == piece => *is_used,
            _ => {
                let head = shared.backend.get(&piece.entry).await?;
                head.as_ref().and_then(Entry::pieces) == Some((piece.id, piece.written_at))
            }
        };
        last = Some((piece, is_used));
        if !is_used {
            shared.backend.delete(&name).await?;
            count += 1;
        }
    }
    Ok(count)
}
