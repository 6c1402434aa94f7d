//! Lets one of the processes that share a directory fetch a key while the others wait. The table of
//! leases is in `state/lease_table`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use larder_core::{CacheKey, Claim, HeldLease, Lease, Leases, RemovalToken, Removals, StoreError};
use tokio::time::sleep;

use crate::{
    error::{busy, failed},
    state::lease_table::{Attempt, LeaseSlot},
    store::DiskStore,
    volume::Volume,
};

/// Number of attempts to claim while the table is locked by another process.
const CLAIM_ATTEMPTS: u32 = 50;
/// Time between two attempts.
const CLAIM_PAUSE: Duration = Duration::from_millis(1);
/// First and longest time between two looks at a lease that another process holds.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// A holder that has given no sign of life for this time is stopped, and loses its lease.
const STOPPED_AFTER: Duration = Duration::from_secs(2);

#[async_trait]
impl Leases for DiskStore {
    async fn claim(&self, key: &CacheKey) -> Result<Claim, StoreError> {
        let volume = self.volume();
        // The engine looks up again, whatever the result is.
        volume.counters.expect_repeat(volume.state_file.hash(key));
        for _ in 0..CLAIM_ATTEMPTS {
            match claim(&volume, key).map_err(failed("could not claim a lease"))? {
                Attempt::Granted(slot) => {
                    return Ok(Claim::Granted(Box::new(DiskLease { volume, slot: Some(slot) })));
                }
                Attempt::NoSlot => return Ok(Claim::Granted(Box::new(DiskLease { volume, slot: None }))),
                Attempt::Held(slot) => return Ok(Claim::Held(Box::new(HeldDiskLease { volume, slot }))),
                Attempt::Busy => sleep(CLAIM_PAUSE).await,
            }
        }
        Err(busy("the table of leases did not become free"))
    }

    fn precede_lookups(&self) -> bool {
        false
    }
}

/// Claims the lease of a key, once.
fn claim(volume: &Volume, key: &CacheKey) -> std::io::Result<Attempt> {
    let hash = volume.state_file.hash(key);
    // The sequence first: a removal after it counts as one after the grant.
    let sequence = volume.state_file.sequence()?;
    volume.leases.claim(&volume.directory, hash, volume.last_removal(hash)?, sequence)
}

#[async_trait]
impl Removals for DiskStore {
    async fn token(&self, key: &CacheKey) -> Result<RemovalToken, StoreError> {
        let volume = self.volume();
        let last = volume.last_removal(volume.state_file.hash(key));
        last.map(RemovalToken).map_err(failed("could not read the last removal"))
    }
}

/// A lease of this process.
struct DiskLease {
    volume: Arc<Volume>,
    /// `None` if the table has no room for it.
    slot: Option<LeaseSlot>,
}

impl fmt::Debug for DiskLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLease").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Lease for DiskLease {}

impl Drop for DiskLease {
    fn drop(&mut self) {
        if let Some(slot) = &self.slot
            && let Err(error) = self.volume.leases.release(slot)
        {
            tracing::debug!(%error, "disk store: could not release a lease");
        }
    }
}

/// A lease of another process, or of another store on the same directory.
struct HeldDiskLease {
    volume: Arc<Volume>,
    slot: LeaseSlot,
}

impl fmt::Debug for HeldDiskLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldDiskLease").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl HeldDiskLease {
    /// Returns the last sign of life of the holder; `None` if the lease is not held as before, the
    /// process does not live, or the key was removed since it began to fetch.
    fn look(&self) -> std::io::Result<Option<u64>> {
        let Volume { leases, directory, .. } = &*self.volume;
        if !leases.is_held(&self.slot)? || !leases.is_alive(directory, &self.slot)? {
            return Ok(None);
        }
        if self.volume.last_removal(self.slot.hash())? > self.slot.sequence() {
            // The next claim takes it over.
            return Ok(None);
        }
        leases.beat(directory, &self.slot).map(Some)
    }
}

#[async_trait]
impl HeldLease for HeldDiskLease {
    async fn released(self: Box<Self>) {
        let mut pause = FIRST_PAUSE;
        // For how long the holder has given no sign of life, in time that this process was awake.
        let (mut beat, mut silent) = (None, Duration::ZERO);
        loop {
            match self.look() {
                Ok(Some(now)) if Some(now) != beat => (beat, silent) = (Some(now), Duration::ZERO),
                Ok(Some(_)) if silent < STOPPED_AFTER => {}
                Ok(Some(_)) => {
                    tracing::debug!("disk store: the holder of a lease is stopped");
                    let _ = self.volume.leases.revoke(&self.slot);
                    return;
                }
                Ok(None) | Err(_) => return,
            }
            sleep(pause).await;
            silent += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
