//! Defines the options of a disk store. The sizes that follow from the limit are computed in
//! `sizes`.

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
    /// all other files. Values below 4 MiB count as 4 MiB. At the limit, the entries that were
    /// written first and not looked up since are evicted. The limit may be exceeded by up to 2 %.
    ///
    /// The limit belongs to the directory, which records it. A value here changes it for all
    /// processes; those that have the directory open follow within about a second. Default
    /// (`None`): the limit of the directory, or 1 GiB for a new one.
    pub max_bytes: Option<u64>,
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
/// With either value no damaged entry is served, since heads and bodies have checksums, and
/// removals survive both failures. This option only decides how many entries are lost when the
/// machine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A crash of the process. After a power failure, entries that were not yet on the disk are
    /// misses.
    #[default]
    ProcessCrash,
    /// A power failure as well. A commit waits until the disk has the entry, with everything that
    /// is needed to find it, which takes milliseconds instead of microseconds.
    PowerFailure,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            max_bytes: None,
            max_object: None,
            read_cache_bytes: 32 << 20,
            durability: Durability::default(),
        }
    }
}

impl DiskOptions {
    /// Sets the space that the directory may occupy in the file system, in bytes, for all processes
    /// ([`max_bytes`](Self::max_bytes)).
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
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
}
