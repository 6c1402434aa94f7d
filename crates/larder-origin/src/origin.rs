//! [`HyperOrigin`]: sends a request to its destination, retries it on a stale connection, and
//! checks the response.
//!
//! The destination is in `destination`, connections in `pool`; framing is checked in `framing`;
//! body timeouts are in `body`, and requests that switch protocols in `upgrade`.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
    uri::Authority,
};
use hyper::body::{Body as _, Incoming};
use larder_core::{Body, Origin, OriginError, OriginErrorKind, OriginReport, Upgrade, head_within};
use tokio::time::Instant;

use crate::{
    HyperOptions, OptionsError,
    body::{BodyLimits, ResponseBody},
    destination,
    error::{Progress, exchange_error, progress},
    framing,
    log::FailureLog,
    pool::{Lease, Pool, Server},
    upgrade,
};

/// An origin that fetches over HTTP/1.1 and HTTP/2 with a pool of connections.
///
/// Clones share the pool. The task of a connection runs on the tokio runtime on which the
/// connection was opened, so create one origin for each runtime.
///
/// A failed fetch is logged at the level `warn`, with its causes and the origin's address; at most
/// one every ten seconds, with the number of those in between.
///
/// ```no_run
/// use larder_core::{Body, Origin as _};
/// use larder_origin::{HyperOptions, HyperOrigin};
///
/// # async fn fetch() -> Result<(), Box<dyn std::error::Error>> {
/// let origin = HyperOrigin::new(HyperOptions::to("http://127.0.0.1:3000")?)?;
/// let request = http::Request::get("http://example.com/").body(Body::empty())?;
/// let response = origin.fetch(request).await?;
/// println!("{}", response.status());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HyperOrigin(Arc<Inner>);

struct Inner {
    pool: Pool,
    /// The name of the server in reports; `None` if each request has its own.
    name: Option<Arc<str>>,
    options: HyperOptions,
    log: FailureLog,
}

impl fmt::Debug for HyperOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperOrigin").field("to", &self.0.options.to).finish_non_exhaustive()
    }
}

impl HyperOrigin {
    /// Creates an origin with these options. It opens no connection yet.
    ///
    /// # Errors
    ///
    /// Returns an [`OptionsError`] if a certificate or key in the options is invalid, or if
    /// [`HyperOptions::to`] has no scheme `http` or `https`, has no host, or is `https` while the
    /// feature `tls` is disabled.
    pub fn new(options: HyperOptions) -> Result<Self, OptionsError> {
        let pool = Pool::new(&options)?;
        let name = options.to.as_ref().map(|to| to.to_string().trim_end_matches('/').into());
        Ok(Self(Arc::new(Inner { pool, name, options, log: FailureLog::default() })))
    }
}

impl Inner {
    /// Records in a report that a request is sent.
    fn begin(&self, report: &OriginReport, request: &Request<Body>) -> (OriginReport, Instant) {
        match &self.name {
            Some(name) => report.begin(name),
            None => {
                let (scheme, authority) = (request.uri().scheme_str(), request.uri().authority());
                let authority = authority.map_or("", Authority::as_str);
                report.begin(&format!("{}://{authority}", scheme.unwrap_or("http")).into());
            }
        }
        (report.clone(), Instant::now())
    }

    /// Fetches from a server, and checks the response.
    async fn fetch(
        &self,
        server: &Arc<Server>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, OriginError> {
        let options = &self.options;
        let total = options.total_timeout.map(|limit| (limit, Instant::now() + limit));
        let authority = destination::prepare(options, &mut request)?;
        let is_head = request.method() == Method::HEAD;
        let upgrade = request.extensions().get::<Upgrade>().cloned();
        let sending = self.send(server, &authority, request, upgrade.as_ref());
        let (mut response, lease) = sending.await?;
        if response.status().is_informational() {
            return Box::pin(upgrade::switched(response, lease, upgrade.as_ref())).await;
        }
        framing::normalize(response.headers_mut())?;
        if response.status() == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6: such a response has no length, also to HEAD.
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        let has_no_content = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if is_head || has_no_content || response.body().is_end_stream() {
            // For the first two, a `Content-Length` is that of another response (RFC 9110 §8.6).
            lease.finish();
            return Ok(response.map(|_| Body::empty()));
        }
        let pause =
            if may_be_silent(response.headers()) { options.event_timeout } else { options.body_timeout };
        let limits = BodyLimits { pause, total };
        Ok(response.map(|body| Body::stream(ResponseBody::new(body, limits, lease))))
    }

    /// Sends the request and returns the head of the response, within the time for it.
    async fn send(
        &self,
        server: &Arc<Server>,
        authority: &Authority,
        request: Request<Body>,
        upgrade: Option<&Upgrade>,
    ) -> Result<(Response<Incoming>, Lease), OriginError> {
        let limit = self.options.total_timeout.unwrap_or(self.options.head_timeout);
        let limit = limit.min(self.options.head_timeout);
        let (parts, body) = request.into_parts();
        let sending = |body| async {
            let request = Request::from_parts(parts, body);
            match upgrade {
                None => exchange(server, authority, request).await,
                // Boxed, like the second attempt of `exchange`: most requests need no room for it.
                Some(upgrade) => Box::pin(upgrade::exchange(server, authority, request, upgrade)).await,
            }
        };
        match head_within(limit, body, sending).await {
            Some(response) => response,
            None => Err(OriginError::new(OriginErrorKind::Timeout(limit))),
        }
    }
}

/// Sends the request on a connection, and once more on another one if that is safe and may help:
///
/// - if no part of it was sent, or an origin over HTTP/2 has stated that it did not process it (RFC
///   9113 §8.7), whatever the method is;
/// - if the connection was closed while it was idle, the method is idempotent (RFC 9110 §9.2.2) and
///   the request has no body.
async fn exchange(
    server: &Arc<Server>,
    authority: &Authority,
    request: Request<Body>,
) -> Result<(Response<Incoming>, Lease), OriginError> {
    let mut lease = server.lease(false).await?;
    let is_idempotent = request.method().is_idempotent() && request.body().is_empty();
    let copy = if lease.is_reused() && is_idempotent || lease.is_http2() { copy(&request) } else { None };
    let mut error = match lease.send(request, authority).await? {
        Ok(response) => return Ok((response, lease)),
        Err(error) => error,
    };
    let progress = progress(error.error());
    let again = match progress {
        Progress::Refused | Progress::NotProcessed => error.take_message().or(copy),
        Progress::Disconnected if lease.is_reused() => {
            error.take_message().or(copy.filter(|_| is_idempotent))
        }
        Progress::Disconnected | Progress::Failed => None,
    };
    let Some(request) = again else { return Err(exchange_error(error.into_error())) };
    // A connection that refuses one stream serves the others.
    if progress == Progress::Refused {
        drop(lease);
    } else {
        lease.discard();
    }
    Box::pin(async {
        let mut lease = server.lease(true).await?;
        match lease.send(request, authority).await? {
            Ok(response) => Ok((response, lease)),
            Err(error) => Err(exchange_error(error.into_error())),
        }
    })
    .await
}

/// Returns whether a response is silent while nothing happens: a stream of events, or one of gRPC.
fn may_be_silent(fields: &HeaderMap) -> bool {
    let media_type = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let media_type = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_grpc = |(name, format): (&[u8], &[u8])| {
        name.eq_ignore_ascii_case(b"application/grpc") && (format.is_empty() || format[0] == b'+')
    };
    media_type.eq_ignore_ascii_case(b"text/event-stream")
        || media_type.split_at_checked(b"application/grpc".len()).is_some_and(is_grpc)
}

/// Returns a copy of a request with a body in memory; `None` if the body streams.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    *copy.version_mut() = request.version();
    Some(copy)
}

#[async_trait]
impl Origin for HyperOrigin {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let Some(server) = self.0.pool.server(request.uri()) else {
            let error = OriginError::new(OriginErrorKind::Protocol);
            return Err(error.with_source("the request has no http or https URI with a host"));
        };
        let report = OriginReport::of(&request).map(|report| self.0.begin(report, &request));
        let result = self.0.fetch(&server, request).await;
        if let (Some((report, begun)), Ok(_)) = (report, &result) {
            report.answered(begun.elapsed());
        }
        result.inspect_err(|error| self.0.log.failed(&server, error))
    }

    fn supports_background_revalidation(&self) -> bool {
        true
    }
}
