//! Writes one response to both stores. The far store decides whether it is stored; if that store is
//! unavailable, the response is stored in the near store alone.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter, StoredHead,
    Timestamp,
};

use crate::coherence::Coherence;

/// A reservation in both stores, or in the one that is available.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) key: CacheKey,
    pub(crate) near: Option<Box<dyn Reservation>>,
    pub(crate) far: Option<Box<dyn Reservation>>,
}

#[async_trait]
impl Reservation for Reserved {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { coherence, key, near, far } = *self;
        // A single near variant would hide the others. The next lookup promotes all of them.
        let incomplete = head.selecting.varies().then_some((coherence, key));
        let near = match near {
            Some(near) if incomplete.is_none() => {
                near.begin(Arc::clone(&head), length, keep_until).await.ok()
            }
            _ => None,
        };
        let far = match far {
            Some(far) => match far.begin(head, length, keep_until).await {
                Ok(far) => Some(far),
                Err(error) if near.is_none() || error.kind() == StoreErrorKind::Gone => return Err(error),
                // The far store is full or unavailable: store the response in the near store alone.
                Err(_) => None,
            },
            None => None,
        };
        if near.is_none() && far.is_none() {
            return Err(both_failed());
        }
        Ok(Box::new(TieredWriter { near, far, incomplete }))
    }
}

/// Creates the error of a write that no store accepts any more.
fn both_failed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "tiered", "the near and the far store have both failed")
}

/// Receives one body for both stores. If one store fails, the other continues alone.
#[derive(Debug)]
struct TieredWriter {
    near: Option<Box<dyn StoreWriter>>,
    far: Option<Box<dyn StoreWriter>>,
    /// The key, if the response varies: its near copies are incomplete after the commit and are
    /// removed.
    incomplete: Option<(Arc<Coherence>, CacheKey)>,
}

#[async_trait]
impl StoreWriter for TieredWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let mut failed = None;
        for writer in [&mut self.near, &mut self.far] {
            if let Some(open) = writer
                && let Err(error) = open.write(chunk.clone()).await
            {
                failed = Some(error);
                *writer = None;
            }
        }
        match failed {
            Some(error) if self.near.is_none() && self.far.is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the far store's source if it has one: the near store may still reject the body.
    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        let follow = |writer: &Option<Box<dyn StoreWriter>>| writer.as_ref()?.follow();
        follow(&self.far).or_else(|| follow(&self.near))
    }

    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError> {
        let Self { near, far, incomplete } = *self;
        let far = match far {
            Some(far) => match far.commit().await {
                // The entry was removed during the write, so no store may have it.
                Err(error) if error.kind() == StoreErrorKind::Gone => return Err(error),
                far => Some(far),
            },
            None => None,
        };
        if let Some((coherence, key)) = incomplete {
            coherence.invalidate(&key).await?;
        }
        let near = match near {
            Some(near) => Some(near.commit().await),
            None => None,
        };
        match (near, far) {
            (Some(Ok(id)), _) | (_, Some(Ok(id))) => Ok(id),
            (_, Some(Err(error))) | (Some(Err(error)), None) => Err(error),
            (None, None) => Err(both_failed()),
        }
    }
}
