//! Defines [`Origin`], the source of responses that the cache does not have, and its error.
//!
//! Implementations over HTTP are in `larder-origin`; adapters implement it for handlers, mostly
//! with `local_origin`. `engine::fetch` calls it and limits its time.

use std::{error::Error, fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{Request, Response};

use crate::{Body, error_chain::debug_as_chain};

/// Fetches responses that the cache cannot serve, from a server over HTTP, a handler, or any other
/// source.
///
/// # What the engine relies on
///
/// 1. The body of a returned response ends without error only if it is complete according to the
///    message's own framing (RFC 9112 §8). A short `Content-Length`, a malformed chunk or a
///    connection reset is an error of the stream.
/// 2. Dropping the future or the body cancels the exchange.
///
/// # What the engine does
///
/// - The URI of the request is absolute and normalized. Hop-by-hop header fields are removed from
///   the request before the origin is called, and from the response afterwards.
/// - `Range` and the client's conditions (`If-None-Match` and the like) reach the origin on a miss,
///   except that the conditions of this cache replace the client's when it validates a stored
///   response, and that the whole or other ranges may be requested instead of the client's range
///   ([`RangeOptions`](crate::RangeOptions)). An origin may ignore both and return the whole
///   response with 200. On a hit, and after a validation, the engine answers with 206, 304 or 416
///   itself.
/// - A response without `Date` gets one, with the time at which it arrived (RFC 9110 §6.6.1).
/// - The body of a response to HEAD is dropped, so an origin may return that of GET. If its length
///   is known, it becomes `Content-Length`.
///
/// # Panics
///
/// A panic in [`fetch`](Self::fetch) unwinds into the caller of [`Cache::fetch`](crate::Cache::fetch)
/// or [`Miss::fetch`](crate::Miss::fetch). Of the requests that wait for that fetch, one fetches
/// again and the others wait for it. In a background revalidation, the panic ends its task, and the
/// stored response stays as it was.
///
/// # Pointers
///
/// An `Arc` or a `Box` of an origin is an origin itself, also of a `dyn Origin`. A call through it
/// costs nothing more.
///
/// # Examples
///
/// The trait is implemented with `#[async_trait]`. This page shows the signatures that it
/// generates; the method is written as `async fn fetch(&self, request: Request<Body>) -> ...`.
///
/// ```
/// use async_trait::async_trait;
/// use larder_core::{Body, Origin, OriginError};
///
/// /// An origin that needs no network.
/// #[derive(Debug)]
/// struct Hello;
///
/// #[async_trait]
/// impl Origin for Hello {
///     async fn fetch(&self, _: http::Request<Body>) -> Result<http::Response<Body>, OriginError> {
///         Ok(http::Response::new(Body::from("hello")))
///     }
///
///     fn supports_background_revalidation(&self) -> bool {
///         true
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    note = "implement `larder_core::Origin` with `#[async_trait]`, or use the HTTP origin of `larder-origin`"
)]
pub trait Origin: fmt::Debug + Send + Sync + 'static {
    /// Sends the request and returns the final response once its head has arrived. Interim (1xx)
    /// responses are not returned.
    ///
    /// # Errors
    ///
    /// Returns an [`OriginError`] if there was no final response.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the exchange.
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError>;

    /// Returns whether [`fetch`](Self::fetch) may be called after the client's request has been
    /// answered.
    ///
    /// If it returns `false`, a response that may be served stale while it is revalidated (RFC 5861
    /// §3) is revalidated before it is served.
    fn supports_background_revalidation(&self) -> bool;
}

/// The future that [`Origin::fetch`] returns.
type FetchFuture<'f> = Pin<Box<dyn Future<Output = Result<Response<Body>, OriginError>> + Send + 'f>>;

/// Implements [`Origin`] for a pointer type. The signature is the one that `#[async_trait]`
/// generates: a call returns the future of the inner origin and allocates nothing more.
macro_rules! impl_origin {
    ($pointer:ident) => {
        impl<T: Origin + ?Sized> Origin for $pointer<T> {
            #[inline]
            fn fetch<'s, 'f>(&'s self, request: Request<Body>) -> FetchFuture<'f>
            where
                's: 'f,
                Self: 'f,
            {
                (**self).fetch(request)
            }

            #[inline]
            fn supports_background_revalidation(&self) -> bool {
                (**self).supports_background_revalidation()
            }
        }
    };
}

impl_origin!(Arc);
impl_origin!(Box);

/// The error of an origin that returned no response.
pub struct OriginError {
    kind: OriginErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason why an origin returned no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OriginErrorKind {
    /// The connection failed: refused, unreachable, unknown host, or a failed TLS handshake. Status
    /// 502.
    Connect,
    /// The connection was lost, or the origin sent something that is not HTTP. Status 502.
    Protocol,
    /// No response head arrived within this time; zero if the limit is not known. Status 504.
    Timeout(Duration),
    /// The *client's* request body failed while it was being sent. Status 400, if the client still
    /// reads.
    RequestBody,
    /// The request was not sent, because too many requests to the origin are in progress or wait.
    /// Status 503.
    Busy,
    /// The process is shutting down, or the exchange was cancelled. Status 503.
    Closed,
    /// The origin is code of this process and failed, such as a handler, a query or the reading of
    /// a file. Status 500.
    Internal,
}

impl OriginError {
    /// Creates an error of this kind, without a source.
    pub fn new(kind: OriginErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Sets the underlying error, which [`source`](Error::source) returns.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> OriginErrorKind {
        self.kind
    }

    /// Returns the source if it is an `E`: an origin's own error, with which it created this one.
    ///
    /// Only the request that was sent to the origin gets that error back. Requests that waited for
    /// its response get an error of the same kind, and a source with only the text of the cause.
    ///
    /// ```
    /// use larder_core::{OriginError, OriginErrorKind};
    ///
    /// let own = std::io::Error::other("the disk is full");
    /// let error = OriginError::new(OriginErrorKind::Internal).with_source(own);
    /// let own: std::io::Error = error.downcast_source().expect("an io::Error");
    /// assert_eq!(own.to_string(), "the disk is full");
    /// ```
    ///
    /// # Errors
    ///
    /// Returns this error unchanged if its source is of another type, or if it has none.
    pub fn downcast_source<E: Error + 'static>(self) -> Result<E, Self> {
        let Self { kind, source } = self;
        match source.map(|source| source.downcast::<E>()) {
            Some(Ok(source)) => Ok(*source),
            Some(Err(source)) => Err(Self { kind, source: Some(source) }),
            None => Err(Self { kind, source: None }),
        }
    }

    /// Creates the error of a request that waited for a fetch that failed for this reason.
    pub(crate) fn of_leader(kind: OriginErrorKind, cause: Option<&str>) -> Self {
        Self { kind, source: cause.map(Into::into) }
    }

    /// Returns the text of the innermost source, for logs and for requests that waited.
    pub(crate) fn cause(&self) -> Option<String> {
        let mut cause: &dyn Error = self.source.as_deref()?;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Some(cause.to_string())
    }
}

impl OriginErrorKind {
    /// Returns whether the origin took too long.
    pub(crate) fn is_timeout(self) -> bool {
        matches!(self, Self::Timeout(_))
    }
}

impl From<OriginErrorKind> for OriginError {
    fn from(kind: OriginErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OriginErrorKind::Connect => f.write_str("could not connect to the origin"),
            OriginErrorKind::Protocol => {
                f.write_str("the origin closed the connection early or did not speak HTTP")
            }
            OriginErrorKind::Timeout(Duration::ZERO) => f.write_str("the origin did not answer in time"),
            OriginErrorKind::Timeout(limit) => write!(f, "the origin did not answer within {limit:?}"),
            OriginErrorKind::RequestBody => f.write_str("the request body failed while it was being sent"),
            OriginErrorKind::Busy => f.write_str("too many requests to the origin are waiting"),
            OriginErrorKind::Closed => f.write_str("the exchange was cancelled before the origin answered"),
            OriginErrorKind::Internal => f.write_str("the origin failed to produce a response"),
        }
    }
}

impl fmt::Debug for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl Error for OriginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
