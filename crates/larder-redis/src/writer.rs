//! Writing one entry. A short body waits in memory and becomes visible with its head, in one command; a long one is
//! appended to a key of its own, which expires by itself if its writer dies.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, EntryId, Reservation, StoreError, StoreWriter, StoredHead,
    codec::{BodyChecksum, NotEncodable},
};

use crate::{
    body::PIECE,
    error::{gone, not_encodable, too_long},
    keys::{Names, variant},
    record::{self, Envelope, MOST_GROUPS},
    store::Shared,
    token::Token,
};

/// The longest body that stands beside its head.
const INLINE: usize = 128 << 10;
/// The same where there may be several variants, all of which are read at once.
const INLINE_VARIANT: usize = 16 << 10;
/// How long a body lasts whose writer says nothing any more.
const UNFINISHED: Duration = Duration::from_secs(120);

/// Receives one body.
pub(crate) struct RedisWriter {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: CacheKey,
    pub(crate) names: Names,
    pub(crate) head: Arc<StoredHead>,
    pub(crate) barrier: WriteBarrier,
    pub(crate) envelope: Envelope,
    pub(crate) waiting: Vec<u8>,
    pub(crate) length: u64,
    /// Bytes in the body's key.
    pub(crate) appended: u64,
    pub(crate) checksum: BodyChecksum,
}

/// How things were when the response was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteBarrier {
    /// The key's token.
    pub(crate) tombstone: Vec<u8>,
    /// Everybody's token.
    pub(crate) epoch: Vec<u8>,
    /// By the clock of removals of groups.
    pub(crate) time: u64,
}

/// A key, and how things were when it was reserved.
pub(crate) struct Reserved {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: CacheKey,
    pub(crate) names: Names,
    pub(crate) order: u64,
    pub(crate) begun: WriteBarrier,
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("key", &self.key).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reservation for Reserved {
    async fn begin(
        self: Box<Self>,
        head: Arc<StoredHead>,
        length: Option<u64>,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { shared, key, names, order, begun } = *self;
        let most = shared.options.max_object;
        if length.is_some_and(|length| length > most) {
            return Err(too_long(most));
        }
        if head.groups.len() > MOST_GROUPS {
            return Err(not_encodable(NotEncodable::TooLarge { what: "groups", limit: MOST_GROUPS }));
        }
        let groups = shared.group_tokens(&head.groups).await?;
        if groups.iter().any(|removed| *removed > begun.time) {
            return Err(gone("a group of it was removed while the origin was asked"));
        }
        let entry = EntryId(Token::number());
        Ok(Box::new(RedisWriter {
            shared,
            key,
            names,
            head,
            barrier: begun,
            envelope: Envelope { order, entry, own_key: false, groups },
            waiting: Vec::new(),
            length: 0,
            appended: 0,
            checksum: BodyChecksum::new(),
        }))
    }
}

impl fmt::Debug for RedisWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisWriter")
            .field("key", &self.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StoreWriter for RedisWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        let most = self.shared.options.max_object;
        self.length += chunk.len() as u64;
        if self.length > most {
            return Err(too_long(most));
        }
        self.waiting.extend_from_slice(&chunk);
        let inline = if self.head.selecting.iter().next().is_some() { INLINE_VARIANT } else { INLINE };
        if self.waiting.len() > inline && !self.envelope.own_key || self.waiting.len() as u64 >= PIECE {
            self.envelope.own_key = true;
            self.flush().await?;
        }
        Ok(())
    }

    /// What was written can't be read back before it is whole: a slow client slows this fetch.
    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        None
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        let ttl = self.shared.ttl(&self.head);
        let record = if self.envelope.own_key {
            self.flush().await?;
            let mut trailer = Vec::new();
            std::mem::take(&mut self.checksum).finish(self.envelope.entry).encode(&mut trailer);
            // Longer than the head: a head without its body would be a miss on the way.
            self.append(trailer, ttl + Duration::from_secs(60)).await?;
            record::encode_head(&self.key, &self.head, self.length, &self.envelope)
        } else {
            record::encode_inline(&self.key, &self.head, &self.waiting, &self.envelope)
        };
        let record = record.map_err(not_encodable)?;
        // One that is removed after this look is found by nobody: the tokens are compared at each look-up.
        if self.shared.group_tokens(&self.head.groups).await? != self.envelope.groups {
            return Err(gone("a group of it was removed while it was written"));
        }
        let mut script = self.shared.scripts.publish.prepare_invoke();
        script.key(&self.names.entry).key(self.names.tomb());
        if self.shared.client.is_cluster() {
            self.shared.check_epoch(&self.barrier.epoch).await?;
        } else {
            script.key(self.shared.keys.epoch());
        }
        script.arg(&variant(&self.head)[..]).arg(record);
        script.arg(&self.barrier.tombstone).arg(millis(ttl)).arg(self.names.bodies());
        script.arg(self.shared.keys.channel()).arg(self.shared.sender.key(self.key.as_bytes()));
        script.arg(&self.barrier.epoch);
        let visible: bool = self.shared.client.invoke("storing", &script).await?;
        if !visible {
            return Err(gone("it was removed while it was written, or a later one is there"));
        }
        self.envelope.own_key = false; // what was appended is the entry's now
        Ok(self.envelope.entry)
    }
}

impl RedisWriter {
    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.checksum.update(&self.waiting);
        let bytes = std::mem::take(&mut self.waiting);
        self.append(bytes, UNFINISHED).await
    }

    async fn append(&mut self, bytes: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        self.appended += bytes.len() as u64;
        let name = self.names.body(self.envelope.entry);
        let mut pipeline = redis::pipe();
        pipeline.cmd("APPEND").arg(&name).arg(bytes).cmd("PEXPIRE").arg(&name).arg(millis(ttl)).ignore();
        let (length,): (u64,) = self.shared.client.pipeline("writing a body", &pipeline).await?;
        if length != self.appended {
            return Err(gone("what was written before is not there any more"));
        }
        Ok(())
    }
}

impl Drop for RedisWriter {
    fn drop(&mut self) {
        if self.envelope.own_key
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (shared, name) = (Arc::clone(&self.shared), self.names.body(self.envelope.entry));
            runtime.spawn(async move {
                let _: Result<i64, _> = shared.client.query("removing", redis::cmd("UNLINK").arg(name)).await;
            });
        }
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
