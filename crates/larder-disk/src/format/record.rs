//! Encodes and decodes records of a segment: an envelope of this store, followed by an entry in the
//! format of `larder_core::codec`.
//!
//! The envelope contains the length and the key's hash, so that a segment can be scanned, and the
//! sequence numbers by which lookups ignore entries that were reserved before a removal.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use bytes::Bytes;
use larder_core::{
    CacheKey, EntryId, StoredHead,
    codec::{self, DecodedHead, NotAnEntry, NotEncodable},
};

use crate::format::bucket::UNIT;

/// Bytes of an envelope.
pub(crate) const ENVELOPE: usize = 64;
/// First bytes of an envelope.
const MAGIC: &[u8; 4] = b"LREC";
/// Value of the file length for a body that is in the record.
const NO_FILE: u64 = u64::MAX;
/// Bytes that are read first when only the envelope and the head may be needed.
pub(crate) const HEAD_READ: usize = 4096;

/// The fixed-size prefix of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// Hash of the key.
    pub(crate) hash: u64,
    /// Number of the entry.
    pub(crate) entry: EntryId,
    /// Sequence number when the entry was reserved, before the request to the origin.
    pub(crate) reserved_at: u64,
    /// Sequence number when its commit began. Newer entries have greater numbers.
    pub(crate) order: u64,
    /// Bytes of the record, including the envelope and without padding.
    pub(crate) length: u32,
    /// Length of the body if it is in a separate file.
    pub(crate) file: Option<u64>,
}

impl Envelope {
    /// Writes the envelope to the first [`ENVELOPE`] bytes of `out`.
    fn encode(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(MAGIC);
        let numbers = [self.hash, self.entry.0, self.reserved_at, self.order, self.file.unwrap_or(NO_FILE)];
        for (number, at) in numbers.iter().zip((8..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        out[48..52].copy_from_slice(&self.length.to_le_bytes());
        let checksum = crc32fast::hash(&out[8..ENVELOPE]);
        out[4..8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Decodes the envelope at the start of `bytes`. Returns `None` if there is no valid one.
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
        Some(Self { hash: u64_at(8)?, entry, reserved_at: u64_at(24)?, order: u64_at(32)?, length, file })
    }

    /// Returns the length of the record in units, rounded up.
    pub(crate) fn units(&self) -> u64 {
        u64::from(self.length).div_ceil(UNIT)
    }
}

/// Reads the envelope at a position of a segment. Returns `None` at the end, and where the segment
/// is truncated or damaged: records after that position cannot be located and are removed with the
/// segment.
pub(crate) fn envelope_in(file: &File, position: u64) -> io::Result<Option<Envelope>> {
    let mut bytes = [0; ENVELOPE];
    match file.read_exact_at(&mut bytes, position) {
        Ok(()) => Ok(Envelope::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// A decoded record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    pub(crate) decoded: DecodedHead,
    /// The body, if it is in the record and has been read with it.
    pub(crate) body: Option<Bytes>,
}

/// Encodes a record that contains the head and the body.
pub(crate) fn encode_inline(
    key: &CacheKey,
    head: &StoredHead,
    body: &[u8],
    envelope: Envelope,
) -> Result<Vec<u8>, NotEncodable> {
    let mut out = Vec::with_capacity(ENVELOPE + 1024 + body.len());
    out.resize(ENVELOPE, 0);
    codec::encode_whole(key, head, envelope.entry, body, &mut out)?;
    Ok(seal(out, envelope))
}

/// Encodes a record that contains only the head; the body of `length` bytes is in a separate file.
pub(crate) fn encode_head(
    key: &CacheKey,
    head: &StoredHead,
    length: u64,
    envelope: Envelope,
) -> Result<Vec<u8>, NotEncodable> {
    let mut out = vec![0; ENVELOPE];
    codec::encode_head(key, head, envelope.entry, Some(length), &mut out)?;
    Ok(seal(out, Envelope { file: Some(length), ..envelope }))
}

/// Writes the envelope with the final length, and pads the record to whole units.
fn seal(mut out: Vec<u8>, envelope: Envelope) -> Vec<u8> {
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    Envelope { length, ..envelope }.encode(&mut out);
    // The next record begins at a multiple of the unit.
    out.resize(out.len().next_multiple_of(UNIT as usize), 0);
    out
}

/// Result of decoding a record.
pub(crate) type Read = Result<Record, NotAnEntry>;

/// Decodes a record of `key`. If `bytes` does not contain the whole record, only the head is
/// decoded.
pub(crate) fn decode(bytes: &Bytes, key: &CacheKey) -> Read {
    let envelope = Envelope::decode(bytes).ok_or(NotAnEntry::Corrupt("the envelope of a record"))?;
    let length = envelope.length as usize;
    let is_all = bytes.len() >= length;
    let entry = bytes.slice(ENVELOPE.min(bytes.len())..length.min(bytes.len()));
    if envelope.file.is_none() && is_all {
        let (decoded, body) = codec::decode_whole(&entry, key)?;
        check_binding(&envelope, &decoded)?;
        return Ok(Record { envelope, decoded, body: Some(body) });
    }
    let decoded = codec::decode_head(&entry, key)?;
    check_binding(&envelope, &decoded)?;
    Ok(Record { envelope, decoded, body: None })
}

/// Checks that the envelope and the head belong to the same entry.
fn check_binding(envelope: &Envelope, decoded: &DecodedHead) -> Result<(), NotAnEntry> {
    let is_bound =
        envelope.entry == decoded.entry && (envelope.file.is_none() || envelope.file == decoded.body_length);
    is_bound.then_some(()).ok_or(NotAnEntry::Corrupt("the envelope belongs to another entry"))
}
