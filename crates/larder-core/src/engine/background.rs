//! Revalidates stale responses in background tasks, after they have been served.
//!
//! `miss` decides which responses are revalidated, `tasks` counts the tasks.

use std::sync::Arc;

use super::{
    context::Context,
    decide::{Decision, ForwardPlan, decide},
    fetch::{fetch, reserve},
    miss::{
        flights::Role,
        lead::{coordinate, finish, is_coordinated},
    },
    request::PendingRequest,
};
use crate::Candidates;

/// Revalidates a stale response in a background task, unless another request for the key does
/// so, in this process or, if the store has leases, in another one.
///
/// `generation` was read before the lookup that found the candidates.
pub(super) fn revalidate_in_background(
    cx: &Arc<Context>,
    request: PendingRequest,
    mut candidates: Candidates,
    mut plan: ForwardPlan,
    generation: u64,
) {
    let Ok(permit) = Arc::clone(&cx.background).try_acquire_owned() else { return };
    // One revalidation for each key. A follower has nothing to wait for: it has been served.
    let Role::Leader(mut leader) = cx.flights.join(&request.key, 0) else { return };
    let shared = Arc::clone(cx);
    cx.tasks.spawn(async move {
        let cx = &shared;
        let mut reservation = None;
        if is_coordinated(cx) {
            let turn = coordinate(cx, &request, &mut leader, true).await;
            if turn.held.is_some() {
                // Another process revalidates.
                return;
            }
            let Some(again) = plan_again(turn.decision) else { return };
            (candidates, plan, reservation) = (turn.candidates, again, Some(turn.reservation));
        } else if cx.flights.generation(&request.key) != generation {
            // Another fetch may have ended between the lookup and this point: the stored response
            // may be fresh now. Or the key may have been removed.
            candidates = cx.candidates(&request.key).await;
            let Some(again) = plan_again(decide(cx, &request.head(), &candidates)) else { return };
            plan = again;
        }
        let reservation = match reservation {
            Some(reserved) => reserved,
            None => reserve(cx, &request).await,
        };
        // The response itself is not used; the store has it.
        let plan = plan.as_only_fetch().in_background();
        let fetched = fetch(cx, &request, candidates, plan, reservation).await;
        let _ = finish(cx, fetched, Some(leader));
        drop(permit);
    });
}

/// Returns the plan of a revalidation after another lookup; `None` if the stored response is fresh.
fn plan_again(decision: Decision) -> Option<ForwardPlan> {
    match decision {
        Decision::ServeStale(selected) => Some(ForwardPlan::revalidate(selected)),
        Decision::Forward(plan) => Some(plan),
        Decision::Serve(_) | Decision::OnlyIfCached => None,
    }
}
