//! What the file system said, in the engine's terms.

use std::io;

use larder_core::{StoreError, StoreErrorKind, codec::NotEncodable};

const NAME: &str = "disk";

/// A failure of the file system while the store did `what`.
pub(crate) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreErrorKind::Full
            }
            _ => StoreErrorKind::Unavailable,
        };
        StoreError::new(kind, NAME, what).with_source(error)
    }
}

pub(crate) fn gone(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, NAME, what)
}

pub(crate) fn corrupt(what: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, NAME, what)
}

pub(crate) fn too_long(most: u64) -> StoreError {
    StoreError::too_long(NAME, most)
}

pub(crate) fn not_encodable(error: NotEncodable) -> StoreError {
    StoreError::new(StoreErrorKind::Full, NAME, "the head does not fit the format").with_source(error)
}

/// A task that was given to a blocking thread did not come back: the runtime is closing down.
pub(crate) fn closing() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, NAME, "the runtime is closing down")
}
