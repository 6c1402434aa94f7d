//! What kept the origin from answering, in the engine's terms.

use std::error::Error as _;

use hyper_util::client::legacy;
use larder_core::{OriginError, OriginErrorKind};

pub(crate) fn origin_error(error: legacy::Error) -> OriginError {
    OriginError::new(kind(&error)).with_source(error)
}

fn kind(error: &legacy::Error) -> OriginErrorKind {
    if error.is_connect() {
        return OriginErrorKind::Connect;
    }
    let hyper = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    // `is_user`: the body that we gave hyper to send has failed, and that was the client's.
    if hyper.is_some_and(hyper::Error::is_user) {
        OriginErrorKind::RequestBody
    } else {
        OriginErrorKind::Protocol
    }
}
