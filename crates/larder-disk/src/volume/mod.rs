//! Owns the parts of an open directory, which all operations use. The methods here open, close and
//! save the parts, or pass one part to another. The operations are functions in their own modules:
//! `lookup`, `commit`, `removal`, `eviction`, `space`, `append`, `recovery`, `damage`, `scan`.

mod append;
pub(crate) mod body;
mod clock_hand;
pub(crate) mod commit;
pub(crate) mod damage;
pub(crate) mod eviction;
pub(crate) mod index;
pub(crate) mod lookup;
pub(crate) mod marking;
pub(crate) mod read_cache;
pub(crate) mod read_record;
pub(crate) mod recovery;
pub(crate) mod removal;
pub(crate) mod scan;
pub(crate) mod segment;
pub(crate) mod space;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use larder_core::StoredHead;
use parking_lot::Mutex;

use crate::{
    DiskOptions,
    format::{
        bucket::BUCKET,
        file_name::{FileName, INDEX, STALE, TOMBSTONES},
    },
    fs::{
        buffers::Buffers, directory::Directory, open_files::OpenFiles, pread::ReadMode,
        shared_sync::SharedSync, write_queue::WriteQueue,
    },
    state::{
        counters::Counters,
        lease_table::LeaseTable,
        state_file::StateFile,
        tombstones::{TombstoneKind, Tombstones},
        unconfirmed::Unconfirmed,
    },
    volume::{
        clock_hand::ClockHand,
        index::{FIRST_BUCKETS, Index},
        read_cache::ReadCache,
        segment::SegmentWriter,
    },
};

/// An open directory.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) directory: Directory,
    pub(crate) state_file: StateFile,
    pub(crate) index: Index,
    pub(crate) tombstones: Tombstones,
    /// Times at which groups were marked stale, in ms, in the same slots.
    pub(crate) stale: Tombstones,
    pub(crate) segment_writer: SegmentWriter,
    pub(crate) buffers: Buffers,
    pub(crate) counters: Counters,
    pub(crate) read_cache: ReadCache,
    pub(crate) options: DiskOptions,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) leases: LeaseTable,
    /// Syncs of the files that make removals effective.
    pub(crate) removal_syncs: SharedSync,
    pub(crate) write_queue: WriteQueue,
    /// Whether this process evicts entries and reclaims leftovers.
    pub(crate) is_maintained: bool,
    /// Position of the next eviction. Its lock allows one at a time in this process.
    pub(crate) clock_hand: Mutex<ClockHand>,
    pub(crate) open_files: OpenFiles,
    /// Set when the directory has been replaced by a reopened one. Ends recovery in the old one.
    pub(crate) is_lost: AtomicBool,
}

impl Volume {
    /// Opens the directory and creates what is missing. Removes its content if the state file is
    /// missing or damaged.
    pub(crate) fn open(path: &Path, options: DiskOptions) -> io::Result<Self> {
        let directory = Directory::open(path)?;
        let index = directory.open_fixed(INDEX)?;
        let state_file = StateFile::open(&directory, options.max_bytes, || {
            // Without a valid state file, stored entries cannot be distinguished from removed ones.
            for name in directory.list()? {
                directory.remove(name)?;
            }
            index.set_len(0)?;
            index.set_len(u64::from(FIRST_BUCKETS) * BUCKET as u64)?;
            for table in [TOMBSTONES, STALE] {
                let table = directory.open_fixed(table)?;
                table.set_len(0)?;
                table.sync_all()?;
            }
            // Before the state is written, which makes the other files valid.
            index.sync_all()?;
            directory.sync()?;
            Ok(FIRST_BUCKETS)
        })?;
        Self::of(directory, state_file, index, options, true)
    }

    /// Opens an existing directory. Creates, evicts and reclaims nothing.
    pub(crate) fn open_existing(path: &Path) -> io::Result<Self> {
        let directory = Directory::open_existing(path)?;
        let state_file = StateFile::open_existing(&directory)?;
        let index = directory.open_fixed(INDEX)?;
        Self::of(directory, state_file, index, DiskOptions::default(), false)
    }

    /// Creates the parts that no file needs.
    fn of(
        directory: Directory,
        state_file: StateFile,
        index: File,
        options: DiskOptions,
        is_maintained: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            index: Index::new(index, state_file.peek()?.buckets),
            tombstones: Tombstones::new(directory.open_fixed(TOMBSTONES)?),
            stale: Tombstones::new(directory.open_fixed(STALE)?),
            directory,
            state_file,
            segment_writer: SegmentWriter::default(),
            buffers: Buffers::default(),
            counters: Counters::default(),
            read_cache: ReadCache::new(options.read_cache_bytes),
            options,
            unconfirmed: Unconfirmed::default(),
            leases: LeaseTable::default(),
            removal_syncs: SharedSync::default(),
            write_queue: WriteQueue::default(),
            is_maintained,
            clock_hand: Mutex::default(),
            open_files: OpenFiles::default(),
            is_lost: AtomicBool::new(false),
        })
    }

    /// Opens a file for reading, or returns it if it is open already.
    pub(crate) fn file(&self, name: FileName) -> io::Result<Arc<File>> {
        self.open_files.get(&self.directory, name)
    }

    /// Removes a file. Returns the bytes that it occupied, which the caller subtracts from the used
    /// space.
    pub(crate) fn discard(&self, name: FileName) -> io::Result<u64> {
        self.open_files.discard(&self.directory, name)
    }

    /// Closes the segment that this process is writing.
    pub(crate) fn close_segment(&self) {
        self.segment_writer.close(&self.state_file);
    }

    /// Returns whether a group of the head was removed after the entry was reserved.
    pub(crate) fn was_removed(
        &self,
        head: &StoredHead,
        reserved_at: u64,
        mode: ReadMode,
    ) -> io::Result<bool> {
        for group in &*head.groups {
            if self.tombstones.last(TombstoneKind::Group(self.state_file.group_hash(group)), mode)?
                > reserved_at
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the sequence number of the last removal that may concern a key with this hash: of
    /// the key, of any group, by any prefix, or of everything.
    pub(crate) fn last_removal(&self, hash: u64) -> io::Result<u64> {
        let of_key = self.tombstones.last(TombstoneKind::Key(hash), ReadMode::Blocking)?;
        let state = self.state_file.peek()?;
        Ok(of_key.max(state.group_epoch).max(state.prefix_epoch).max(state.clear_epoch))
    }

    /// Returns whether the path still leads to this directory and its state file is valid.
    pub(crate) fn is_intact(&self) -> bool {
        self.directory.still_exists() && self.state_file.is_intact()
    }

    /// Adds this process's counters to the totals in the state file.
    pub(crate) fn write_counts(&self) {
        if self.counters.is_empty() || !self.is_maintained {
            return;
        }
        if let Ok(mut guard) = self.state_file.lock() {
            self.counters.drain(&mut guard.state.counts);
            let _ = guard.save();
        }
    }
}
