//! What all processes agree on: a page of counters, and the lock under which anything changes.
//!
//! The lock is held for microseconds and by the kernel's care given back when its holder dies. Looking up takes no lock.

use std::{fs::File, io, os::unix::fs::FileExt as _, thread, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    directory::Directory,
    file_name::{LOCK, STATE},
};

const MAGIC: &[u8; 8] = b"LARDISK2";
const SIZE: usize = 116;
/// Where the sequence number stands.
const SEQUENCE: u64 = 32;

/// How long anybody may keep the others from writing; who waits longer does without.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_micros(100);

/// The counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Seeds the hash of keys, so that a stranger can't choose keys that meet in one bucket.
    pub(crate) seed: [u8; 16],
    /// Buckets of the index.
    pub(crate) buckets: u32,
    /// The number of the next segment.
    pub(crate) next_segment: u32,
    /// Counts removals and commits: what is older than what.
    pub(crate) sequence: u64,
    /// Bytes of the file system that segments, bodies and index take.
    pub(crate) used: u64,
    pub(crate) counts: Counts,
    /// The sequence number when everything was removed last.
    pub(crate) clear_epoch: u64,
    /// The same when something was removed by the beginning of its URL.
    pub(crate) prefix_epoch: u64,
}

/// What has happened since the directory was made, in all processes.
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
        })
    }

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
        let checksum = crc32fast::hash(&bytes[..SIZE - 4]);
        bytes[SIZE - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
        if &bytes[..8] != MAGIC || u32_at(SIZE - 4)? != crc32fast::hash(&bytes[..SIZE - 4]) {
            return None;
        }
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
        })
    }
}

/// The page, and the lock.
#[derive(Debug)]
pub(crate) struct StateFile {
    page: File,
    lock: File,
    /// Among this process's threads; the file's lock is one for all of them.
    threads: Mutex<()>,
    pub(crate) seed: [u8; 16],
}

impl StateFile {
    /// Opens the page. `begin` empties the directory and makes a new page, where there is none or it is damaged.
    pub(crate) fn open(directory: &Directory, begin: impl FnOnce() -> io::Result<u32>) -> io::Result<Self> {
        let page = directory.fixed(STATE)?;
        let lock = directory.fixed(LOCK)?;
        let mut ledger = Self { page, lock, threads: Mutex::new(()), seed: [0; 16] };
        let held = ledger.hold()?;
        let state = match ledger.read()? {
            Some(state) => state,
            None => {
                let state = State::new(begin()?)?;
                ledger.page.write_all_at(&state.encode(), 0)?;
                state
            }
        };
        drop(held);
        ledger.seed = state.seed;
        Ok(ledger)
    }

    /// The lock, with the counters as they are. What is changed in them is kept by [`StateGuard::save`].
    pub(crate) fn lock(&self) -> io::Result<StateGuard<'_>> {
        let held = self.hold()?;
        let state = self.read()?.filter(|state| state.seed == self.seed);
        let state =
            state.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the page of counters"))?;
        Ok(StateGuard { state_file: self, written: state, state, _held: held })
    }

    /// The counters, perhaps of a moment ago.
    pub(crate) fn peek(&self) -> io::Result<State> {
        if let Some(state) = self.read()? {
            return Ok(state);
        }
        // Somebody was just writing them. Nobody is, under the lock.
        let _held = self.hold()?;
        self.read()?.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the page of counters"))
    }

    /// The sequence number as it is now.
    pub(crate) fn sequence(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.page.read_exact_at(&mut bytes, SEQUENCE)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read(&self) -> io::Result<Option<State>> {
        let mut bytes = [0; SIZE];
        match self.page.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(State::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn hold(&self) -> io::Result<HeldLocks<'_>> {
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, "another process has held the lock for too long");
        let threads = self.threads.try_lock_for(LOCK_TIMEOUT).ok_or_else(late)?;
        let mut naps = LOCK_TIMEOUT.as_micros() / LOCK_POLL.as_micros();
        let mut tries = 0;
        loop {
            match self.lock.try_lock() {
                Ok(()) => return Ok(HeldLocks { file: &self.lock, _threads: threads }),
                Err(std::fs::TryLockError::WouldBlock) if tries < 50 => {
                    tries += 1;
                    thread::yield_now();
                }
                Err(std::fs::TryLockError::WouldBlock) if naps > 0 => {
                    naps -= 1;
                    thread::sleep(LOCK_POLL);
                }
                Err(std::fs::TryLockError::WouldBlock) => return Err(late()),
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Nobody else changes anything.
pub(crate) struct StateGuard<'a> {
    state_file: &'a StateFile,
    /// To be changed, and then saved.
    pub(crate) state: State,
    written: State,
    _held: HeldLocks<'a>,
}

impl StateGuard<'_> {
    /// A number that nothing has had before.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.state.sequence += 1;
        self.state.sequence
    }

    /// Keeps what was changed.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.state != self.written {
            self.state_file.page.write_all_at(&self.state.encode(), 0)?;
            self.written = self.state;
        }
        Ok(())
    }
}

struct HeldLocks<'a> {
    file: &'a File,
    _threads: MutexGuard<'a, ()>,
}

impl Drop for HeldLocks<'_> {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
