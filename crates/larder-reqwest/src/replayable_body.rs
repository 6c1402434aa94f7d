//! The body of a request, taken out of it so that a redirect can send it again.

use bytes::Bytes;
use larder_core::Body;
use reqwest::Request;

use crate::origin::from_reqwest_body;

/// The body of a request.
#[derive(Debug)]
pub(crate) enum ReplayableBody {
    /// A body in memory, possibly empty. It can be sent any number of times.
    InMemory(Bytes),
    /// A stream. It can be sent once; `None` after that.
    Stream(Option<Body>),
}

impl ReplayableBody {
    /// Removes the body from a request and returns it.
    pub(crate) fn take_from(request: &mut Request) -> Self {
        match request.body_mut().take() {
            None => Self::InMemory(Bytes::new()),
            Some(body) => match from_reqwest_body(body).try_into_bytes() {
                Ok(bytes) => Self::InMemory(bytes),
                Err(stream) => Self::Stream(Some(stream)),
            },
        }
    }

    /// Returns the body to send. A stream is empty from the second call on.
    pub(crate) fn take(&mut self) -> Body {
        match self {
            Self::InMemory(bytes) => Body::from(bytes.clone()),
            Self::Stream(stream) => stream.take().unwrap_or_default(),
        }
    }
}
