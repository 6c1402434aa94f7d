//! Converts failures of Redis commands to [`StoreError`]s, and defines the error of connecting.
//!
//! Error messages of a server may contain keys. They are attached as the error's source, which logs
//! show, and are never part of the text.

use std::{borrow::Cow, error::Error, fmt};

use larder_core::{StoreError, StoreErrorKind, codec::NotEncodable};
use redis::RedisError;

const NAME: &str = "redis";

/// Creates the error of an `operation` that the server or the connection failed.
pub(crate) fn failed(operation: &'static str, error: RedisError) -> StoreError {
    let kind = match error.code() {
        Some("OOM") => StoreErrorKind::Full,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, NAME, format!("{operation} failed")).with_source(error)
}

/// Creates an error of kind [`Unavailable`](StoreErrorKind::Unavailable).
pub(crate) fn unavailable(detail: impl Into<Cow<'static, str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, NAME, detail)
}

/// Creates an error of kind [`Gone`](StoreErrorKind::Gone).
pub(crate) fn gone(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Gone, NAME, detail)
}

/// Creates an error of kind [`Corrupt`](StoreErrorKind::Corrupt).
pub(crate) fn corrupt(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, NAME, detail)
}

/// Creates the error of a body that is longer than `limit` bytes.
pub(crate) fn too_long(limit: u64) -> StoreError {
    StoreError::too_long(NAME, limit)
}

/// Creates the error of a response head that the stored format cannot represent.
pub(crate) fn not_encodable(error: NotEncodable) -> StoreError {
    StoreError::new(StoreErrorKind::Full, NAME, "the response head does not fit the stored format")
        .with_source(error)
}

/// The store could not connect: the URL is invalid, the servers can't be reached, or they reject
/// the credentials.
///
/// The message contains no credentials.
pub struct RedisConnectError {
    pub(crate) message: String,
    pub(crate) source: Option<redis::RedisError>,
}

impl RedisConnectError {
    /// Creates an error without a source.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Creates the error of a URL that the redis crate does not accept. The details of its error
    /// are parts of the URL, and are left out.
    pub(crate) fn invalid_url(message: &str, error: &redis::RedisError) -> Self {
        let why = match error.detail() {
            None => format!("{message}: {error}"),
            Some(_) => format!("{message}: its user, database or parameters are not valid"),
        };
        let source = (redis::ErrorKind::InvalidClientConfig, "the URL is not valid");
        Self { message: why, source: Some(source.into()) }
    }

    /// Returns whether a later attempt may succeed. It cannot if the server has rejected the
    /// credentials or the configuration of the client is invalid.
    pub(crate) fn is_transient(&self) -> bool {
        use redis::ErrorKind::{AuthenticationFailed, InvalidClientConfig};
        self.source.as_ref().is_none_or(|error| {
            !matches!(error.kind(), AuthenticationFailed | InvalidClientConfig)
                && !matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        })
    }
}

impl fmt::Display for RedisConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for RedisConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        larder_core::debug_as_chain(self, f)
    }
}

impl Error for RedisConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
