//! What is told of each request once its answer is over: for an access log, and for metrics.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use actix_http::{
    HttpMessage as _, Request, Response,
    body::{BodySize, MessageBody as _},
};
use actix_web::http::{StatusCode, Version, header::HOST};
use bytes::Bytes;
use tokio::time::Instant;

use super::trace::{self, Trace};
use crate::{AnswerBody, body::Watch};

/// Is told of each request whose answer is over, on the worker's thread: count, or hand on, and return.
pub trait AccessLog: fmt::Debug + Send + Sync + 'static {
    /// A request was answered, or its client left.
    fn answered(&self, access: &Access<'_>);
}

/// A request, and what became of it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Access<'a> {
    request: &'a Request,
    /// The status code of the answer.
    pub status: u16,
    /// Bytes of content that were sent.
    pub bytes: u64,
    /// Whether all of the content was sent.
    pub complete: bool,
    /// From the request's head to the end of its answer.
    pub duration: Duration,
    /// What the cache has done: this cache's member of `Cache-Status` (RFC 9211).
    pub cache_status: &'a str,
    /// The trace that the request belongs to (W3C trace context), if there is one.
    pub trace: Option<u128>,
}

impl<'a> Access<'a> {
    /// The client's address, as the connection has it.
    pub fn peer(&self) -> Option<IpAddr> {
        self.request.peer_addr().map(|address| address.ip())
    }

    /// The request's method.
    pub fn method(&self) -> &'a str {
        self.request.method().as_str()
    }

    /// Path and query, as they were asked for.
    pub fn target(&self) -> &'a str {
        self.request.uri().path_and_query().map_or("/", |path| path.as_str())
    }

    /// The host that was asked for.
    pub fn host(&self) -> &'a str {
        match self.request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => self.field(HOST.as_str()).unwrap_or_default(),
        }
    }

    /// The version of HTTP, as `HTTP/1.1`.
    pub fn version(&self) -> &'static str {
        match self.request.version() {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// The first line of a field of the request, if it is text.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.request.headers().get(name)?.to_str().ok()
    }
}

/// One request, on its way to the log.
pub(super) struct LoggedExchange {
    log: Arc<dyn AccessLog>,
    request: Request,
    begun: Instant,
    status: StatusCode,
    cache_status: Bytes,
    trace: Option<Trace>,
    bytes: u64,
    complete: bool,
}

/// What a log is told of later, noted when a request comes.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) log: Arc<dyn AccessLog>,
    pub(super) begun: Instant,
}

impl Arrival {
    pub(super) fn now(log: &Arc<dyn AccessLog>) -> Self {
        Self { log: Arc::clone(log), begun: Instant::now() }
    }

    /// Has the log told when the response is over.
    pub(super) fn attach_log(
        self,
        request: Request,
        response: Response<AnswerBody>,
        cache_status: Bytes,
        trace: Option<Trace>,
    ) -> Response<AnswerBody> {
        let visit = LoggedExchange {
            log: self.log,
            request,
            begun: self.begun,
            status: response.status(),
            cache_status,
            trace,
            bytes: 0,
            complete: matches!(response.body().size(), BodySize::None | BodySize::Sized(0)),
        };
        response.map_body(|_, body| body.watched(Box::new(visit)))
    }
}

impl Watch for LoggedExchange {
    fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn ended(&mut self) {
        self.complete = true;
    }
}

impl fmt::Debug for LoggedExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visit")
    }
}

impl Drop for LoggedExchange {
    fn drop(&mut self) {
        let came_with = || trace::parse(self.request.headers().get("traceparent")?.as_bytes());
        self.log.answered(&Access {
            request: &self.request,
            status: self.status.as_u16(),
            bytes: self.bytes,
            complete: self.complete,
            duration: self.begun.elapsed(),
            cache_status: std::str::from_utf8(&self.cache_status).unwrap_or_default(),
            trace: self.trace.map(|trace| trace.trace).or_else(|| came_with().map(|(trace, _)| trace)),
        });
    }
}
