//! Determines the cache key of a request to the middleware, and makes the request what its key
//! states. The rules are in [`larder_core::adapter`].

use std::borrow::Cow;

use actix_http::header::{COOKIE, HOST, HeaderValue};
use actix_web::{
    HttpMessage as _,
    dev::{ConnectionInfo, ServiceRequest},
    http::{
        Uri, Version,
        header::{UPGRADE, X_FORWARDED_HOST, X_FORWARDED_PROTO},
    },
};
use larder_core::{
    CacheKey, TargetUri,
    adapter::{KeyParts, ReceivedTarget, RequestTarget, is_steering, joined_cookies, normal_host},
};

use crate::{
    CacheMiddleware,
    convert::{ActixHeaders, set_value},
};

/// The key of a request.
pub(crate) struct RequestKey {
    pub(crate) key: CacheKey,
    /// The key of the URL, if the key can have more parts.
    pub(crate) url: Option<CacheKey>,
    /// Whether the request is not what its key states: in its fields or in its query.
    pub(crate) differs: bool,
}

impl RequestKey {
    /// Returns the key of a request, and replaces its selecting headers by their normal form.
    /// `None` if it goes to its handler without the cache.
    pub(crate) fn of(request: &mut ServiceRequest, settings: &CacheMiddleware) -> Option<Self> {
        if request.headers().contains_key(UPGRADE)
            || crate::content::announces_content_of_get(request)
            || settings.skips(request)
        {
            return None;
        }
        let head = request.head();
        let mut received = ReceivedTarget::new(scheme(request), head.uri.path_and_query()?.as_str());
        received.uri_scheme = head.uri.scheme_str();
        received.uri_authority = head.uri.authority().map(|authority| authority.as_str());
        received.is_http_2 = head.version >= Version::HTTP_2;
        received.is_http_1_0 = head.version <= Version::HTTP_10;
        let peer = request.peer_addr().map(|peer| peer.ip());
        let headers = ActixHeaders(request.headers());
        let target = RequestTarget::of(&received, &headers, peer, &settings.trusted_proxies).ok()?;
        if target.has_other_path() {
            return None;
        }
        let differs = target.differs_from_fields(&headers)
            || matches!(settings.key_rules.path(target.path), Cow::Owned(_));
        let url = settings.key_rules.key(&target).ok()?;
        for (name, value) in settings.normalization.changes(&headers) {
            set_value(request.headers_mut(), name, value);
        }
        if !settings.has_key_parts() {
            return Some(Self { key: url, url: None, differs });
        }
        let partition = settings.partition_of(request);
        let headers = ActixHeaders(request.headers());
        let parts = with_partition(KeyParts::new(&headers), partition.as_deref());
        let key = settings.extend_key(settings.key_rules.key_with(&url, &parts), request);
        Some(Self { key, url: Some(url), differs })
    }

    /// Adds the method and the content of a query.
    pub(crate) fn add_query(
        &mut self,
        request: &ServiceRequest,
        settings: &CacheMiddleware,
        method: &http::Method,
        content: &[u8],
    ) {
        let Some(url) = &self.url else { return };
        let (headers, partition) = (ActixHeaders(request.headers()), settings.partition_of(request));
        let parts = with_partition(KeyParts::new(&headers), partition.as_deref());
        let key = settings.key_rules.key_with(url, &parts.with_query(method, content));
        self.key = settings.extend_key(key, request);
    }
}

/// Adds the partition, if there is one.
fn with_partition<'a>(
    parts: KeyParts<'a, ActixHeaders<'a>>,
    partition: Option<&'a [u8]>,
) -> KeyParts<'a, ActixHeaders<'a>> {
    match partition {
        Some(partition) => parts.with_partition(partition),
        None => parts,
    }
}

/// Makes the request what its key states, before a handler sees it: without ignored query
/// parameters, with its host in normal form and one line of cookies, and with the scheme and host
/// of the key in `X-Forwarded-*`, if a trusted proxy has sent them, or without such fields.
pub(crate) fn set_target(request: &mut ServiceRequest, key: &CacheKey, settings: &CacheMiddleware) {
    let is_trusted = request.peer_addr().is_some_and(|peer| settings.trusted_proxies.contains(peer.ip()));
    let scheme = scheme(request);
    let headers = request.headers_mut();
    let steering: Vec<_> = headers.keys().filter(|name| is_steering(name.as_str())).cloned().collect();
    for name in steering {
        if !is_trusted || name != "x-forwarded-for" {
            headers.remove(name);
        }
    }
    if is_trusted && let Ok(target) = key.target().parse::<Uri>() {
        let scheme = HeaderValue::from_str(target.scheme_str().unwrap_or_default());
        let host = HeaderValue::from_str(target.authority().map_or("", |authority| authority.as_str()));
        if let (Ok(scheme), Ok(host)) = (scheme, host) {
            headers.insert(X_FORWARDED_PROTO, scheme);
            headers.insert(X_FORWARDED_HOST, host);
        }
    }
    if let Some(Ok(host)) = normal_host(&ActixHeaders(headers), scheme).map(HeaderValue::try_from) {
        headers.insert(HOST, host);
    }
    if let Some(Ok(cookies)) = joined_cookies(&ActixHeaders(headers)).map(HeaderValue::try_from) {
        headers.insert(COOKIE, cookies);
    }
    // Computed by another middleware before, from the fields that are changed here.
    request.extensions_mut().remove::<ConnectionInfo>();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = settings.key_rules.path(path).parse();
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path) = path {
        parts.path_and_query = Some(path);
    }
    if let Some(authority) = &parts.authority
        && let Ok(normal) = TargetUri::new(scheme, authority.as_str(), "/")
        && let Ok(normal) = normal.authority().parse()
    {
        parts.authority = Some(normal);
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        request.head_mut().uri = uri;
    }
}

/// Returns the scheme of the target URI: that of the listener.
fn scheme(request: &ServiceRequest) -> &'static str {
    if request.app_config().secure() { "https" } else { "http" }
}
