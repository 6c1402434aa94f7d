//! An origin that answers in the coding that was asked for.

use std::sync::Arc;

use async_trait::async_trait;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::Body as _;
use larder_core::{
    Body, Cache, CacheKey, Lookup, Origin, OriginError, RequestHead,
    header_names::{AGE, CONTENT_LENGTH, IF_MODIFIED_SINCE, IF_NONE_MATCH, VARY},
};

use crate::{Coding, Compression, Negotiated, convert, response, tags};

/// An origin whose answers are encoded, for one request: for [`Cache::resume`], in the place of the origin itself.
///
/// What the cache has in another coding is made over, and the origin is not asked. What it answers in the right coding, has no
/// use for one, or says `no-transform`, is passed on as it is.
#[derive(Debug)]
pub struct CompressingOrigin {
    inner: Arc<dyn Origin>,
    cache: Cache,
    key: CacheKey,
    coding: Coding,
    settings: Arc<Compression>,
}

impl CompressingOrigin {
    /// Encodes what `inner` answers with `coding`. `cache` and `key` are those of the request.
    pub fn new(
        inner: Arc<dyn Origin>,
        cache: Cache,
        key: CacheKey,
        coding: Coding,
        settings: Arc<Compression>,
    ) -> Self {
        Self { inner, cache, key, coding, settings }
    }

    /// The response that is stored in another coding, and fresh.
    async fn in_another_coding(&self, method: &Method, fields: &HeaderMap) -> Option<Response<Body>> {
        if *method != Method::GET {
            return None;
        }
        // Without the engine's conditions: they are on the coding that is asked for.
        let mut fields = fields.clone();
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            fields.remove(name);
        }
        for coding in [Coding::Identity, Coding::Zstd, Coding::Gzip, Coding::Brotli] {
            if coding == self.coding {
                continue;
            }
            let asking = Negotiated::new(&fields, coding);
            let Lookup::Hit(mut answer) =
                self.cache.peek(&self.key, &RequestHead::new(&Method::GET, &asking)).await
            else {
                continue;
            };
            let right = answer.status() == StatusCode::OK && Coding::of(answer.headers()) == Some(coding);
            if !right || !response::varies(answer.status(), answer.headers()) {
                continue;
            }
            let mut response = Response::new(std::mem::take(answer.body_mut()));
            *response.headers_mut() = answer.headers().clone();
            response.headers_mut().extend(answer.age().map(|age| (AGE, HeaderValue::from(age.as_secs()))));
            if coding != Coding::Identity {
                tags::unmark(response.headers_mut());
                response.headers_mut().remove(CONTENT_ENCODING);
                response.headers_mut().remove(CONTENT_LENGTH);
                response = response.map(|body| convert::decode(body, coding));
            }
            return Some(response);
        }
        None
    }

    /// 304, if what is asked about in this coding is what is stored in the other.
    fn confirmation(&self, request: &HeaderMap, other: &HeaderMap) -> Option<Response<Body>> {
        let mut fields = other.clone();
        if self.coding != Coding::Identity {
            tags::mark(&mut fields, self.coding);
        }
        if !tags::is_asked_for(&fields, request) {
            return None;
        }
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE] {
            fields.remove(name);
        }
        response::add_vary(&mut fields);
        let mut confirmation = Response::new(Body::empty());
        *confirmation.status_mut() = StatusCode::NOT_MODIFIED;
        *confirmation.headers_mut() = fields;
        Some(confirmation)
    }

    /// Says of a response what it selects on; whether it is worth encoding then.
    fn is_wanted(&self, status: StatusCode, fields: &mut HeaderMap, length: Option<u64>) -> bool {
        if !response::varies(status, fields) {
            return false;
        }
        response::add_vary(fields);
        let length = response::length(fields).or(length);
        let short = length.is_some_and(|length| length < self.settings.min_length);
        self.coding != Coding::Identity && !short && Coding::of(fields) == Some(Coding::Identity)
    }

    /// The response in the coding that was asked for, if that is of use.
    async fn encoded(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        if !self.is_wanted(parts.status, &mut parts.headers, length) || body.is_empty() {
            return Response::from_parts(parts, body);
        }
        let body = match body.try_into_bytes() {
            Ok(content) => match self.settings.encode_whole(content.clone(), self.coding).await {
                Some(encoded) => {
                    response::encoded(&mut parts.headers, self.coding, Some(encoded.len()));
                    Body::from(encoded)
                }
                None => Body::from(content),
            },
            Err(streaming) => {
                response::encoded(&mut parts.headers, self.coding, None);
                self.settings.encode(streaming, self.coding)
            }
        };
        Response::from_parts(parts, body)
    }

    /// To HEAD: the fields that a GET would get.
    fn encoded_head(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        if self.is_wanted(parts.status, &mut parts.headers, None) {
            response::encoded(&mut parts.headers, self.coding, None);
        }
        Response::from_parts(parts, body)
    }
}

#[async_trait]
impl Origin for CompressingOrigin {
    async fn fetch(&self, mut request: Request<Body>) -> Result<Response<Body>, OriginError> {
        if *request.method() == Method::HEAD {
            return Ok(self.encoded_head(self.inner.fetch(request).await?));
        }
        if let Some(response) = self.in_another_coding(request.method(), request.headers()).await {
            return Ok(match self.confirmation(request.headers(), response.headers()) {
                Some(confirmation) => confirmation,
                None => self.encoded(response).await,
            });
        }
        let asked = tags::unmark_conditions(request.headers_mut());
        let mut response = self.inner.fetch(request).await?;
        if response.status() != StatusCode::NOT_MODIFIED {
            return Ok(self.encoded(response).await);
        }
        tags::remark(response.headers_mut(), &asked);
        if response.headers().contains_key(VARY) {
            response::add_vary(response.headers_mut());
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        self.inner.supports_background_revalidation()
    }
}
