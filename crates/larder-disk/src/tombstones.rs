//! When each key and each group was removed last: a table of sequence numbers, by hash.
//!
//! It makes removing a group cost the same whatever its size, and keeps a response that was asked for before a removal
//! from being stored after it. Two names may share a place: then the removal of one takes the other with it, once in a
//! million, which a cache is free to do.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::pread::{ReadMode, read_at};

const PLACES: u64 = 1 << 20;

/// The file: the first half for keys, the second for groups. It has holes, and takes as much space as was written.
#[derive(Debug)]
pub(crate) struct Tombstones(File);

#[derive(Debug, Clone, Copy)]
pub(crate) enum TombstoneKind {
    Key(u64),
    Group(u64),
}

impl TombstoneKind {
    fn position(self) -> u64 {
        match self {
            // The high bits: the low ones choose the bucket.
            Self::Key(hash) => (hash >> 44) * 8,
            Self::Group(hash) => (PLACES + (hash >> 44)) * 8,
        }
    }
}

impl Tombstones {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// The sequence number of the last removal; zero if there was none.
    pub(crate) fn last(&self, of: TombstoneKind, mode: ReadMode) -> io::Result<u64> {
        let mut bytes = [0; 8];
        read_at(&self.0, &mut bytes, of.position(), mode)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Notes a removal, under the lock.
    pub(crate) fn set(&self, of: TombstoneKind, sequence: u64) -> io::Result<()> {
        self.0.write_all_at(&sequence.to_le_bytes(), of.position())
    }
}
