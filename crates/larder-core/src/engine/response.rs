//! Defines [`CacheResponse`], the response to one request before an adapter converts it to its
//! framework's type, and adds `Age` and `Cache-Status` to it. `serve` creates it from a stored
//! response, `fetch` from the origin's.

use std::{fmt, sync::Arc, time::Duration};

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body as _;

use super::resume::origin::RestOrigin;
use crate::{
    Body, CacheDetail, CacheStatus, Candidates, ForwardReason, Origin, Rules, StoredHead,
    policy::header_names,
};

/// The response to one request, before an adapter converts it to its framework's type.
///
/// A hit copies nothing: it shares the stored head, with `Age` and `Cache-Status` beside it.
pub struct CacheResponse {
    pub(crate) status: StatusCode,
    pub(crate) head: ResponseHead,
    pub(crate) age: Option<Duration>,
    /// The time from sending the request to the origin until the head of its response arrived, if
    /// it was measured.
    pub(crate) origin_head: Option<Duration>,
    pub(crate) cache_status: CacheStatus,
    pub(crate) body: Body,
    /// The origin that the body continues with if the store fails. `None` if no store is read.
    pub(crate) rest_origin: Option<Arc<RestOrigin>>,
    /// What the origin's response had beside its head and body.
    pub(crate) origin: OriginParts,
}

/// The parts of an origin's response that are not stored. Empty for other responses.
#[derive(Default)]
pub(crate) struct OriginParts {
    version: Option<Version>,
    extensions: Extensions,
}

impl fmt::Debug for CacheResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheResponse")
            .field("status", &self.status)
            .field("current_age", &self.age)
            .field("cache_status", &format_args!("{}", self.cache_status))
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// The header fields of a response.
#[derive(Debug)]
pub(crate) enum ResponseHead {
    /// Those of the stored head at this index, unchanged.
    Stored(Candidates, usize),
    /// Created for this response: from the origin, or for a 206, 304 or error of this cache.
    Own(HeaderMap),
}

impl CacheResponse {
    /// Returns the status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns how the request was handled (RFC 9211).
    pub fn cache_status(&self) -> &CacheStatus {
        &self.cache_status
    }

    /// Returns the response's age (RFC 9111 §4.2.3), which the `Age` header states in whole
    /// seconds.
    ///
    /// `None` if the origin sent or revalidated the response for this request.
    pub fn age(&self) -> Option<Duration> {
        self.age
    }

    /// Returns the header fields, without this cache's own `Age` and `Cache-Status`.
    ///
    /// `Content-Length` is among them only if the origin sent it and the response is whole. A 206
    /// has none, and a chunked response has none even if its length is known by now. Use
    /// [`content_length`](Self::content_length).
    pub fn headers(&self) -> &HeaderMap {
        match &self.head {
            ResponseHead::Stored(candidates, index) => &candidates[*index].head.fields,
            ResponseHead::Own(fields) => fields,
        }
    }

    /// Returns the header fields as a mutable reference. Those of a stored response are copied for
    /// this one.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        if let ResponseHead::Stored(candidates, index) = &self.head {
            self.head = ResponseHead::Own(candidates[*index].head.fields.clone());
        }
        match &mut self.head {
            ResponseHead::Own(fields) => fields,
            ResponseHead::Stored(..) => unreachable!("replaced above"),
        }
    }

    /// Removes the tags of the origin's response. A stored response has none.
    pub(crate) fn strip_tags(&mut self, rules: &Rules) {
        if let ResponseHead::Own(fields) = &mut self.head {
            rules.strip_tags(fields);
        }
    }

    /// Returns the length of the body, or for HEAD the length that it would have, if it is known.
    ///
    /// [`Cache::into_http`](crate::Cache::into_http) consumes the response and does not add the
    /// length to its header fields: read it before. That matters for HEAD, for which the body is
    /// empty.
    pub fn content_length(&self) -> Option<u64> {
        match &self.head {
            ResponseHead::Stored(candidates, index) => candidates[*index].body.content_length(),
            ResponseHead::Own(fields) => {
                let announced =
                    fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
                self.body.size_hint().exact().filter(|length| *length > 0).or(announced)
            }
        }
    }

    /// Returns whether this is the 504 to an `only-if-cached` request that no stored response could
    /// satisfy (RFC 9111 §5.2.1.7).
    pub fn is_not_cached(&self) -> bool {
        self.cache_status.detail == Some(CacheDetail::OnlyIfCached) && self.cache_status.fwd_status.is_none()
    }

    /// Returns whether the origin sent this response to this request.
    ///
    /// It is then not a stored response, not one that the origin revalidated, and not the response
    /// to another request. A `Set-Cookie` in it, for example, is meant for this request.
    pub fn is_from_origin(&self) -> bool {
        let status = &self.cache_status;
        let fresh = status.fwd_status.is_some_and(|code| code != StatusCode::NOT_MODIFIED);
        fresh && !status.hit && !status.collapsed && self.age.is_none()
    }

    /// Returns the HTTP version of the origin's response to this request. `None` if that is not
    /// where this response is from: it was stored, or is that to another request.
    pub fn origin_version(&self) -> Option<Version> {
        self.origin.version
    }

    /// Returns the extensions of the origin's response to this request, such as the address of the
    /// server. They are never stored: a stored response has none.
    pub fn origin_extensions(&self) -> &Extensions {
        &self.origin.extensions
    }

    /// Returns the extensions of the origin's response as a mutable reference.
    pub fn origin_extensions_mut(&mut self) -> &mut Extensions {
        &mut self.origin.extensions
    }

    /// Calls `with` on a value derived from the *stored* head, such as a framework's header map.
    ///
    /// `make` creates the value at the first hit; later hits share it. If the store's lookups
    /// return new [`Candidates`] each time, as those of `larder-redis` do, `make` runs for each
    /// response. Returns `None` if the response does not have a stored head unchanged; use
    /// [`headers`](Self::headers) then.
    pub fn with_prepared<T, R>(
        &self,
        make: impl FnOnce(&StoredHead) -> T,
        with: impl FnOnce(&T) -> R,
    ) -> Option<R>
    where
        T: Send + Sync + 'static,
    {
        let ResponseHead::Stored(candidates, index) = &self.head else { return None };
        let candidate = &candidates[*index];
        Some(candidate.prepared.get_or_make(|| make(&candidate.head), with))
    }

    /// Provides the origin of a response that a store reads while it is sent. If the store fails
    /// before the end of the body, the body continues with another entry of the same key, or with
    /// a range that is requested from the origin, at most three times. Only a response with the
    /// same strong `ETag` (RFC 9110 §8.8.1), content coding and length is used; without one, the
    /// body ends with the store's error.
    ///
    /// For adapters, on each hit. `provide` is called only if it may be needed, so not for a body
    /// in memory. It returns the request as it would be forwarded, and `None` if there is no origin
    /// that can still be called after the head of the response has been sent. For a response of
    /// [`Miss::fetch`](crate::Miss::fetch), the engine knows the origin.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use larder_core::{CacheResponse, Origin};
    ///
    /// fn hit(
    ///     response: CacheResponse,
    ///     request: http::Request<()>,
    ///     origin: &Arc<dyn Origin>,
    /// ) -> CacheResponse {
    ///     response.with_origin(|| Some((request, Arc::clone(origin))))
    /// }
    /// ```
    #[must_use]
    pub fn with_origin(self, provide: impl FnOnce() -> Option<(Request<()>, Arc<dyn Origin>)>) -> Self {
        if let Some(rest_origin) = &self.rest_origin
            && let Some((request, origin)) = provide()
        {
            rest_origin.set(request, origin);
        }
        self
    }

    /// Returns the body and drops the rest.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Returns the body as a mutable reference, for example to replace it.
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// Creates the response to a request from the origin's.
    pub(crate) fn from_origin(
        status: StatusCode,
        fields: HeaderMap,
        cache_status: CacheStatus,
        body: Body,
    ) -> Self {
        let (head, origin) = (ResponseHead::Own(fields), OriginParts::default());
        Self { status, head, age: None, origin_head: None, cache_status, body, rest_origin: None, origin }
    }

    /// Sets what the origin's response had beside its head and body.
    pub(crate) fn with_parts(mut self, version: Version, extensions: Extensions) -> Self {
        self.origin = OriginParts { version: Some(version), extensions };
        self
    }

    /// Drops the body of a response to HEAD (RFC 9110 §9.3.2): an origin that is a handler may
    /// return the one of GET. Its length becomes `Content-Length`, if that is not present.
    pub(crate) fn drop_body_for(&mut self, method: &Method) {
        if *method == Method::HEAD {
            let length = std::mem::take(&mut self.body).size_hint().exact().filter(|length| *length > 0);
            if let (ResponseHead::Own(fields), Some(length)) = (&mut self.head, length) {
                fields.entry(CONTENT_LENGTH).or_insert(length.into());
            }
        }
    }

    /// Creates the 504 to an `only-if-cached` request that no stored response can satisfy (RFC 9111
    /// §5.2.1.7).
    pub(crate) fn only_if_cached() -> Self {
        let mut cache_status = CacheStatus::forwarded(ForwardReason::Miss);
        cache_status.fwd = None;
        cache_status.detail = Some(CacheDetail::OnlyIfCached);
        let mut fields = HeaderMap::with_capacity(4);
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let body =
            Body::from("504 Gateway Timeout: no stored response satisfies this only-if-cached request\n");
        Self::from_origin(StatusCode::GATEWAY_TIMEOUT, fields, cache_status, body)
    }

    /// Converts the response to an `http` response, for the cache named `name`.
    pub(crate) fn into_http(self, name: &str) -> Response<Body> {
        let own = self.cache_status.to_value(name);
        let age = self.age.map(|age| HeaderValue::from(age.as_secs()));
        let fields = match self.head {
            ResponseHead::Own(mut fields) => {
                if let Some(age) = age {
                    fields.insert(header_names::AGE, age);
                }
                fields.append(header_names::CACHE_STATUS, own);
                fields
            }
            ResponseHead::Stored(candidates, index) => {
                let candidate = &candidates[index];
                let make = || Slots::new(&candidate.head.fields);
                candidate.prepared.get_or_make(make, |slots| slots.filled(age, own))
            }
        };
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = fields;
        response
    }
}

/// Stored header fields with room for the two that are added to each response, so that a copy need
/// not grow.
struct Slots {
    fields: HeaderMap,
    /// Whether the origin sent a `Cache-Status`: this cache's member is appended after it (RFC 9211
    /// §2).
    appended: bool,
}

impl Slots {
    /// Creates the slots from the stored header fields.
    fn new(stored: &HeaderMap) -> Self {
        let mut fields = HeaderMap::with_capacity(stored.len() + 2);
        fields.extend(stored.iter().map(|(name, value)| (name.clone(), value.clone())));
        let appended = fields.contains_key(header_names::CACHE_STATUS);
        fields.insert(header_names::AGE, HeaderValue::from_static("0"));
        if !appended {
            fields.insert(header_names::CACHE_STATUS, HeaderValue::from_static(""));
        }
        Self { fields, appended }
    }

    /// Returns a copy of the header fields with these values.
    fn filled(&self, age: Option<HeaderValue>, own: HeaderValue) -> HeaderMap {
        let mut fields = self.fields.clone();
        match (age, fields.get_mut(header_names::AGE)) {
            (Some(age), Some(slot)) => *slot = age,
            _ => {
                fields.remove(header_names::AGE);
            }
        }
        match fields.get_mut(header_names::CACHE_STATUS) {
            Some(slot) if !self.appended => *slot = own,
            _ => {
                fields.append(header_names::CACHE_STATUS, own);
            }
        }
        fields
    }
}
