//! Holds one exchange with the origin: the request, the stored response that it concerns, and the
//! reservation in the store.

use http::{Request, Response, StatusCode};

use super::super::{
    context::Context, decide::ForwardPlan, error::FetchError, events::StoreStep, fill::Writing,
    outcome::FlightOutcome, request::PendingRequest, response::CacheResponse,
};
use crate::{
    Body, Candidates, Exchange, ForwardReason, OriginError, OriginErrorKind, Reservation, head_within,
    strip_hop_by_hop,
};

/// A request that is sent to the origin, with everything that the handling of its response needs.
pub(super) struct OriginExchange {
    pub(super) request: PendingRequest,
    /// The stored responses of the key.
    pub(super) candidates: Candidates,
    pub(super) plan: ForwardPlan,
    /// Whether this cache adds conditions to the request.
    pub(super) conditional: bool,
    /// The reservation from before the request; `None` if the response cannot be stored.
    pub(super) reservation: Option<Box<dyn Reservation>>,
}

/// The result of a fetch.
pub(in super::super) struct Fetched {
    /// The response to this request.
    pub(in super::super) response: Result<CacheResponse, FetchError>,
    /// What the requests that wait for the fetch may do with its result.
    pub(in super::super) outcome: FlightOutcome,
    /// The rest of the writing to the store, if any.
    pub(in super::super) writing: Option<Writing>,
}

impl OriginExchange {
    /// Reserves the key in the store and prepares the exchange, with conditions if a stored
    /// response can be validated.
    pub(super) async fn new(
        cx: &Context,
        request: PendingRequest,
        candidates: Candidates,
        plan: ForwardPlan,
    ) -> Self {
        let conditional = plan.selected.is_some() && !request.options.body_in_key;
        let reservation = reserve(cx, &request).await;
        Self { request, candidates, plan, conditional, reservation }
    }

    /// Prepares the exchange again, without conditions: the 304 matches no stored response, or the
    /// validated body has been removed.
    pub(super) async fn without_conditions(self, cx: &Context) -> Self {
        let plan = ForwardPlan { selected: None, fwd: ForwardReason::Stale };
        Self::new(cx, self.request, Candidates::none(), plan).await
    }

    /// Sends the request and returns the final response once its head has arrived, with the times
    /// of both.
    pub(super) async fn send(&mut self, cx: &Context) -> Result<(Response<Body>, Exchange), OriginError> {
        let mut outgoing = self.request.outgoing(Body::from(self.request.content.clone()));
        if let Some(selected) = self.plan.selected.filter(|_| self.conditional) {
            let heads = self.candidates.iter().map(|candidate| &*candidate.head);
            self.conditional = cx.rules.make_conditional(outgoing.headers_mut(), heads, selected.index);
        }
        send(cx, &self.request, outgoing).await
    }

    /// Returns whether the response validates a stored one: it is a 304 to conditions that this
    /// cache added.
    pub(super) fn is_validated_by(&self, response: &Response<Body>) -> bool {
        self.conditional && response.status() == StatusCode::NOT_MODIFIED
    }
}

/// Reserves the key in the store before the request is sent.
///
/// A removal while the origin is working then prevents the response from being stored. Returns
/// `None` if the last response of the key forbade storing, or if the store fails.
pub(super) async fn reserve(cx: &Context, request: &PendingRequest) -> Option<Box<dyn Reservation>> {
    if cx.uncacheable.forbids_storing(&request.key, cx.now()) {
        // The next response will probably forbid storing as well, and a reservation in a remote
        // store costs a round trip. If it does not, the response after it is stored.
        return None;
    }
    cx.store_call(StoreStep::Write, cx.limits.lookup_timeout, cx.store.reserve(&request.key)).await
}

/// Sends `outgoing` to the origin of `request`, within the timeout, and returns the final response
/// with the times of both.
pub(super) async fn send(
    cx: &Context,
    request: &PendingRequest,
    outgoing: Request<Body>,
) -> Result<(Response<Body>, Exchange), OriginError> {
    let request_time = cx.now();
    let limit = cx.limits.origin_timeout;
    let (parts, body) = outgoing.into_parts();
    let fetch = |body| request.origin.fetch(Request::from_parts(parts, body));
    let mut response = head_within(limit, body, fetch)
        .await
        .unwrap_or_else(|| Err(OriginError::new(OriginErrorKind::Timeout(limit))))?;
    strip_hop_by_hop(response.headers_mut());
    Ok((response, Exchange { request_time, response_time: cx.now() }))
}
