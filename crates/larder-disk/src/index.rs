//! The index: where each key's records are. A hash table in a file, read with one positioned read.
//!
//! It grows by one bucket at a time (linear hashing): a bucket's *depth* says how many bits of the hash chose it. A reader
//! that has not heard of the newest buckets sees by the depth that it has to look further on, so it needs no lock and no
//! news from the writers. A slot is a hint and nothing more: what it leads to is believed only when the record there
//! has the key and its checksum.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::pread::{ReadMode, read_at};

pub(crate) const BUCKET: usize = 1024;
const SLOT: usize = 16;
const SLOTS: usize = BUCKET / SLOT - 1;
/// More than this in a bucket, and the index grows by one.
const CROWDED: usize = 40;
/// Buckets of a new index.
pub(crate) const FIRST_BUCKETS: u32 = 64;
/// The most: 2^26 buckets, for some two thousand million entries.
const MOST_BUCKETS: u32 = 1 << 26;
/// Where a slot's heat stands, within it.
const HEAT: usize = 14;

/// Offsets and sizes of records are counted in these many bytes.
pub(crate) const UNIT: u64 = 64;

/// Where one record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The low bits of the key's hash; they choose the bucket, too.
    pub(crate) tag: u32,
    pub(crate) segment: u32,
    /// In units.
    pub(crate) offset: u32,
    /// In units.
    pub(crate) size: u16,
    /// Not zero once it has been looked up since it was written.
    pub(crate) referenced: u8,
    /// Whether its body is a file of its own.
    pub(crate) has_file: bool,
}

impl Slot {
    pub(crate) fn position(&self) -> u64 {
        u64::from(self.offset) * UNIT
    }

    pub(crate) fn length(&self) -> usize {
        usize::from(self.size) * UNIT as usize
    }

    /// Whether both lead to the same record.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.tag, self.segment, self.offset) == (other.tag, other.segment, other.offset)
    }

    fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, heat, flags] = *bytes;
        let segment = u32::from_le_bytes([e, f, g, h]);
        (segment != 0).then_some(Self {
            tag: u32::from_le_bytes([a, b, c, d]),
            segment,
            offset: u32::from_le_bytes([i, j, k, l]),
            size: u16::from_le_bytes([m, n]),
            referenced: heat,
            has_file: flags & 1 != 0,
        })
    }

    fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..4].copy_from_slice(&self.tag.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.size.to_le_bytes());
        bytes[HEAT] = self.referenced;
        bytes[15] = u8::from(self.has_file);
        bytes
    }
}

/// One bucket, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Which one.
    pub(crate) number: u32,
    bytes: [u8; BUCKET],
}

impl Bucket {
    fn depth(&self) -> u32 {
        u32::from(self.bytes[0])
    }

    fn set_depth(&mut self, depth: u32) {
        self.bytes[0] = u8::try_from(depth).unwrap_or(u8::MAX);
    }

    /// The slots that are taken, with their places.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, Slot)> {
        let (all, _) = self.bytes.as_chunks::<SLOT>();
        all.iter().enumerate().skip(1).filter_map(|(place, bytes)| Some((place, Slot::decode(bytes)?)))
    }

    /// The slots of keys with this tag.
    pub(crate) fn matching(&self, tag: u32) -> impl Iterator<Item = (usize, Slot)> {
        self.slots().filter(move |(_, slot)| slot.tag == tag)
    }

    pub(crate) fn put(&mut self, place: usize, slot: &Slot) {
        self.bytes[place * SLOT..][..SLOT].copy_from_slice(&slot.encode());
    }

    pub(crate) fn clear(&mut self, place: usize) {
        self.bytes[place * SLOT..][..SLOT].fill(0);
    }

    /// A place for one more slot: a free one, or that of the coldest and oldest.
    pub(crate) fn place(&self) -> (usize, Option<Slot>) {
        let taken = |place: &usize| Slot::decode(self.bytes[place * SLOT..].first_chunk()?);
        match (1..=SLOTS).find(|place| taken(place).is_none()) {
            Some(free) => (free, None),
            None => {
                let coldest =
                    self.slots().min_by_key(|(_, slot)| (slot.referenced, slot.segment, slot.offset));
                coldest.map_or((1, None), |(place, slot)| (place, Some(slot)))
            }
        }
    }

    fn is_crowded(&self) -> bool {
        self.slots().count() > CROWDED
    }
}

/// The file.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    /// Buckets that this process knows of; there may be more.
    known: AtomicU32,
}

impl Index {
    pub(crate) fn new(file: File, buckets: u32) -> Self {
        Self { file, known: AtomicU32::new(buckets.clamp(FIRST_BUCKETS, MOST_BUCKETS)) }
    }

    /// The bucket in which a tag's slots are.
    pub(crate) fn bucket(&self, tag: u32, mode: ReadMode) -> io::Result<Bucket> {
        let (mut number, mut expected) = address(tag, self.known.load(Ordering::Relaxed));
        loop {
            let mut bucket = self.read(number, mode)?;
            if bucket.depth() == 0 {
                // Never written: empty.
                bucket.set_depth(expected);
            }
            if bucket.depth() <= expected {
                return Ok(bucket);
            }
            // It has been split since: the tag's place may be one that it was split into.
            expected += 1;
            let further = tag & mask(expected);
            if further != number {
                number = further;
            }
        }
    }

    /// A bucket that was changed, under the lock.
    pub(crate) fn write(&self, bucket: &Bucket) -> io::Result<()> {
        self.file.write_all_at(&bucket.bytes, position(bucket.number))
    }

    /// Notes that a slot was looked up. Needs no lock: whatever the slot is by now, this says nothing wrong of it that
    /// matters.
    pub(crate) fn mark_referenced(&self, bucket: &Bucket, place: usize) {
        let at = position(bucket.number) + (place * SLOT + HEAT) as u64;
        let _ = self.file.write_all_at(&[1], at);
    }

    /// Makes room, if this bucket is crowded: splits the next bucket in turn. Under the lock; `buckets` is the number
    /// that all processes agree on, and the new one is returned.
    pub(crate) fn grow(&self, after: &Bucket, buckets: u32) -> io::Result<u32> {
        if !after.is_crowded() || buckets >= MOST_BUCKETS {
            return Ok(buckets);
        }
        let level = buckets.ilog2();
        let number = buckets - (1 << level);
        let mut old = self.read(number, ReadMode::Blocking)?;
        let mut new = Bucket { number: buckets, bytes: [0; BUCKET] };
        // Deeper already: a process died after it had split this one, and the other half is written.
        if old.depth() <= level {
            let (mut free, slots) = (1, old.slots().collect::<Vec<_>>());
            for (place, slot) in slots {
                if slot.tag & (1 << level) != 0 {
                    new.put(free, &slot);
                    free += 1;
                    old.clear(place);
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

    /// Forgets everything at once; the number of buckets stays.
    pub(crate) fn clear(&self, buckets: u32) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.set_len(u64::from(buckets) * BUCKET as u64)
    }

    /// Bucket by bucket, for counting.
    pub(crate) fn read(&self, number: u32, mode: ReadMode) -> io::Result<Bucket> {
        let mut bucket = Bucket { number, bytes: [0; BUCKET] };
        let read = read_at(&self.file, &mut bucket.bytes, position(number), mode)?;
        // Beyond the end, or while somebody empties it: nothing is there.
        bucket.bytes[read..].fill(0);
        Ok(bucket)
    }
}

fn position(number: u32) -> u64 {
    u64::from(number) * BUCKET as u64
}

fn mask(bits: u32) -> u32 {
    1u32.checked_shl(bits).map_or(u32::MAX, |bit| bit - 1)
}

/// The bucket of a tag among so many, and how many bits chose it.
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

    /// Readers that know of fewer buckets than there are find everything all the same.
    #[test]
    fn what_is_put_is_found_however_the_index_has_grown() {
        let index = Index::new(tempfile::tempfile().expect("a file"), FIRST_BUCKETS);
        let stale = Index::new(index.file.try_clone().expect("a handle"), FIRST_BUCKETS);
        let mut buckets = FIRST_BUCKETS;
        let tags: Vec<u32> = (0..30_000u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
        let mut lost = 0;
        for tag in &tags {
            let mut bucket = index.bucket(*tag, ReadMode::Blocking).expect("a bucket");
            let (place, evicted) = bucket.place();
            lost += u32::from(evicted.is_some());
            bucket.put(place, &slot(*tag));
            index.write(&bucket).expect("it writes");
            buckets = index.grow(&bucket, buckets).expect("it grows");
        }
        assert!(buckets > 500, "{buckets} buckets");
        assert!(lost < 30, "{lost} of {} were pushed out", tags.len());
        for reader in [&index, &stale] {
            let missing = tags.iter().filter(|tag| {
                let bucket = reader.bucket(**tag, ReadMode::Blocking).expect("a bucket");
                bucket.matching(**tag).all(|(_, found)| found != slot(**tag))
            });
            assert!(missing.count() <= lost as usize);
        }
        index.clear(buckets).expect("it clears");
        assert!(
            tags.iter()
                .all(|tag| index.bucket(*tag, ReadMode::Blocking).expect("a bucket").slots().count() == 0)
        );
    }

    /// A process that dies between the two writes of a split loses nothing.
    #[test]
    fn a_split_that_was_cut_short_is_finished_by_the_next() {
        let index = Index::new(tempfile::tempfile().expect("a file"), FIRST_BUCKETS);
        let tags: Vec<u32> = (0..45).map(|n| n * 64).collect();
        let mut bucket = index.bucket(0, ReadMode::Blocking).expect("a bucket");
        for tag in &tags {
            let (place, _) = bucket.place();
            bucket.put(place, &slot(*tag));
        }
        index.write(&bucket).expect("it writes");
        index.grow(&bucket, FIRST_BUCKETS).expect("it grows");
        // Killed: the new number of buckets was never saved.
        let next = Index::new(index.file.try_clone().expect("a handle"), FIRST_BUCKETS);
        let found = |index: &Index| {
            let here = |tag: &&u32| {
                index.bucket(**tag, ReadMode::Blocking).expect("a bucket").matching(**tag).count() == 1
            };
            tags.iter().filter(here).count()
        };
        assert_eq!(found(&next), tags.len());
        assert_eq!(next.grow(&bucket, FIRST_BUCKETS).expect("it grows"), FIRST_BUCKETS + 1);
        assert_eq!(found(&next), tags.len());
    }
}
