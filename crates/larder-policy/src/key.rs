//! Defines the cache key (RFC 9111 §2), under which responses are stored.
//!
//! Each part is preceded by its length, so that the parts of two different requests cannot result
//! in the same bytes. The key contains its hash, computed once when the key is created. Two keys
//! are equal only if all their bytes are.

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    sync::{Arc, OnceLock},
};

use crate::{TargetError, TargetUri, target::Parts};

/// The key under which responses are stored: the target URI, and the extra parts that a cache adds
/// to it. GET and HEAD share it.
///
/// Cloning increments a reference count. `Hash` writes the precomputed hash, which is seeded
/// randomly in each process. Stores that outlive the process hash [`as_bytes`](Self::as_bytes)
/// instead.
///
/// ```
/// use larder_policy::{CacheKey, TargetUri};
///
/// let target = TargetUri::parse("https://example.com/page").unwrap();
/// let key = CacheKey::new(&target);
/// assert_eq!(key.target(), "https://example.com/page");
/// assert_ne!(key.with_extra(b"alice"), key);
/// ```
#[derive(Clone)]
pub struct CacheKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl CacheKey {
    /// Creates the key of a target.
    pub fn new(target: &TargetUri) -> Self {
        Self::from_normalised(target.scheme(), target.authority(), target.path_and_query())
    }

    /// Creates the key from the parts of a request, without a [`TargetUri`] in between. Servers use
    /// it on their hot path.
    ///
    /// The parts are normalized as in [`TargetUri::new`], and the key is equal to the one of that
    /// target.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the parts are not a valid target.
    pub fn from_parts(scheme: &str, authority: &str, path_and_query: &str) -> Result<Self, TargetError> {
        let parts = Parts::new(scheme, authority, path_and_query)?;
        Ok(Self::from_normalised(parts.scheme, &parts.authority, &parts.path))
    }

    /// Returns a key with an additional part, such as a tenant, a user or the hash of a request's
    /// content. Each call adds one more part.
    #[must_use]
    pub fn with_extra(&self, extra: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 4 + extra.len());
        bytes.extend_from_slice(&self.bytes);
        push_part(&mut bytes, extra);
        Self::hashed(&bytes)
    }

    /// Returns the key of another target with the same extra parts.
    #[must_use]
    pub fn for_target(&self, target: &TargetUri) -> Self {
        let mut rest = &*self.bytes;
        for _ in 0..3 {
            rest = split_part(rest).unwrap_or_default().1;
        }
        let key = Self::new(target);
        if rest.is_empty() { key } else { Self::hashed(&[&key.bytes, rest].concat()) }
    }

    /// Returns the key as bytes, for stores. Each part follows its length, which is 32 bits
    /// little-endian.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Creates a key from the bytes that a store has read back. Returns `None` if they are not a
    /// key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut parts = 0;
        while !rest.is_empty() {
            let (part, after) = split_part(rest)?;
            if parts < 3 {
                std::str::from_utf8(part).ok()?;
            }
            rest = after;
            parts += 1;
        }
        (parts >= 3).then(|| Self::hashed(bytes))
    }

    /// Returns the target URI as text.
    pub fn target(&self) -> String {
        let mut target = String::with_capacity(self.bytes.len());
        let mut rest = &*self.bytes;
        for after in ["://", "", ""] {
            let (part, others) = split_part(rest).unwrap_or_default();
            rest = others;
            match std::str::from_utf8(part) {
                Ok(part) => target.push_str(part),
                Err(_) => target.push_str(&String::from_utf8_lossy(part)),
            }
            target.push_str(after);
        }
        target
    }

    /// Returns the precomputed hash of the key, which differs between processes.
    pub fn process_hash(&self) -> u64 {
        self.hash
    }

    /// Creates a key from parts in normal form.
    fn from_normalised(scheme: &str, authority: &str, path: &str) -> Self {
        // A key of up to 256 bytes is assembled on the stack, so that it takes one allocation.
        let length = 12 + scheme.len() + authority.len() + path.len();
        let mut stack = [0; 256];
        if let Some(buffer) = stack.get_mut(..length) {
            let mut at = 0;
            for part in [scheme, authority, path] {
                let end = at + 4 + part.len();
                buffer[at..at + 4].copy_from_slice(&length_prefix(part.as_bytes()));
                buffer[at + 4..end].copy_from_slice(part.as_bytes());
                at = end;
            }
            return Self::hashed(buffer);
        }
        let mut bytes = Vec::with_capacity(length);
        for part in [scheme, authority, path] {
            push_part(&mut bytes, part.as_bytes());
        }
        Self::hashed(&bytes)
    }

    /// Creates a key from its bytes and computes its hash.
    fn hashed(bytes: &[u8]) -> Self {
        static SEED: OnceLock<foldhash::quality::RandomState> = OnceLock::new();
        let hash = SEED.get_or_init(foldhash::quality::RandomState::default).hash_one(bytes);
        Self { hash, bytes: bytes.into() }
    }
}

/// Returns the length that precedes a part.
fn length_prefix(part: &[u8]) -> [u8; 4] {
    // Targets are limited to 64 KiB. The caller chooses the length of extra parts.
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Appends a part, preceded by its length.
fn push_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&length_prefix(part));
    bytes.extend_from_slice(part);
}

/// Splits the first part from the rest. Returns `None` if the bytes are too short.
fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
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
        // A query may contain secrets, and debug output ends up in logs.
        let target = self.target();
        let shown = target.split('?').next().unwrap_or_default();
        write!(f, "CacheKey({shown}{})", if shown.len() < target.len() { "?…" } else { "" })
    }
}

/// Builds hashers for maps keyed by [`CacheKey`], which use its precomputed hash.
///
/// ```
/// use std::collections::HashMap;
/// use larder_policy::{CacheKey, PrehashedBuildHasher, TargetUri};
///
/// let key = CacheKey::new(&TargetUri::parse("https://example.com/").unwrap());
/// let mut hits: HashMap<CacheKey, u32, PrehashedBuildHasher> = HashMap::default();
/// *hits.entry(key).or_default() += 1;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PrehashedBuildHasher;

impl BuildHasher for PrehashedBuildHasher {
    type Hasher = PrehashedHasher;

    fn build_hasher(&self) -> PrehashedHasher {
        PrehashedHasher::default()
    }
}

/// The hasher of [`PrehashedBuildHasher`]: returns the `u64` that was written to it.
#[derive(Debug, Default)]
pub struct PrehashedHasher(u64);

impl Hasher for PrehashedHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // `CacheKey` writes one `u64` and never calls this. Other input still gets a valid hash.
        for byte in bytes {
            self.0 = self.0.rotate_left(5) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
