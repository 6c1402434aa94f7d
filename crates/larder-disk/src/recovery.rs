//! What a process that died has left: found by being locked by nobody, or led to by no slot.

use std::{io, sync::atomic::Ordering};

use larder_core::EntryId;

use crate::{file_name::FileName, pread::ReadMode, volume::Volume};

impl Volume {
    /// Removes what leads nowhere, and counts the space that is used anew. Look-ups go on meanwhile.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let before = self.state_file.peek()?;
        let mut used = self.directory.fixed_bytes()?;
        for name in self.directory.list()? {
            if self.is_lost.load(Ordering::Relaxed) {
                return Ok(());
            }
            used += match name {
                FileName::Temp(_) => self.abandoned(name)?,
                FileName::Body(hash, entry) => self.orphaned(name, hash, EntryId(entry))?,
                FileName::Segment(number) => self.segment_size(name, number, before.clear_epoch)?,
            };
        }
        let mut locked = self.state_file.lock()?;
        // What was taken and given back while we counted.
        let (taken, given) = (locked.state.used, before.used);
        locked.state.used = (used + taken).saturating_sub(given);
        locked.save()?;
        drop(locked);
        self.make_room(0)
    }

    /// A body that was never finished; zero if it was removed.
    fn abandoned(&self, name: FileName) -> io::Result<u64> {
        let file = match self.directory.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            opened => opened?,
        };
        if file.try_lock().is_ok() {
            self.directory.remove(name)?;
            return Ok(0);
        }
        Ok(self.directory.size_of(name).unwrap_or(0))
    }

    /// A body whose head was removed, or never published, when its process died.
    fn orphaned(&self, name: FileName, hash: u64, entry: EntryId) -> io::Result<u64> {
        let _locked = self.state_file.lock()?;
        let bucket = self.index.bucket(hash as u32, ReadMode::Blocking)?;
        if self.slot_of(&bucket, hash, entry)?.is_none() {
            self.directory.remove(name)?;
            return Ok(0);
        }
        Ok(self.directory.size_of(name).unwrap_or(0))
    }

    /// One that is being written counts whole.
    fn segment_size(&self, name: FileName, number: u32, cleared: u64) -> io::Result<u64> {
        let file = match self.directory.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            opened => opened?,
        };
        if file.try_lock().is_err() {
            return Ok(self.segment_bytes());
        }
        if cleared > 0 && self.is_older_than(&file, cleared)? {
            tracing::debug!(number, "removing a segment from before everything was removed");
            self.discard(name)?;
            return Ok(0);
        }
        Ok(self.directory.size_of(name).unwrap_or(0))
    }

    /// Whether all of a segment was committed before that. Records stand in the order of their commits, but for those
    /// that were written anew, which are older.
    fn is_older_than(&self, file: &std::fs::File, cleared: u64) -> io::Result<bool> {
        let mut position = 0;
        while let Some(envelope) = crate::eviction::envelope_at(file, position)? {
            if envelope.order > cleared {
                return Ok(false);
            }
            position += envelope.units() * crate::index::UNIT;
        }
        Ok(true)
    }
}
