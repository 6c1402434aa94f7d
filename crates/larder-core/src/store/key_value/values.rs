//! Encodes and decodes the values of heads and of groups. The head and the body within a value are
//! in the format of `codec`.
//!
//! All numbers are little-endian. The value of a head:
//!
//! ```text
//!  0  checksum (CRC-32) of the bytes up to the codec's head    32 bits
//!  4  number of groups                                         16
//!  6  1 if the body is in pieces, else 0                       16
//!  8  order of the commit: a lookup returns the latest first   64
//! 16  time at which the entry ends, in ms                      64
//! 24  time at which the pieces end, in ms                      64
//! 32  time at which the body was written, in s                 32
//! 36  zero                                                     32
//! 40  for each group, its token when the entry was committed   64 each
//!     the head; then a short body and its trailer, or the trailer alone
//! ```
//!
//! The value of a group has 12 bytes: the checksum of a number, and the number (64 bits): its
//! token, which changes with each removal, or the time at which it was marked stale, in ms.

use bytes::Bytes;
use larder_policy::{CacheKey, StoredHead, Timestamp};

use crate::{
    EntryId,
    codec::{
        DecodedHead, NotAnEntry, NotEncodable, Trailer, decode_head, decode_whole, encode_head, encode_whole,
        stored_key,
    },
};

/// Bytes of the fixed part of the envelope.
const FIXED: usize = 40;

/// What the store keeps with a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) order: u64,
    pub(super) expires: Timestamp,
    pub(super) pieces_expire: Timestamp,
    /// In seconds.
    pub(super) written_at: u32,
    /// The token of each group of the head.
    pub(super) tokens: Vec<u64>,
}

/// Where a body is.
#[derive(Debug, Clone)]
pub(super) enum BodyPlace {
    /// With the head.
    Inline(Bytes),
    /// In pieces, which the trailer verifies.
    Pieces(Trailer),
}

/// A decoded value of a head.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) envelope: Envelope,
    pub(super) id: EntryId,
    pub(super) head: StoredHead,
    pub(super) body: BodyPlace,
}

impl Entry {
    /// Encodes the value.
    pub(super) fn encode(&self, key: &CacheKey) -> Result<Bytes, NotEncodable> {
        let envelope = &self.envelope;
        let count = u16::try_from(envelope.tokens.len())
            .map_err(|_| NotEncodable::TooLarge { what: "groups", limit: usize::from(u16::MAX) })?;
        let in_pieces = matches!(self.body, BodyPlace::Pieces(_));
        let mut out = vec![0; FIXED];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &count.to_le_bytes());
        put(6, &u16::from(in_pieces).to_le_bytes());
        put(8, &envelope.order.to_le_bytes());
        put(16, &envelope.expires.as_millis().to_le_bytes());
        put(24, &envelope.pieces_expire.as_millis().to_le_bytes());
        put(32, &envelope.written_at.to_le_bytes());
        for token in &envelope.tokens {
            out.extend_from_slice(&token.to_le_bytes());
        }
        let checksum = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        match &self.body {
            BodyPlace::Inline(body) => {
                encode_whole(key, &self.head, self.id, body, &mut out)?;
            }
            BodyPlace::Pieces(trailer) => {
                encode_head(key, &self.head, self.id, Some(trailer.length()), &mut out)?;
                trailer.encode(&mut out);
            }
        }
        Ok(out.into())
    }

    /// Decodes a value and verifies it, including an inline body.
    pub(super) fn decode(bytes: &Bytes, key: &CacheKey) -> Result<Self, NotAnEntry> {
        let (envelope, in_pieces, head) = split(bytes)?;
        let (decoded, body) = if in_pieces {
            let decoded = decode_head(&head, key)?;
            let rest = head.slice(decoded.length..);
            let trailer = Trailer::decode(&rest)?;
            if !trailer.belongs_to(&decoded) || trailer.encoded_length() != rest.len() as u64 {
                return Err(NotAnEntry::Corrupt("a trailer that belongs to another body"));
            }
            (decoded, BodyPlace::Pieces(trailer))
        } else {
            let (decoded, body) = decode_whole(&head, key)?;
            (decoded, BodyPlace::Inline(body))
        };
        if envelope.tokens.len() != decoded.head.groups.len() {
            return Err(NotAnEntry::Corrupt("the number of groups"));
        }
        let DecodedHead { head, entry: id, .. } = decoded;
        Ok(Self { envelope, id, head, body })
    }

    /// Returns the id of the entry, and the time at which it was written, if its body is in pieces.
    pub(super) fn pieces(bytes: &Bytes) -> Option<(EntryId, u32)> {
        let (envelope, in_pieces, head) = split(bytes).ok()?;
        let trailer = Trailer::decode(&head).ok().filter(|_| in_pieces)?;
        Some((trailer.entry(), envelope.written_at))
    }

    /// Returns whether the time of a value has passed at `now`, or it is damaged.
    pub(super) fn is_over(bytes: &Bytes, now: Timestamp) -> bool {
        split(bytes).is_ok_and(|(envelope, ..)| envelope.expires <= now) || Self::key(bytes).is_err()
    }

    /// Returns the key of a value.
    pub(super) fn key(bytes: &Bytes) -> Result<CacheKey, NotAnEntry> {
        stored_key(&split(bytes)?.2)
    }
}

/// Splits a value into its envelope, whether its body is in pieces, and the rest.
fn split(bytes: &Bytes) -> Result<(Envelope, bool, Bytes), NotAnEntry> {
    let fixed = bytes.get(..FIXED).ok_or(NotAnEntry::Truncated { needed: FIXED })?;
    let end = FIXED + 8 * usize::from(u16::from_le_bytes([fixed[4], fixed[5]]));
    let envelope = bytes.get(4..end).ok_or(NotAnEntry::Truncated { needed: end })?;
    if u32_at(fixed, 0) != crc32fast::hash(envelope) {
        return Err(NotAnEntry::Corrupt("the envelope's checksum"));
    }
    let in_pieces = match fixed[6] {
        0 => false,
        1 => true,
        _ => return Err(NotAnEntry::Corrupt("the place of the body")),
    };
    let envelope = Envelope {
        order: u64_at(fixed, 8),
        expires: Timestamp::from_millis(u64_at(fixed, 16)),
        pieces_expire: Timestamp::from_millis(u64_at(fixed, 24)),
        written_at: u32_at(fixed, 32),
        tokens: bytes[FIXED..end].chunks_exact(8).map(|token| u64_at(token, 0)).collect(),
    };
    Ok((envelope, in_pieces, bytes.slice(end..)))
}

/// Encodes the value of a group.
pub(super) fn encode_number(number: u64) -> Bytes {
    let number = number.to_le_bytes();
    [&crc32fast::hash(&number).to_le_bytes()[..], &number].concat().into()
}

/// Decodes the value of a group. Returns `None` if it is damaged.
pub(super) fn decode_number(bytes: &[u8]) -> Option<u64> {
    let (checksum, number) = bytes.split_first_chunk()?;
    let is_valid = number.len() == 8 && u32::from_le_bytes(*checksum) == crc32fast::hash(number);
    is_valid.then(|| u64_at(number, 0))
}

/// Reads a number at an offset that is within the bytes.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

/// Reads a number at an offset that is within the bytes.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}
