//! A request's content while the request is on its way: it may be needed again after a redirect.

use bytes::Bytes;
use larder_core::Body;
use reqwest::Request;

use crate::origin::from_reqwest_body;

/// What a request sends.
#[derive(Debug)]
pub(crate) enum ReplayableBody {
    /// In memory, nothing at all included: can be sent again.
    Whole(Bytes),
    /// Can be sent once.
    Stream(Option<Body>),
}

impl ReplayableBody {
    /// Takes it out of a request.
    pub(crate) fn of(request: &mut Request) -> Self {
        match request.body_mut().take() {
            None => Self::Whole(Bytes::new()),
            Some(body) => match from_reqwest_body(body).try_into_bytes() {
                Ok(bytes) => Self::Whole(bytes),
                Err(stream) => Self::Stream(Some(stream)),
            },
        }
    }

    /// To send it.
    pub(crate) fn take(&mut self) -> Body {
        match self {
            Self::Whole(bytes) => Body::from(bytes.clone()),
            Self::Stream(stream) => stream.take().unwrap_or_default(),
        }
    }
}
