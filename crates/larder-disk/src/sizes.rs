//! Computes the sizes that follow from the limit of a directory: segments, the longest body, and
//! the longest body that is stored behind its head. The limit itself is kept in `state/state_file`.

/// Limit of a directory for which no process has chosen one, in bytes.
pub(crate) const DEFAULT_LIMIT: u64 = 1 << 30;
/// Smallest limit of a directory, in bytes.
pub(crate) const MIN_LIMIT: u64 = 4 << 20;

/// The sizes of a directory with a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    limit: u64,
}

impl Sizes {
    /// Creates the sizes for this limit in bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit: limit.max(MIN_LIMIT) }
    }

    /// Returns the length of the longest body that is stored, if `max_object` is that of the
    /// options.
    pub(crate) fn longest_body(self, max_object: Option<u64>) -> u64 {
        max_object.unwrap_or(self.limit / 4).min(self.limit / 2)
    }

    /// Returns the size of a segment in bytes: about 1/256 of the limit, 64 KiB to 16 MiB. Space
    /// for records is reserved in whole segments, and each process that writes has one open. The
    /// smaller segments are, the closer to the limit the store can stay.
    pub(crate) fn segment(self) -> u64 {
        (self.limit / 256).next_power_of_two().clamp(64 << 10, 16 << 20)
    }

    /// Returns the length of the longest body that is stored in a segment behind its head. Longer
    /// bodies are stored in separate files.
    pub(crate) fn inline(self) -> u64 {
        (self.segment() / 4).min(128 << 10)
    }

    /// Returns the number of bytes that a table of tombstones counts as, at least, once it has any.
    /// If the tombstones of keys occupy more, they are removed.
    pub(crate) fn tombstones(self) -> u64 {
        (self.limit / 32).min(16 << 20)
    }

    /// Returns the number of bytes by which the reserved space of a body that is being written
    /// grows.
    pub(crate) fn reservation_step(self) -> u64 {
        self.segment().min(1 << 20)
    }
}
