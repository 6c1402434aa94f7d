//! Runs the store's maintenance thread. At the start and every ten minutes it reclaims what crashed
//! processes have left. About once a second it saves the counters, closes removed files,
//! evicts what is beyond a lowered limit, and reopens the directory if it has been removed.
//! Reclaiming is implemented in `recovery`.

use std::{
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use crate::{
    shared::Shared,
    volume::{Volume, recovery, removal::carry_out_unconfirmed, space::trim},
};

/// Time between two runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// Runs between two reclaims, which also recount the used space: ten minutes. The blocks that a
/// file occupies may change after it has been written.
const INTERVALS_PER_RECOUNT: u32 = 600;

/// Starts the thread. It ends when `stopped` disconnects.
pub(crate) fn start(shared: &Arc<Shared>, stopped: Receiver<()>) {
    let shared = Arc::downgrade(shared);
    let spawned =
        thread::Builder::new().name("larder-disk".to_owned()).spawn(move || maintain(&shared, &stopped));
    if let Err(error) = spawned {
        tracing::warn!(%error, "disk store: could not start the maintenance thread");
    }
}

/// Runs maintenance until the store has been dropped.
fn maintain(shared: &Weak<Shared>, stopped: &Receiver<()>) {
    if let Some(shared) = shared.upgrade() {
        reclaim(&shared.volume());
    }
    let mut until_recount = INTERVALS_PER_RECOUNT;
    while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = shared.upgrade() else { return };
        let volume = shared.volume();
        if !volume.is_intact() {
            shared.reopen();
            continue;
        }
        volume.open_files.close_removed();
        volume.write_counts();
        if let Err(error) = carry_out_unconfirmed(&volume) {
            tracing::debug!(%error, "disk store: could not carry out an earlier removal");
        }
        // Another process may have lowered the limit.
        if let Err(error) = trim(&volume) {
            tracing::debug!(%error, "disk store: could not evict entries");
        }
        until_recount -= 1;
        if until_recount == 0 {
            until_recount = INTERVALS_PER_RECOUNT;
            reclaim(&volume);
        }
    }
}

/// Reclaims leftovers and recounts the used space. Logs a failure.
fn reclaim(volume: &Volume) {
    if let Err(error) = recovery::reclaim(volume) {
        tracing::warn!(%error, "disk store: could not reclaim unused files");
    }
}
