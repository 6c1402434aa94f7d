//! Uses the stored responses of a request that its lookup could not serve: a stale one is served
//! while it is revalidated.

use std::sync::Arc;

use super::super::{
    context::Context,
    decide::{Decision, ForwardPlan, decide},
    request::PendingRequest,
    response::CacheResponse,
    serve::serve_pending,
};
use crate::{
    CacheDetail, CacheStatus, Candidates,
    policy::{Failure, Selected, StalePermission},
};

/// What the stored responses are good for.
pub(super) enum Step {
    /// Serve this response.
    Serve(CacheResponse),
    /// Serve this response, and revalidate it in the background.
    ServeAndRevalidate(CacheResponse, ForwardPlan, Candidates),
    /// Send the request to the origin, or follow another one.
    Forward(ForwardPlan, Candidates),
}

/// Serves a stored response if the decision on these candidates permits it.
pub(super) async fn use_stored(
    cx: &Arc<Context>,
    request: &PendingRequest,
    mut candidates: Candidates,
    mut decision: Decision,
) -> Step {
    loop {
        let (selected, revalidate) = match decision {
            Decision::Forward(plan) => match stale_of_failing_origin(cx, request, plan, &candidates) {
                Some(selected) => (selected, Some((plan, candidates.clone()))),
                None => return Step::Forward(plan, candidates),
            },
            Decision::OnlyIfCached => {
                let mut response = CacheResponse::only_if_cached();
                response.drop_body_for(request.head().method());
                return Step::Serve(response);
            }
            Decision::Serve(selected) => (selected, None),
            Decision::ServeStale(selected) => {
                let plan = ForwardPlan::revalidate(selected);
                if !request.origin.supports_background_revalidation() {
                    return Step::Forward(plan, candidates);
                }
                (selected, Some((plan, candidates.clone())))
            }
        };
        let (age, mut status) = (Some(selected.age), CacheStatus::hit(selected.ttl));
        if matches!(decision, Decision::Forward(_)) {
            status.detail = Some(CacheDetail::StaleIfError);
        }
        cx.variants.served(&request.key, &candidates, selected);
        match serve_pending(cx, request, candidates, selected.index, &request.head(), age, status).await {
            Ok(response) => {
                return match revalidate {
                    Some((plan, candidates)) => Step::ServeAndRevalidate(response, plan, candidates),
                    None => Step::Serve(response),
                };
            }
            // The body has been removed: nothing is stored.
            Err(_) => candidates = Candidates::none(),
        }
        decision = decide(cx, &request.head(), &candidates);
    }
}

/// Returns the stored response if it may be served because the origin fails, and the origin has
/// just failed: the client need not wait for the next failure.
fn stale_of_failing_origin(
    cx: &Context,
    request: &PendingRequest,
    plan: ForwardPlan,
    candidates: &Candidates,
) -> Option<Selected> {
    let (selected, now) = (plan.selected?, cx.now());
    if !cx.failing.contains(&request.target, now) || !request.origin.supports_background_revalidation() {
        return None;
    }
    let stored = &candidates.get(selected.index)?.head;
    // Not because the cache serves stale responses of its own accord while it is disconnected: the
    // connection may work again.
    let permission = cx.rules.stale_on_failure(&request.head(), stored, now, Failure::Disconnected)?;
    (permission == StalePermission::IfError).then_some(selected)
}
