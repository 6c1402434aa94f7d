//! Records when each key and each group was last removed: a table of sequence numbers, indexed by
//! hash.
//!
//! Removing a group therefore takes the same time for any number of entries, and a response that
//! was requested before a removal is not stored after it. `commit` and `lookup` compare the
//! numbers. Two names with hashes that share a slot (one pair in a million) are removed together,
//! which a cache is allowed to do.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::fs::pread::{ReadMode, read_at};

/// Slots for keys, and as many for groups.
const SLOTS_PER_KIND: u64 = 1 << 20;

/// The table: its first half is for keys, its second for groups. The file is sparse and occupies
/// only the blocks that have been written.
#[derive(Debug)]
pub(crate) struct Tombstones(File);

/// What a tombstone is for, by its hash.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TombstoneKind {
    /// A cache key.
    Key(u64),
    /// A cache group (RFC 9875).
    Group(u64),
}

impl TombstoneKind {
    /// Returns the byte offset of the slot in the file.
    fn position(self) -> u64 {
        match self {
            // The high bits, because the low bits select the bucket of the index.
            Self::Key(hash) => (hash >> 44) * 8,
            Self::Group(hash) => (SLOTS_PER_KIND + (hash >> 44)) * 8,
        }
    }
}

impl Tombstones {
    /// Creates a table on an open file.
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// Returns the sequence number of the last removal, or zero if there was none.
    pub(crate) fn last(&self, of: TombstoneKind, mode: ReadMode) -> io::Result<u64> {
        let mut bytes = [0; 8];
        read_at(&self.0, &mut bytes, of.position(), mode)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Records a removal. The caller holds the state file's lock.
    pub(crate) fn set(&self, of: TombstoneKind, sequence: u64) -> io::Result<()> {
        self.0.write_all_at(&sequence.to_le_bytes(), of.position())
    }
}
