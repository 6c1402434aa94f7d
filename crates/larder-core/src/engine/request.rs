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
    limits::Limits,
    options::{FetchOptions, ResponseContext},
    resume::origin::RestOrigin,
};
use crate::{
    Body, CacheKey, Origin, RequestHead, Rules, TargetError, TargetUri,
    policy::{ByteRange, ClientDirectives, HeaderFlags, request_range, request_whole, strip_unforwardable},
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
    /// What is requested from the origin, if the client requested a range.
    pub(super) forward: Forward,
    /// The fields concerning caching that the request has.
    flags: HeaderFlags,
    /// What the cache does with the client's caching directives.
    clients: ClientDirectives,
}

/// What is requested from the origin for a client that requested a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forward {
    /// What the client requested.
    AsItIs,
    /// What the client requested. The response is not stored, since another request stores the
    /// whole.
    AsItIsUnstored,
    /// The whole representation. The client gets its range of that.
    Whole,
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
        let flags = HeaderFlags::of_fields(&parts.headers);
        let (options, content) = (options.clone(), Bytes::new());
        let forward = Forward::AsItIs;
        let mut pending = Self { key, target, parts, origin, options, content, forward, flags, clients };
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
        RequestHead::with_flags(method, &self.parts.headers, self.flags).with_client_directives(self.clients)
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
        let mut parts = self.parts.clone();
        if self.forward == Forward::Whole {
            request_whole(&mut parts.headers);
        }
        Request::from_parts(parts, body)
    }

    /// Returns a request of this client for a range of the representation, without conditions,
    /// under another key.
    pub(super) fn for_range(&self, key: CacheKey, range: &ByteRange) -> Self {
        let mut request = Self { key, forward: Forward::AsItIs, ..self.clone() };
        request_range(&mut request.parts.headers, range);
        request.flags = HeaderFlags::of_fields(&request.parts.headers);
        request
    }

    /// Provides the origin for the rest of a response that a store reads.
    pub(super) fn provide_origin(&self, rest_origin: &RestOrigin) {
        // A query is not sent for a range.
        if !self.options.body_in_key {
            let request = Request::from_parts(self.parts.clone(), ());
            rest_origin.set(request, Arc::clone(&self.origin));
        }
    }

    /// Returns the longest body that is stored of the response, in bytes.
    pub(super) fn max_object(&self, limits: &Limits) -> u64 {
        self.options.max_object.unwrap_or(u64::MAX).min(limits.max_object)
    }

    /// Returns whether other requests can use the response: this is a GET for the whole
    /// representation, its response depends only on the key and the header fields, and the request
    /// does not forbid storing it.
    pub(super) fn can_lead(&self) -> bool {
        let head = self.head();
        let is_for_whole = head.is_plain() || self.forward == Forward::Whole;
        *head.method() == Method::GET && is_for_whole && !head.forbids_storing()
    }
}
