//! Determines the cache key of a request, and makes the request what its key states. The rules are
//! in [`larder_core::adapter`].

use http::{
    Uri,
    header::{CONTENT_TYPE, UPGRADE},
    request::Parts,
    uri::Authority,
};
use larder_core::{
    CacheKey, TargetUri,
    adapter::{KeyParts, ReceivedTarget, RequestTarget, set_target_fields},
};

use crate::CacheLayer;

/// The key of a request.
pub(crate) struct RequestKey {
    pub(crate) key: CacheKey,
    /// The key of the URL, if the key can have more parts.
    pub(crate) url: Option<CacheKey>,
}

impl RequestKey {
    /// Returns the key of a request, and makes the request what the key states.
    ///
    /// Returns `None` for a request that does not go through the cache: an upgrade, gRPC, or a
    /// request with an ambiguous host or target.
    pub(crate) fn of(layer: &CacheLayer, parts: &mut Parts) -> Option<Self> {
        let is_grpc = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/grpc");
        if parts.headers.contains_key(UPGRADE) || parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
            return None;
        }
        let uri = original_uri(parts);
        let own_scheme = parts.uri.scheme_str().unwrap_or(layer.scheme);
        let mut received = ReceivedTarget::of_uri(own_scheme, &parts.method, uri, parts.version);
        received.uri_authority = received.uri_authority.or(parts.uri.authority().map(Authority::as_str));
        let trusted = &layer.trust.proxies;
        let peer = (layer.trust.peer)(&parts.extensions);
        let target = RequestTarget::of(&received, &parts.headers, peer, trusted).ok()?;
        if target.has_other_path() {
            return None;
        }
        let url = layer.key_rules.key(&target).ok()?;
        if target.differs_from_fields(&parts.headers) {
            let is_trusted = peer.is_some_and(|peer| trusted.contains(peer));
            let normal = target.to_uri().ok()?;
            set_target_fields(&mut parts.headers, normal.scheme(), normal.authority(), is_trusted);
            normalize_authority(parts, layer.scheme);
        }
        remove_ignored_query(parts, layer);
        layer.normalization.apply(&mut parts.headers);
        if !layer.has_key_parts() {
            return Some(Self { key: url, url: None });
        }
        let key = key_with_parts(layer, &url, parts, None);
        Some(Self { key, url: Some(url) })
    }

    /// Adds the method and the content of a query.
    pub(crate) fn add_query(&mut self, layer: &CacheLayer, parts: &Parts, content: &[u8]) {
        if let Some(url) = &self.url {
            self.key = key_with_parts(layer, url, parts, Some(content));
        }
    }
}

/// Returns the key of a URL with what else the response depends on.
fn key_with_parts(layer: &CacheLayer, url: &CacheKey, parts: &Parts, content: Option<&[u8]>) -> CacheKey {
    let partition = layer.partition_fn.as_ref().and_then(|compute| compute(parts));
    let mut key_parts = KeyParts::new(&parts.headers);
    if let Some(partition) = &partition {
        key_parts = key_parts.with_partition(partition);
    }
    if let Some(content) = content {
        key_parts = key_parts.with_query(&parts.method, content);
    }
    layer.key_rules.key_with(url, &key_parts)
}

/// Writes the authority of the request's URI, as over HTTP/2, in its normal form.
fn normalize_authority(parts: &mut Parts, scheme: &str) {
    change_uris(parts, |uri| {
        let authority = uri.authority()?.as_str();
        let normal = TargetUri::new(uri.scheme_str().unwrap_or(scheme), authority, "/").ok()?;
        if normal.authority() == authority {
            return None;
        }
        let mut changed = uri.clone().into_parts();
        changed.authority = normal.authority().parse().ok();
        Uri::from_parts(changed).ok()
    });
}

/// Removes query parameters that the key ignores. They must not reach the service: a parameter that
/// one client sends must not change the response of all.
fn remove_ignored_query(parts: &mut Parts, layer: &CacheLayer) {
    let rules = &layer.key_rules;
    if parts.uri.query().is_none() {
        return;
    }
    change_uris(parts, |uri| {
        let path = uri.path_and_query()?.as_str();
        let kept = rules.path(path);
        if kept == path {
            return None;
        }
        let mut changed = uri.clone().into_parts();
        changed.path_and_query = Some(kept.parse().ok()?);
        Uri::from_parts(changed).ok()
    });
}

/// Replaces the URI of a request, and the one that axum has kept of it, where `change` returns
/// another.
fn change_uris(parts: &mut Parts, change: impl Fn(&Uri) -> Option<Uri>) {
    if let Some(uri) = change(&parts.uri) {
        parts.uri = uri;
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get_mut()
        && let Some(changed) = change(uri)
    {
        *uri = changed;
    }
}

/// Returns the URI of a request before a router removed the beginning of its path.
fn original_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}
