//! Long bodies: a key of their own, read chunk by chunk. Nothing is handed on before its checksum is right.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, ByteStream, EntryId, StoreError,
    codec::{BLOCK, Trailer},
};

use crate::{
    error::{corrupt, gone},
    store::Shared,
};

/// Bytes of one chunk.
pub(crate) const PIECE: u64 = 4 * BLOCK as u64;

/// A body that is read when somebody wants it.
#[derive(Debug)]
pub(crate) struct RedisBody {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) entry: EntryId,
    pub(crate) length: u64,
}

#[async_trait]
impl BodySource for RedisBody {
    fn content_length(&self) -> Option<u64> {
        Some(self.length)
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let end = self.length + Trailer::length_for(self.length);
        let bytes = self.shared.range(&self.name, self.length..end).await?;
        if bytes.is_empty() {
            return Err(gone("its body is not there any more"));
        }
        let trailer = match Trailer::decode(&bytes) {
            Ok(trailer) if (trailer.entry(), trailer.length()) == (self.entry, self.length) => trailer,
            _ => return Err(corrupt("a body without its trailer")),
        };
        let Range { start, end } = range.unwrap_or(0..self.length);
        let state = (Arc::clone(&self.shared), self.name.clone(), trailer, start..end.min(self.length));
        Ok(Box::pin(futures_util::stream::try_unfold(state, next)))
    }
}

type Reading = (Arc<Shared>, String, Trailer, Range<u64>);

async fn next((shared, name, trailer, left): Reading) -> Result<Option<(Bytes, Reading)>, StoreError> {
    if left.is_empty() {
        return Ok(None);
    }
    let most = left.start / PIECE * PIECE + PIECE;
    let blocks = trailer.covering(left.start..left.end.min(most));
    let bytes = shared.range(&name, blocks.clone()).await?;
    if bytes.is_empty() {
        return Err(gone("its body was removed"));
    }
    if trailer.verify(blocks.start, &bytes).is_err() || bytes.len() as u64 != blocks.end - blocks.start {
        shared.count_corrupt(1);
        let _: Result<i64, _> = shared.client.query("removing", redis::cmd("UNLINK").arg(&name)).await;
        return Err(corrupt("a body that is not what was written"));
    }
    let within = |position: u64| usize::try_from(position - blocks.start).unwrap_or(usize::MAX);
    let end = left.end.min(blocks.end);
    let chunk = bytes.slice(within(left.start)..within(end));
    Ok(Some((chunk, (shared, name, trailer, end..left.end))))
}

impl Shared {
    /// Bytes of a value; fewer than wanted if it is shorter.
    pub(crate) async fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut command = redis::cmd("GETRANGE");
        command.arg(name).arg(range.start).arg(range.end - 1);
        let bytes: Vec<u8> = self.client.query("reading a body", &command).await?;
        Ok(bytes.into())
    }
}
