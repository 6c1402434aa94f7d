//! Follows the fetch of another request: waits for its headers, and serves its response if this
//! request's header fields allow it.

use std::sync::Arc;

use super::{
    super::{
        context::Context,
        decide::{Decision, ForwardPlan, decide},
        error::FetchError,
        outcome::{Arrived, FlightOutcome},
        request::PendingRequest,
        response::CacheResponse,
        serve::{is_out_of_reach, serve_pending, serve_stale_on_error},
    },
    flights::Flight,
    reloads::serve_without_reload,
};
use crate::{
    CacheKey, Candidate, Candidates, OriginError,
    policy::{ClientDirectives, Failure, RangeKind, Serve},
    timeout::within,
};

/// Waits for the leader's headers and acts on the outcome of the flight.
pub(super) async fn follow(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: &Candidates,
    plan: ForwardPlan,
    flight: &Arc<Flight>,
) -> Followed {
    let followed = match within(cx.limits.collapse_timeout, flight.outcome()).await {
        Some(outcome) => act(cx, request, candidates, plan, flight, outcome).await,
        None => Followed::Uncollapsed,
    };
    match followed {
        Followed::Response(_) | Followed::OtherVariant(_) | Followed::OtherRange(_) => followed,
        // The reload of the leader brought nothing that can be shared.
        _ if plan.is_reload => {
            serve_without_reload(cx, request, candidates).await.map_or(followed, Followed::Response)
        }
        _ => followed,
    }
}

/// Acts on the outcome of the flight.
async fn act(
    cx: &Arc<Context>,
    request: &PendingRequest,
    candidates: &Candidates,
    plan: ForwardPlan,
    flight: &Flight,
    outcome: FlightOutcome,
) -> Followed {
    match outcome {
        FlightOutcome::Shared(candidate, arrived) => share(cx, request, plan, candidate, arrived).await,
        FlightOutcome::TooLong(limit) if request.max_object(&cx.limits) > limit => {
            Followed::Retry { failed: false }
        }
        FlightOutcome::NotShared(_) | FlightOutcome::TooLong(_) => Followed::Uncollapsed,
        FlightOutcome::Abandoned => Followed::Retry { failed: false },
        FlightOutcome::Failed(kind, cause) => {
            match serve_stale_on_error(cx, request, candidates, plan, Failure::Disconnected).await {
                Some(response) => Followed::Response(response),
                None if flight.attempt == 0 && !kind.is_timeout() => Followed::Retry { failed: true },
                None => Followed::Failed(OriginError::of_leader(kind, cause.as_deref()).into()),
            }
        }
        FlightOutcome::ServerError(status) => {
            match serve_stale_on_error(cx, request, candidates, plan, Failure::Status(status)).await {
                Some(response) => Followed::Response(response),
                None => Followed::Uncollapsed,
            }
        }
    }
}

/// Serves the leader's response, if this request's header fields allow it.
///
/// `arrived` is how much of its body has arrived, if it is arriving.
async fn share(
    cx: &Arc<Context>,
    request: &PendingRequest,
    plan: ForwardPlan,
    candidate: Candidate,
    arrived: Option<Arrived>,
) -> Followed {
    let head = request.head();
    if !candidate.head.selecting.matches(&head) {
        let variant = candidate.head.selecting.variant_of(&head);
        return variant.map_or(Followed::Uncollapsed, |variant| {
            Followed::OtherVariant(request.key.with_extra(b"variant").with_extra(&variant))
        });
    }
    if head.range_kind() != RangeKind::None {
        let serve = candidate.head.serve(&head, candidate.body.content_length());
        let limit = request.options.ranges.whole_limit;
        if serve == Serve::NotInPart {
            return Followed::OtherRange(candidate);
        }
        let start = candidate.head.part.map_or(0, |part| part.first);
        if arrived.is_some_and(|arrived| is_out_of_reach(&serve, start + arrived.bytes(), limit)) {
            return Followed::OutOfReach;
        }
    }
    let candidates = Candidates::from(candidate);
    // The response has arrived after the request, so that it answers a reload.
    let head = match head.client_directives() {
        ClientDirectives::Collapse => head.with_client_directives(ClientDirectives::Ignore),
        _ => head,
    };
    let (Decision::Serve(selected) | Decision::ServeStale(selected)) = decide(cx, &head, &candidates) else {
        return Followed::Uncollapsed;
    };
    let mut status = plan.status();
    status.collapsed = true;
    match serve_pending(cx, request, candidates, 0, &head, Some(selected.age), status).await {
        Ok(response) => Followed::Response(response),
        Err(_) => Followed::Uncollapsed,
    }
}

/// The result of following a flight.
pub(super) enum Followed {
    Response(CacheResponse),
    Failed(FetchError),
    /// The response is for other values of the fields that it varies on. Requests with the same
    /// values are collapsed under this key.
    OtherVariant(CacheKey),
    /// The leader got another part of the representation, which states its length.
    OtherRange(Candidate),
    /// The requested range arrives too late. The request goes to the origin on its own.
    OutOfReach,
    /// The request goes to the origin on its own.
    Uncollapsed,
    /// The leader was dropped or failed: try to lead.
    Retry {
        /// Whether the origin failed the leader.
        failed: bool,
    },
}
