//! The stored value of one variant: an envelope that only this store reads, followed by the entry
//! in the format of [`larder_core::codec`].
//!
//! ```text
//! offset  length  content
//! 0       8       epoch of the reservation, or of the last validation
//! 8       8       token of the key at the reservation
//! 16      8       order: number of the reservation, big-endian
//! 24      8       entry id, little-endian
//! 32      1       1 if the body is in its own key
//! 33      2       n, the number of groups, little-endian
//! 35      n×8     for each group its token
//! 35+n×8  …       head, then (unless the body is in its own key) body and trailer
//! ```
//!
//! The scripts of `client/scripts` read the first 33 bytes.

use bytes::Bytes;
use larder_core::{
    CacheKey, EntryId, StoredHead,
    codec::{self, DecodedHead, NotAnEntry, NotEncodable},
};

use crate::token::Nonce;

/// Bytes of an envelope without its group tokens.
const FIXED: usize = 35;
/// Most groups of one response. Responses with more are not stored.
pub(crate) const MAX_GROUPS: usize = 2048;

/// The part of a stored value that precedes the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The epoch in which the entry was reserved, or last validated.
    pub(crate) epoch: Nonce,
    /// The key's token at the reservation.
    pub(crate) token: Nonce,
    /// Number of the reservation among those with the same token. A later response has a higher
    /// number.
    pub(crate) order: u64,
    pub(crate) entry: EntryId,
    /// Whether the body is in its own key.
    pub(crate) own_key: bool,
    /// The token of each group.
    pub(crate) groups: Vec<Nonce>,
}

/// A decoded value.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    pub(crate) decoded: DecodedHead,
    /// The body, unless it is in its own key.
    pub(crate) body: Option<Bytes>,
}

impl Envelope {
    /// Encodes the envelope, in a buffer with room for a typical head.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.groups.len() * 8 + 2048);
        out.extend_from_slice(&self.epoch);
        out.extend_from_slice(&self.token);
        out.extend_from_slice(&self.order.to_be_bytes());
        out.extend_from_slice(&self.entry.0.to_le_bytes());
        out.push(u8::from(self.own_key));
        let groups = u16::try_from(self.groups.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&groups.to_le_bytes());
        self.groups.iter().for_each(|token| out.extend_from_slice(token));
        out
    }

    /// Decodes an envelope and returns it with the offset of the entry. `None` if `bytes` are too
    /// short.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let end = FIXED + usize::from(u16::from_le_bytes([fixed[33], fixed[34]])) * 8;
        let (groups, _) = bytes.get(FIXED..end)?.as_chunks::<8>();
        let envelope = Self {
            epoch: *fixed.first_chunk()?,
            token: *fixed[8..].first_chunk()?,
            order: u64::from_be_bytes(*fixed[16..].first_chunk()?),
            entry: EntryId(u64::from_le_bytes(*fixed[24..].first_chunk()?)),
            own_key: fixed[32] == 1,
            groups: groups.to_vec(),
        };
        Some((envelope, end))
    }
}

/// Encodes a value that contains head and body.
pub(crate) fn encode_inline(
    key: &CacheKey,
    head: &StoredHead,
    body: &[u8],
    envelope: &Envelope,
) -> Result<Vec<u8>, NotEncodable> {
    let mut out = envelope.encode();
    out.reserve(body.len());
    codec::encode_whole(key, head, envelope.entry, body, &mut out)?;
    Ok(out)
}

/// Encodes a value that contains the head of a response with a body of `length` bytes in its own
/// key.
pub(crate) fn encode_head(
    key: &CacheKey,
    head: &StoredHead,
    length: u64,
    envelope: &Envelope,
) -> Result<Vec<u8>, NotEncodable> {
    let mut out = envelope.encode();
    codec::encode_head(key, head, envelope.entry, Some(length), &mut out)?;
    Ok(out)
}

/// Returns the cache key that a value contains, or `None` if the value is not an entry.
pub(crate) fn stored_key(bytes: &Bytes) -> Option<CacheKey> {
    let (_, start) = Envelope::decode(bytes)?;
    codec::stored_key(bytes.get(start..)?).ok()
}

/// Decodes and verifies the value of `key`. Other programs may have written any bytes under the
/// key.
pub(crate) fn decode(bytes: &Bytes, key: &CacheKey) -> Result<Record, NotAnEntry> {
    let (envelope, start) = Envelope::decode(bytes).ok_or(NotAnEntry::Foreign)?;
    let entry = bytes.slice(start..);
    let (decoded, body) = if envelope.own_key {
        (codec::decode_head(&entry, key)?, None)
    } else {
        let (decoded, body) = codec::decode_whole(&entry, key)?;
        (decoded, Some(body))
    };
    if decoded.entry != envelope.entry || decoded.head.groups.len() != envelope.groups.len() {
        return Err(NotAnEntry::Corrupt("the envelope belongs to another entry"));
    }
    Ok(Record { envelope, decoded, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_come_back() {
        for groups in [vec![], vec![[0; 8], [7; 8], [255; 8]], vec![[5; 8]; MAX_GROUPS]] {
            let own_key = !groups.is_empty();
            let (epoch, token) = ([1, 2, 3, 4, 5, 6, 7, 8], [9; 8]);
            let envelope = Envelope { epoch, token, order: 5, entry: EntryId(9), own_key, groups };
            let bytes = envelope.encode();
            assert_eq!(Envelope::decode(&bytes), Some((envelope, bytes.len())));
            assert_eq!(Envelope::decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
