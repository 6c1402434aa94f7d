//! Where responses come from.

use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;
use http::{Request, Response};

use crate::Body;

/// Answers requests that the cache can't: a pooled HTTP client, a handler, anything.
///
/// # What the engine relies on
///
/// 1. A returned response's body ends without error only if it is complete by the message's own framing
///    (RFC 9112 §8): a short `Content-Length`, a broken chunk or a reset is an error of the stream.
/// 2. Dropping the future, or the body, gives up the exchange.
///
/// The URI of the request is absolute and normalised. Hop-by-hop fields have been removed on the way in, and
/// the engine removes those of the response.
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "an origin implements `larder_core::Origin` with `#[async_trait]`; `larder-origin` has one for HTTP"
)]
pub trait Origin: fmt::Debug + Send + Sync + 'static {
    /// Sends the request, and returns when the head of the final response is here.
    ///
    /// # Errors
    ///
    /// An [`OriginError`] when no final response came.
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError>;

    /// Whether [`fetch`](Self::fetch) may be called after the request that this origin was handed over with has
    /// been answered. If not, a response that may be served stale while it is revalidated (RFC 5861 §3) is
    /// revalidated first.
    fn supports_background_revalidation(&self) -> bool;
}

/// The origin gave no response.
#[derive(Debug)]
pub struct OriginError {
    kind: OriginErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What kept the origin from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OriginErrorKind {
    /// No connection: refused, unreachable, unknown host, or the TLS handshake failed. 502 to the client.
    Connect,
    /// The connection broke, or what came was not HTTP. 502 to the client.
    Protocol,
    /// No head of a response within this time. 504 to the client.
    Timeout(Duration),
    /// The *client's* request body failed while it was being sent. 400 to the client, where it still listens.
    RequestBody,
    /// The process is closing down, or the exchange was given up. 503 to the client.
    Closed,
}

impl OriginError {
    /// An error of this kind.
    pub fn new(kind: OriginErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> OriginErrorKind {
        self.kind
    }

    /// The innermost cause, for a log.
    pub(crate) fn cause(&self) -> Option<String> {
        let mut cause: &dyn Error = self.source.as_deref()?;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(cause.to_string())
    }
}

impl OriginErrorKind {
    pub(crate) fn is_timeout(self) -> bool {
        matches!(self, Self::Timeout(_))
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OriginErrorKind::Connect => f.write_str("could not connect to the origin"),
            OriginErrorKind::Protocol => {
                f.write_str("the origin broke off the exchange or did not speak HTTP")
            }
            OriginErrorKind::Timeout(limit) => write!(f, "the origin did not answer within {limit:?}"),
            OriginErrorKind::RequestBody => f.write_str("the request's body failed while it was being sent"),
            OriginErrorKind::Closed => f.write_str("the exchange was given up before the origin answered"),
        }
    }
}

impl Error for OriginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
