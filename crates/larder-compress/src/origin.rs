//! An origin that returns responses in the coding of the request.
//!
//! Which responses can be encoded is decided in [`crate::response`]; the encoders are in
//! [`crate::convert`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body as _;
use larder_core::{
    Body, Cache, CacheKey, Lookup, Origin, OriginError, RequestHead,
    policy::header_names::{AGE, CONTENT_LENGTH, IF_MODIFIED_SINCE, IF_NONE_MATCH, VARY},
};

use crate::{Coding, Compression, Negotiated, convert, decoder, response, tags, zstd_frame};

/// An origin that wraps the origin of one request and encodes its response; pass it to
/// [`Miss::fetch`](larder_core::Miss::fetch) instead of that origin.
///
/// If the cache has a fresh response in another coding, that one is converted, and the origin
/// receives no request. A response is not encoded if it already has a coding, does not compress
/// well or has `no-transform`.
///
/// ```
/// use std::sync::Arc;
/// use larder_compress::{Coding, CompressingOrigin, Compression};
/// use larder_core::{Cache, CacheKey, Origin};
///
/// fn wrap(origin: Arc<dyn Origin>, cache: &Cache, key: CacheKey, coding: Coding) -> Arc<dyn Origin> {
///     let compression = Arc::new(Compression::default());
///     Arc::new(CompressingOrigin::new(origin, cache.clone(), key, coding, compression))
/// }
/// ```
pub struct CompressingOrigin {
    inner: Arc<dyn Origin>,
    cache: Cache,
    key: CacheKey,
    coding: Coding,
    settings: Arc<Compression>,
}

impl fmt::Debug for CompressingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressingOrigin")
            .field("inner", &self.inner)
            .field("coding", &self.coding)
            .finish_non_exhaustive()
    }
}

impl CompressingOrigin {
    /// Creates an origin that encodes the response of `inner` with `coding`.
    ///
    /// `cache` and `key` are those of the request; responses in other codings are looked up there.
    pub fn new(
        inner: Arc<dyn Origin>,
        cache: Cache,
        key: CacheKey,
        coding: Coding,
        settings: Arc<Compression>,
    ) -> Self {
        Self { inner, cache, key, coding, settings }
    }

    /// Returns a fresh stored response in another coding, decoded; `None` if there is none.
    async fn stored_in_another_coding(&self, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
        if *method != Method::GET {
            return None;
        }
        // The engine's conditions are removed: they are about the coding of the request.
        let mut headers = headers.clone();
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            headers.remove(name);
        }
        for coding in [Coding::Identity, Coding::Zstd, Coding::Gzip, Coding::Brotli] {
            if coding == self.coding {
                continue;
            }
            let negotiated = Negotiated::new(&headers, coding);
            let Lookup::Hit(mut stored) =
                self.cache.peek(&self.key, &RequestHead::new(&Method::GET, &negotiated)).await
            else {
                continue;
            };
            let usable = stored.status() == StatusCode::OK && Coding::of(stored.headers()) == Some(coding);
            if !usable || !response::can_encode(stored.status(), stored.headers()) {
                continue;
            }
            let mut response = Response::new(std::mem::take(stored.body_mut()));
            *response.headers_mut() = stored.headers().clone();
            response.headers_mut().extend(stored.age().map(|age| (AGE, HeaderValue::from(age.as_secs()))));
            if coding != Coding::Identity {
                tags::unmark(response.headers_mut());
                response.headers_mut().remove(CONTENT_ENCODING);
                response.headers_mut().remove(CONTENT_LENGTH);
                let body = std::mem::take(response.body_mut());
                let Some(body) = self.decoded(body, coding).await else { continue };
                *response.body_mut() = body;
            }
            return Some(response);
        }
        None
    }

    /// Decodes a stored body. Returns `None` if that would need more memory than it may.
    async fn decoded(&self, body: Body, coding: Coding) -> Option<Body> {
        let mut body = body;
        if coding == Coding::Zstd {
            let (bytes, whole) = convert::beginning(body, zstd_frame::HEADER).await?;
            if zstd_frame::window(&bytes).is_none_or(|window| window > zstd_frame::MAX_WINDOW) {
                return None;
            }
            body = whole;
        }
        let permit = self.settings.coders.stream(self.settings.max_encoders)?;
        Some(decoder::decode(body, coding.format().as_slice(), permit))
    }

    /// Returns a 304 if the request's condition matches the stored response in the coding of the
    /// request. `stored` has the headers of the unencoded response.
    fn not_modified(&self, request: &HeaderMap, stored: &HeaderMap) -> Option<Response<Body>> {
        let mut headers = stored.clone();
        if self.coding != Coding::Identity {
            tags::mark(&mut headers, self.coding);
        }
        if !tags::matches_condition(&headers, request) {
            return None;
        }
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE] {
            headers.remove(name);
        }
        response::add_vary(&mut headers);
        let mut not_modified = Response::new(Body::empty());
        *not_modified.status_mut() = StatusCode::NOT_MODIFIED;
        *not_modified.headers_mut() = headers;
        Some(not_modified)
    }

    /// Adds `Vary` to a response that can be encoded, and returns whether it is to be encoded now.
    /// `length` is that of the body, if known; `Content-Length` takes precedence.
    fn prepare(&self, status: StatusCode, headers: &mut HeaderMap, length: Option<u64>) -> bool {
        if !response::can_encode(status, headers) {
            return false;
        }
        response::add_vary(headers);
        let length = response::length(headers).or(length);
        let short = length.is_some_and(|length| length < self.settings.min_length);
        self.coding != Coding::Identity && !short && Coding::of(headers) == Some(Coding::Identity)
    }

    /// Encodes a response, if it can be encoded. Content in memory that would not become shorter is
    /// left unchanged.
    async fn encode(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        if !self.prepare(parts.status, &mut parts.headers, length) || body.is_empty() {
            return Response::from_parts(parts, body);
        }
        let body = match body.try_into_bytes() {
            Ok(content) => match convert::encode_whole(&self.settings, content.clone(), self.coding).await {
                Some(encoded) => {
                    response::set_encoded(&mut parts.headers, self.coding, Some(encoded.len()));
                    Body::from(encoded)
                }
                None => Body::from(content),
            },
            Err(stream) => match self.settings.coders.stream(self.settings.max_encoders) {
                Some(permit) => {
                    response::set_encoded(&mut parts.headers, self.coding, None);
                    convert::encode(&self.settings, stream, self.coding, permit)
                }
                None => stream,
            },
        };
        Response::from_parts(parts, body)
    }

    /// Changes the headers of a response to HEAD to those that GET would receive.
    fn encode_head(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        if self.prepare(parts.status, &mut parts.headers, None) {
            response::set_encoded(&mut parts.headers, self.coding, None);
        }
        Response::from_parts(parts, body)
    }
}

#[async_trait]
impl Origin for CompressingOrigin {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        if *request.method() == Method::HEAD {
            return Ok(self.encode_head(self.inner.fetch(request).await?));
        }
        if let Some(response) = self.stored_in_another_coding(request.method(), request.headers()).await {
            return Ok(match self.not_modified(request.headers(), response.headers()) {
                Some(not_modified) => not_modified,
                None => self.encode(response).await,
            });
        }
        let requested_tags = tags::unmark_conditions(request.headers_mut());
        let mut response = self.inner.fetch(request).await?;
        if response.status() != StatusCode::NOT_MODIFIED {
            return Ok(self.encode(response).await);
        }
        tags::restore_tag(response.headers_mut(), &requested_tags);
        if response.headers().contains_key(VARY) {
            response::add_vary(response.headers_mut());
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        self.inner.supports_background_revalidation()
    }
}
