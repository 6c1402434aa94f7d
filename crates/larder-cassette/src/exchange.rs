//! Defines what a cassette consists of: requests with their responses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use larder_core::Timestamp;

/// A request and the response to it, as a cassette has them: without secrets.
///
/// It is shown as the text of its file, and read from that:
///
/// ```
/// use larder_cassette::RecordedExchange;
///
/// let text = "larder exchange 1\n\n=== request\nGET https://example.com/\n\
///     === response\nHTTP/1.1 200 OK\n=== response body\nhello\n=== end\n";
/// let exchange = RecordedExchange::try_from(text.as_bytes()).expect("a whole exchange");
/// assert_eq!(exchange.response.body, "hello");
/// assert_eq!(exchange.to_string(), text);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedExchange {
    /// When the request was sent. `None` if that is not known, such as in a file written by hand.
    pub recorded: Option<Timestamp>,
    /// The time from the request to the end of the response. A file has it in milliseconds, beside
    /// the time of the recording.
    pub duration: Duration,
    /// The request.
    pub request: RecordedRequest,
    /// The response.
    pub response: RecordedResponse,
}

/// A request of a [`RecordedExchange`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method.
    pub method: Method,
    /// The absolute URL, without user and password.
    pub url: Uri,
    /// The header fields, in the client's order within each name.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The length of the body, if it was too long to be kept and `body` is empty instead; of a
    /// stream, what is known of it when it is sent. See [`RecordedResponse::omitted`].
    pub omitted: Option<u64>,
}

/// A response of a [`RecordedExchange`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordedResponse {
    /// The status code.
    pub status: StatusCode,
    /// The version of HTTP.
    pub version: Version,
    /// The header fields, without those that concern only a connection.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The trailers, if the body ended with some.
    pub trailers: Option<HeaderMap>,
    /// The length of the body, if it was too long to be kept and `body` is empty instead. Only a
    /// cassette without a directory has such responses; see
    /// [`Cassette::recorder`](crate::Cassette::recorder).
    pub omitted: Option<u64>,
}

/// A user's function that changes a request or a response.
pub(crate) type Change<T> = Arc<dyn Fn(&mut T) + Send + Sync>;

impl RecordedExchange {
    /// Creates the exchange of a request and its response. Times are not known.
    pub fn new(request: RecordedRequest, response: RecordedResponse) -> Self {
        Self { recorded: None, duration: Duration::ZERO, request, response }
    }
}

impl RecordedRequest {
    /// Creates a request without headers and body.
    pub fn new(method: Method, url: Uri) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), omitted: None }
    }
}

impl RecordedResponse {
    /// Creates a response of HTTP/1.1 without headers and body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            version: Version::HTTP_11,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            trailers: None,
            omitted: None,
        }
    }
}
