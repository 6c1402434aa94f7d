//! Reads long bodies, which are in their own keys, in chunks of 256 KiB. No chunk is returned
//! before `larder_core::codec::BlockReader` has verified it.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{
    BodySource, ByteStream, EntryId, StoreError,
    codec::{BLOCK, BlockReader, Trailer},
};

use crate::{
    entries::ttl::{BODY_GRACE, millis},
    error::{corrupt, gone},
    shared::Shared,
};

/// Bytes that one command reads or appends: a multiple of the codec's checksum block.
pub(crate) const CHUNK_BYTES: u64 = 4 * BLOCK as u64;

/// A stored body that is read on demand.
#[derive(Debug)]
pub(crate) struct RedisBody {
    pub(crate) shared: Arc<Shared>,
    /// Name of the body's key.
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
        let bytes = read_range(&self.shared, &self.name, self.length..end).await?;
        if bytes.is_empty() {
            return Err(gone("the body has been removed or evicted"));
        }
        let trailer = match Trailer::decode(&bytes) {
            Ok(trailer) if (trailer.entry(), trailer.length()) == (self.entry, self.length) => trailer,
            _ => return Err(corrupt("the body has no valid trailer")),
        };
        let blocks = BlockReader::new(trailer, range).with_aligned_reads();
        let (shared, name) = (Arc::clone(&self.shared), Arc::<str>::from(&*self.name));
        let read = {
            let (shared, name) = (Arc::clone(&shared), Arc::clone(&name));
            move |blocks| {
                let (shared, name) = (Arc::clone(&shared), Arc::clone(&name));
                async move {
                    let bytes = read_range(&shared, &name, blocks).await?;
                    if bytes.is_empty() {
                        return Err(gone("the body was removed or evicted while it was read"));
                    }
                    Ok(bytes)
                }
            }
        };
        let damaged = move |_| async move {
            shared.count_corrupt(1);
            let _: Result<i64, _> = shared.client.query("removal", redis::cmd("UNLINK").arg(&*name)).await;
            corrupt("the body does not match its checksums and has been removed")
        };
        Ok(blocks.into_stream(read, damaged))
    }
}

/// Reads a range of a string value. Returns fewer bytes if the value is shorter, none if it
/// does not exist. A body that has been released stays for the grace time from now on.
async fn read_range(shared: &Shared, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let mut pipeline = redis::pipe();
    pipeline.cmd("GETRANGE").arg(name).arg(range.start).arg(range.end - 1).cmd("PTTL").arg(name);
    let (bytes, left): (Vec<u8>, i64) = shared.client.pipeline("body read", &pipeline).await?;
    let grace = i64::try_from(millis(BODY_GRACE)).unwrap_or(i64::MAX);
    if (1..grace - grace / 4).contains(&left) {
        let mut command = redis::cmd("PEXPIRE");
        let _: Result<i64, _> = shared.client.query("body read", command.arg(name).arg(grace)).await;
    }
    Ok(bytes.into())
}
