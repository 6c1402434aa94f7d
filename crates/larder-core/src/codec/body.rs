//! Computes and verifies the checksums of bodies, and reads and writes the trailer that proves a
//! body's end.
//!
//! A body has a checksum for each block of 64 KiB instead of one for the whole. A range can
//! therefore be verified by reading only the blocks that it touches, and a stream never returns
//! bytes that it has not verified. The trailer comes after the body, because length and checksums
//! are known only then. It exists only if everything before it was written.

use std::ops::Range;

use bytes::Bytes;

use super::{
    BLOCK, DecodedHead, MAX_BODY, NotAnEntry, VERSION,
    layout::{FOOTER, MAGIC_END, u16_at, u32_at, u64_at},
};
use crate::EntryId;

/// Bytes of one block's checksum in the trailer.
const SUM: u64 = 4;

/// The checksums of a body that arrives in chunks. Holds four bytes for each 64 KiB.
///
/// ```
/// use larder_core::{EntryId, codec::BodyChecksum};
///
/// let mut checksum = BodyChecksum::new();
/// checksum.update(b"hello ");
/// checksum.update(b"world");
/// let trailer = checksum.finish(EntryId(0x5EED));
/// assert_eq!(trailer.length(), 11);
/// assert!(trailer.verify(0, b"hello world").is_ok());
/// ```
#[derive(Debug, Clone, Default)]
pub struct BodyChecksum {
    /// The checksum of the current block.
    block: crc32fast::Hasher,
    /// Bytes of the current block so far; less than a block.
    filled: usize,
    length: u64,
    sums: Vec<u8>,
}

impl BodyChecksum {
    /// Creates the checksum of an empty body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk. The result does not depend on where the body is split into chunks.
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

    /// Returns the number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the trailer of the body of `entry`.
    pub fn finish(mut self, entry: EntryId) -> Trailer {
        if self.filled > 0 {
            self.end_block();
        }
        Trailer { entry, length: self.length, sums: self.sums.into() }
    }

    /// Appends the checksum of the current block and starts the next one.
    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.sums.extend_from_slice(&block.finalize().to_le_bytes());
        self.filled = 0;
    }
}

/// The record after a body: the entry that it belongs to, the body's length, and the checksum of
/// each block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    entry: EntryId,
    length: u64,
    sums: Bytes,
}

impl Trailer {
    /// Returns the number of bytes of the trailer of a body of `length` bytes.
    pub fn length_for(length: u64) -> u64 {
        length.div_ceil(BLOCK as u64) * SUM + FOOTER as u64
    }

    /// Returns the number of bytes of this trailer.
    pub fn encoded_length(&self) -> u64 {
        Self::length_for(self.length)
    }

    /// Appends the encoded trailer to `out`.
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

    /// Reads the trailer at the end of `end`, such as the last bytes of a file. Bytes before the
    /// trailer are ignored.
    ///
    /// # Errors
    ///
    /// Returns [`Truncated`](NotAnEntry::Truncated) if the trailer starts before `end`; `needed` is
    /// the trailer's length. If the store has no more bytes than it passed, the body was cut. Any
    /// other error means that the body was never completed or is not what was written.
    pub fn decode(end: &Bytes) -> Result<Self, NotAnEntry> {
        let Some(sums_end) = end.len().checked_sub(FOOTER) else {
            return Err(NotAnEntry::Truncated { needed: FOOTER });
        };
        let footer = &end[sums_end..];
        if footer[24..] != MAGIC_END[..] {
            return Err(NotAnEntry::Corrupt("a body without a trailer"));
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

    /// Returns whether the trailer ends the body that `head` was written for.
    pub fn belongs_to(&self, head: &DecodedHead) -> bool {
        self.entry == head.entry && head.body_length.is_none_or(|length| length == self.length)
    }

    /// Returns the entry of the body.
    pub fn entry(&self) -> EntryId {
        self.entry
    }

    /// Returns the length of the body in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the range to read so that `range` can be verified: the blocks that it touches, up to
    /// the end of the body.
    pub fn covering(&self, range: Range<u64>) -> Range<u64> {
        let block = BLOCK as u64;
        let start = range.start.min(self.length) / block * block;
        let end = range.end.min(self.length).div_ceil(block) * block;
        start..end.clamp(start, self.length.max(start))
    }

    /// Verifies whole blocks of the body.
    ///
    /// `bytes` start at `position`, which must be the start of a block, and end at the end of a
    /// block or of the body.
    ///
    /// # Errors
    ///
    /// Returns [`Corrupt`](NotAnEntry::Corrupt) if the bytes are not what was written, or are not
    /// whole blocks.
    pub fn verify(&self, position: u64, bytes: &[u8]) -> Result<(), NotAnEntry> {
        let block = BLOCK as u64;
        let end = position.checked_add(bytes.len() as u64).filter(|end| *end <= self.length);
        let whole =
            |end: u64| position.is_multiple_of(block) && (end.is_multiple_of(block) || end == self.length);
        if !end.is_some_and(whole) {
            return Err(NotAnEntry::Corrupt("a range of the body that is not whole blocks"));
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
