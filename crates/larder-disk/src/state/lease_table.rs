//! Reads and writes the leases of all processes: a table of fixed size, indexed by the hash of the
//! key. How a process waits for a lease of another one is decided in `leases`.
//!
//! A slot names its holder, which has locked a file of its own for as long as it lives, and writes
//! a number to it again and again. Others therefore notice at once that it has died, and after a
//! while that it is stopped. The table is locked during a claim only.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    format::file_name::{FileName, LEASES},
    fs::{
        directory::{Directory, FileUse},
        pread::{ReadMode, read_at},
    },
};

/// Bytes of a slot: the hash of the key, the number of the holder, the number of the grant, and the
/// sequence at the grant.
const SLOT: usize = 32;
/// Slots that a key may have: it is found in one of them.
const WAYS: usize = 8;
/// Groups of that many slots.
const GROUPS: u64 = 512;
/// Time between two signs of life of a holder.
const BEAT: Duration = Duration::from_millis(500);

/// The table, as one process uses it.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    opened: OnceLock<Opened>,
    /// Lock between the threads of this process, which share the lock of the file. Held while the
    /// table is opened, too.
    threads: Mutex<()>,
}

/// What exists from the first claim on.
#[derive(Debug)]
struct Opened {
    table: File,
    holder: Arc<Holder>,
    /// Ends the thread that gives the signs of life.
    _stop: Sender<()>,
}

/// This process as a holder of leases.
#[derive(Debug)]
struct Holder {
    number: u64,
    /// Locked for as long as the process lives.
    file: File,
    grants: AtomicU64,
    /// Number of leases that are held.
    held: AtomicUsize,
}

/// A slot in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseSlot {
    position: u64,
    hash: u64,
    holder: u64,
    grant: u64,
    sequence: u64,
}

/// The result of a claim.
#[derive(Debug)]
pub(crate) enum Attempt {
    Granted(LeaseSlot),
    Held(LeaseSlot),
    /// All slots of the key are in use for other keys: it may be fetched without a lease.
    NoSlot,
    /// Another process or thread is changing the table.
    Busy,
}

impl LeaseTable {
    /// Claims the lease of a key with this hash, of which the last removal was `removed_at`.
    /// `sequence` is the current one.
    pub(crate) fn claim(
        &self,
        directory: &Directory,
        hash: u64,
        removed_at: u64,
        sequence: u64,
    ) -> io::Result<Attempt> {
        let Some(_threads) = self.threads.try_lock() else { return Ok(Attempt::Busy) };
        let Opened { table, holder, .. } = self.open(directory)?;
        let Some(_table) = TableLock::take(table)? else { return Ok(Attempt::Busy) };
        let first = (hash >> 32) % GROUPS * (WAYS * SLOT) as u64;
        let mut bytes = [0; WAYS * SLOT];
        read_at(table, &mut bytes, first, ReadMode::Blocking)?;
        let (slots, _) = bytes.as_chunks::<SLOT>();
        let slots = (first..).step_by(SLOT).zip(slots).map(|(at, bytes)| LeaseSlot::decode(at, bytes));
        let slots: Vec<_> = slots.collect();
        let ours = |position| LeaseSlot {
            position,
            hash,
            holder: holder.number,
            grant: holder.grants.fetch_add(1, Ordering::Relaxed),
            sequence,
        };
        let of_key = slots.iter().find(|slot| slot.hash == hash && slot.is_taken());
        let free = match of_key {
            // A fetch from before a removal is of no use to anyone after it.
            Some(slot) if slot.sequence < removed_at || !self.is_alive(directory, slot)? => Some(slot),
            Some(slot) => return Ok(Attempt::Held(*slot)),
            None => match slots.iter().find(|slot| !slot.is_taken()) {
                Some(free) => Some(free),
                None => {
                    let mut dead = None;
                    for slot in &slots {
                        if !self.is_alive(directory, slot)? {
                            dead = Some(slot);
                            break;
                        }
                    }
                    dead
                }
            },
        };
        let Some(free) = free else { return Ok(Attempt::NoSlot) };
        let slot = ours(free.position);
        table.write_all_at(&slot.encode(), slot.position)?;
        holder.held.fetch_add(1, Ordering::Relaxed);
        Ok(Attempt::Granted(slot))
    }

    /// Returns whether the lease is held as before.
    pub(crate) fn is_held(&self, slot: &LeaseSlot) -> io::Result<bool> {
        let Some(Opened { table, .. }) = self.opened.get() else { return Ok(false) };
        let mut bytes = [0; SLOT];
        read_at(table, &mut bytes, slot.position, ReadMode::Blocking)?;
        Ok(LeaseSlot::decode(slot.position, &bytes) == *slot)
    }

    /// Returns whether the holder of a lease lives. It may be stopped.
    pub(crate) fn is_alive(&self, directory: &Directory, slot: &LeaseSlot) -> io::Result<bool> {
        if self.opened.get().is_some_and(|opened| opened.holder.number == slot.holder) {
            return Ok(true);
        }
        Ok(matches!(directory.lock_unused(FileName::Holder(slot.holder))?, FileUse::Used))
    }

    /// Reads the last sign of life of the holder of a lease.
    pub(crate) fn beat(&self, directory: &Directory, slot: &LeaseSlot) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let file = directory.open_file(FileName::Holder(slot.holder))?;
        read_at(&file, &mut bytes, 0, ReadMode::Blocking)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Takes the lease from its holder, which is stopped.
    pub(crate) fn revoke(&self, slot: &LeaseSlot) -> io::Result<()> {
        let Some(Opened { table, .. }) = self.opened.get() else { return Ok(()) };
        let Some(_threads) = self.threads.try_lock() else { return Ok(()) };
        let Some(_table) = TableLock::take(table)? else { return Ok(()) };
        self.clear(slot)
    }

    /// Releases a lease of this process. Takes no lock: only the holder changes a slot, unless it
    /// is dead or stopped, or the key was removed. In the latter two cases, the lease of another
    /// process may be released, which lets a third one fetch as well.
    pub(crate) fn release(&self, slot: &LeaseSlot) -> io::Result<()> {
        if let Some(Opened { holder, .. }) = self.opened.get() {
            holder.held.fetch_sub(1, Ordering::Relaxed);
        }
        self.clear(slot)
    }

    /// Removes the file of this process as a holder, at its end.
    pub(crate) fn close(&self, directory: &Directory) {
        if let Some(Opened { holder, .. }) = self.opened.get() {
            let _ = directory.remove(FileName::Holder(holder.number));
        }
    }

    /// Frees a slot, if the lease is held as before.
    fn clear(&self, slot: &LeaseSlot) -> io::Result<()> {
        match self.opened.get() {
            Some(Opened { table, .. }) if self.is_held(slot)? => {
                table.write_all_at(&[0; SLOT], slot.position)
            }
            _ => Ok(()),
        }
    }

    /// Opens the table, and creates the file of this process as a holder. The caller has locked
    /// `threads`.
    fn open(&self, directory: &Directory) -> io::Result<&Opened> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(io::Error::other)?;
        let number = u64::from_le_bytes(number).max(1);
        let file = directory.create(FileName::Holder(number))?;
        let holder = Arc::new(Holder { number, file, grants: AtomicU64::new(1), held: AtomicUsize::new(0) });
        let beating = Arc::clone(&holder);
        let (stop, stopped) = channel();
        thread::Builder::new().name("larder-disk-lease".to_owned()).spawn(move || {
            let mut beats = 0u64;
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                if beating.held.load(Ordering::Relaxed) > 0 {
                    beats += 1;
                    let _ = beating.file.write_all_at(&beats.to_le_bytes(), 0);
                }
            }
        })?;
        let table = directory.open_fixed(LEASES)?;
        Ok(self.opened.get_or_init(|| Opened { table, holder, _stop: stop }))
    }
}

impl LeaseSlot {
    /// Returns the hash of the key.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the sequence at the grant.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether the slot is in use.
    fn is_taken(&self) -> bool {
        self.holder != 0
    }

    /// Decodes a slot.
    fn decode(position: u64, bytes: &[u8; SLOT]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |index: usize| numbers.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { position, hash: number(0), holder: number(1), grant: number(2), sequence: number(3) }
    }

    /// Encodes the slot.
    fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let numbers = [self.hash, self.holder, self.grant, self.sequence];
        for (number, at) in numbers.iter().zip((0..).step_by(8)) {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

/// The lock of the table between processes. It is released when this is dropped.
struct TableLock<'a>(&'a File);

impl<'a> TableLock<'a> {
    /// Takes the lock. Returns `None` if another process has it.
    fn take(table: &'a File) -> io::Result<Option<Self>> {
        match table.try_lock() {
            Ok(()) => Ok(Some(Self(table))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for TableLock<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
