//! Collapses the reloads of clients: requests that only a directive of the client sends to the
//! origin although a stored response could be served
//! ([`ClientDirectives::Collapse`](crate::policy::ClientDirectives)).
//!
//! `flights` collapses those that come while the origin responds. This file has what is left: it
//! remembers when the last reload of a response was sent, so that those after it get what is
//! stored, also if the origin has failed or its response cannot be stored. The table has a fixed
//! size; if two responses share a slot, their reloads may be sent more often.

use std::sync::Arc;

use super::super::{
    context::Context,
    decide::{Decision, ForwardPlan, decide},
    recent::variant_hash,
    request::PendingRequest,
    response::CacheResponse,
    serve::serve_pending,
};
use crate::{CacheKey, CacheStatus, Candidates, policy::ClientDirectives};

/// Returns whether a reload may go to the origin, or may follow one that is there. Otherwise
/// another request has reloaded the response within the last second.
pub(super) fn may_reload(
    cx: &Context,
    request: &PendingRequest,
    flight_key: &CacheKey,
    candidates: &Candidates,
    plan: ForwardPlan,
) -> bool {
    let Some(candidate) = plan.selected.and_then(|selected| candidates.get(selected.index)) else {
        return true;
    };
    if cx.flights.follow(flight_key).is_some() {
        return true;
    }
    let hash = variant_hash(&request.key, &candidate.head);
    cx.reloads.claim(hash, cx.now(), ClientDirectives::RELOAD_WINDOW)
}

/// Serves a stored response as if the client had sent no directives. `None` if none can be served.
pub(super) async fn serve_without_reload(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: &Candidates,
) -> Option<CacheResponse> {
    let head = request.head().with_client_directives(ClientDirectives::Ignore);
    match decide(cx, &head, candidates) {
        Decision::Serve(selected) | Decision::ServeStale(selected) => {
            let (age, status) = (Some(selected.age), CacheStatus::hit(selected.ttl));
            serve_pending(cx, request, candidates.clone(), selected.index, &head, age, status).await.ok()
        }
        Decision::Forward(_) | Decision::OnlyIfCached => None,
    }
}
