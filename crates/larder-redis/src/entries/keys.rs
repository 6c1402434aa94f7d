//! Builds the names of all keys and channels on the server.
//!
//! All names that belong to one cache key share a hash tag: a Cluster stores them on one node,
//! where a script can access them together. The name of an entry contains the URL in readable form,
//! for people and for removal by prefix. `FORMAT.md` lists the names.

use std::hash::Hasher as _;

use larder_core::{CacheGroup, CacheKey, EntryId, StoredHead, codec};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Version of this store's layout. The names also contain the codec's version.
const LAYOUT_VERSION: u16 = 3;
/// Digits of a key's hash that are its hash tag. All keys with the same digits are in one slot of a
/// Cluster, and share an epoch there: 4,096 epochs for 16,384 slots.
const TAG_DIGITS: usize = 3;
/// Most bytes of a URL in a name. The hash, not the URL, makes names unique.
const MAX_READABLE_URL: usize = 1024;

/// Builds the names of a cache from its prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    is_cluster: bool,
}

/// The names that belong to one cache key.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Name of the Redis hash that contains the record of each variant.
    pub(crate) entry: String,
    /// End of the key's hash in `entry`. The other names have the same beginning.
    hash_end: usize,
}

impl Keys {
    /// Creates the builder for a user's prefix, on a Cluster or not.
    pub(crate) fn new(prefix: &str, is_cluster: bool) -> Self {
        // Redis would take a brace for the beginning of the hash tag.
        let safe: String = prefix.chars().map(|c| if matches!(c, '{' | '}') { '_' } else { c }).collect();
        Self { prefix: format!("{safe}:{}.{LAYOUT_VERSION}:", codec::VERSION), is_cluster }
    }

    /// Returns the names of a cache key.
    pub(crate) fn of(&self, key: &CacheKey) -> Names {
        let mut entry =
            String::with_capacity(self.prefix.len() + 35 + MAX_READABLE_URL.min(key.as_bytes().len()));
        entry.push_str(&self.prefix);
        entry.push('{');
        push_hex(&mut entry, hash(&[key.as_bytes()]));
        entry.insert(self.prefix.len() + 1 + TAG_DIGITS, '}');
        let hash_end = entry.len();
        entry.push(':');
        entry.push_str(readable(&key.target()));
        Names { entry, hash_end }
    }

    /// Returns the name of the epoch of a key's entries: one for the cache, and on a Cluster one
    /// for each hash tag, on the node that has the entries.
    pub(crate) fn epoch(&self, names: &Names) -> String {
        if !self.is_cluster {
            return self.single_epoch();
        }
        let tag = &names.entry[self.prefix.len()..self.prefix.len() + TAG_DIGITS + 2];
        format!("{}e:{tag}", self.prefix)
    }

    /// Returns the name of the epoch of all entries on a single server.
    pub(crate) fn single_epoch(&self) -> String {
        format!("{}epoch", self.prefix)
    }

    /// Returns the name of the barrier: the counters of removals of prefixes and groups.
    pub(crate) fn barrier(&self) -> String {
        format!("{}barrier", self.prefix)
    }

    /// Returns the name of a group's token, which changes when the group is removed, and of the
    /// time at which it was last marked stale.
    pub(crate) fn group(&self, group: &CacheGroup) -> String {
        format!("{}g:{:032x}", self.prefix, hash(&[group.origin().as_bytes(), group.name().as_bytes()]))
    }

    /// Returns the name of the registrations of nodes with near copies.
    pub(crate) fn nodes(&self) -> String {
        format!("{}n:{{nodes}}", self.prefix)
    }

    /// Returns the name of the numbers that the nodes have acknowledged, and of the last number.
    pub(crate) fn acknowledgements(&self) -> String {
        format!("{}a:{{nodes}}", self.prefix)
    }

    /// Returns the name of the channel on which invalidations are published.
    pub(crate) fn channel(&self) -> String {
        format!("{}removed", self.prefix)
    }

    /// Returns the name of the channel on which a node receives the answers to its probes.
    pub(crate) fn node_channel(&self, node: &str) -> String {
        format!("{}probe:{node}", self.prefix)
    }

    /// Returns the SCAN pattern of all entries with their bodies, tokens and leases.
    pub(crate) fn all_pattern(&self) -> String {
        format!("{}{{*", escaped(&self.prefix))
    }

    /// Returns the SCAN pattern of the entries with a URL that begins with `url`.
    pub(crate) fn prefix_pattern(&self, url: &str) -> String {
        let (tag, rest) = ("?".repeat(TAG_DIGITS), "?".repeat(32 - TAG_DIGITS));
        format!("{}{{{tag}}}{rest}:{}*", escaped(&self.prefix), escaped(readable(url)))
    }
}

/// Returns the end of the key's hash in a name that a scan has found.
fn hash_end(name: &[u8]) -> Option<usize> {
    Some(name.iter().position(|byte| *byte == b'}')? + 1 + 32 - TAG_DIGITS)
}

/// Returns whether a name that a scan has found is that of an entry, not that of a body, a token or
/// a lease.
pub(crate) fn is_entry(name: &[u8]) -> bool {
    hash_end(name).is_some_and(|end| name.get(end) == Some(&b':'))
}

/// Returns whether a name that a scan has found is that of a body.
pub(crate) fn is_body(name: &[u8]) -> bool {
    hash_end(name).is_some_and(|end| name.get(end) == Some(&b'b'))
}

impl Names {
    /// Parses the name of an entry that a scan has found. `None` if it is not such a name.
    pub(crate) fn of_entry(entry: Vec<u8>) -> Option<Self> {
        let entry = String::from_utf8(entry).ok()?;
        let hash_end = hash_end(entry.as_bytes()).filter(|end| entry.is_char_boundary(*end))?;
        Some(Self { entry, hash_end })
    }

    /// Returns the name up to and including the key's hash: the common beginning of the other
    /// names, and the channel on which the release of the key's lease is published.
    pub(crate) fn tagged(&self) -> &str {
        &self.entry[..self.hash_end]
    }

    /// Returns the common beginning of the names of bodies.
    pub(crate) fn bodies(&self) -> String {
        format!("{}b", self.tagged())
    }

    /// Returns the name of the token that changes when the key is removed, and of the counter of
    /// its reservations.
    pub(crate) fn token(&self) -> String {
        format!("{}t", self.tagged())
    }

    /// Returns the name of the lease, which contains the token of its holder.
    pub(crate) fn lease(&self) -> String {
        format!("{}l", self.tagged())
    }

    /// Returns the name of the body of one entry.
    pub(crate) fn body(&self, entry: EntryId) -> String {
        format!("{}b{:016x}", self.tagged(), entry.0)
    }
}

/// Returns the hash field of a variant: the fingerprint of its selecting header values.
pub(crate) fn variant(head: &StoredHead) -> [u8; 16] {
    head.selecting.fingerprint().to_be_bytes()
}

/// Hashes length-prefixed parts. The result is the same in every process and version.
///
/// Two cache keys with the same hash could replace or remove each other's entries. A lookup
/// compares the stored key, so it never returns an entry of the other one.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

/// Appends 32 hexadecimal digits.
fn push_hex(out: &mut String, number: u128) {
    for shift in (0..32).rev() {
        let digit = (number >> (shift * 4)) as u8 & 0xf;
        out.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
    }
}

/// Returns the beginning of a URL, at most [`MAX_READABLE_URL`] bytes and cut between two
/// characters.
fn readable(url: &str) -> &str {
    let end = (0..=MAX_READABLE_URL.min(url.len())).rev().find(|end| url.is_char_boundary(*end));
    &url[..end.unwrap_or(0)]
}

/// Escapes the special characters of SCAN patterns.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
