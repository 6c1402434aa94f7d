//! Converts the engine's responses to actix's.

use actix_http::Response;
use bytes::Bytes;
use larder_core::CacheResponse;

use crate::{ResponseBody, convert};

/// Converts a response, and adds `Age` and `Cache-Status`. `is_head`: the request's method was
/// HEAD.
pub(crate) fn respond(response: CacheResponse, is_head: bool, cache_status: Bytes) -> Response<ResponseBody> {
    let prepared = response.with_prepared(convert::Prepared::new, convert::Prepared::to_headers);
    let mut headers = prepared.unwrap_or_else(|| convert::headers_to_actix(response.headers(), 2));
    convert::insert_cache_headers(&mut headers, response.age().map(|age| age.as_secs()), cache_status);
    let status = convert::status_to_actix(response.status());
    let body = if is_head {
        ResponseBody::absent(response.content_length())
    } else {
        ResponseBody::new(response.into_body())
    };
    let mut converted = Response::with_body(status, body);
    *converted.headers_mut() = headers;
    converted
}
