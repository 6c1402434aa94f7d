//! How much the store keeps, and how hard it tries.

/// How much the store keeps, and how hard it tries. Each field has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Bytes of the file system that the directory may take, everything counted. At least 4 MiB. Default: 1 GiB.
    pub max_bytes: u64,
    /// Bytes of one body, at most; longer ones are not stored. Default: a quarter of `max_bytes`.
    pub max_object: Option<u64>,
    /// Bytes of memory for short entries that were read lately, decoded. What is served from there was looked up in the
    /// index a moment before: it is as current as what is on disk. Default: 32 MiB.
    pub read_cache_bytes: u64,
    /// What a commit waits for. Default: [`Durability::ProcessCrash`].
    pub durability: Durability,
}

/// What a committed entry survives for certain. It is never found damaged, whatever happens: this only decides how
/// much is lost when the machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The death of the process. After a power failure, what was not yet on the disk is a miss.
    #[default]
    ProcessCrash,
    /// A power failure, too: a commit waits for the disk. Milliseconds instead of microseconds.
    PowerFailure,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_object: None,
            read_cache_bytes: 32 << 20,
            durability: Durability::default(),
        }
    }
}

impl DiskOptions {
    /// The defaults with this limit.
    pub fn with_max_bytes(max_bytes: u64) -> Self {
        Self { max_bytes, ..Self::default() }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.max_bytes.max(4 << 20)
    }

    pub(crate) fn longest_body(&self) -> u64 {
        self.max_object.unwrap_or(self.limit() / 4).min(self.limit() / 2)
    }

    /// Bytes of one segment. Space is taken and given back by the segment, and each process that writes has one begun:
    /// the smaller it is, the closer to the limit the store can stay.
    pub(crate) fn segment(&self) -> u64 {
        (self.limit() / 256).next_power_of_two().clamp(64 << 10, 16 << 20)
    }

    /// The longest body that stands beside its head in a segment; longer ones have a file of their own.
    pub(crate) fn inline(&self) -> usize {
        usize::try_from(self.segment() / 4).unwrap_or(usize::MAX).min(128 << 10)
    }
}
