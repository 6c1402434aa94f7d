//! Looks up a request: a hit is served from here, a miss carries what the lookup found to the
//! origin.
//!
//! `decide` chooses between the two, `serve` creates the response, `miss` continues after a miss.

use super::{
    context::Context,
    decide::{Decision, decide},
    response::CacheResponse,
    serve::serve,
};
use crate::{CacheKey, CacheStatus, Candidates, ForwardReason, RequestHead, RequestHeaders};

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// The response, served without the origin.
    Hit(CacheResponse),
    /// The origin is needed. Pass this to [`Cache::resume`](crate::Cache::resume), together with
    /// the whole request.
    Miss(Miss),
}

/// The result of a lookup that could not be served, so that it need not be repeated.
#[derive(Debug)]
pub struct Miss {
    pub(super) key: CacheKey,
    pub(super) candidates: Candidates,
    /// The result of [`Flights::generation`](super::flights::Flights::generation) before the
    /// lookup.
    pub(super) generation: u64,
    /// The decision on the candidates, if one was taken.
    pub(super) decision: Option<Decision>,
    /// The reason for forwarding, if the adapter may [bypass](Self::can_bypass) the engine.
    pub(super) bypass: Option<ForwardReason>,
}

impl Miss {
    /// Creates a miss on which nothing has been decided.
    fn new(key: &CacheKey, candidates: Candidates, generation: u64) -> Self {
        Self { key: key.clone(), candidates, generation, decision: None, bypass: None }
    }

    /// Returns whether the adapter may call the origin directly instead of through
    /// [`Cache::resume`](crate::Cache::resume).
    ///
    /// It may if nothing is stored under the key and the last response forbade storing, such as
    /// with `no-store`. It then calls [`Cache::bypass`](crate::Cache::bypass) followed by
    /// [`Cache::record_bypass`](crate::Cache::record_bypass).
    pub fn can_bypass(&self) -> bool {
        self.bypass.is_some()
    }
}

/// Looks up a request, without reporting a hit to the observer.
pub(super) async fn peek<F: RequestHeaders>(
    cx: &Context,
    key: &CacheKey,
    request: &RequestHead<'_, F>,
) -> Lookup {
    let generation = cx.flights.generation(key);
    if !request.may_reuse() {
        return Lookup::Miss(Miss::new(key, Candidates::none(), generation));
    }
    let candidates = cx.candidates(key).await;
    let decision = decide(cx, request, &candidates);
    let selected = match decision {
        Decision::Serve(selected) => selected,
        Decision::OnlyIfCached => return Lookup::Hit(CacheResponse::only_if_cached()),
        Decision::Forward(plan) => {
            // Nothing is stored, and the last response forbade storing.
            let bypassable = candidates.is_empty() && cx.uncacheable.forbids_storing(key, cx.now());
            let bypass = bypassable.then_some(plan.fwd);
            let decision = Some(decision);
            return Lookup::Miss(Miss { decision, bypass, ..Miss::new(key, candidates, generation) });
        }
        Decision::ServeStale(_) => {
            return Lookup::Miss(Miss { decision: Some(decision), ..Miss::new(key, candidates, generation) });
        }
    };
    let status = CacheStatus::hit(selected.ttl);
    match serve(cx, candidates, selected.index, request, Some(selected.age), status).await {
        Ok(response) => Lookup::Hit(response),
        Err(_) => Lookup::Miss(Miss::new(key, Candidates::none(), generation)),
    }
}
