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

/// How far an exchange has come that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The origin has refused the stream, and uses the connection for others (RFC 9113 §8.7).
    Refused,
    /// The origin is closing the connection, and has not processed the stream (RFC 9113 §6.8).
    NotProcessed,
    /// The connection was closed or reset. The origin may have processed the request.
    Disconnected,
    /// The exchange itself has failed.
    Failed,
}

/// Returns how far an exchange has come that failed with this error.
pub(crate) fn progress(error: &hyper::Error) -> Progress {
    if let Some(http2) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) {
        if http2.is_reset() && http2.reason() == Some(h2::Reason::REFUSED_STREAM) {
            return Progress::Refused;
        }
        // A stream that the origin may still process has no error while its connection lasts.
        if http2.is_go_away() && http2.is_remote() {
            return Progress::NotProcessed;
        }
    }
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    match error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io.is_some() {
        true => Progress::Disconnected,
        false => Progress::Failed,
    }
}
