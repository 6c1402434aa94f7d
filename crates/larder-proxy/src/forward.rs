//! Forwards a request that the cache cannot answer: prepares its fields, limits its content, and
//! fetches through the engine.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, Request, Uri,
    header::{EXPECT, HeaderValue},
    request::Parts,
};
use larder_core::{BodyError, Cache, CacheKey, CacheResponse, FetchError, Miss};
use tracing::Instrument as _;

use crate::{
    ProxyOptions, Route,
    content::{ContentFailure, ContentLimits, limited},
    encoding::NegotiatedEncoding,
    trace::Trace,
};

/// What is known of a request that has to be forwarded.
#[derive(Debug)]
pub(crate) struct ForwardPlan<'a> {
    pub(crate) route: &'a Route,
    pub(crate) key: CacheKey,
    pub(crate) miss: Miss,
    pub(crate) encoding: NegotiatedEncoding,
    /// The target in the form that was looked up.
    pub(crate) target: Uri,
    pub(crate) peer: Option<IpAddr>,
}

/// The reason why a forwarded request has no response.
#[derive(Debug)]
pub(crate) enum ForwardError {
    /// The request has been here before.
    Loop,
    /// The client did not send its content as it has to.
    Content(ContentFailure),
    /// The engine has no response.
    Fetch(FetchError),
}

/// Forwards a request to the origin of its route. Takes the fields of `head`, or copies them if
/// there is an access log. Returns the response, and the trace that the request belongs to.
pub(crate) async fn forward<B>(
    cache: &Cache,
    options: &ProxyOptions,
    head: &mut Parts,
    content: B,
    plan: ForwardPlan<'_>,
) -> (Result<CacheResponse, ForwardError>, Option<Trace>)
where
    B: http_body::Body<Data: Send, Error: Into<BodyError>> + Send + 'static,
{
    let ForwardPlan { route, key, miss, encoding, target, peer } = plan;
    let mut headers = match options.access_log {
        Some(_) => head.headers.clone(),
        None => std::mem::take(&mut head.headers),
    };
    let scheme = target.scheme_str().unwrap_or("http");
    let authority = target.authority().map_or("", |authority| authority.as_str());
    let trusted = &options.trusted_proxies;
    if options.forwarding.prepare(&mut headers, scheme, authority, peer, trusted).is_err() {
        return (Err(ForwardError::Loop), None);
    }
    answer_expectation(&mut headers);
    let limits = ContentLimits { timeout: options.content_timeout, max_length: options.max_content };
    let (content, outcome) = match limited(content, limits) {
        Ok(limited) => limited,
        Err(failure) => return (Err(ForwardError::Content(failure)), None),
    };
    let trace = Trace::continue_or_start(&mut headers);
    let origin = encoding.origin(Arc::clone(&route.origin), cache, key, &mut headers);
    let mut request = Request::new(content);
    request.method_mut().clone_from(&head.method);
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        trace_id = format_args!("{:032x}", trace.trace),
        span_id = format_args!("{:016x}", trace.span),
    );
    let response = miss.fetch(request, origin, &route.options).instrument(span).await;
    let response = response.map_err(|error| match outcome.and_then(|outcome| outcome.failure()) {
        Some(failure) => ForwardError::Content(failure),
        None => ForwardError::Fetch(error),
    });
    (response, Some(trace))
}

/// Removes `Expect: 100-continue`, which this proxy answers itself (RFC 9110 §10.1.1): the server
/// sends 100 when the origin's connection asks for the content.
fn answer_expectation(headers: &mut HeaderMap) {
    let is_100 = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get(EXPECT).is_some_and(is_100) {
        headers.remove(EXPECT);
    }
}
