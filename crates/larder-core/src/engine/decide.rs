//! Decides what to do with a request, given the stored responses of its key.
//!
//! The rules are in `larder-policy` ([`Rules::reuse`](crate::Rules::reuse)); this file reduces
//! their answer to the steps of the engine. `lookup` decides first. `miss` decides again only after
//! the stored responses have changed.

use super::context::Context;
use crate::{
    CacheStatus, Candidates, ForwardReason, RequestHead, RequestHeaders,
    policy::{ClientDirectives, Reuse, Selected, StalePermission},
};

/// The next step for a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decision {
    /// Serve this response: it is fresh, or the request accepts it although it is stale.
    Serve(Selected),
    /// Serve this response although it is stale, and revalidate it.
    ServeStale(Selected),
    /// Forward the request to the origin.
    Forward(ForwardPlan),
    /// Answer 504: the request accepts only a stored response, and none may be used.
    OnlyIfCached,
}

/// The reason why a request is forwarded, and the stored response that it concerns.
#[derive(Debug, Clone, Copy)]
pub(super) struct ForwardPlan {
    /// The stored response that matches but is not fresh. It is revalidated, or served if the
    /// origin fails.
    pub(super) selected: Option<Selected>,
    pub(super) fwd: ForwardReason,
    /// Whether only a directive of the client requires the request, and the cache collapses such
    /// requests ([`ClientDirectives::Collapse`]).
    pub(super) is_reload: bool,
    /// Whether no other request stores responses of the key at the same time. `miss` sets it.
    pub(super) is_only_fetch: bool,
    /// Whether no client waits for the response.
    pub(super) is_in_background: bool,
}

impl ForwardPlan {
    /// Creates a plan.
    pub(super) fn new(selected: Option<Selected>, fwd: ForwardReason) -> Self {
        Self { selected, fwd, is_reload: false, is_only_fetch: false, is_in_background: false }
    }

    /// Creates the plan for revalidating a stale response.
    pub(super) fn revalidate(selected: Selected) -> Self {
        Self::new(Some(selected), ForwardReason::Stale)
    }

    /// Returns the plan of a request that is the only one to store responses of its key.
    pub(super) fn as_only_fetch(self) -> Self {
        Self { is_only_fetch: true, ..self }
    }

    /// Returns the plan of a fetch for which no client waits.
    pub(super) fn in_background(self) -> Self {
        Self { is_in_background: true, ..self }
    }

    /// Returns the status of a response that is served instead of, or shared with, this fetch.
    pub(super) fn status(&self) -> CacheStatus {
        CacheStatus::forwarded(self.fwd)
    }
}

/// Decides by the rules, at the current time.
pub(super) fn decide<F: RequestHeaders>(
    cx: &Context,
    request: &RequestHead<'_, F>,
    candidates: &Candidates,
) -> Decision {
    let heads = candidates.iter().map(|candidate| &*candidate.head);
    match cx.rules.reuse(request, heads, cx.now()) {
        Reuse::Fresh(selected) | Reuse::Stale(selected, StalePermission::MaxStale) => {
            Decision::Serve(selected)
        }
        Reuse::Stale(
            selected,
            StalePermission::WhileRevalidate | StalePermission::IfError | StalePermission::Disconnected,
        ) => Decision::ServeStale(selected),
        Reuse::Validate(selected, why) => {
            let collapses = request.client_directives() == ClientDirectives::Collapse;
            let is_reload = collapses && why.is_required_by_request();
            let plan = ForwardPlan::new(Some(selected), why.forward_reason());
            Decision::Forward(ForwardPlan { is_reload, ..plan })
        }
        Reuse::Forward(why) => Decision::Forward(ForwardPlan::new(None, why.forward_reason())),
        Reuse::OnlyIfCached => Decision::OnlyIfCached,
    }
}
