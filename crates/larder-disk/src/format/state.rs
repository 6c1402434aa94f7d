//! Encodes and decodes the content of the state file. Reading, writing and locking it is left to
//! `state/state_file`.

use std::io;

use crate::{
    format::bucket::BUCKET,
    sizes::{DEFAULT_LIMIT, MIN_LIMIT},
};

/// First bytes of the state file.
const MAGIC: &[u8; 8] = b"LARDISK2";
/// Bytes of the first part of the state file, which all versions of this layout have.
const BASE: usize = 116;
/// Bytes of the state file: the first part, and the extension with a checksum of its own. Programs
/// that do not know the extension leave it unchanged.
pub(crate) const SIZE: usize = 144;

/// The content of the state file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Random key of the hash, so that clients cannot choose URLs that collide in one bucket.
    pub(crate) seed: [u8; 16],
    /// Number of buckets of the index.
    pub(crate) buckets: u32,
    /// Number of the next segment.
    pub(crate) next_segment: u32,
    /// Sequence number: incremented by removals and commits, which it puts in order.
    pub(crate) sequence: u64,
    /// Bytes of the file system that segments, bodies and the index occupy.
    pub(crate) used: u64,
    /// Totals of all processes.
    pub(crate) counts: Counts,
    /// Sequence number of the last clear.
    pub(crate) clear_epoch: u64,
    /// Sequence number of the last removal by URL prefix.
    pub(crate) prefix_epoch: u64,
    /// Space that the directory may occupy, in bytes. Zero in a directory of a program that did not
    /// record it.
    pub(crate) limit: u64,
    /// Sequence number of the last removal of any group.
    pub(crate) group_epoch: u64,
}

/// Event totals of all processes since the directory was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stored: u64,
    pub(crate) evicted: u64,
    pub(crate) corrupt: u64,
    pub(crate) failed: u64,
}

impl State {
    /// Creates the state of an empty directory, with a random hash key.
    pub(crate) fn new(buckets: u32) -> io::Result<Self> {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        Ok(Self {
            seed,
            buckets,
            next_segment: 1,
            sequence: 1,
            // The index is sparse at first.
            used: u64::from(buckets) * BUCKET as u64,
            counts: Counts::default(),
            clear_epoch: 0,
            prefix_epoch: 0,
            limit: DEFAULT_LIMIT,
            group_epoch: 0,
        })
    }

    /// Returns the limit of the directory in bytes.
    pub(crate) fn limit(&self) -> u64 {
        if self.limit == 0 { DEFAULT_LIMIT } else { self.limit.max(MIN_LIMIT) }
    }

    /// Sets the limit to the one that a process has chosen. Without one, the limit of the directory
    /// stays; a directory without a limit gets the default, or what it occupies if that is more.
    pub(crate) fn choose_limit(&mut self, chosen: Option<u64>) {
        let chosen = chosen.map(|limit| limit.max(MIN_LIMIT));
        let before = self.limit;
        self.limit = match (chosen, before) {
            (Some(chosen), _) => chosen,
            (None, 0) => self.used.max(DEFAULT_LIMIT),
            (None, before) => before,
        };
        if before != 0 && before != self.limit {
            tracing::info!(before, now = self.limit, "disk store: changed the limit of the directory");
        }
    }

    /// Encodes the state with its checksum.
    pub(crate) fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(MAGIC);
        put(&self.seed);
        put(&self.buckets.to_le_bytes());
        put(&self.next_segment.to_le_bytes());
        put(&self.sequence.to_le_bytes());
        put(&self.used.to_le_bytes());
        let Counts { hits, misses, stored, evicted, corrupt, failed } = self.counts;
        for count in [hits, misses, stored, evicted, corrupt, failed, self.clear_epoch, self.prefix_epoch] {
            put(&count.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes[..BASE - 4]);
        bytes[BASE - 4..BASE].copy_from_slice(&checksum.to_le_bytes());
        bytes[BASE..BASE + 8].copy_from_slice(&self.limit.to_le_bytes());
        bytes[BASE + 8..BASE + 16].copy_from_slice(&self.group_epoch.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[BASE..SIZE - 4]);
        bytes[SIZE - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes the state. Returns `None` if the magic or a checksum is wrong. The extension may be
    /// missing.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let u64_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let u32_at = |at: usize| bytes[at..].first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
        let base: &[u8; BASE] = bytes.first_chunk()?;
        if &base[..8] != MAGIC || u32_at(BASE - 4)? != crc32fast::hash(&base[..BASE - 4]) {
            return None;
        }
        let (limit, group_epoch) = match bytes.len() {
            BASE => (0, 0),
            SIZE if u32_at(SIZE - 4)? == crc32fast::hash(&bytes[BASE..SIZE - 4]) => {
                (u64_at(BASE)?, u64_at(BASE + 8)?)
            }
            _ => return None,
        };
        Some(Self {
            seed: *bytes[8..].first_chunk()?,
            buckets: u32_at(24)?,
            next_segment: u32_at(28)?,
            sequence: u64_at(32)?,
            used: u64_at(40)?,
            counts: Counts {
                hits: u64_at(48)?,
                misses: u64_at(56)?,
                stored: u64_at(64)?,
                evicted: u64_at(72)?,
                corrupt: u64_at(80)?,
                failed: u64_at(88)?,
            },
            clear_epoch: u64_at(96)?,
            prefix_epoch: u64_at(104)?,
            limit,
            group_epoch,
        })
    }
}
