//! Reports to the other processes whether a key may have been removed: the state that a reservation
//! reads, as one number.

use std::{hash::Hasher as _, sync::Arc};

use async_trait::async_trait;
use larder_core::{CacheKey, RemovalToken, Removals, StoreError};
use siphasher::sip::SipHasher13;

use crate::{entries::barrier::WriteBarrier, shared::Shared};

/// The store's tokens of removals.
#[derive(Debug)]
pub(crate) struct RedisRemovals(pub(crate) Arc<Shared>);

#[async_trait]
impl Removals for RedisRemovals {
    async fn token(&self, key: &CacheKey) -> Result<RemovalToken, StoreError> {
        let state = WriteBarrier::read(&self.0, &self.0.keys.of(key)).await?;
        // Each removal changes one of these, to a random value or to the next number.
        let mut hasher = SipHasher13::new();
        for token in [state.epoch, state.token, state.removals.token] {
            hasher.write(&token);
        }
        hasher.write_u64(state.removals.groups);
        Ok(RemovalToken(hasher.finish()))
    }
}
