//! Handles a 304 to conditions that this cache added: freshens the stored response (RFC 9111
//! §4.3.4) and serves it.

use std::sync::Arc;

use http::StatusCode;

use super::{
    super::{
        context::Context, events::StoreStep, fill::Writing, invalidate, outcome::FlightOutcome,
        serve::serve_pending,
    },
    exchange::{Fetched, OriginExchange, Reply},
};
use crate::{CacheKey, Candidate, Scope, StoredHead, policy::Freshen};

/// Freshens the stored response and serves it.
///
/// # Errors
///
/// Returns the exchange if the request has to be sent again without conditions.
pub(super) async fn on_not_modified<'a>(
    cx: &Arc<Context>,
    exchange: OriginExchange<'a>,
    reply: &Reply,
) -> Result<Fetched, OriginExchange<'a>> {
    let OriginExchange { request, candidates, plan, .. } = &exchange;
    let selected = plan.selected.map_or(0, |selected| selected.index);
    let heads = candidates.iter().map(|candidate| &*candidate.head);
    let head = request.head();
    let stored = &candidates[selected].head;
    let rules = request.rules(&cx.rules, stored.status, &stored.fields);
    let mut status = plan.status();
    status.fwd_status = Some(StatusCode::NOT_MODIFIED);
    let (freshened, outcome, writing) =
        match rules.freshen(&request.target, &head, heads, selected, reply.response.headers(), reply.times) {
            Freshen::Updated { index, head } => {
                let (freshened, stored, writing) =
                    store_freshened(cx, &request.key, &candidates[index], head).await;
                if let Some(is_stored) = stored {
                    status.set_storing(is_stored);
                }
                (freshened.clone(), FlightOutcome::of_stored(freshened), writing)
            }
            // What is stored stays as it is: the 304 concerns the user of this request.
            Freshen::ForThisRequest { index, head, .. } => {
                let old = &candidates[index];
                let freshened = Candidate::new(old.id, Arc::from(head), old.body.clone());
                (freshened, FlightOutcome::UNSHAREABLE, None)
            }
            Freshen::NoLongerStorable { index, head, .. } => {
                // The freshened response may no longer be stored, and its older version must not
                // outlive it.
                let _ = invalidate::remove(cx, Scope::Key(&request.key)).await;
                let old = &candidates[index];
                let freshened = Candidate::new(old.id, Arc::from(head), old.body.clone());
                (freshened, FlightOutcome::UNSHAREABLE, None)
            }
            Freshen::Unmatched => return Err(exchange),
        };
    // If it fails, the body was removed while the origin validated it.
    match serve_pending(cx, request, freshened.into(), 0, &head, None, status).await {
        Ok(response) => Ok(Fetched { response: Ok(response), outcome, writing }),
        Err(_) => Err(exchange),
    }
}

/// Replaces the head of a validated entry in the store. Returns the freshened entry, whether it has
/// been stored (`None` if it is not stored), and the rest of the writing.
pub(super) async fn store_freshened(
    cx: &Arc<Context>,
    key: &CacheKey,
    old: &Candidate,
    head: Box<StoredHead>,
) -> (Candidate, Option<bool>, Option<Writing>) {
    let freshened = Candidate::new(old.id, Arc::from(head), old.body.clone());
    let (shared, key) = (Arc::clone(cx), key.clone());
    let (id, head) = (old.id, Arc::clone(&freshened.head));
    let (stored, writing) = Writing::start(async move {
        let keep_until = head.keep_until();
        let freshening = shared.store.freshen(&key, id, head, keep_until);
        shared.store_call(StoreStep::Freshen, shared.limits.store_timeout, freshening).await.is_some()
    })
    .await;
    (freshened, stored, writing)
}
