//! Forwards a request that the cache cannot answer: prepares its fields, limits its content, and
//! fetches through the engine.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{
    HeaderMap, Request, Uri,
    header::{EXPECT, HeaderValue},
    request::Parts,
};
use larder_core::{
    Body, Cache, CacheKey, CacheResponse, FetchError, Miss, Origin, OriginReport, OverrideFn, Upgrade,
    Upgraded,
};
use tracing::Instrument as _;

use crate::{
    ProxyOptions, Route,
    content::{ContentFailure, ContentOutcome},
    encoding::NegotiatedEncoding,
    keyed::RequestKey,
    trace::trace_of,
};

/// What is known of a request that has to be forwarded.
#[derive(Debug)]
pub(crate) struct ForwardPlan<'a> {
    pub(crate) route: &'a Route,
    pub(crate) keyed: RequestKey,
    pub(crate) miss: Miss,
    pub(crate) encoding: NegotiatedEncoding,
    /// Overrides by rules of the route. They take precedence over the route's own.
    pub(crate) overrides: Option<OverrideFn>,
    /// The target in the form that was looked up.
    pub(crate) target: Uri,
    pub(crate) peer: Option<IpAddr>,
}

/// What is known of a request to switch protocols.
#[derive(Debug)]
pub(crate) struct UpgradePlan<'a> {
    pub(crate) route: &'a Route,
    /// The key of the URL.
    pub(crate) key: CacheKey,
    /// The target in its normal form.
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
/// there is an access log.
pub(crate) async fn forward(
    cache: &Cache,
    options: &ProxyOptions,
    head: &mut Parts,
    ((content, outcome), report): ((Body, Option<ContentOutcome>), Option<&OriginReport>),
    plan: ForwardPlan<'_>,
) -> Result<CacheResponse, ForwardError> {
    let ForwardPlan { route, keyed, miss, encoding, overrides, target, peer } = plan;
    let mut headers = forwarded_fields(options, head, &target, peer)?;
    let origin = encoding.origin(observed(&route.origin, report), cache, keyed.key, &mut headers);
    let request = outgoing(head, target, headers, content);
    let span = span_of(&request);
    let mut fetch_options = Cow::Borrowed(&route.options);
    if keyed.url.is_some() || keyed.is_query {
        let changed = fetch_options.to_mut();
        changed.form_of = keyed.url;
        changed.body_in_key = keyed.is_query;
    }
    if let Some(overrides) = overrides {
        let changed = fetch_options.to_mut();
        changed.overrides = Some(overrides.or(changed.overrides.take()));
    }
    // Boxed, because it is large and would otherwise be copied each time that it moves.
    let fetching = Box::pin(miss.fetch(request, origin, &fetch_options));
    match (fetching.instrument(span).await, outcome) {
        (Ok(response), outcome) => {
            outcome.iter().for_each(ContentOutcome::answer);
            Ok(response)
        }
        (Err(error), outcome) => Err(match outcome.and_then(|outcome| outcome.failure()) {
            Some(failure) => ForwardError::Content(failure),
            None => ForwardError::Fetch(error),
        }),
    }
}

/// Passes a request to switch protocols to the origin of its route, past the cache. Returns the
/// response, and the origin's connection if it has switched.
pub(crate) async fn pass_upgrade(
    cache: &Cache,
    options: &ProxyOptions,
    head: &mut Parts,
    (upgrade, report): (Upgrade, Option<&OriginReport>),
    plan: UpgradePlan<'_>,
) -> Result<(CacheResponse, Option<Upgraded>), ForwardError> {
    let UpgradePlan { route, key, target, peer } = plan;
    let headers = forwarded_fields(options, head, &target, peer)?;
    let request = outgoing(head, target, headers, Body::empty());
    let span = span_of(&request);
    let origin = observed(&route.origin, report);
    let passing = cache.pass_upgrade(&key, request, upgrade, &*origin);
    passing.instrument(span).await.map_err(ForwardError::Fetch)
}

/// Returns the origin of a request that was a hit, and the request as it would be forwarded, for
/// the rest of a body that the store cannot read. Takes the fields of `head`, or copies them if
/// there is an access log.
pub(crate) fn origin_of_rest(
    options: &ProxyOptions,
    head: &mut Parts,
    route: &Route,
    (keyed, encoding): (&RequestKey, &NegotiatedEncoding),
    peer: Option<IpAddr>,
) -> Option<(Request<()>, Arc<dyn Origin>)> {
    if keyed.has_content {
        return None;
    }
    let target: Uri = keyed.key.target().parse().ok()?;
    let mut headers = forwarded_fields(options, head, &target, peer).ok()?;
    // What this proxy encodes may come out in other bytes; what the origin has encoded does not.
    encoding.set_accepted(&mut headers);
    let request = outgoing(head, target, headers, Body::empty());
    Some((request.map(|_| ()), Arc::clone(&route.origin)))
}

/// Returns the origin of a route, which reports the server that it sends a request to.
fn observed(origin: &Arc<dyn Origin>, report: Option<&OriginReport>) -> Arc<dyn Origin> {
    match report {
        Some(report) => report.observe(Arc::clone(origin)),
        None => Arc::clone(origin),
    }
}

/// Returns the fields of a request as they are forwarded. Takes those of `head`, or copies them if
/// there is an access log.
fn forwarded_fields(
    options: &ProxyOptions,
    head: &mut Parts,
    target: &Uri,
    peer: Option<IpAddr>,
) -> Result<HeaderMap, ForwardError> {
    let mut headers = match options.access_log {
        Some(_) => head.headers.clone(),
        None => std::mem::take(&mut head.headers),
    };
    let scheme = target.scheme_str().unwrap_or("http");
    let authority = target.authority().map_or("", |authority| authority.as_str());
    let trusted = &options.trusted_proxies;
    if options.forwarding.prepare(&mut headers, scheme, authority, peer, trusted).is_err() {
        return Err(ForwardError::Loop);
    }
    answer_expectation(&mut headers);
    Ok(headers)
}

/// Creates the request to the origin.
fn outgoing(head: &Parts, target: Uri, headers: HeaderMap, content: Body) -> Request<Body> {
    let mut request = Request::new(content);
    request.method_mut().clone_from(&head.method);
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    request
}

/// Creates the span of a request to the origin.
fn span_of(request: &Request<Body>) -> tracing::Span {
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        trace_id = tracing::field::Empty,
    );
    if !span.is_disabled()
        && let Some(trace) = trace_of(request.headers())
    {
        span.record("trace_id", format_args!("{trace:032x}"));
    }
    span
}

/// Removes `Expect: 100-continue`, which this proxy answers itself (RFC 9110 §10.1.1): the server
/// sends 100 when the origin's connection reads the content.
fn answer_expectation(headers: &mut HeaderMap) {
    let is_100 = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get(EXPECT).is_some_and(is_100) {
        headers.remove(EXPECT);
    }
}
