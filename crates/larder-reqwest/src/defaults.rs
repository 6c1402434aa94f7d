//! What a client uses for which its builder has no setting: a store, and a partition.

use std::sync::Arc;

use larder_core::CacheStore;

use crate::{Error, ErrorKind};

/// Returns the store of a client for which none is set.
#[cfg(feature = "memory")]
#[expect(clippy::unnecessary_wraps, reason = "fails without the feature `memory`")]
pub(crate) fn store() -> Result<Arc<dyn CacheStore>, Error> {
    let options = larder_memory::MemoryOptions::default().with_capacity(64 << 20);
    Ok(Arc::new(larder_memory::MemoryStore::new(options)))
}

/// Returns an error: without the feature `memory` there is no default store.
#[cfg(not(feature = "memory"))]
pub(crate) fn store() -> Result<Arc<dyn CacheStore>, Error> {
    let reason = "no store: set one, or enable the feature `memory` of larder-reqwest";
    Err(Error::new(ErrorKind::Request, None).with_source(reason))
}

/// Returns a random partition name of 16 bytes, which no other client has.
pub(crate) fn partition() -> Result<Box<[u8]>, Error> {
    let mut random = vec![0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(ErrorKind::Request, None).with_source(error.to_string()))?;
    Ok(random.into())
}
