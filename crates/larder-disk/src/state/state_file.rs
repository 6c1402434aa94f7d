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
    format::{
        file_name::{LOCK, STATE},
        state::{SIZE, State},
    },
    fs::{
        directory::Directory,
        pread::{ReadMode, read_at},
    },
    sizes::{DEFAULT_LIMIT, Sizes},
};

/// Byte offset of the sequence number.
const SEQUENCE: u64 = 32;
/// Sequence numbers that are skipped when the directory is opened. After a power failure the state
/// may be older than the records: their numbers must not be given again.
const SEQUENCE_JUMP: u64 = 1 << 32;

/// Longest wait for the lock. After that the operation fails.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_micros(100);

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
