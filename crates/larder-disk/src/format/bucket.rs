//! Encodes and decodes buckets of the index and the slots in them. Which bucket belongs to a hash,
//! and when buckets are split, is decided in `index`.

/// Bytes of a bucket.
pub(crate) const BUCKET: usize = 1024;
/// Bytes of a slot.
const SLOT: usize = 16;
/// Slots of a bucket; its header has the size of one more.
const SLOTS: usize = BUCKET / SLOT - 1;
/// Offset of the referenced byte within a slot.
const REFERENCED_OFFSET: usize = 14;

/// Unit of the offsets and sizes of records, in bytes.
pub(crate) const UNIT: u64 = 64;

/// The location of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Low bits of the key's hash. They also select the bucket.
    pub(crate) tag: u32,
    /// Number of the segment.
    pub(crate) segment: u32,
    /// Offset in the segment, in units.
    pub(crate) offset: u32,
    /// Length of the record, in units.
    pub(crate) size: u16,
    /// The CLOCK bit: not zero if the record has been looked up since the slot was written.
    pub(crate) referenced: u8,
    /// Whether the body is in a separate file.
    pub(crate) has_file: bool,
}

impl Slot {
    /// Returns the record's byte offset in its segment.
    pub(crate) fn position(&self) -> u64 {
        u64::from(self.offset) * UNIT
    }

    /// Returns the record's length in bytes, rounded up to whole units.
    pub(crate) fn length(&self) -> usize {
        usize::from(self.size) * UNIT as usize
    }

    /// Returns whether both slots point to the same record.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.tag, self.segment, self.offset) == (other.tag, other.segment, other.offset)
    }

    /// Decodes a slot. Returns `None` if it is free.
    fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, referenced, flags] = *bytes;
        let segment = u32::from_le_bytes([e, f, g, h]);
        (segment != 0).then_some(Self {
            tag: u32::from_le_bytes([a, b, c, d]),
            segment,
            offset: u32::from_le_bytes([i, j, k, l]),
            size: u16::from_le_bytes([m, n]),
            referenced,
            has_file: flags & 1 != 0,
        })
    }

    /// Encodes the slot.
    fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        bytes[..4].copy_from_slice(&self.tag.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.size.to_le_bytes());
        bytes[REFERENCED_OFFSET] = self.referenced;
        bytes[15] = u8::from(self.has_file);
        bytes
    }
}

/// Location at which a record was appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordLocation {
    /// Number of the segment.
    pub(crate) segment: u32,
    /// Offset in the segment, in units.
    pub(crate) offset: u32,
    /// Length, in units.
    pub(crate) size: u16,
}

/// A copy of one bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Number of the bucket.
    pub(crate) number: u32,
    pub(crate) bytes: [u8; BUCKET],
}

impl Bucket {
    /// Creates an empty bucket.
    pub(crate) fn empty(number: u32) -> Self {
        Self { number, bytes: [0; BUCKET] }
    }

    /// Returns the number of hash bits that select this bucket. Zero if it was never written.
    pub(crate) fn depth(&self) -> u32 {
        u32::from(self.bytes[0])
    }

    /// Sets the number of hash bits that select this bucket.
    pub(crate) fn set_depth(&mut self, depth: u32) {
        self.bytes[0] = u8::try_from(depth).unwrap_or(u8::MAX);
    }

    /// Iterates over the occupied slots and their numbers.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, Slot)> {
        let (all, _) = self.bytes.as_chunks::<SLOT>();
        all.iter()
            .enumerate()
            .skip(1)
            .filter_map(|(slot_number, bytes)| Some((slot_number, Slot::decode(bytes)?)))
    }

    /// Iterates over the slots with this tag and their numbers.
    pub(crate) fn matching(&self, tag: u32) -> impl Iterator<Item = (usize, Slot)> {
        self.slots().filter(move |(_, slot)| slot.tag == tag)
    }

    /// Writes a slot to the copy.
    pub(crate) fn put(&mut self, slot_number: usize, slot: &Slot) {
        self.bytes[slot_number * SLOT..][..SLOT].copy_from_slice(&slot.encode());
    }

    /// Frees a slot of the copy.
    pub(crate) fn clear(&mut self, slot_number: usize) {
        self.bytes[slot_number * SLOT..][..SLOT].fill(0);
    }

    /// Returns the offset of a slot's CLOCK bit in the bucket.
    pub(crate) fn referenced_offset(slot_number: usize) -> usize {
        slot_number * SLOT + REFERENCED_OFFSET
    }

    /// Selects a slot for an insert: a free one, or else the oldest, unreferenced slots first.
    /// Returns its number, and the slot that the insert evicts.
    pub(crate) fn slot_for_insert(&self) -> (usize, Option<Slot>) {
        let taken = |slot_number: &usize| Slot::decode(self.bytes[slot_number * SLOT..].first_chunk()?);
        match (1..=SLOTS).find(|slot_number| taken(slot_number).is_none()) {
            Some(free) => (free, None),
            None => {
                let victim =
                    self.slots().min_by_key(|(_, slot)| (slot.referenced, slot.segment, slot.offset));
                victim.map_or((1, None), |(slot_number, slot)| (slot_number, Some(slot)))
            }
        }
    }
}
