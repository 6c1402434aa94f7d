//! Converts between `http` 0.2, which actix uses, and `http` 1, which the engine uses.
//!
//! A hit converts no header map: the request's headers are read in place, and the response's
//! headers are stored in actix's form beside the stored head.

use std::sync::LazyLock;

use actix_http::header as actix;
use actix_web::http as web;
use bytes::Bytes;
use larder_core::{RequestHeaders, StoredHead, policy::header_names};

/// The headers of a request in actix's map, for the engine to read. The names are lower case.
#[derive(Debug)]
pub(crate) struct ActixHeaders<'a>(pub(crate) &'a actix::HeaderMap);

impl RequestHeaders for ActixHeaders<'_> {
    fn names(&self, mut each: impl FnMut(&str)) {
        for name in self.0.keys() {
            each(name.as_str());
        }
    }

    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.get_all(name).map(actix::HeaderValue::as_bytes)
    }
}

/// Converts a method; GET, HEAD and POST without an allocation.
pub(crate) fn method_from_actix(method: &web::Method) -> http::Method {
    match *method {
        web::Method::GET => http::Method::GET,
        web::Method::HEAD => http::Method::HEAD,
        web::Method::POST => http::Method::POST,
        _ => http::Method::from_bytes(method.as_str().as_bytes()).unwrap_or(http::Method::OPTIONS),
    }
}

/// Converts a status code to actix's type. Both types allow 100 to 999.
pub(crate) fn status_to_actix(status: http::StatusCode) -> web::StatusCode {
    web::StatusCode::from_u16(status.as_u16()).unwrap_or(web::StatusCode::INTERNAL_SERVER_ERROR)
}

/// Converts a status code from actix's type. Both types allow 100 to 999.
pub(crate) fn status_from_actix(status: web::StatusCode) -> http::StatusCode {
    http::StatusCode::from_u16(status.as_u16()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}

/// Converts headers from actix's map: of a request to forward, or of a handler's response.
pub(crate) fn headers_from_actix(headers: &actix::HeaderMap) -> http::HeaderMap {
    let mut converted = http::HeaderMap::with_capacity(headers.len() + 4);
    let mut values = Values::of(|| headers.iter().map(|(_, value)| value.as_bytes()));
    for (name, value) in headers {
        let value = http::HeaderValue::from_maybe_shared(values.next(value.len()));
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_lowercase(name.as_str().as_bytes()), value) {
            converted.append(name, value);
        }
    }
    converted
}

/// Converts headers to actix's map, with room for `additional` more.
pub(crate) fn headers_to_actix(headers: &http::HeaderMap, additional: usize) -> actix::HeaderMap {
    let mut converted = actix::HeaderMap::with_capacity(headers.len() + additional);
    let mut values = Values::of(|| headers.values().map(http::HeaderValue::as_bytes));
    for (name, value) in headers {
        let name = actix::HeaderName::from_lowercase(name.as_str().as_bytes());
        if let (Ok(name), Some(value)) = (name, shared_value(values.next(value.len()))) {
            converted.append(name, value);
        }
    }
    converted
}

/// Copies of header values in one allocation, which costs less than one allocation for each.
struct Values(Bytes);

impl Values {
    /// Copies the values.
    fn of<'a, I: Iterator<Item = &'a [u8]>>(values: impl Fn() -> I) -> Self {
        let mut all = Vec::with_capacity(values().map(<[u8]>::len).sum());
        values().for_each(|value| all.extend_from_slice(value));
        Self(all.into())
    }

    /// Returns the next value. `length` is its length in bytes.
    fn next(&mut self, length: usize) -> Bytes {
        self.0.split_to(length)
    }
}

/// Converts bytes to a header value without copying; `None` if they are not valid in one.
fn shared_value(bytes: Bytes) -> Option<actix::HeaderValue> {
    actix::HeaderValue::from_maybe_shared(bytes).ok()
}

/// The headers of a stored response in actix's form: converted at the first hit, cloned at each
/// hit.
#[derive(Debug)]
pub(crate) struct Prepared(actix::HeaderMap);

impl Prepared {
    /// Converts the headers of a stored head, with room for `Age` and `Cache-Status`.
    pub(crate) fn new(head: &StoredHead) -> Self {
        Self(headers_to_actix(&head.fields, 2))
    }

    /// Clones the headers for one response.
    pub(crate) fn to_headers(&self) -> actix::HeaderMap {
        self.0.clone()
    }
}

/// Replaces the conditional headers, `Range` and `Accept-Encoding` of a request by those that the
/// engine has set.
pub(crate) fn set_negotiated(headers: &mut actix::HeaderMap, forwarded: &http::HeaderMap) {
    for name in [
        header_names::IF_NONE_MATCH,
        header_names::IF_MODIFIED_SINCE,
        header_names::IF_RANGE,
        header_names::RANGE,
        http::header::ACCEPT_ENCODING,
    ] {
        headers.remove(name.as_str());
        for value in forwarded.get_all(&name) {
            if let Some(value) = shared_value(Bytes::copy_from_slice(value.as_bytes())) {
                headers.append(actix_name(&name), value);
            }
        }
    }
}

/// Replaces all lines of a header by this value.
pub(crate) fn set_value(headers: &mut actix::HeaderMap, name: &http::HeaderName, value: &http::HeaderValue) {
    if let Some(value) = shared_value(Bytes::copy_from_slice(value.as_bytes())) {
        headers.insert(actix_name(name), value);
    }
}

/// Sets `Age` and appends `Cache-Status`. `age` is in seconds.
pub(crate) fn insert_cache_headers(headers: &mut actix::HeaderMap, age: Option<u64>, cache_status: Bytes) {
    // Every response has this header: its name is converted once.
    static CACHE_STATUS: LazyLock<actix::HeaderName> =
        LazyLock::new(|| actix_name(&header_names::CACHE_STATUS));
    if let Some(age) = age {
        headers.insert(actix::AGE, actix::HeaderValue::from(age));
    }
    if let Some(value) = shared_value(cache_status) {
        headers.append(CACHE_STATUS.clone(), value);
    }
}

/// Converts a header name.
fn actix_name(name: &http::HeaderName) -> actix::HeaderName {
    // Both libraries allow the same names, so the fallback is never used.
    actix::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or(actix::AGE)
}
