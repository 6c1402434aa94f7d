//! Looks up a request: a hit is served from here, a miss carries what the lookup found to the
//! origin.
//!
//! `decide` chooses between the two, `serve` creates the response, `miss` continues after a miss.

use std::sync::Arc;

use super::{
    context::Context,
    decide::{Decision, decide},
    miss::Miss,
    report,
    response::CacheResponse,
    serve::serve,
    stopwatch::Stopwatch,
};
use crate::{CacheKey, CacheStatus, Candidates, RequestHead, RequestHeaders, policy::ClientDirectives};

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// The response, served without the origin.
    Hit(CacheResponse),
    /// The origin is needed: continue with [`Miss::fetch`] and the whole request.
    Miss(Miss),
}

/// Returns a miss without a lookup, of which the fetch bypasses the cache.
pub(super) fn pass(cx: &Arc<Context>, key: &CacheKey) -> Miss {
    Miss {
        context: Arc::clone(cx),
        key: key.clone(),
        candidates: Candidates::none(),
        generation: cx.flights.generation(key),
        decision: None,
        clients: ClientDirectives::Honor,
        bypass: None,
        passes: true,
        stopwatch: cx.stopwatch().map(Stopwatch::after_lookup),
    }
}

/// Looks up a request. Reports a hit to the observer if `report` is set.
pub(super) async fn lookup<F: RequestHeaders>(
    cx: &Arc<Context>,
    key: &CacheKey,
    request: &RequestHead<'_, F>,
    report: bool,
) -> Lookup {
    let stopwatch = cx.stopwatch();
    let generation = cx.flights.generation(key);
    let miss = |candidates, decision| {
        let (context, key) = (Arc::clone(cx), key.clone());
        let stopwatch = stopwatch.map(Stopwatch::after_lookup);
        let clients = request.client_directives();
        Miss {
            context,
            key,
            candidates,
            generation,
            decision,
            clients,
            bypass: None,
            passes: false,
            stopwatch,
        }
    };
    if !request.may_reuse() {
        return Lookup::Miss(miss(Candidates::none(), None));
    }
    let candidates = cx.candidates(key).await;
    let decision = decide(cx, request, &candidates);
    let served = match decision {
        Decision::Serve(selected) => {
            cx.variants.served(key, &candidates, selected);
            let status = CacheStatus::hit(selected.ttl);
            serve(cx, key, candidates, selected.index, request, Some(selected.age), status).await
        }
        Decision::OnlyIfCached => {
            let mut response = CacheResponse::only_if_cached();
            response.drop_body_for(request.method());
            Ok(response)
        }
        Decision::Forward(plan) => {
            // Nothing is stored, and the last response forbade storing.
            let bypassable = candidates.is_empty()
                && cx.uncacheable.forbids_storing(key, cx.now())
                // The engine removes the tags of each response.
                && cx.rules.tag_fields.is_empty();
            let bypass = bypassable.then(|| (request.method().clone(), plan.fwd));
            return Lookup::Miss(Miss { bypass, ..miss(candidates, Some(decision)) });
        }
        Decision::ServeStale(_) => return Lookup::Miss(miss(candidates, Some(decision))),
    };
    match served {
        Ok(mut response) => {
            if let Some(stopwatch) = stopwatch.filter(|_| report) {
                report::answered(cx, key, request.method(), stopwatch.after_lookup(), &mut response);
            }
            Lookup::Hit(response)
        }
        Err(_) => Lookup::Miss(miss(Candidates::none(), None)),
    }
}
