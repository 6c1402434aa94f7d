//! One record of a segment: an envelope for this store, and behind it the entry in the codec's format.
//!
//! The envelope tells how long the record is and whose, so that a segment can be walked, and how old: a record that was
//! begun before its key or group was removed is not found.

use bytes::Bytes;
use larder_core::{
    CacheKey, EntryId, StoredHead,
    codec::{self, DecodedHead, NotAnEntry, NotEncodable},
};

use crate::index::UNIT;

pub(crate) const ENVELOPE: usize = 64;
const MAGIC: &[u8; 4] = b"LREC";
const NO_FILE: u64 = u64::MAX;
/// Records whose envelope and head are read before the rest is known to be wanted.
pub(crate) const HEAD_READ: usize = 4096;

/// What stands before an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Of the key.
    pub(crate) hash: u64,
    pub(crate) entry: EntryId,
    /// The sequence number when the response was asked for.
    pub(crate) begun: u64,
    /// The sequence number when its commit began: newer is greater.
    pub(crate) order: u64,
    /// Bytes of the record, with the envelope.
    pub(crate) length: u32,
    /// Length of the body, where it is a file of its own.
    pub(crate) file: Option<u64>,
}

impl Envelope {
    fn encode(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(MAGIC);
        let numbers = [self.hash, self.entry.0, self.begun, self.order, self.file.unwrap_or(NO_FILE)];
        for (number, at) in numbers.iter().zip((8..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        out[48..52].copy_from_slice(&self.length.to_le_bytes());
        let checksum = crc32fast::hash(&out[8..ENVELOPE]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The envelope at the beginning of `bytes`; `None` if there is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENVELOPE] = bytes.first_chunk()?;
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
        if &bytes[..4] != MAGIC || u32_at(4)? != crc32fast::hash(&bytes[8..]) {
            return None;
        }
        let length = u32_at(48).filter(|length| *length as usize > ENVELOPE)?;
        let file = Some(u64_at(40)?).filter(|length| *length != NO_FILE);
        let entry = EntryId(u64_at(16)?);
        Some(Self { hash: u64_at(8)?, entry, begun: u64_at(24)?, order: u64_at(32)?, length, file })
    }

    /// Units that the record takes.
    pub(crate) fn units(&self) -> u64 {
        u64::from(self.length).div_ceil(UNIT)
    }
}

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    pub(crate) decoded: DecodedHead,
    /// The body, where it stands in the record and was read with it.
    pub(crate) body: Option<Bytes>,
}

/// A body that stands behind its head, ready to be written.
pub(crate) fn encode_inline(
    key: &CacheKey,
    head: &StoredHead,
    body: &[u8],
    envelope: Envelope,
) -> Result<Vec<u8>, NotEncodable> {
    let mut out = Vec::with_capacity(ENVELOPE + 1024 + body.len());
    out.resize(ENVELOPE, 0);
    codec::encode_whole(key, head, envelope.entry, body, &mut out)?;
    Ok(sealed(out, envelope))
}

/// The head of a body that is a file of its own.
pub(crate) fn encode_head(
    key: &CacheKey,
    head: &StoredHead,
    length: u64,
    envelope: Envelope,
) -> Result<Vec<u8>, NotEncodable> {
    let mut out = vec![0; ENVELOPE];
    codec::encode_head(key, head, envelope.entry, Some(length), &mut out)?;
    Ok(sealed(out, Envelope { file: Some(length), ..envelope }))
}

fn sealed(mut out: Vec<u8>, envelope: Envelope) -> Vec<u8> {
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    Envelope { length, ..envelope }.encode(&mut out);
    // The next one begins at a whole unit.
    out.resize(out.len().next_multiple_of(UNIT as usize), 0);
    out
}

/// What came of reading a record.
pub(crate) type Read = Result<Record, NotAnEntry>;

/// Reads a record of `key` from its bytes. With fewer than all of them, the head alone.
pub(crate) fn decode(bytes: &Bytes, key: &CacheKey) -> Read {
    let envelope = Envelope::decode(bytes).ok_or(NotAnEntry::Corrupt("a record's envelope"))?;
    let length = envelope.length as usize;
    let is_all = bytes.len() >= length;
    let entry = bytes.slice(ENVELOPE.min(bytes.len())..length.min(bytes.len()));
    if envelope.file.is_none() && is_all {
        let (decoded, body) = codec::decode_whole(&entry, key)?;
        belongs(&envelope, &decoded)?;
        return Ok(Record { envelope, decoded, body: Some(body) });
    }
    let decoded = codec::decode_head(&entry, key)?;
    belongs(&envelope, &decoded)?;
    Ok(Record { envelope, decoded, body: None })
}

fn belongs(envelope: &Envelope, decoded: &DecodedHead) -> Result<(), NotAnEntry> {
    let fits =
        envelope.entry == decoded.entry && (envelope.file.is_none() || envelope.file == decoded.body_length);
    fits.then_some(()).ok_or(NotAnEntry::Corrupt("an envelope that is not this entry's"))
}
