//! An answer of the engine as a response of actix.

use actix_http::Response;
use bytes::Bytes;
use larder_core::CacheResponse;

use crate::{AnswerBody, convert};

/// The response. `head`: the request's method was HEAD.
pub(crate) fn respond(answer: CacheResponse, head: bool, cache_status: Bytes) -> Response<AnswerBody> {
    let prepared = answer.with_prepared(convert::Prepared::new, convert::Prepared::to_fields);
    let mut fields = prepared.unwrap_or_else(|| convert::fields(answer.headers(), 2));
    convert::insert_own(&mut fields, answer.age().map(|age| age.as_secs()), cache_status);
    let status = convert::status(answer.status());
    let body =
        if head { AnswerBody::absent(answer.content_length()) } else { AnswerBody::new(answer.into_body()) };
    let mut response = Response::with_body(status, body);
    *response.headers_mut() = fields;
    response
}
