//! An answer of the engine as a response of actix.

use actix_http::Response;
use bytes::Bytes;
use larder_core::Answer;

use crate::{AnswerBody, http02};

/// The response. `head`: the request's method was HEAD.
pub(crate) fn respond(mut answer: Answer, head: bool, cache_status: Bytes) -> Response<AnswerBody> {
    let prepared = answer.with_prepared(http02::Prepared::new, http02::Prepared::to_fields);
    let mut fields = prepared.unwrap_or_else(|| http02::fields(answer.fields(), 2));
    http02::insert_own(&mut fields, answer.age_seconds(), cache_status);
    let body =
        if head { AnswerBody::absent(answer.content_length()) } else { AnswerBody::new(answer.take_body()) };
    let mut response = Response::with_body(http02::status(answer.status()), body);
    *response.headers_mut() = fields;
    response
}
