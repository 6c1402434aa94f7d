//! Defines the options of a disk store, and computes the sizes that follow from them: segments, and
//! the longest body that is stored behind its head.

/// Options of a [`DiskStore`](crate::DiskStore): limits in bytes, and durability.
///
/// # Examples
///
/// ```
/// use larder_disk::{DiskOptions, Durability};
///
/// let options = DiskOptions::default()
///     .with_max_bytes(10 << 30) // 10 GiB
///     .with_max_object(512 << 20)
///     .with_durability(Durability::PowerFailure);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DiskOptions {
    /// Space that the directory may occupy in the file system, in bytes: bodies, heads, index and
    /// all other files. Default: 1 GiB. Values below 4 MiB count as 4 MiB. At the limit, the
    /// entries that were written first and not looked up since are evicted. The limit may be
    /// exceeded by up to 2 %.
    pub max_bytes: u64,
    /// Longest body that is stored, in bytes. Default (`None`): a quarter of `max_bytes`. Values
    /// above half of `max_bytes` count as half of it. A longer body is not stored; its response
    /// still reaches the client.
    pub max_object: Option<u64>,
    /// Memory for recently read short entries in decoded form, in bytes. Default: 32 MiB. Zero
    /// disables this read cache. At the limit, entries are evicted from memory and remain on disk.
    /// Each hit from memory is checked against the index first, so it is as current as the disk.
    pub read_cache_bytes: u64,
    /// The failure that a committed entry is guaranteed to survive. Default:
    /// [`Durability::ProcessCrash`].
    pub durability: Durability,
}

/// The failure that a committed entry is guaranteed to survive.
///
/// With either value no damaged entry is served, since heads and bodies have checksums. This option
/// only decides how many entries are lost when the machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A crash of the process. After a power failure, entries that were not yet on the disk are
    /// misses.
    #[default]
    ProcessCrash,
    /// A power failure as well. A commit waits until the disk has the entry, which takes
    /// milliseconds instead of microseconds.
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
    /// Sets the space that the directory may occupy in the file system, in bytes
    /// ([`max_bytes`](Self::max_bytes)).
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets the longest body that is stored, in bytes ([`max_object`](Self::max_object)).
    #[must_use]
    pub fn with_max_object(mut self, max_object: u64) -> Self {
        self.max_object = Some(max_object);
        self
    }

    /// Sets the memory for recently read short entries in decoded form, in bytes
    /// ([`read_cache_bytes`](Self::read_cache_bytes)).
    #[must_use]
    pub fn with_read_cache_bytes(mut self, read_cache_bytes: u64) -> Self {
        self.read_cache_bytes = read_cache_bytes;
        self
    }

    /// Sets the failure that a committed entry is guaranteed to survive
    /// ([`durability`](Self::durability)).
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Returns the limit of the directory in bytes, at least 4 MiB.
    pub(crate) fn limit(&self) -> u64 {
        self.max_bytes.max(4 << 20)
    }

    /// Returns the length of the longest body that is stored.
    pub(crate) fn longest_body(&self) -> u64 {
        self.max_object.unwrap_or(self.limit() / 4).min(self.limit() / 2)
    }

    /// Returns the size of a segment in bytes: about 1/256 of the limit, 64 KiB to 16 MiB. Space is
    /// allocated and freed in whole segments, and each process that writes has one open. The
    /// smaller segments are, the closer to the limit the store can stay.
    pub(crate) fn segment(&self) -> u64 {
        (self.limit() / 256).next_power_of_two().clamp(64 << 10, 16 << 20)
    }

    /// Returns the length of the longest body that is stored in a segment behind its head. Longer
    /// bodies are stored in separate files.
    pub(crate) fn inline(&self) -> usize {
        usize::try_from(self.segment() / 4).unwrap_or(usize::MAX).min(128 << 10)
    }
}
