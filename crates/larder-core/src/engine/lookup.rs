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
use crate::{CacheKey, CacheStatus, Candidates, RequestHead, RequestHeaders};

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// The response, served without the origin.
    Hit(CacheResponse),
    /// The origin is needed: continue with [`Miss::fetch`] and the whole request.
    Miss(Miss),
}

/// Looks up a request, and reports a hit to the observer.
pub(super) async fn lookup<F: RequestHeaders>(
    cx: &Arc<Context>,
    key: &CacheKey,
    request: &RequestHead<'_, F>,
) -> Lookup {
    let stopwatch = cx.stopwatch();
    match peek(cx, key, request, stopwatch).await {
        Lookup::Hit(response) => {
            let stopwatch = stopwatch.map(Stopwatch::after_lookup);
            Lookup::Hit(report::answered(cx, key, request.method(), stopwatch, response))
        }
        miss => miss,
    }
}

/// Looks up a request, without reporting a hit to the observer. `stopwatch` was started before.
pub(super) async fn peek<F: RequestHeaders>(
    cx: &Arc<Context>,
    key: &CacheKey,
    request: &RequestHead<'_, F>,
    stopwatch: Option<Stopwatch>,
) -> Lookup {
    let generation = cx.flights.generation(key);
    let miss = |candidates, decision| {
        let (context, key) = (Arc::clone(cx), key.clone());
        let stopwatch = stopwatch.map(Stopwatch::after_lookup);
        Miss { context, key, candidates, generation, decision, bypass: None, stopwatch }
    };
    if !request.may_reuse() {
        return Lookup::Miss(miss(Candidates::none(), None));
    }
    let candidates = cx.candidates(key).await;
    let decision = decide(cx, request, &candidates);
    let selected = match decision {
        Decision::Serve(selected) => selected,
        Decision::OnlyIfCached => return Lookup::Hit(CacheResponse::only_if_cached()),
        Decision::Forward(plan) => {
            // Nothing is stored, and the last response forbade storing.
            let bypassable = candidates.is_empty() && cx.uncacheable.forbids_storing(key, cx.now());
            let bypass = bypassable.then(|| (request.method().clone(), plan.fwd));
            return Lookup::Miss(Miss { bypass, ..miss(candidates, Some(decision)) });
        }
        Decision::ServeStale(_) => return Lookup::Miss(miss(candidates, Some(decision))),
    };
    let status = CacheStatus::hit(selected.ttl);
    match serve(cx, candidates, selected.index, request, Some(selected.age), status).await {
        Ok(response) => Lookup::Hit(response),
        Err(_) => Lookup::Miss(miss(Candidates::none(), None)),
    }
}
