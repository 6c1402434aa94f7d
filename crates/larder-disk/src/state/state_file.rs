//! Reads and writes the state that all processes share: a file of counters, the lock that every
//! change requires, and the key of the hash.
//!
//! The lock is held for microseconds, and waited for at most 2 s. The kernel releases it when its
//! holder dies. Lookups take no lock.

use std::{
    fs::File,
    hash::Hasher as _,
    io,
    os::unix::fs::FileExt as _,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use larder_core::{CacheGroup, CacheKey};
use parking_lot::{Mutex, MutexGuard};
use siphasher::sip::SipHasher13;

use crate::{
    format::file_name::{LOCK, STATE},
    fs::{
        directory::Directory,
        pread::{ReadMode, read_at},
    },
    sizes::{DEFAULT_LIMIT, MIN_LIMIT, Sizes},
};

/// First bytes of the state file.
const MAGIC: &[u8; 8] = b"LARDISK2";
/// Bytes of the first part of the state file, which all versions of this layout have.
const BASE: usize = 116;
/// Bytes of the state file: the first part, and the extension with a checksum of its own. Programs
/// that do not know the extension leave it unchanged.
const SIZE: usize = 144;
/// Byte offset of the sequence number.
const SEQUENCE: u64 = 32;
/// Sequence numbers that are skipped when the directory is opened. After a power failure the state
/// may be older than the records: their numbers must not be given again.
const SEQUENCE_JUMP: u64 = 1 << 32;

/// Longest wait for the lock. After that the operation fails.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_micros(100);

/// The content of the state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Random key of the hash, so that clients cannot choose URLs that collide in one bucket.
    seed: [u8; 16],
    /// Number of buckets of the index.
    pub(crate) buckets: u32,
    /// Number of the next segment.
    pub(crate) next_segment: u32,
    /// Sequence number: incremented by removals and commits, which it puts in order.
    pub(crate) sequence: u64,
    /// Bytes of the file system that segments, bodies and the index occupy.
    pub(crate) used: u64,
    /// Totals of all processes.
    pub(crate) counts: Counts,
    /// Sequence number of the last clear.
    pub(crate) clear_epoch: u64,
    /// Sequence number of the last removal by URL prefix.
    pub(crate) prefix_epoch: u64,
    /// Space that the directory may occupy, in bytes. Zero in a directory of a program that did not
    /// record it.
    pub(crate) limit: u64,
    /// Sequence number of the last removal of any group.
    pub(crate) group_epoch: u64,
}

/// Event totals of all processes since the directory was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stored: u64,
    pub(crate) evicted: u64,
    pub(crate) corrupt: u64,
    pub(crate) failed: u64,
}

impl State {
    /// Creates the state of an empty directory, with a random hash key.
    fn new(buckets: u32) -> io::Result<Self> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Self {
            seed,
            buckets,
            next_segment: 1,
            sequence: 1,
            used: 0,
            counts: Counts::default(),
            clear_epoch: 0,
            prefix_epoch: 0,
            limit: DEFAULT_LIMIT,
            group_epoch: 0,
        })
    }

    /// Returns the limit of the directory in bytes.
    pub(crate) fn limit(&self) -> u64 {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.max(MIN_LIMIT) }
    }

    /// Sets the limit to the one that a process has chosen. Without one, the limit of the directory
    /// stays; a directory without a limit gets the default, or what it occupies if that is more.
    fn choose_limit(&mut self, chosen: Option<u64>) {
        let chosen = chosen.map(|limit| limit.max(MIN_LIMIT));
        let before = self.limit;
        self.limit = match (chosen, before) {
            (Some(chosen), _) => chosen,
            (None, 0) => self.used.max(DEFAULT_LIMIT),
            (None, before) => before,
        };
        if before != 0 && before != self.limit {
            tracing::info!(before, now = self.limit, "disk store: changed the limit of the directory");
        }
    }

    /// Encodes the state with its checksum.
    fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(MAGIC);
        put(&self.seed);
        put(&self.buckets.to_le_bytes());
        put(&self.next_segment.to_le_bytes());
        put(&self.sequence.to_le_bytes());
        put(&self.used.to_le_bytes());
        let Counts { hits, misses, stored, evicted, corrupt, failed } = self.counts;
        for count in [hits, misses, stored, evicted, corrupt, failed, self.clear_epoch, self.prefix_epoch] {
            put(&count.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes[..BASE - 4]);
        bytes[BASE - 4..BASE].copy_from_slice(&checksum.to_le_bytes());
        bytes[BASE..BASE + 8].copy_from_slice(&self.limit.to_le_bytes());
        bytes[BASE + 8..BASE + 16].copy_from_slice(&self.group_epoch.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[BASE..SIZE - 4]);
        bytes[SIZE - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes the state. Returns `None` if the magic or a checksum is wrong. The extension may be
    /// missing.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
        let base: &[u8; BASE] = bytes.first_chunk()?;
        if &base[..8] != MAGIC || u32_at(BASE - 4)? != crc32fast::hash(&base[..BASE - 4]) {
            return None;
        }
        let (limit, group_epoch) = match bytes.len() {
            BASE => (0, 0),
            SIZE if u32_at(SIZE - 4)? == crc32fast::hash(&bytes[BASE..SIZE - 4]) => {
                (u64_at(BASE)?, u64_at(BASE + 8)?)
            }
            _ => return None,
        };
        Some(Self {
            seed: *bytes[8..].first_chunk()?,
            buckets: u32_at(24)?,
            next_segment: u32_at(28)?,
            sequence: u64_at(32)?,
            used: u64_at(40)?,
            counts: Counts {
                hits: u64_at(48)?,
                misses: u64_at(56)?,
                stored: u64_at(64)?,
                evicted: u64_at(72)?,
                corrupt: u64_at(80)?,
                failed: u64_at(88)?,
            },
            clear_epoch: u64_at(96)?,
            prefix_epoch: u64_at(104)?,
            limit,
            group_epoch,
        })
    }
}

/// The open state file, and the lock.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    lock: File,
    /// Lock between the threads of this process, which share the lock of the file.
    threads: Mutex<()>,
    /// Key of the hash, as read when the directory was opened.
    seed: [u8; 16],
    /// Limit of the directory, as last read.
    limit: AtomicU64,
}

impl StateFile {
    /// Opens the state file. If it is missing or damaged, calls `initialize`, which empties the
    /// directory and returns the number of buckets; then writes a new state. `limit` is the limit
    /// that this process has chosen.
    pub(crate) fn open(
        directory: &Directory,
        limit: Option<u64>,
        initialize: impl FnOnce() -> io::Result<u32>,
    ) -> io::Result<Self> {
        let mut opened = Self::of(directory)?;
        let locks = opened.acquire_locks()?;
        let mut state = match opened.read()? {
            Some(state) => state,
            None => State::new(initialize()?)?,
        };
        state.choose_limit(limit);
        state.sequence += SEQUENCE_JUMP;
        opened.file.write_all_at(&state.encode(), 0)?;
        opened.sync()?;
        drop(locks);
        opened.limit.store(state.limit, Ordering::Relaxed);
        opened.seed = state.seed;
        Ok(opened)
    }

    /// Opens the state file of an existing directory, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the state is missing or damaged.
    pub(crate) fn open_existing(directory: &Directory) -> io::Result<Self> {
        let mut opened = Self::of(directory)?;
        opened.seed = opened.peek()?.seed;
        Ok(opened)
    }

    /// Opens the files.
    fn of(directory: &Directory) -> io::Result<Self> {
        let (file, lock) = (directory.open_fixed(STATE)?, directory.open_fixed(LOCK)?);
        let limit = AtomicU64::new(DEFAULT_LIMIT);
        Ok(Self { file, lock, threads: Mutex::new(()), seed: [0; 16], limit })
    }

    /// Returns the sizes that follow from the limit of the directory, as this process has last read
    /// it.
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes::new(self.limit.load(Ordering::Relaxed))
    }

    /// Waits until the state is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Takes the lock and reads the state. Changes are written by [`StateGuard::save`].
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) if the lock is not free within two seconds;
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the state is damaged or of another directory.
    pub(crate) fn lock(&self) -> io::Result<StateGuard<'_>> {
        let locks = self.acquire_locks()?;
        let state = self.read()?.filter(|state| state.seed == self.seed);
        let state = state.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the state file of the cache directory is damaged or has been replaced",
            )
        })?;
        Ok(StateGuard { state_file: self, written: state, state, _locks: locks })
    }

    /// Reads the state, without the lock if no process is writing it. The state may be outdated by
    /// the time it is returned.
    pub(crate) fn peek(&self) -> io::Result<State> {
        if let Some(state) = self.read()? {
            return Ok(state);
        }
        // Another process or thread may have been writing the state. Under the lock none is.
        let _locks = self.acquire_locks()?;
        self.read()?.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the state file of the cache directory is damaged or has been replaced",
            )
        })
    }

    /// Reads the current sequence number without the lock.
    pub(crate) fn sequence(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, SEQUENCE)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Returns the hash of a key, which is the same in all processes that share this directory.
    pub(crate) fn hash(&self, key: &CacheKey) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        hasher.write(key.as_bytes());
        hasher.finish()
    }

    /// Returns the hash of a group, over its origin and its name.
    pub(crate) fn group_hash(&self, group: &CacheGroup) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        for text in [group.origin(), group.name()] {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text.as_bytes());
        }
        hasher.finish()
    }

    /// Adds `more` bytes to the used space and subtracts `less`.
    pub(crate) fn account(&self, more: u64, less: u64) -> io::Result<()> {
        let mut guard = self.lock()?;
        guard.state.used = (guard.state.used + more).saturating_sub(less);
        guard.save()
    }

    /// Returns whether the file is valid and still the one that was opened.
    pub(crate) fn is_intact(&self) -> bool {
        self.peek().is_ok_and(|state| state.seed == self.seed)
    }

    /// Reads the state. Returns `None` if it is missing or damaged.
    fn read(&self) -> io::Result<Option<State>> {
        let mut bytes = [0; SIZE];
        let read = read_at(&self.file, &mut bytes, 0, ReadMode::Blocking)?;
        let state = State::decode(&bytes[..read]);
        if let Some(state) = state {
            self.limit.store(state.limit(), Ordering::Relaxed);
        }
        Ok(state)
    }

    /// Takes both locks, that of this process's threads and that of the file.
    fn acquire_locks(&self) -> io::Result<HeldLocks<'_>> {
        let timed_out = || {
            io::Error::new(io::ErrorKind::TimedOut, "the lock of the cache directory was not free within 2 s")
        };
        let threads = self.threads.try_lock_for(LOCK_TIMEOUT).ok_or_else(timed_out)?;
        let mut polls = LOCK_TIMEOUT.as_micros() / LOCK_POLL.as_micros();
        let mut yields = 0;
        loop {
            match self.lock.try_lock() {
                Ok(()) => return Ok(HeldLocks { file: &self.lock, _threads: threads }),
                Err(std::fs::TryLockError::WouldBlock) if yields < 50 => {
                    yields += 1;
                    thread::yield_now();
                }
                Err(std::fs::TryLockError::WouldBlock) if polls > 0 => {
                    polls -= 1;
                    thread::sleep(LOCK_POLL);
                }
                Err(std::fs::TryLockError::WouldBlock) => return Err(timed_out()),
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Exclusive access to the state and to all changes of the directory.
pub(crate) struct StateGuard<'a> {
    state_file: &'a StateFile,
    /// The state, to be changed and then saved.
    pub(crate) state: State,
    /// The state as it is in the file.
    written: State,
    _locks: HeldLocks<'a>,
}

impl StateGuard<'_> {
    /// Increments the sequence number and returns it.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.state.sequence += 1;
        self.state.sequence
    }

    /// Writes the state to the file if it has changed.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.state != self.written {
            self.state_file.file.write_all_at(&self.state.encode(), 0)?;
            self.written = self.state;
        }
        Ok(())
    }
}

/// Both locks. They are released when this is dropped.
struct HeldLocks<'a> {
    file: &'a File,
    _threads: MutexGuard<'a, ()>,
}

impl Drop for HeldLocks<'_> {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
