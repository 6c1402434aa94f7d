//! Defines [`FetchError`], and which status and text a proxy's client gets for it.

use std::{error::Error, fmt};

use http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};

use super::response::CacheResponse;
use crate::{
    Body, CacheDetail, CacheStatus, ForwardReason, OriginError, OriginErrorKind, TargetError,
    error_chain::debug_as_chain,
};

/// The reason why neither the store nor the origin could provide a response.
#[non_exhaustive]
pub enum FetchError {
    /// The request's target cannot be fetched.
    Target(TargetError),
    /// The request's URI is not absolute: it has no scheme and authority.
    RelativeTarget,
    /// The origin returned no response, and no stored response may be served instead.
    Origin(OriginError),
}

impl FetchError {
    /// Returns the status code that a proxy sends to its client (RFC 9110 §15.5, §15.6).
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Target(TargetError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Target(_) | Self::RelativeTarget => StatusCode::BAD_REQUEST,
            Self::Origin(error) => match error.kind() {
                OriginErrorKind::Connect | OriginErrorKind::Protocol => StatusCode::BAD_GATEWAY,
                OriginErrorKind::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
                OriginErrorKind::RequestBody => StatusCode::BAD_REQUEST,
                OriginErrorKind::Busy | OriginErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
                OriginErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// Returns the status of a request that failed with this error.
    pub(crate) fn cache_status(&self) -> CacheStatus {
        let mut cache_status = CacheStatus::forwarded(ForwardReason::Miss);
        cache_status.detail = match self {
            Self::Target(_) | Self::RelativeTarget => Some(CacheDetail::BadTarget),
            Self::Origin(error) => match error.kind() {
                OriginErrorKind::Connect => Some(CacheDetail::OriginUnreachable),
                OriginErrorKind::Protocol => Some(CacheDetail::OriginProtocolError),
                OriginErrorKind::Timeout(_) => Some(CacheDetail::OriginTimeout),
                OriginErrorKind::RequestBody => Some(CacheDetail::RequestBodyFailed),
                OriginErrorKind::Busy => Some(CacheDetail::OriginBusy),
                OriginErrorKind::Closed => Some(CacheDetail::Closing),
                OriginErrorKind::Internal => None,
            },
        };
        cache_status
    }

    /// Returns the source of the origin's error if it is an `E`, so that an adapter gets the error
    /// of its framework back; see [`OriginError::downcast_source`].
    ///
    /// # Errors
    ///
    /// Returns this error unchanged if its source is of another type, or if it has none.
    pub fn downcast_source<E: Error + 'static>(self) -> Result<E, Self> {
        match self {
            Self::Target(_) | Self::RelativeTarget => Err(self),
            Self::Origin(error) => error.downcast_source().map_err(Self::Origin),
        }
    }

    /// Returns a response with that status and one line of text that describes the failure.
    ///
    /// It contains no internal address: the causes are in [`source`](Error::source), for logs.
    pub(crate) fn to_response(&self) -> CacheResponse {
        let mut fields = HeaderMap::with_capacity(4);
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let cache_status = self.cache_status();
        let status = self.status();
        let text = format!("{} {}: {self}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
        CacheResponse::from_origin(status, fields, cache_status, Body::from(text))
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => write!(f, "cannot fetch the request's target: {error}"),
            Self::RelativeTarget => f.write_str(
                "cannot fetch the request's target: the URI is not absolute (scheme://authority/path)",
            ),
            Self::Origin(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_as_chain(self, f)
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Target(error) => Some(error),
            Self::RelativeTarget => None,
            Self::Origin(error) => error.source(),
        }
    }
}

impl From<TargetError> for FetchError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<OriginError> for FetchError {
    fn from(error: OriginError) -> Self {
        Self::Origin(error)
    }
}
