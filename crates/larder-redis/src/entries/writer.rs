//! Writes one entry. A short body is buffered in memory and stored together with its head in one
//! command. A long body is appended to its own key, which expires if the writer's process dies. The
//! commit itself is the script `PUBLISH` in `client/scripts`; which removals prevent it is decided
//! in `barrier`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, CacheKey, EntryId, Reservation, StoreError, StoreWriter, StoredHead, Timestamp,
    codec::{BodyChecksum, NotEncodable},
};

use crate::{
    entries::{
        barrier::WriteBarrier,
        body::CHUNK_BYTES,
        groups,
        keys::{Names, variant},
        record::{self, Envelope, MAX_GROUPS},
        ttl::{BODY_GRACE, entry_ttl, group_ttl, millis},
    },
    error::{gone, not_encodable, too_long},
    shared::Shared,
    token::Token,
};

/// Longest body in bytes that is stored together with its head.
const MAX_INLINE: usize = 128 << 10;
/// Longest inline body of a response that varies. A lookup reads all variants, so theirs are
/// smaller.
const MAX_INLINE_VARIANT: usize = 16 << 10;
/// Time after which an unfinished body expires, from the last append of its writer.
const UNFINISHED_TTL: Duration = Duration::from_secs(120);

/// Receives the body of one entry. Dropping it removes what it has written.
struct RedisWriter {
    shared: Arc<Shared>,
    key: CacheKey,
    names: Names,
    head: Arc<StoredHead>,
    keep_until: Timestamp,
    barrier: WriteBarrier,
    envelope: Envelope,
    /// Bytes that have not been sent to the server.
    buffer: Vec<u8>,
    /// Bytes received.
    length: u64,
    /// Bytes appended to the body's key.
    appended: u64,
    checksum: BodyChecksum,
}

/// The reservation of a key.
pub(crate) struct Reserved {
    shared: Arc<Shared>,
    key: CacheKey,
    names: Names,
    barrier: WriteBarrier,
}

/// Reserves a key: reads the state that orders the write and later removals.
pub(crate) async fn reserve(shared: &Arc<Shared>, key: &CacheKey) -> Result<Reserved, StoreError> {
    let names = shared.keys.of(key);
    let barrier = WriteBarrier::read(shared, &names).await?;
    Ok(Reserved { shared: Arc::clone(shared), key: key.clone(), names, barrier })
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
        keep_until: Timestamp,
    ) -> Result<Box<dyn StoreWriter>, StoreError> {
        let Self { shared, key, names, barrier } = *self;
        let limit = shared.options.max_object;
        if length.is_some_and(|length| length > limit) {
            return Err(too_long(limit));
        }
        if head.groups.len() > MAX_GROUPS {
            return Err(not_encodable(NotEncodable::TooLarge { what: "groups", limit: MAX_GROUPS }));
        }
        let stored_for = entry_ttl(&head, keep_until);
        let groups =
            groups::begin(&shared, &head.groups, Some(barrier.removals), group_ttl(stored_for)).await?;
        let WriteBarrier { epoch, token, order, .. } = barrier;
        let entry = EntryId(Token::number());
        Ok(Box::new(RedisWriter {
            shared,
            key,
            names,
            head,
            keep_until,
            barrier,
            envelope: Envelope { epoch, token, order, entry, own_key: false, groups },
            buffer: Vec::new(),
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
        let limit = self.shared.options.max_object;
        self.length += chunk.len() as u64;
        if self.length > limit {
            return Err(too_long(limit));
        }
        self.buffer.extend_from_slice(&chunk);
        let inline = if self.head.selecting.varies() { MAX_INLINE_VARIANT } else { MAX_INLINE };
        if self.buffer.len() > inline && !self.envelope.own_key || self.buffer.len() as u64 >= CHUNK_BYTES {
            self.envelope.own_key = true;
            self.flush().await?;
        }
        Ok(())
    }

    /// Returns `None`: an unfinished body can't be read back. A fetch is as fast as its slowest
    /// client.
    fn follow(&self) -> Option<Arc<dyn BodySource>> {
        None
    }

    async fn commit(mut self: Box<Self>) -> Result<EntryId, StoreError> {
        let ttl = entry_ttl(&self.head, self.keep_until);
        let record = if self.envelope.own_key {
            self.flush().await?;
            let mut trailer = Vec::new();
            std::mem::take(&mut self.checksum).finish(self.envelope.entry).encode(&mut trailer);
            // The body outlives the head, because a head without its body is an error for a reader.
            self.append(trailer, ttl + BODY_GRACE).await?;
            record::encode_head(&self.key, &self.head, self.length, &self.envelope)
        } else {
            record::encode_inline(&self.key, &self.head, &self.buffer, &self.envelope)
        };
        let record = record.map_err(not_encodable)?;
        let mut script = self.shared.scripts.publish.prepare_invoke();
        script.key(&self.names.entry).key(self.names.token()).key(self.shared.keys.epoch(&self.names));
        if self.shared.client.is_cluster() {
            self.barrier.check(&self.shared).await?;
            self.check_groups().await?;
        } else {
            script.key(self.shared.keys.barrier());
            self.head.groups.iter().for_each(|group| {
                script.key(self.shared.keys.group(group));
            });
        }
        script.arg(&variant(&self.head)[..]).arg(record).arg(millis(ttl)).arg(self.names.bodies());
        script.arg(millis(BODY_GRACE));
        script.arg(self.shared.keys.channel()).arg(self.shared.sender.key(self.key.as_bytes()));
        script.arg(&self.barrier.removals.token[..]);
        self.envelope.groups.iter().for_each(|token| {
            script.arg(&token[..]);
        });
        let visible: bool = self.shared.client.invoke("commit", &script).await?;
        if !visible {
            return Err(gone(
                "the entry was removed while it was written, or a later response has been stored",
            ));
        }
        self.envelope.own_key = false; // The body belongs to the committed entry: `drop` must not remove it.
        Ok(self.envelope.entry)
    }
}

impl RedisWriter {
    /// Returns an error if a group was removed since the write began. On a Cluster, groups are on
    /// other nodes than the entry. No lookup returns the entry if a group is removed after this
    /// check: each lookup compares the tokens.
    async fn check_groups(&self) -> Result<(), StoreError> {
        let current = groups::states(&self.shared, self.head.groups.iter()).await?;
        if current.iter().map(|group| group.token).eq(self.envelope.groups.iter().copied().map(Some)) {
            return Ok(());
        }
        Err(gone("a group of the entry was removed while it was written"))
    }

    /// Appends the buffered bytes to the body's key.
    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.checksum.update(&self.buffer);
        let bytes = std::mem::take(&mut self.buffer);
        self.append(bytes, UNFINISHED_TTL).await
    }

    /// Appends bytes to the body's key and sets its TTL. Fails if bytes written before are missing.
    async fn append(&mut self, bytes: Vec<u8>, ttl: Duration) -> Result<(), StoreError> {
        self.appended += bytes.len() as u64;
        let name = self.names.body(self.envelope.entry);
        let mut pipeline = redis::pipe();
        pipeline.cmd("APPEND").arg(&name).arg(bytes).cmd("PEXPIRE").arg(&name).arg(millis(ttl)).ignore();
        let (length,): (u64,) = self.shared.client.pipeline("body write", &pipeline).await?;
        if length != self.appended {
            return Err(gone("the unfinished body was removed or evicted"));
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
                let _: Result<i64, _> = shared.client.query("removal", redis::cmd("UNLINK").arg(name)).await;
            });
        }
    }
}
