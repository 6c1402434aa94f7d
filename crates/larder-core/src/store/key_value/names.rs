//! Builds the names of all values. They contain the version of the stored format, so that processes
//! of different versions do not find each other's entries.
//!
//! ```text
//! e1.KEY.VARIANT               the head of a response, and a short body
//! b1.KEY.VARIANT.BIRTH.NUMBER  a piece of a longer body
//! g1.GROUP                     the token of a group
//! s1.GROUP                     when a group was marked stale
//! ```
//!
//! KEY, VARIANT and GROUP are hashes of 32 hexadecimal digits, BIRTH is the time of the write and
//! the entry's id in 24, NUMBER counts the pieces in 8.

use std::hash::Hasher as _;

use larder_policy::{CacheGroup, CacheKey, SelectingHeaders};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::{EntryId, codec::VERSION};

/// Returns the common beginning of the names of all heads.
pub(super) fn all_entries() -> String {
    format!("e{VERSION}.")
}

/// Returns the common beginning of the names of all pieces of bodies.
pub(super) fn all_bodies() -> String {
    format!("b{VERSION}.")
}

/// Returns the common beginning of the names of a key's heads.
pub(super) fn entries_of(key: &CacheKey) -> String {
    format!("e{VERSION}.{:032x}.", hash(&[key.as_bytes()]))
}

/// Returns the name of a variant's head.
pub(super) fn entry(key: &CacheKey, selecting: &SelectingHeaders) -> String {
    format!("{}{:032x}", entries_of(key), selecting.fingerprint())
}

/// Returns the common beginning of the names of the pieces of a body. `entry` is the name of its
/// head.
pub(super) fn body(entry: &str, written_at: u32, id: EntryId) -> String {
    let variant = entry.split_once('.').map_or("", |(_, variant)| variant);
    format!("{}{variant}.{written_at:08x}{:016x}.", all_bodies(), id.0)
}

/// Returns the name of a piece of a body. `body` is their common beginning.
pub(super) fn piece(body: &str, number: u64) -> String {
    format!("{body}{number:08x}")
}

/// The parts of the name of a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PieceName {
    /// Name of the head.
    pub(super) entry: String,
    /// Time at which the body was written, in seconds.
    pub(super) written_at: u32,
    pub(super) id: EntryId,
}

impl PieceName {
    /// Parses the name of a piece. Returns `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(&all_bodies())?;
        let (rest, _) = rest.rsplit_once('.')?;
        let (variant, birth) = rest.rsplit_once('.')?;
        let (written_at, id) = birth.split_at_checked(8)?;
        Some(Self {
            entry: format!("{}{variant}", all_entries()),
            written_at: u32::from_str_radix(written_at, 16).ok()?,
            id: EntryId(u64::from_str_radix(id, 16).ok()?),
        })
    }
}

/// Returns the name of a group's token.
pub(super) fn token(group: &CacheGroup) -> String {
    format!("g{VERSION}.{:032x}", hash(&[group.origin().as_bytes(), group.name().as_bytes()]))
}

/// Returns the name of the time at which a group was marked stale.
pub(super) fn stale_mark(group: &CacheGroup) -> String {
    format!("s{VERSION}.{:032x}", hash(&[group.origin().as_bytes(), group.name().as_bytes()]))
}

/// Hashes length-prefixed parts. The result is the same in every process and version.
///
/// Two keys with the same hash replace each other's entries. A lookup compares the stored key, so
/// it never returns an entry of the other one.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_the_same_in_every_version() {
        let key = CacheKey::from_parts("http", "example.com", "/a").expect("a target");
        let head = entry(&key, &SelectingHeaders::default());
        assert_eq!(head, "e2.c745fe071884f23fc1ec9fb8abe67642.b91c5ed031fb33032134935d61d9b40d");
        let piece = piece(&body(&head, 0x6553_F100, EntryId(0xABC)), 16);
        assert_eq!(piece, format!("b2.{}.6553f1000000000000000abc.00000010", &head[3..]));
        let parsed = PieceName { entry: head, written_at: 0x6553_F100, id: EntryId(0xABC) };
        assert_eq!(PieceName::parse(&piece), Some(parsed));
        assert!(piece.len() <= 128);
        assert!(piece.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'.')));
        assert_eq!(
            token(&CacheGroup::new("http://example.com", "news")),
            "g2.a3817d51909cda76c3d1571f2605e163"
        );
    }
}
