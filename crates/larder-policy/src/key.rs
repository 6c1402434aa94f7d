//! The cache key (RFC 9111 §2): what a stored response is found by.
//!
//! Its parts are framed by their lengths, so that no two requests can be glued into one. It carries its hash from the
//! moment it is made; two keys are equal only if every byte is.

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    sync::{Arc, OnceLock},
};

use crate::{TargetError, TargetUri, target::Parts};

/// What a stored response is found by: the target URI, and what else a cache adds to it. GET and HEAD share it.
///
/// Cloning is one reference count. `Hash` writes the hash that it carries, which is seeded anew in each process: stores
/// that outlive one hash [`as_bytes`](Self::as_bytes).
#[derive(Clone)]
pub struct CacheKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl CacheKey {
    /// The key of a target.
    pub fn new(target: &TargetUri) -> Self {
        Self::framed(target.scheme(), target.authority(), target.path_and_query())
    }

    /// The same from the parts of a request, without a [`TargetUri`] in between: the hot path of a server.
    ///
    /// # Errors
    ///
    /// As for [`TargetUri::new`].
    pub fn of_parts(scheme: &str, authority: &str, path_and_query: &str) -> Result<Self, TargetError> {
        let parts = Parts::new(scheme, authority, path_and_query)?;
        Ok(Self::framed(parts.scheme, &parts.authority, &parts.path))
    }

    /// A key of its own for each value of `extra`: a tenant, a user, the hash of a request's content. Several add up.
    #[must_use]
    pub fn with_extra(&self, extra: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 4 + extra.len());
        bytes.extend_from_slice(&self.bytes);
        push(&mut bytes, extra);
        Self::of_bytes(&bytes)
    }

    /// The key of another target, with all that has been added to this one.
    #[must_use]
    pub fn for_target(&self, target: &TargetUri) -> Self {
        let mut rest = &*self.bytes;
        for _ in 0..3 {
            rest = pull(rest).unwrap_or_default().1;
        }
        let key = Self::new(target);
        if rest.is_empty() { key } else { Self::of_bytes(&[&key.bytes, rest].concat()) }
    }

    /// The key as bytes, for stores: each part behind its length, 32 bits little-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key that a store kept; `None` if these bytes are no key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut parts = 0;
        while !rest.is_empty() {
            let (part, after) = pull(rest)?;
            if parts < 3 {
                std::str::from_utf8(part).ok()?;
            }
            rest = after;
            parts += 1;
        }
        (parts >= 3).then(|| Self::of_bytes(bytes))
    }

    /// The target URI, as text.
    pub fn target(&self) -> String {
        let mut rest = &*self.bytes;
        let mut next = || {
            let (part, after) = pull(rest).unwrap_or_default();
            rest = after;
            String::from_utf8_lossy(part)
        };
        format!("{}://{}{}", next(), next(), next())
    }

    /// The hash that the key carries; another in each process.
    pub fn process_hash(&self) -> u64 {
        self.hash
    }

    fn framed(scheme: &str, authority: &str, path: &str) -> Self {
        // On the stack, for all but the longest: the key itself is then the only allocation.
        let length = 12 + scheme.len() + authority.len() + path.len();
        let mut short = [0; 256];
        if let Some(buffer) = short.get_mut(..length) {
            let mut at = 0;
            for part in [scheme, authority, path] {
                let end = at + 4 + part.len();
                buffer[at..at + 4].copy_from_slice(&frame(part.as_bytes()));
                buffer[at + 4..end].copy_from_slice(part.as_bytes());
                at = end;
            }
            return Self::of_bytes(buffer);
        }
        let mut bytes = Vec::with_capacity(length);
        for part in [scheme, authority, path] {
            push(&mut bytes, part.as_bytes());
        }
        Self::of_bytes(&bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        static SEED: OnceLock<foldhash::quality::RandomState> = OnceLock::new();
        let hash = SEED.get_or_init(foldhash::quality::RandomState::default).hash_one(bytes);
        Self { hash, bytes: bytes.into() }
    }
}

fn frame(part: &[u8]) -> [u8; 4] {
    // Targets are bounded to 64 KiB, and what is added is the owner's choice.
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&frame(part));
    bytes.extend_from_slice(part);
}

fn pull(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.bytes, &other.bytes) || self.bytes == other.bytes)
    }
}

impl Eq for CacheKey {}

impl std::hash::Hash for CacheKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold secrets, and debug output ends in logs.
        let target = self.target();
        let shown = target.split('?').next().unwrap_or_default();
        write!(f, "CacheKey({shown}{})", if shown.len() < target.len() { "?…" } else { "" })
    }
}

/// Hashes a [`CacheKey`] by the hash that it carries: for maps of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrehashedBuildHasher;

impl BuildHasher for PrehashedBuildHasher {
    type Hasher = PrehashedHasher;

    fn build_hasher(&self) -> PrehashedHasher {
        PrehashedHasher::default()
    }
}

/// See [`PrehashedBuildHasher`].
#[derive(Debug, Default)]
pub struct PrehashedHasher(u64);

impl Hasher for PrehashedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by `CacheKey`, which writes one u64; right for anything else all the same.
        for byte in bytes {
            self.0 = self.0.rotate_left(5) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
