//! The parts of a request that select a stored response beside its fields: the host, what is sent
//! to it, and the user in a URL.

use std::borrow::Cow;

use http::{
    HeaderMap,
    header::{AUTHORIZATION, Entry, HOST},
};
use larder_core::{
    CacheKey, TargetError,
    adapter::{KeyParts, KeyRules},
};
use reqwest::{Request, Url};
use url::Position;

/// Returns scheme, host and port as one string, such as `https://example.com:8443`.
pub(crate) fn host(url: &Url) -> &str {
    &url[..Position::BeforePath]
}

/// Returns the URL without its fragment, which is never sent.
pub(crate) fn without_fragment(url: &Url) -> &str {
    &url[..Position::AfterQuery]
}

/// Returns the cache key of a URL, before a partition or other parts are added to it.
pub(crate) fn key_of(url: &Url) -> Result<CacheKey, TargetError> {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    CacheKey::from_parts(url.scheme(), authority, &url[Position::BeforePath..Position::AfterQuery])
}

/// Returns a key with a digest of what identifies the client, if something does.
pub(crate) fn key_of_client(key: &CacheKey, client: Option<&[u8]>) -> CacheKey {
    let Some(client) = client else { return key.clone() };
    KeyRules::default().key_with(key, &KeyParts::new(&HeaderMap::new()).with_partition(client))
}

/// Returns the target of a request: its URL, with the host in a `Host` header that the caller has
/// set. `None` if that header is not a host.
pub(crate) fn target(request: &Request) -> Option<Cow<'_, Url>> {
    let Some(host) = request.headers().get(HOST) else { return Some(Cow::Borrowed(request.url())) };
    let host = host.to_str().ok()?;
    let (name, port) = match host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (host, None),
    };
    let mut target = request.url().clone();
    target.set_host(Some(name)).ok()?;
    target.set_port(port).ok()?;
    Some(Cow::Owned(target))
}

/// Sends the user and password of the URL as `Authorization`, as reqwest does for requests that it
/// builds, so that they select the stored response.
pub(crate) fn use_userinfo(client: &reqwest::Client, request: &mut Request) {
    let url = request.url();
    let has_user = !url.username().is_empty() || url.password().is_some();
    if !has_user || request.headers().contains_key(AUTHORIZATION) {
        return;
    }
    if let Ok(mut built) = client.request(request.method().clone(), url.clone()).build()
        && let Some(credentials) = built.headers_mut().remove(AUTHORIZATION)
    {
        request.headers_mut().insert(AUTHORIZATION, credentials);
        let _ = request.url_mut().set_username("");
        let _ = request.url_mut().set_password(None);
    }
}

/// Returns a copy of a request without its body. `None` if it cannot be sent.
pub(crate) fn head_of(request: &Request) -> Option<http::Request<()>> {
    let copy = http::Request::<reqwest::Body>::try_from(request.try_clone()?).ok()?;
    Some(copy.map(|_| ()))
}

/// Adds the default headers that a request does not have, each with all its values.
pub(crate) fn add_missing(headers: &mut HeaderMap, defaults: &HeaderMap) {
    for name in defaults.keys() {
        if let Entry::Vacant(entry) = headers.entry(name) {
            let mut values = defaults.get_all(name).iter().cloned();
            if let Some(first) = values.next() {
                let mut entry = entry.insert_entry(first);
                values.for_each(|value| entry.append(value));
            }
        }
    }
}
