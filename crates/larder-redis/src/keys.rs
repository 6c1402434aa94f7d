//! What things are called on the server.
//!
//! All keys of one cache key have the same hash tag, so that a Cluster keeps them on one node and a script can see them
//! together. The URL is readable in the name, so that a person, and a removal by prefix, finds it.

use std::hash::Hasher as _;

use larder_core::{CacheGroup, CacheKey, EntryId, StoredHead, codec};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// The layout of what is kept, beside the codec's version.
const LAYOUT: u16 = 1;
/// Of a URL, what stands in a name at most; names are told apart by the hash.
const READABLE: usize = 1024;

/// Makes names.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

/// The names of one cache key.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// A hash: each variant's record.
    pub(crate) entry: String,
    /// Where its tag ends, with which the other names begin, too.
    tag: usize,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        // A brace would be taken for a hash tag.
        let safe: String = prefix.chars().map(|c| if matches!(c, '{' | '}') { '_' } else { c }).collect();
        Self { prefix: format!("{safe}:{}.{LAYOUT}:", codec::VERSION) }
    }

    pub(crate) fn of(&self, key: &CacheKey) -> Names {
        let mut entry = String::with_capacity(self.prefix.len() + 35 + READABLE.min(key.as_bytes().len()));
        entry.push_str(&self.prefix);
        entry.push('{');
        push_hex(&mut entry, hash(&[key.as_bytes()]));
        entry.push('}');
        let tag = entry.len();
        entry.push(':');
        entry.push_str(readable(&key.target()));
        Names { entry, tag }
    }

    pub(crate) fn group(&self, group: &CacheGroup) -> String {
        format!("{}g:{:032x}", self.prefix, hash(&[group.origin().as_bytes(), group.name().as_bytes()]))
    }

    /// When a group was made stale.
    pub(crate) fn stale(&self, group: &CacheGroup) -> String {
        format!("{}s:{:032x}", self.prefix, hash(&[group.origin().as_bytes(), group.name().as_bytes()]))
    }

    /// A token that changes when everything is removed.
    pub(crate) fn epoch(&self) -> String {
        format!("{}all:{{all}}", self.prefix)
    }

    /// The last time that was told.
    pub(crate) fn clock(&self) -> String {
        format!("{}clock:{{all}}", self.prefix)
    }

    /// Where removals are told.
    pub(crate) fn channel(&self) -> String {
        format!("{}removed", self.prefix)
    }

    /// All entries and what belongs to them, as a pattern for SCAN.
    pub(crate) fn all(&self) -> String {
        format!("{}{{*", escaped(&self.prefix))
    }

    /// The entries of URLs that begin so.
    pub(crate) fn beginning(&self, url: &str) -> String {
        format!("{}{{*}}:{}*", escaped(&self.prefix), escaped(readable(url)))
    }
}

impl Names {
    /// Of an entry that was found by its name.
    pub(crate) fn of_entry(entry: Vec<u8>) -> Option<Self> {
        let entry = String::from_utf8(entry).ok()?;
        let tag = entry.find('}')? + 1;
        Some(Self { entry, tag })
    }

    /// Where those listen who wait for a fetch.
    pub(crate) fn tagged(&self) -> &str {
        &self.entry[..self.tag]
    }

    /// With what the names of bodies begin.
    pub(crate) fn bodies(&self) -> String {
        format!("{}b", self.tagged())
    }

    /// A token that changes when the key is removed.
    pub(crate) fn tomb(&self) -> String {
        format!("{}t", self.tagged())
    }

    /// Who fetches it.
    pub(crate) fn lease(&self) -> String {
        format!("{}l", self.tagged())
    }

    pub(crate) fn body(&self, entry: EntryId) -> String {
        format!("{}b{:016x}", self.tagged(), entry.0)
    }
}

/// The field of a variant: the hash of its selecting values.
pub(crate) fn variant(head: &StoredHead) -> [u8; 16] {
    let mut parts: Vec<&[u8]> = Vec::new();
    for (name, value) in head.selecting.iter() {
        parts.push(name.as_str().as_bytes());
        parts.push(if value.is_some() { b"1" } else { b"0" });
        parts.push(value.unwrap_or_default());
    }
    if head.selecting.never_matches() {
        parts.push(b"*");
    }
    hash(&parts).to_be_bytes()
}

/// The same everywhere and for good. Whoever finds two with the same has the one push out the other: keys are compared.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

fn push_hex(out: &mut String, number: u128) {
    for shift in (0..32).rev() {
        let digit = (number >> (shift * 4)) as u8 & 0xf;
        out.push(char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit }));
    }
}

/// As much of a URL as stands in a name.
fn readable(url: &str) -> &str {
    let end = (0..=READABLE.min(url.len())).rev().find(|end| url.is_char_boundary(*end));
    &url[..end.unwrap_or(0)]
}

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
