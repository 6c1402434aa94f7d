//! Holds a request that needs the origin, without its body: normalizes its URI, removes the fields
//! that are not forwarded, and applies its [`FetchOptions`].
//!
//! `miss` decides what happens to it, `fetch` sends it.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, request};

use super::{
    FetchError,
    forms::forms_of,
    options::{FetchOptions, ResponseContext},
};
use crate::{
    Body, CacheKey, Origin, RequestHead, Rules, TargetError, TargetUri,
    policy::{ClientDirectives, strip_unforwardable},
};

/// Returns the target of a request.
///
/// # Errors
///
/// Returns a [`FetchError`] if the URI is not absolute or cannot be fetched.
pub(super) fn target_of(uri: &Uri) -> Result<TargetUri, FetchError> {
    if uri.scheme().is_none() || uri.authority().is_none() {
        return Err(FetchError::RelativeTarget);
    }
    Ok(TargetUri::from_uri(uri)?)
}

/// A request in progress, without its body.
#[derive(Debug, Clone)]
pub(super) struct PendingRequest {
    pub(super) key: CacheKey,
    pub(super) target: TargetUri,
    pub(super) parts: request::Parts,
    pub(super) origin: Arc<dyn Origin>,
    pub(super) options: FetchOptions,
    /// The request's body, if it is part of the key ([`FetchOptions::body_in_key`]).
    pub(super) content: Bytes,
    /// What the cache does with the client's caching directives.
    clients: ClientDirectives,
}

impl PendingRequest {
    /// Creates the pending request, and returns the body that is to be sent if it is not part of
    /// the key.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the URI cannot be fetched.
    pub(super) fn new(
        key: CacheKey,
        target: TargetUri,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
        clients: ClientDirectives,
    ) -> Result<(Self, Body), FetchError> {
        let (mut parts, body) = request.into_parts();
        if !target.is_written_as(&parts.uri) {
            parts.uri = target.to_uri().ok_or(TargetError::Path)?;
        }
        strip_unforwardable(&mut parts.headers);
        let (options, content) = (options.clone(), Bytes::new());
        let mut pending = Self { key, target, parts, origin, options, content, clients };
        if !pending.options.body_in_key {
            return Ok((pending, body));
        }
        match body.try_into_bytes() {
            Ok(content) => {
                pending.content = content;
                Ok((pending, Body::empty()))
            }
            // The request is still safe, so nothing is invalidated. As of a GET with content, its
            // response is not stored.
            Err(body) => {
                pending.options.body_in_key = !body.is_empty();
                Ok((pending, body))
            }
        }
    }

    /// Returns the request head that the caching rules use. The method is GET if the body is part
    /// of the key.
    pub(super) fn head(&self) -> RequestHead<'_> {
        let method = if self.options.body_in_key { &Method::GET } else { &self.parts.method };
        RequestHead::new(method, &self.parts.headers).with_client_directives(self.clients)
    }

    /// Returns the rules for the response, with the overrides of this request applied.
    pub(super) fn rules<'a>(
        &self,
        rules: &'a Rules,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Cow<'a, Rules> {
        let FetchOptions { overrides, form_of, .. } = &self.options;
        if overrides.is_none() && form_of.is_none() {
            return Cow::Borrowed(rules);
        }
        let (method, uri, request) = (&self.parts.method, &self.parts.uri, &self.parts.headers);
        let context = ResponseContext { method, uri, request_headers: request, status, headers: fields };
        // Without overrides of the request, those of the rules stay.
        let mut overrides = match overrides {
            Some(override_fn) => override_fn.apply(&context),
            None => rules.overrides.as_deref().cloned().unwrap_or_default(),
        };
        overrides.groups.extend(form_of.as_ref().map(|key| forms_of(key).name().into()));
        Cow::Owned(rules.clone().with_overrides(overrides))
    }

    /// Returns the request to send. It is a copy, because it may have to be sent again.
    pub(super) fn outgoing(&self, body: Body) -> Request<Body> {
        Request::from_parts(self.parts.clone(), body)
    }

    /// Returns whether other requests can use the response: this is a GET for the whole
    /// representation, its response depends only on the key and the header fields, and the request
    /// does not forbid storing it.
    pub(super) fn can_lead(&self) -> bool {
        let head = self.head();
        *head.method() == Method::GET && head.is_plain() && !head.forbids_storing()
    }
}
