//! One variant's value: an envelope for this store, and behind it the entry in the codec's format.
//!
//! ```text
//! 0   8   order: when it was asked for, by the server's clock in µs, big-endian, so that a script can compare it
//! 8   8   entry
//! 16  1   1 if the body is in a key of its own
//! 17  1   n, the number of groups
//! 18  n×8 the token of each group when it was asked for; zeros for none
//!     …   head, and (unless it is in a key of its own) body and trailer
//! ```

use bytes::Bytes;
use larder_core::{
    CacheKey, EntryId, StoredHead,
    codec::{self, DecodedHead, NotAnEntry, NotEncodable},
};

const FIXED: usize = 18;
/// More groups than this are not stored.
pub(crate) const MOST_GROUPS: usize = 64;

/// What stands before an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) order: u64,
    pub(crate) entry: EntryId,
    pub(crate) own_key: bool,
    pub(crate) groups: Vec<u64>,
}

/// A value that was read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) envelope: Envelope,
    pub(crate) decoded: DecodedHead,
    /// Unless it is in a key of its own.
    pub(crate) body: Option<Bytes>,
}

impl Envelope {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.groups.len() * 8 + 2048);
        out.extend_from_slice(&self.order.to_be_bytes());
        out.extend_from_slice(&self.entry.0.to_le_bytes());
        out.push(u8::from(self.own_key));
        out.push(u8::try_from(self.groups.len()).unwrap_or(u8::MAX));
        self.groups.iter().for_each(|token| out.extend_from_slice(&token.to_le_bytes()));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let fixed: &[u8; FIXED] = bytes.first_chunk()?;
        let end = FIXED + usize::from(fixed[17]) * 8;
        let (groups, _) = bytes.get(FIXED..end)?.as_chunks::<8>();
        let envelope = Self {
            order: u64::from_be_bytes(*fixed.first_chunk()?),
            entry: EntryId(u64::from_le_bytes(*fixed[8..].first_chunk()?)),
            own_key: fixed[16] == 1,
            groups: groups.iter().map(|token| u64::from_le_bytes(*token)).collect(),
        };
        Some((envelope, end))
    }
}

/// With the body behind its head.
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

/// With the body in a key of its own.
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

/// The key in a value, if it is an entry.
pub(crate) fn stored_key(bytes: &Bytes) -> Option<CacheKey> {
    let (_, start) = Envelope::decode(bytes)?;
    codec::stored_key(bytes.get(start..)?).ok()
}

/// Reads a value. Another program may have put anything under our key.
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
        return Err(NotAnEntry::Corrupt("an envelope that is not this entry's"));
    }
    Ok(Record { envelope, decoded, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_come_back() {
        for groups in [vec![], vec![0, 7, u64::MAX]] {
            let envelope = Envelope { order: 5, entry: EntryId(9), own_key: !groups.is_empty(), groups };
            let bytes = envelope.encode();
            assert_eq!(Envelope::decode(&bytes), Some((envelope, bytes.len())));
            assert_eq!(Envelope::decode(&bytes[..bytes.len() - 1]), None);
        }
    }
}
