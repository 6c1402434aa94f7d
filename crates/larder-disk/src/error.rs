//! Converts errors of the file system and of the codec to [`StoreError`], and decides their kinds.

use std::io;

use larder_core::{StoreError, StoreErrorKind, codec::NotEncodable};

const NAME: &str = "disk";

/// Converts an [`io::Error`] that occurred during `operation`. Full disks, quotas and file size
/// limits become [`Full`](StoreErrorKind::Full); all other errors
/// [`Unavailable`](StoreErrorKind::Unavailable).
pub(crate) fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreErrorKind::Full
            }
            _ => StoreErrorKind::Unavailable,
        };
        StoreError::new(kind, NAME, operation).with_source(error)
    }
}

/// Creates an error for an entry that has been removed, replaced or evicted.
pub(crate) fn gone(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, NAME, detail)
}

/// Creates an error for data that differs from what was written.
pub(crate) fn corrupt(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, NAME, detail)
}

/// Creates an error for a body of more than `max` bytes.
pub(crate) fn too_long(max: u64) -> StoreError {
    StoreError::too_long(NAME, max)
}

/// Converts an error of the codec: the head exceeds a limit of the format.
pub(crate) fn not_encodable(error: NotEncodable) -> StoreError {
    StoreError::new(StoreErrorKind::Full, NAME, "the response head exceeds a limit of the storage format")
        .with_source(error)
}

/// Creates an error for a blocking task that did not complete because the runtime is shutting down.
pub(crate) fn closing() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, NAME, "the runtime is shutting down")
}

/// Creates an error for a write to a store that was opened with `open_existing`.
pub(crate) fn inspected() -> StoreError {
    let detail = "the directory was opened to inspect it; open it with DiskStore::open to store responses";
    StoreError::new(StoreErrorKind::Unavailable, NAME, detail)
}

/// Creates an error for an operation that is not carried out because others are waiting.
pub(crate) fn busy(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, NAME, detail)
}
