//! Reads bodies that are stored in pieces. Each block is verified before it is returned.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use larder_policy::CacheKey;

use super::{
    names,
    shared::{PIECE, STORE, Shared, gone},
};
use crate::{
    BodySource, ByteStream, StoreError, StoreErrorKind,
    codec::{BLOCK, BlockReader, Trailer},
};

/// Blocks of a piece.
const BLOCKS: u32 = PIECE as u32 / BLOCK as u32;

/// A stored body that is read on demand.
pub(super) struct PieceBody {
    pub(super) shared: Arc<Shared>,
    pub(super) key: CacheKey,
    /// Name of the head.
    pub(super) entry: String,
    /// Common beginning of the names of the pieces.
    pub(super) pieces: String,
    pub(super) trailer: Trailer,
}

impl fmt::Debug for PieceBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PieceBody")
            .field("key", &self.key)
            .field("length", &self.trailer.length())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl BodySource for PieceBody {
    fn content_length(&self) -> Option<u64> {
        Some(self.trailer.length())
    }

    async fn stream(&self, range: Option<Range<u64>>) -> Result<ByteStream, StoreError> {
        let blocks = BlockReader::new(self.trailer.clone(), range);
        let blocks = blocks.with_blocks_per_read(BLOCKS).with_aligned_reads();
        // The first read shows whether the body is still there: here it is a miss, later an error.
        let mut first = match blocks.next_read() {
            Some(range) => Some(read(&self.shared, &self.pieces, range).await?),
            None => None,
        };
        let (shared, pieces) = (Arc::clone(&self.shared), Arc::<str>::from(&*self.pieces));
        let read = move |range| {
            let (first, shared, pieces) = (first.take(), Arc::clone(&shared), Arc::clone(&pieces));
            async move {
                match first {
                    Some(first) => Ok(first),
                    None => read(&shared, &pieces, range).await,
                }
            }
        };
        let (shared, key, entry) = (Arc::clone(&self.shared), self.key.clone(), self.entry.clone());
        let id = self.trailer.entry();
        let damaged = move |why| async move {
            let _ = shared.delete_entry(&key, &entry, id).await;
            let detail = "the body does not match its checksums and has been removed";
            StoreError::new(StoreErrorKind::Corrupt, STORE, detail).with_source(why)
        };
        Ok(blocks.into_stream(read, damaged))
    }
}

/// Reads bytes that lie in one piece. Returns fewer if the piece is shorter.
async fn read(shared: &Shared, pieces: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
    let name = names::piece(pieces, range.start / PIECE);
    let piece = shared.backend.get(&name).await?;
    let piece = piece.ok_or_else(|| gone("a piece of the body has been removed or evicted"))?;
    let within = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(piece.len());
    let start = range.start / PIECE * PIECE;
    Ok(piece.slice(within(range.start - start)..within(range.end - start)))
}
