//! The answer to one request, before an adapter turns it into its framework's response.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body as _;

use crate::{Body, CacheStatus, Candidates, ForwardReason, StoredHead, header_names};

/// The detail of an answer for which nothing was stored.
const NOT_CACHED: &str = "only-if-cached";

/// The answer to one request, before an adapter turns it into its framework's response.
///
/// A hit copies nothing: the head is the stored one, shared, with `Age` and `Cache-Status` beside it.
#[derive(Debug)]
pub struct CacheResponse {
    pub(crate) status: StatusCode,
    pub(crate) head: ResponseHead,
    pub(crate) age: Option<Duration>,
    pub(crate) cache_status: CacheStatus,
    pub(crate) body: Body,
}

/// Where the fields of an answer are.
#[derive(Debug)]
pub(crate) enum ResponseHead {
    /// The stored head as it is.
    Stored(Candidates, usize),
    /// Made for this answer: from the origin, or a 206, 304 or error of ours.
    Own(HeaderMap),
}

impl CacheResponse {
    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// How the request was answered (RFC 9211).
    pub fn cache_status(&self) -> &CacheStatus {
        &self.cache_status
    }

    /// Returns the response's age (RFC 9111 §4.2.3), which the `Age` header states in whole seconds.
    ///
    /// `None` if the origin sent or revalidated the response for this request.
    pub fn age(&self) -> Option<Duration> {
        self.age
    }

    /// The fields, without this cache's own `Age` and `Cache-Status`.
    pub fn headers(&self) -> &HeaderMap {
        match &self.head {
            ResponseHead::Stored(candidates, index) => &candidates[*index].head.fields,
            ResponseHead::Own(fields) => fields,
        }
    }

    /// How long the body is, or for HEAD would be, where that is known.
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

    /// Whether this is the 504 of a request that only a stored response would have done for (RFC 9111 §5.2.1.7).
    pub fn is_not_cached(&self) -> bool {
        self.cache_status.detail == Some(NOT_CACHED) && self.cache_status.fwd_status.is_none()
    }

    /// Whether the origin gave this response just now: it is not a stored one, nor one that was confirmed, nor another
    /// request's. What it sets, it sets for this request.
    pub fn is_from_origin(&self) -> bool {
        let status = &self.cache_status;
        let fresh = status.fwd_status.is_some_and(|code| code != StatusCode::NOT_MODIFIED);
        fresh && !status.hit && !status.collapsed && self.age.is_none()
    }

    /// Lends a form of the *stored* head that an adapter makes once, such as its framework's header map, and that
    /// stays beside the stored response for the next hit.
    ///
    /// `None` if the answer's head is not a stored one as it is; use [`headers`](Self::headers) then. A store whose
    /// look-ups make new candidates each time keeps nothing: `make` runs for each answer.
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

    /// Returns the body and drops the rest.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Returns the body for replacement, such as with [`std::mem::take`].
    pub fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }

    /// 504: only a stored response would have done, and there is none (RFC 9111 §5.2.1.7).
    pub(crate) fn only_if_cached() -> Self {
        let mut cache_status = CacheStatus::forwarded(ForwardReason::Miss);
        cache_status.fwd = None;
        cache_status.detail = Some(NOT_CACHED);
        let mut fields = HeaderMap::with_capacity(4);
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            head: ResponseHead::Own(fields),
            age: None,
            cache_status,
            body: Body::from(
                "504 Gateway Timeout: only-if-cached was asked for, and nothing stored may be used\n",
            ),
        }
    }

    /// As an `http` response, for the cache called `name`.
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

/// Stored fields with places for what is added to each answer, so that a copy of them does not have to grow.
struct Slots {
    fields: HeaderMap,
    /// The origin has sent a `Cache-Status` of its own: ours comes behind it (RFC 9211 §2).
    appended: bool,
}

impl Slots {
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
