//! The parts of an open store, and what is done with all of them: hashing, space, open files, removal.

use std::{
    collections::HashMap,
    fs::File,
    hash::Hasher as _,
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use larder_core::{CacheGroup, CacheKey, EntryId, Timestamp};
use parking_lot::{Mutex, RwLock};
use siphasher::sip::SipHasher13;

use crate::{
    DiskOptions,
    buffers::Buffers,
    counters::Counters,
    directory::Directory,
    file_name::{FileName, INDEX, STALE, TOMBS},
    index::{BUCKET, FIRST_BUCKETS, Index, Slot},
    read_cache::ReadCache,
    segment::SegmentWriter,
    state_file::StateFile,
    tombstones::{TombstoneKind, Tombstones},
};

/// Files that stay open for the next reader.
const OPEN_FILES: usize = 256;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) directory: Directory,
    pub(crate) state_file: StateFile,
    pub(crate) index: Index,
    pub(crate) tombstones: Tombstones,
    /// When groups were made stale, in ms, in the same places.
    pub(crate) stale: Tombstones,
    pub(crate) segment_writer: SegmentWriter,
    pub(crate) buffers: Buffers,
    pub(crate) counters: Counters,
    pub(crate) read_cache: ReadCache,
    pub(crate) options: DiskOptions,
    /// One at a time in this process, and what it will look at next.
    pub(crate) evicting: Mutex<std::collections::VecDeque<u32>>,
    files: RwLock<HashMap<FileName, Arc<File>>>,
    /// Set when the directory was taken away under us: nothing is written any more.
    pub(crate) is_lost: AtomicBool,
}

impl Volume {
    pub(crate) fn open(path: &Path, options: DiskOptions) -> io::Result<Self> {
        let directory = Directory::open(path)?;
        let index = directory.fixed(INDEX)?;
        let ledger = StateFile::open(&directory, || {
            // No page of counters, or a damaged one: what is there can't be told apart from what was removed.
            for name in directory.list()? {
                directory.remove(name)?;
            }
            index.set_len(0)?;
            directory.fixed(TOMBS)?.set_len(0)?;
            directory.fixed(STALE)?.set_len(0)?;
            index.set_len(u64::from(FIRST_BUCKETS) * BUCKET as u64)?;
            Ok(FIRST_BUCKETS)
        })?;
        let buckets = ledger.peek()?.buckets;
        Ok(Self {
            index: Index::new(index, buckets),
            tombstones: Tombstones::new(directory.fixed(TOMBS)?),
            stale: Tombstones::new(directory.fixed(STALE)?),
            directory,
            state_file: ledger,
            segment_writer: SegmentWriter::default(),
            buffers: Buffers::default(),
            counters: Counters::default(),
            read_cache: ReadCache::new(options.read_cache_bytes),
            options,
            evicting: Mutex::default(),
            files: RwLock::default(),
            is_lost: AtomicBool::new(false),
        })
    }

    /// The hash of a key, the same in all processes of this directory.
    pub(crate) fn hash(&self, key: &CacheKey) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.state_file.seed);
        hasher.write(key.as_bytes());
        hasher.finish()
    }

    pub(crate) fn group_hash(&self, group: &CacheGroup) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.state_file.seed);
        for part in [group.origin(), group.name()] {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part.as_bytes());
        }
        hasher.finish()
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.options.segment()
    }

    /// A file for reading, which stays open for the next reader.
    pub(crate) fn file(&self, name: FileName) -> io::Result<Arc<File>> {
        if let Some(file) = self.files.read().get(&name) {
            return Ok(Arc::clone(file));
        }
        let file = match self.directory.open_file(name) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                // Ours may be what others need.
                self.files.write().clear();
                self.directory.open_file(name)?
            }
            opened => opened?,
        };
        let file = Arc::new(file);
        let mut files = self.files.write();
        if files.len() >= OPEN_FILES {
            // Any half of them: the busy ones are back at once.
            let mut keep = false;
            files.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        files.insert(name, Arc::clone(&file));
        Ok(file)
    }

    /// Lets go of files that have been removed, whose space is not free before.
    pub(crate) fn close_removed(&self) {
        use std::os::unix::fs::MetadataExt as _;
        let there = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        let open: Vec<_> = self.files.read().iter().map(|(name, file)| (*name, Arc::clone(file))).collect();
        let gone: Vec<_> = open.into_iter().filter(|(_, file)| !there(file)).map(|(name, _)| name).collect();
        if !gone.is_empty() {
            let mut files = self.files.write();
            gone.iter().for_each(|name| drop(files.remove(name)));
        }
    }

    /// Takes and gives back space.
    pub(crate) fn account(&self, more: u64, less: u64) -> io::Result<()> {
        let mut locked = self.state_file.lock()?;
        locked.state.used = (locked.state.used + more).saturating_sub(less);
        locked.save()
    }

    /// Removes a file and gives its space back.
    pub(crate) fn discard(&self, name: FileName) -> io::Result<u64> {
        let size = self.directory.size_of(name).unwrap_or(0);
        self.files.write().remove(&name);
        Ok(if self.directory.remove(name)? { size } else { 0 })
    }

    /// The number of an entry that has never been and that strangers can't guess.
    pub(crate) fn new_entry() -> io::Result<EntryId> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(EntryId(u64::from_le_bytes(bytes)))
    }

    /// Removes all that is stored under a key, and whatever is being written under it.
    pub(crate) fn remove(&self, key: &CacheKey) -> io::Result<()> {
        let hash = self.hash(key);
        let tag = hash as u32;
        let mut files = Vec::new();
        let mut locked = self.state_file.lock()?;
        let sequence = locked.next_sequence();
        self.tombstones.set(TombstoneKind::Key(hash), sequence)?;
        locked.save()?;
        let mut bucket = self.index.bucket(tag, crate::pread::ReadMode::Blocking)?;
        let found: Vec<(usize, Slot)> = bucket.matching(tag).collect();
        if found.is_empty() {
            return Ok(());
        }
        for (place, slot) in found {
            files.extend(self.file_of(&slot));
            bucket.clear(place);
        }
        self.index.write(&bucket)?;
        for file in files {
            let freed = self.discard(file)?;
            locked.state.used = locked.state.used.saturating_sub(freed);
        }
        locked.save()
    }

    /// The file in which a slot's body is, if it has one.
    pub(crate) fn file_of(&self, slot: &Slot) -> Option<FileName> {
        if !slot.has_file {
            return None;
        }
        let envelope = self.envelope_at(slot).ok()??;
        Some(FileName::Body(envelope.hash, envelope.entry.0))
    }

    pub(crate) fn invalidate(&self, group: &CacheGroup) -> io::Result<()> {
        let hash = self.group_hash(group);
        let mut locked = self.state_file.lock()?;
        let sequence = locked.next_sequence();
        // The number first: who begins after this has it, and is not older than the removal.
        locked.save()?;
        self.tombstones.set(TombstoneKind::Group(hash), sequence)
    }

    /// Makes what is in the group and was asked for by then stale.
    pub(crate) fn outdate(&self, group: &CacheGroup, at: Timestamp) -> io::Result<()> {
        let _locked = self.state_file.lock()?;
        self.stale.set(TombstoneKind::Group(self.group_hash(group)), at.as_millis())
    }

    /// Removes everything, and keeps what is being written from being stored.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut locked = self.state_file.lock()?;
        let sequence = locked.next_sequence();
        locked.state.clear_epoch = sequence;
        locked.save()?;
        self.index.clear(locked.state.buckets)?;
        drop(locked);
        // Nothing leads to these any more; what is left of them here, the next sweep takes.
        self.close_log();
        self.sweep()
    }

    /// Whether the path still leads here and the counters can be read.
    pub(crate) fn is_intact(&self) -> bool {
        self.directory.is_there()
            && self.state_file.peek().is_ok_and(|state| state.seed == self.state_file.seed)
    }

    /// Adds what this process has counted to what all have.
    pub(crate) fn write_counts(&self) {
        if self.counters.is_empty() {
            return;
        }
        if let Ok(mut locked) = self.state_file.lock() {
            self.counters.drain(&mut locked.state.counts);
            let _ = locked.save();
        }
    }
}
