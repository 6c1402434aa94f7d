//! Fetches from the origin: sends a request, and handles what comes back.
//!
//! `exchange` reserves the key in the store and sends the request. `on_response` stores a full
//! response, `on_not_modified` freshens the stored one, and `on_error` serves a stale one where the
//! rules permit it. `unchanged` forwards requests that the cache does not answer. Bodies go through
//! `fill`; `miss` decides which requests are fetched.

mod exchange;
mod on_error;
mod on_not_modified;
mod on_response;
mod unchanged;

use std::sync::Arc;

use self::{
    exchange::OriginExchange, on_error::on_error, on_not_modified::on_not_modified, on_response::on_response,
};
use super::{context::Context, decide::ForwardPlan, request::PendingRequest};
use crate::{Candidates, Reservation};

pub(super) use self::{
    exchange::{Fetched, reserve},
    unchanged::{fetch_past_cache, fetch_unchanged},
};

/// Fetches the response to a request: with conditions if a stored response can be validated.
///
/// `reservation` is that of the key ([`reserve`]). The request has no body, except one that is part
/// of the key ([`FetchOptions::body_in_key`](super::FetchOptions)).
pub(super) async fn fetch(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: Candidates,
    plan: ForwardPlan,
    reservation: Option<Box<dyn Reservation>>,
) -> Fetched {
    let mut exchange = OriginExchange::new(request, candidates, plan, reservation);
    let reply = match exchange.send(cx).await {
        Ok(reply) => reply,
        Err(error) => return on_error(cx, exchange, error).await,
    };
    let head_time = reply.head_time;
    let mut fetched = if exchange.is_validated_by(&reply) {
        match on_not_modified(cx, exchange, &reply).await {
            Ok(fetched) => fetched,
            // Boxed, so that it adds nothing to the future of other requests.
            Err(exchange) => {
                Box::pin(async { fetch_unconditionally(cx, exchange.without_conditions(cx).await).await })
                    .await
            }
        }
    } else {
        on_response(cx, exchange, reply).await
    };
    fetched.set_head_time(head_time);
    fetched
}

/// Fetches the response to a request without conditions.
async fn fetch_unconditionally(cx: &Arc<Context>, mut exchange: OriginExchange<'_>) -> Fetched {
    match exchange.send(cx).await {
        Ok(reply) => {
            let head_time = reply.head_time;
            let mut fetched = on_response(cx, exchange, reply).await;
            fetched.set_head_time(head_time);
            fetched
        }
        Err(error) => on_error(cx, exchange, error).await,
    }
}
