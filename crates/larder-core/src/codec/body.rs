//! Checksums of bodies, and the trailer that proves a body's end.
//!
//! A body has a checksum for each block of 64 KiB rather than one for all of it, so that a range is verified by reading
//! the blocks it touches, and a stream hands nothing on that it has not verified. The trailer stands behind the body,
//! since only then are length and checksums known; it is there only if all that is before it was written.

use std::ops::Range;

use bytes::Bytes;

use super::{
    BLOCK, DecodedHead, MAX_BODY, NotAnEntry, VERSION,
    layout::{FOOTER, MAGIC_END, u16_at, u32_at, u64_at},
};
use crate::EntryId;

const SUM: u64 = 4;

/// The checksums of a body that arrives chunk by chunk. Holds four bytes for each 64 KiB.
#[derive(Debug, Clone, Default)]
pub struct BodyChecksum {
    /// Of the block that has begun.
    block: crc32fast::Hasher,
    /// Bytes of it so far; less than a block.
    filled: usize,
    length: u64,
    sums: Vec<u8>,
}

impl BodyChecksum {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk, however it is cut.
    pub fn update(&mut self, chunk: &[u8]) {
        self.length += chunk.len() as u64;
        let mut rest = chunk;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.filled));
            self.block.update(now);
            self.filled += now.len();
            if self.filled == BLOCK {
                self.end_block();
            }
            rest = later;
        }
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The trailer of the body of `entry`.
    pub fn finish(mut self, entry: EntryId) -> Trailer {
        if self.filled > 0 {
            self.end_block();
        }
        Trailer { entry, length: self.length, sums: self.sums.into() }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.sums.extend_from_slice(&block.finalize().to_le_bytes());
        self.filled = 0;
    }
}

/// What stands behind a body: whose it is, how long, and the checksum of each of its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    entry: EntryId,
    length: u64,
    sums: Bytes,
}

impl Trailer {
    /// How many bytes the trailer has of a body of `length` bytes.
    pub fn length_for(length: u64) -> u64 {
        length.div_ceil(BLOCK as u64) * SUM + FOOTER as u64
    }

    /// The same of this one.
    pub fn encoded_length(&self) -> u64 {
        Self::length_for(self.length)
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sums);
        let start = out.len();
        out.extend_from_slice(&self.entry.0.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        let checksum = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(MAGIC_END);
    }

    /// Reads the trailer that ends where `end` ends, such as a file's last bytes; what stands before it is not looked at.
    ///
    /// # Errors
    ///
    /// [`Truncated`](NotAnEntry::Truncated) if it begins before `end` does: `needed` is how many bytes from the end it
    /// has. A store that has no more bytes than it has offered has a body that was cut. Anything else: the body was
    /// never finished, or is not what was written.
    pub fn decode(end: &Bytes) -> Result<Self, NotAnEntry> {
        let Some(sums_end) = end.len().checked_sub(FOOTER) else {
            return Err(NotAnEntry::Truncated { needed: FOOTER });
        };
        let footer = &end[sums_end..];
        if footer[24..] != MAGIC_END[..] {
            return Err(NotAnEntry::Corrupt("a body without its trailer"));
        }
        let version = u16_at(footer, 16);
        if version != VERSION {
            return Err(NotAnEntry::UnknownVersion(version));
        }
        if u32_at(footer, 20) != crc32fast::hash(&footer[..20]) {
            return Err(NotAnEntry::Corrupt("the trailer's checksum"));
        }
        let length = u64_at(footer, 8);
        if length > MAX_BODY {
            return Err(NotAnEntry::Corrupt("the body's length"));
        }
        let needed = usize::try_from(Self::length_for(length))
            .map_err(|_| NotAnEntry::Corrupt("a body that is too long for this machine"))?;
        let Some(start) = end.len().checked_sub(needed) else {
            return Err(NotAnEntry::Truncated { needed });
        };
        Ok(Self { entry: EntryId(u64_at(footer, 0)), length, sums: end.slice(start..sums_end) })
    }

    /// Whether it ends the body that this head was written for.
    pub fn belongs_to(&self, head: &DecodedHead) -> bool {
        self.entry == head.entry && head.body_length.is_none_or(|length| length == self.length)
    }

    /// The entry whose body it ends.
    pub fn entry(&self) -> EntryId {
        self.entry
    }

    /// The body's length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes to read so that `range` can be verified: the blocks it touches, as far as the body goes.
    pub fn covering(&self, range: Range<u64>) -> Range<u64> {
        let block = BLOCK as u64;
        let start = range.start.min(self.length) / block * block;
        let end = range.end.min(self.length).div_ceil(block) * block;
        start..end.clamp(start, self.length.max(start))
    }

    /// Verifies whole blocks: `bytes` stand at `position` of the body, which begins a block, and end with a block or
    /// with the body.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](NotAnEntry::Corrupt) if they are not what was written, or are not whole blocks.
    pub fn verify(&self, position: u64, bytes: &[u8]) -> Result<(), NotAnEntry> {
        let block = BLOCK as u64;
        let end = position.checked_add(bytes.len() as u64).filter(|end| *end <= self.length);
        let whole =
            |end: u64| position.is_multiple_of(block) && (end.is_multiple_of(block) || end == self.length);
        if !end.is_some_and(whole) {
            return Err(NotAnEntry::Corrupt("a chunk of a body that is not whole blocks"));
        }
        let sums = self.sums.chunks_exact(4).skip(usize::try_from(position / block).unwrap_or(usize::MAX));
        for (block, sum) in bytes.chunks(BLOCK).zip(sums) {
            if crc32fast::hash(block) != u32_at(sum, 0) {
                return Err(NotAnEntry::Corrupt("a block of the body"));
            }
        }
        Ok(())
    }
}
