//! What the servers said, in the engine's terms. Messages of servers may have keys in them, so they are causes, which logs
//! show, and never the text.

use std::borrow::Cow;

use larder_core::{StoreError, StoreErrorKind, codec::NotEncodable};
use redis::RedisError;

const NAME: &str = "redis";

pub(crate) fn failed(what: &'static str, error: RedisError) -> StoreError {
    let kind = match error.code() {
        Some("OOM") => StoreErrorKind::Full,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, NAME, what).with_source(error)
}

pub(crate) fn unavailable(what: impl Into<Cow<'static, str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, NAME, what)
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
