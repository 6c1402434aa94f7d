//! Where `http` 0.2, which actix speaks, and `http` 1 meet. Nothing else in this crate names both.
//!
//! A hit converts no header map: the request's fields are read where they are, and the response's are kept in
//! actix's form beside the stored head.

use std::sync::LazyLock;

use actix_http::header as actix;
use actix_web::http as web;
use bytes::Bytes;
use larder_core::{RequestHeaders, StoredHead, header_names};

/// A request's fields, in actix's own map. Its names are lower case.
#[derive(Debug)]
pub(crate) struct ActixFields<'a>(pub(crate) &'a actix::HeaderMap);

impl RequestHeaders for ActixFields<'_> {
    fn names(&self, mut each: impl FnMut(&str)) {
        for name in self.0.keys() {
            each(name.as_str());
        }
    }

    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.get_all(name).map(actix::HeaderValue::as_bytes)
    }
}

/// The method, without allocation for those that everybody uses.
pub(crate) fn method(method: &web::Method) -> http::Method {
    match *method {
        web::Method::GET => http::Method::GET,
        web::Method::HEAD => http::Method::HEAD,
        web::Method::POST => http::Method::POST,
        _ => http::Method::from_bytes(method.as_str().as_bytes()).unwrap_or(http::Method::OPTIONS),
    }
}

/// The status code: both libraries take 100 to 999.
pub(crate) fn status(status: http::StatusCode) -> web::StatusCode {
    web::StatusCode::from_u16(status.as_u16()).unwrap_or(web::StatusCode::INTERNAL_SERVER_ERROR)
}

/// The same the other way round.
pub(crate) fn status_from(status: web::StatusCode) -> http::StatusCode {
    http::StatusCode::from_u16(status.as_u16()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}

/// Fields from actix that `keeps` keeps, for a request that goes on to the origin, or a handler's response.
pub(crate) fn fields_from(fields: &actix::HeaderMap, keeps: impl Fn(&str) -> bool) -> http::HeaderMap {
    let mut converted = http::HeaderMap::with_capacity(fields.len() + 4);
    let mut values = Values::of(|| fields.iter().map(|(_, value)| value.as_bytes()));
    for (name, value) in fields {
        let value = http::HeaderValue::from_maybe_shared(values.next(value.len()));
        if !keeps(name.as_str()) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_lowercase(name.as_str().as_bytes()), value) {
            converted.append(name, value);
        }
    }
    converted
}

/// Fields for actix. `room` more will be inserted.
pub(crate) fn fields(fields: &http::HeaderMap, room: usize) -> actix::HeaderMap {
    let mut converted = actix::HeaderMap::with_capacity(fields.len() + room);
    let mut values = Values::of(|| fields.values().map(http::HeaderValue::as_bytes));
    for (name, value) in fields {
        let name = actix::HeaderName::from_lowercase(name.as_str().as_bytes());
        if let (Ok(name), Some(value)) = (name, shared_value(values.next(value.len()))) {
            converted.append(name, value);
        }
    }
    converted
}

/// Copies of values in one chunk of memory, which costs less than one for each.
struct Values(Bytes);

impl Values {
    fn of<'a, I: Iterator<Item = &'a [u8]>>(values: impl Fn() -> I) -> Self {
        let mut all = Vec::with_capacity(values().map(<[u8]>::len).sum());
        values().for_each(|value| all.extend_from_slice(value));
        Self(all.into())
    }

    /// The next one, which is so long.
    fn next(&mut self, length: usize) -> Bytes {
        self.0.split_to(length)
    }
}

/// A value that takes the bytes as they are.
fn shared_value(bytes: Bytes) -> Option<actix::HeaderValue> {
    actix::HeaderValue::from_maybe_shared(bytes).ok()
}

/// A stored head in actix's form, made at the first hit and cloned at each.
#[derive(Debug)]
pub(crate) struct Prepared(actix::HeaderMap);

impl Prepared {
    pub(crate) fn new(head: &StoredHead) -> Self {
        Self(fields(&head.fields, 2))
    }

    pub(crate) fn to_fields(&self) -> actix::HeaderMap {
        self.0.clone()
    }
}

/// Gives a request the conditions that the engine has put in the place of the client's, and the coding that was chosen.
pub(crate) fn set_negotiated(fields: &mut actix::HeaderMap, wanted: &http::HeaderMap) {
    for name in [
        header_names::IF_NONE_MATCH,
        header_names::IF_MODIFIED_SINCE,
        header_names::IF_RANGE,
        header_names::RANGE,
        http::header::ACCEPT_ENCODING,
    ] {
        fields.remove(name.as_str());
        for value in wanted.get_all(&name) {
            if let Some(value) = shared_value(Bytes::copy_from_slice(value.as_bytes())) {
                fields.append(own_name(&name), value);
            }
        }
    }
}

/// `Age` and `Cache-Status`, beside the fields of the answer.
pub(crate) fn insert_own(fields: &mut actix::HeaderMap, age: Option<u64>, cache_status: Bytes) {
    // Each answer has them: their names are converted once.
    static CACHE_STATUS: LazyLock<actix::HeaderName> =
        LazyLock::new(|| own_name(&header_names::CACHE_STATUS));
    if let Some(age) = age {
        fields.insert(actix::AGE, actix::HeaderValue::from(age));
    }
    if let Some(value) = shared_value(cache_status) {
        fields.append(CACHE_STATUS.clone(), value);
    }
}

fn own_name(name: &http::HeaderName) -> actix::HeaderName {
    // A name of one library is one of the other.
    actix::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or(actix::AGE)
}
