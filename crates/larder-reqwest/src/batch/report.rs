//! What a batch reports: the result of each URL, and the pauses of hosts.

use std::time::Duration;

use http::StatusCode;

use crate::{Error, Response};

/// The result of one URL of a [`Batch`](crate::Batch).
#[derive(Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// The URL in the form in which it was passed to the batch.
    pub url: String,
    /// The position of the URL among the distinct ones, from 0.
    pub index: u64,
    /// The response, or the error of the last attempt. A response with an error status, such as
    /// 404, is not an error.
    pub result: Result<Response, Error>,
    /// Number of attempts, from 1. 0 if the URL could not be parsed.
    pub attempts: u32,
}

/// A pause that a host of a [`Batch`](crate::Batch) has requested, by a 429 or 503 with `Retry-After`, or by a 429
/// without one; see [`Batch::on_pause`](crate::Batch::on_pause).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPause {
    /// Scheme, host and port, such as `https://example.com`.
    pub host: String,
    /// The status of the response.
    pub status: StatusCode,
    /// How long nothing is sent to the host.
    pub pause: Duration,
    /// Whether the batch waits for the end of the pause. Otherwise the URLs of the host that no
    /// stored response answers fail with [`ErrorKind::HostBlocked`](crate::ErrorKind::HostBlocked).
    pub is_waiting: bool,
}

/// Returns whether a response with this status can request a pause for its host.
pub(super) fn is_pause_status(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
