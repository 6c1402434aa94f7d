//! Records when each key and each group was last removed: a table of sequence numbers, indexed by
//! hash.
//!
//! Removing a group therefore takes the same time for any number of entries, and a response that
//! was requested before a removal is not stored after it. `commit` and `lookup` compare the
//! numbers. Two names with hashes that share a slot (one pair in a million) are removed together,
//! which a cache is allowed to do.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use crate::{
    fs::pread::{ReadMode, read_at},
    sizes::Sizes,
};

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

/// Returns the size that counts for a table that occupies `bytes` bytes: its share, once it has any
/// tombstone, or more. The blocks that a sparse file occupies change after it has been written.
pub(crate) fn counted(bytes: u64, sizes: Sizes) -> u64 {
    if bytes == 0 { 0 } else { bytes.max(sizes.tombstones()) }
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

    /// Waits until the table is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Records a removal. Returns the bytes by which the [counted](counted) size of the file has
    /// grown. The caller holds the state file's lock.
    pub(crate) fn set(&self, of: TombstoneKind, sequence: u64, sizes: Sizes) -> io::Result<u64> {
        let before = self.counted(sizes)?;
        self.0.write_all_at(&sequence.to_le_bytes(), of.position())?;
        Ok(self.counted(sizes)?.saturating_sub(before))
    }

    /// Removes the tombstones of all keys if the table occupies more than its share. Returns
    /// whether it has done so. The caller holds the state file's lock, and has made sure that no
    /// pending write is committed.
    #[cfg(target_os = "linux")]
    pub(crate) fn trim_keys(&self, sizes: Sizes) -> io::Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        if self.counted(sizes)? <= sizes.tombstones() {
            return Ok(false);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.0, flags, 0, SLOTS_PER_KIND * 8) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Does nothing: only Linux can free a part of a file.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn trim_keys(&self, _: Sizes) -> io::Result<bool> {
        Ok(false)
    }

    /// Returns the counted size of the file.
    pub(crate) fn counted(&self, sizes: Sizes) -> io::Result<u64> {
        Ok(counted(self.0.metadata()?.blocks() * 512, sizes))
    }
}
