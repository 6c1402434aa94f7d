//! Writing to both.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter, StoredHead,
};

use crate::coherence::Coherence;

/// A place in both stores, or in one of them.
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
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { coherence: trust, key, near, far } = *self;
        // One variant near would hide the others: the next look-up brings all of them.
        let one_of_many = varies(&head).then_some((trust, key));
        let near = match near {
            Some(near) if one_of_many.is_none() => near.begin(Arc::clone(&head), length).await.ok(),
            _ => None,
        };
        let far = match far {
            Some(far) => match far.begin(head, length).await {
                Ok(far) => Some(far),
                Err(error) if near.is_none() || error.kind() == StoreErrorKind::Gone => return Err(error),
                // It is full, or down: the near one alone is better than nothing.
                Err(_) => None,
            },
            None => None,
        };
        if near.is_none() && far.is_none() {
            return Err(both_failed());
        }
        Ok(Box::new(TieredWriter { near, far, one_of_many }))
    }
}

/// Whether there may be other variants.
fn varies(head: &StoredHead) -> bool {
    head.selecting.never_matches() || head.selecting.iter().next().is_some()
}

fn both_failed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "tiered", "both stores have failed")
}

/// Receives one body, for both stores. One that fails is left out, as long as there is another.
#[derive(Debug)]
struct TieredWriter {
    near: Option<Box<dyn StoreWriter>>,
    far: Option<Box<dyn StoreWriter>>,
    /// Where near copies of the other variants are, which are no longer all.
    one_of_many: Option<(Arc<Coherence>, CacheKey)>,
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

    /// From the far one if it can: the near one may turn out not to want it.
    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        let follow = |writer: &Option<Box<dyn StoreWriter>>| writer.as_ref()?.follow();
        follow(&self.far).or_else(|| follow(&self.near))
    }

    async fn commit(self: Box<Self>) -> Result<EntryId, StoreError> {
        let Self { near, far, one_of_many } = *self;
        let far = match far {
            Some(far) => match far.commit().await {
                // Removed meanwhile: not to be stored anywhere.
                Err(error) if error.kind() == StoreErrorKind::Gone => return Err(error),
                far => Some(far),
            },
            None => None,
        };
        if let Some((trust, key)) = one_of_many {
            trust.invalidate(&key).await?;
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
