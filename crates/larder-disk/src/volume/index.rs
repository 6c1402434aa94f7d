//! The index: a hash table in a file that maps a key's hash to the locations of its records. A
//! lookup reads one bucket with one positioned read.
//!
//! The table grows by one bucket at a time (linear hashing). A bucket's *depth* is the number of
//! hash bits that select it. A reader that does not know the newest buckets finds a depth greater
//! than the number of bits it has used, and uses one more bit. Readers therefore need neither a
//! lock nor notifications from writers. A slot is only a hint: callers use the record it points to
//! only if the record has the right key and a valid checksum.
//!
//! Buckets are encoded in `bucket`. Locking is left to the callers: `lookup` reads; `commit`,
//! `removal`, `damage` and `eviction` write.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    format::bucket::{BUCKET, Bucket, RecordLocation, Slot},
    fs::pread::{ReadMode, read_at},
};

/// When an insert leaves more slots than this in its bucket, the index grows by one bucket.
const SPLIT_THRESHOLD: usize = 40;
/// Number of buckets of a new index.
pub(crate) const FIRST_BUCKETS: u32 = 64;
/// Largest number of buckets: enough for about two billion entries.
const MAX_BUCKETS: u32 = 1 << 26;

/// The index file.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    /// Number of buckets that this process knows. Other processes may have added more.
    known: AtomicU32,
}

impl Index {
    /// Creates an index on an open file with this number of buckets.
    pub(crate) fn new(file: File, buckets: u32) -> Self {
        Self { file, known: AtomicU32::new(buckets.clamp(FIRST_BUCKETS, MAX_BUCKETS)) }
    }

    /// Reads the bucket that contains a tag's slots.
    pub(crate) fn bucket(&self, tag: u32, mode: ReadMode) -> io::Result<Bucket> {
        let (mut number, mut expected) = address(tag, self.known.load(Ordering::Relaxed));
        loop {
            let mut bucket = self.read(number, mode)?;
            if bucket.depth() == 0 {
                // The bucket was never written, so it is empty.
                bucket.set_depth(expected);
            }
            if bucket.depth() <= expected {
                return Ok(bucket);
            }
            // The bucket has been split since: the tag may belong to one of the newer buckets.
            expected += 1;
            let next = tag & mask(expected);
            if next != number {
                number = next;
            }
        }
    }

    /// Writes a changed bucket to the file. The caller holds the lock.
    pub(crate) fn write(&self, bucket: &Bucket) -> io::Result<()> {
        self.file.write_all_at(&bucket.bytes, position(bucket.number))
    }

    /// Points the slot of a record to its new location. Returns `false` if the slot has changed.
    /// The caller holds the lock.
    pub(crate) fn replace(&self, old: &Slot, location: RecordLocation) -> io::Result<bool> {
        let mut bucket = self.bucket(old.tag, ReadMode::Blocking)?;
        let Some((slot_number, _)) = bucket.matching(old.tag).find(|(_, current)| current.is(old)) else {
            return Ok(false);
        };
        let slot = Slot {
            segment: location.segment,
            offset: location.offset,
            size: location.size,
            referenced: 0,
            ..*old
        };
        bucket.put(slot_number, &slot);
        self.write(&bucket)?;
        Ok(true)
    }
    /// Sets a slot's CLOCK bit. Takes no lock: if the slot has been replaced meanwhile, the worst
    /// effect is that another entry survives one more round of eviction.
    pub(crate) fn mark_referenced(&self, bucket: &Bucket, slot_number: usize) {
        let at = position(bucket.number) + Bucket::referenced_offset(slot_number) as u64;
        let _ = self.file.write_all_at(&[1], at);
    }

    /// Grows the index by one bucket if `after` is crowded: splits the bucket that is next in turn.
    /// Returns the new number of buckets. The caller holds the lock; `buckets` is the number in the
    /// state file.
    pub(crate) fn grow(&self, after: &Bucket, buckets: u32) -> io::Result<u32> {
        if after.slots().count() <= SPLIT_THRESHOLD || buckets >= MAX_BUCKETS {
            return Ok(buckets);
        }
        let level = buckets.ilog2();
        let number = buckets - (1 << level);
        let mut old = self.read(number, ReadMode::Blocking)?;
        let mut new = Bucket::empty(buckets);
        // If it is deeper already, a process died after it had written both halves of this split.
        if old.depth() <= level {
            let (mut free, slots) = (1, old.slots().collect::<Vec<_>>());
            for (slot_number, slot) in slots {
                if slot.tag & (1 << level) != 0 {
                    new.put(free, &slot);
                    free += 1;
                    old.clear(slot_number);
                }
            }
            old.set_depth(level + 1);
            new.set_depth(level + 1);
            self.write(&new)?;
            self.write(&old)?;
        }
        self.known.store(buckets + 1, Ordering::Relaxed);
        Ok(buckets + 1)
    }

    /// Waits until the index is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Returns the number of buckets in the file. After a crash, it may be one more than that in
    /// the state file.
    pub(crate) fn buckets(&self) -> io::Result<u32> {
        let buckets = self.file.metadata()?.len().div_ceil(BUCKET as u64);
        Ok(u32::try_from(buckets).unwrap_or(MAX_BUCKETS).min(MAX_BUCKETS))
    }

    /// Removes all slots by truncating the file. The number of buckets stays.
    pub(crate) fn clear(&self, buckets: u32) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.set_len(u64::from(buckets) * BUCKET as u64)
    }

    /// Reads the bucket with this number.
    pub(crate) fn read(&self, number: u32, mode: ReadMode) -> io::Result<Bucket> {
        let mut bucket = Bucket::empty(number);
        let read = read_at(&self.file, &mut bucket.bytes, position(number), mode)?;
        // What is beyond the end of the file, also while another process truncates it, is empty.
        bucket.bytes[read..].fill(0);
        Ok(bucket)
    }
}

/// Returns the byte offset of a bucket in the file.
fn position(number: u32) -> u64 {
    u64::from(number) * BUCKET as u64
}

/// Returns a mask of the low `bits` bits.
fn mask(bits: u32) -> u32 {
    1u32.checked_shl(bits).map_or(u32::MAX, |bit| bit - 1)
}

/// Returns the bucket of a tag in a table of `buckets`, and the number of bits that select it.
fn address(tag: u32, buckets: u32) -> (u32, u32) {
    let level = buckets.ilog2();
    let deep = tag & mask(level + 1);
    if deep < buckets {
        let split = deep >= 1 << level || deep < buckets - (1 << level);
        (deep, if split { level + 1 } else { level })
    } else {
        (tag & mask(level), level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(tag: u32) -> Slot {
        Slot { tag, segment: 1, offset: tag, size: 3, referenced: 0, has_file: tag % 2 == 1 }
    }

    /// A reader that knows fewer buckets than exist still finds every slot.
    #[test]
    fn readers_with_an_old_bucket_count_find_every_slot() {
        let index = Index::new(tempfile::tempfile().expect("tempfile succeeds"), FIRST_BUCKETS);
        let stale = Index::new(index.file.try_clone().expect("try_clone succeeds"), FIRST_BUCKETS);
        let mut buckets = FIRST_BUCKETS;
        let tags: Vec<u32> = (0..30_000u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
        let mut lost = 0;
        for tag in &tags {
            let mut bucket = index.bucket(*tag, ReadMode::Blocking).expect("bucket succeeds");
            let (slot_number, evicted) = bucket.slot_for_insert();
            lost += u32::from(evicted.is_some());
            bucket.put(slot_number, &slot(*tag));
            index.write(&bucket).expect("write succeeds");
            buckets = index.grow(&bucket, buckets).expect("grow succeeds");
        }
        assert!(buckets > 500, "{buckets} buckets");
        assert!(lost < 30, "{lost} of {} were evicted", tags.len());
        for reader in [&index, &stale] {
            let missing = tags.iter().filter(|tag| {
                let bucket = reader.bucket(**tag, ReadMode::Blocking).expect("bucket succeeds");
                bucket.matching(**tag).all(|(_, found)| found != slot(**tag))
            });
            assert!(missing.count() <= lost as usize);
        }
        index.clear(buckets).expect("clear succeeds");
        assert!(
            tags.iter().all(|tag| index
                .bucket(*tag, ReadMode::Blocking)
                .expect("bucket succeeds")
                .slots()
                .count()
                == 0)
        );
    }

    /// A process that dies between the two writes of a split loses nothing.
    #[test]
    fn an_interrupted_split_is_finished_by_the_next_growth() {
        let index = Index::new(tempfile::tempfile().expect("tempfile succeeds"), FIRST_BUCKETS);
        let tags: Vec<u32> = (0..45).map(|n| n * 64).collect();
        let mut bucket = index.bucket(0, ReadMode::Blocking).expect("bucket succeeds");
        for tag in &tags {
            let (slot_number, _) = bucket.slot_for_insert();
            bucket.put(slot_number, &slot(*tag));
        }
        index.write(&bucket).expect("write succeeds");
        index.grow(&bucket, FIRST_BUCKETS).expect("grow succeeds");
        // The process was killed before the new number of buckets was saved.
        let next = Index::new(index.file.try_clone().expect("try_clone succeeds"), FIRST_BUCKETS);
        let found = |index: &Index| {
            let here = |tag: &&u32| {
                index.bucket(**tag, ReadMode::Blocking).expect("bucket succeeds").matching(**tag).count() == 1
            };
            tags.iter().filter(here).count()
        };
        assert_eq!(found(&next), tags.len());
        assert_eq!(next.grow(&bucket, FIRST_BUCKETS).expect("grow succeeds"), FIRST_BUCKETS + 1);
        assert_eq!(found(&next), tags.len());
    }
}
