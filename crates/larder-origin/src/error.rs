//! Converts errors of hyper's client into the engine's [`OriginError`].

use std::error::Error as _;

use hyper_util::client::legacy;
use larder_core::{OriginError, OriginErrorKind};

/// Converts an error of the client, and adds it as the source.
pub(crate) fn origin_error(error: legacy::Error) -> OriginError {
    OriginError::new(kind(&error)).with_source(error)
}

/// Returns the kind of origin error for an error of the client.
fn kind(error: &legacy::Error) -> OriginErrorKind {
    if error.is_connect() {
        return OriginErrorKind::Connect;
    }
    let hyper = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    // `is_user`: the request body that hyper was sending has failed. It comes from the client.
    if hyper.is_some_and(hyper::Error::is_user) {
        OriginErrorKind::RequestBody
    } else {
        OriginErrorKind::Protocol
    }
}
