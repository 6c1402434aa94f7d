//! Conversions between messages on the wire and recorded ones.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, Uri, header::HOST, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use larder_core::{Body, BodyError};

use crate::{CassetteError, CassetteErrorKind, RecordedResponse, redaction::follow_length};

/// Returns the absolute URL of a request: that of its head, or that of its path and `Host`.
pub(crate) fn absolute_url(parts: &Parts) -> Result<Uri, CassetteError> {
    let text = match parts.uri.authority() {
        Some(_) => Some(parts.uri.to_string()),
        None => {
            let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
            let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            host.map(|host| format!("http://{host}{path}"))
        }
    };
    let url = text.and_then(|text| visible(&text).parse::<Uri>().ok());
    url.filter(|url| url.scheme().is_some()).ok_or_else(|| {
        // Without the query, which can have secrets.
        let text = format!("can't record {} {}: the URL is not absolute", parts.method, parts.uri.path());
        CassetteError::new(CassetteErrorKind::Request, text)
    })
}

/// Returns a URL in which all but visible ASCII is percent-encoded.
pub(crate) fn visible(url: &str) -> String {
    let bytes = url.bytes().map(|byte| match byte {
        b'!'..=b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// The body of a request.
pub(crate) enum Read {
    /// All of it, and its trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// A body that is longer than the limit, still to be read, and its length or a part of that.
    Long(Body, u64),
}

/// Returns the error of a request with a body that is longer than the limit.
pub(crate) fn too_long(limit: u64, url: &Uri) -> CassetteError {
    let place = url.host().unwrap_or_default();
    let text = format!(
        "the body of a request to {place} is longer than {limit} bytes: see CassetteOptions::max_body"
    );
    CassetteError::new(CassetteErrorKind::TooLong, text)
}

/// Reads the body of a request up to the limit.
pub(crate) async fn read(mut body: Body, limit: u64, url: &Uri) -> Result<Read, CassetteError> {
    let place = url.host().unwrap_or_default();
    let lower = body.size_hint().lower();
    if lower > limit {
        return Ok(Read::Long(body, lower));
    }
    if let Some(bytes) = body.try_clone().and_then(|body| body.try_into_bytes().ok()) {
        return Ok(Read::Whole(bytes, None));
    }
    let (mut chunks, mut length, mut trailers) = (Vec::new(), 0, None);
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return Ok(Read::Whole(joined(chunks), trailers)),
            Some(Err(error)) => {
                let text = format!("the body of a request to {place} failed: {error}");
                return Err(CassetteError::new(CassetteErrorKind::Request, text));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    length += data.len() as u64;
                    chunks.push(data);
                    if length > limit {
                        let length = length.saturating_add(body.size_hint().lower());
                        let read = chunks.into();
                        return Ok(Read::Long(Body::stream(PartlyRead { read, rest: body }), length));
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// Returns the bytes of all chunks. A single chunk is not copied.
pub(crate) fn joined(chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() < 2 {
        return chunks.into_iter().next().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}

/// Returns a recorded response as one from the network.
pub(crate) fn response(recorded: RecordedResponse, method: &Method) -> Response<Body> {
    let RecordedResponse { status, version, mut headers, body, trailers, .. } = recorded;
    // An edited file may have another body than its `Content-Length` states. A response to HEAD, or
    // a 304, states the length of another body.
    if *method != Method::HEAD && status != StatusCode::NOT_MODIFIED {
        follow_length(&mut headers, body.len());
    }
    let mut response = Response::new(self::body(body, trailers));
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    response
}

/// Returns a body of these bytes and trailers.
pub(crate) fn body(bytes: Bytes, trailers: Option<HeaderMap>) -> Body {
    match trailers {
        None => Body::from(bytes),
        Some(trailers) => Body::stream(WithTrailers { bytes, trailers: Some(trailers) }),
    }
}

/// A body of which the first chunks have been read.
struct PartlyRead {
    read: VecDeque<Bytes>,
    rest: Body,
}

impl http_body::Body for PartlyRead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().map(|data| data.len() as u64).sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

/// A body in memory that ends with trailers.
struct WithTrailers {
    bytes: Bytes,
    /// `None` once they have been sent.
    trailers: Option<HeaderMap>,
}

impl http_body::Body for WithTrailers {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
