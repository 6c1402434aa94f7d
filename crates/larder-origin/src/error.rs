//! Converts errors of connections and exchanges into the engine's [`OriginError`].

use std::error::Error as _;

use larder_core::{OriginError, OriginErrorKind};

use crate::pool::LeaseError;

/// Converts the reason why there is no connection.
impl From<LeaseError> for OriginError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Connect(error) => Self::new(OriginErrorKind::Connect).with_source(error),
            LeaseError::Busy => Self::new(OriginErrorKind::Busy),
        }
    }
}

/// Converts the error of an exchange.
pub(crate) fn exchange_error(error: hyper::Error) -> OriginError {
    // `is_user`: the request body that hyper was sending has failed. It comes from the client.
    let kind = if error.is_user() { OriginErrorKind::RequestBody } else { OriginErrorKind::Protocol };
    OriginError::new(kind).with_source(error)
}

/// Returns whether the connection was closed or reset.
pub(crate) fn is_disconnect(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io.is_some()
}
