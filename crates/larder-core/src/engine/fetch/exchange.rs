//! Holds one exchange with the origin: the request, the stored response that it concerns, and the
//! reservation in the store.

use std::time::Duration;

use http::{Request, Response, StatusCode};

use super::super::{
    context::Context,
    decide::ForwardPlan,
    error::FetchError,
    events::StoreStep,
    fill::Writing,
    outcome::FlightOutcome,
    request::{Forward, PendingRequest},
    response::CacheResponse,
};
use crate::{
    Body, Candidates, ForwardReason, OriginError, OriginErrorKind, Reservation, head_within,
    policy::{Exchange, Failure, StalePermission, request_from_origin},
    timeout::within,
};

/// A request that is sent to the origin, with everything that the handling of its response needs.
pub(super) struct OriginExchange<'a> {
    pub(super) request: &'a PendingRequest,
    /// The stored responses of the key.
    pub(super) candidates: Candidates,
    pub(super) plan: ForwardPlan,
    /// Whether this cache adds conditions to the request.
    pub(super) conditional: bool,
    /// The reservation from before the request; `None` if the response cannot be stored.
    pub(super) reservation: Option<Box<dyn Reservation>>,
    /// Whether the request is sent again, because of a 304 without a condition.
    pub(super) repeats: bool,
}

/// The origin's final response, of which the head has arrived.
pub(super) struct Reply {
    pub(super) response: Response<Body>,
    /// The times of the request and of the response.
    pub(super) times: Exchange,
    /// How long the head took to arrive, if the cache has an observer.
    pub(super) head_time: Option<Duration>,
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

impl Fetched {
    /// Sets the time that the head of the origin's response took, unless a later exchange of the
    /// same fetch has set it.
    pub(super) fn set_head_time(&mut self, head_time: Option<Duration>) {
        if let Ok(response) = &mut self.response {
            response.origin_head = response.origin_head.or(head_time);
        }
    }
}

impl<'a> OriginExchange<'a> {
    /// Prepares the exchange, with conditions if a stored response can be validated.
    pub(super) fn new(
        request: &'a PendingRequest,
        candidates: Candidates,
        plan: ForwardPlan,
        reservation: Option<Box<dyn Reservation>>,
    ) -> Self {
        let conditional = plan.selected.is_some() && !request.options.body_in_key;
        Self { request, candidates, plan, conditional, reservation, repeats: false }
    }

    /// Prepares the exchange again, without conditions: the 304 matches no stored response, or the
    /// validated body has been removed.
    pub(super) async fn without_conditions(self, cx: &Context) -> Self {
        let plan = ForwardPlan::new(None, ForwardReason::Stale);
        let reservation = reserve(cx, self.request).await;
        Self::new(self.request, Candidates::none(), plan, reservation)
    }

    /// Sends the request and returns the final response once its head has arrived.
    ///
    /// After a 304 although the request has no condition, as from a broken cache in between, it is
    /// sent once more with `no-cache`. A second one is an error: the response would have no content
    /// (RFC 9110 §15.4.5).
    pub(super) async fn send(&mut self, cx: &Context) -> Result<Reply, OriginError> {
        let reply = self.send_once(cx).await?;
        if !self.is_unconditional_304(&reply) {
            return Ok(reply);
        }
        tracing::debug!(key = ?self.request.key, "a 304 to a request without conditions");
        self.repeats = true;
        // Boxed, so that it adds nothing to the future of other requests.
        let reply = Box::pin(self.send_once(cx)).await?;
        if self.is_unconditional_304(&reply) {
            let error = OriginError::new(OriginErrorKind::Protocol);
            return Err(error.with_source("the origin responded with 304 to a request without conditions"));
        }
        Ok(reply)
    }

    /// Sends the request once.
    async fn send_once(&mut self, cx: &Context) -> Result<Reply, OriginError> {
        let mut outgoing = self.request.outgoing(Body::from(self.request.content.clone()));
        if let Some(selected) = self.plan.selected.filter(|_| self.conditional) {
            let heads = self.candidates.iter().map(|candidate| &*candidate.head);
            self.conditional = cx.rules.make_conditional(outgoing.headers_mut(), heads, selected.index);
        }
        if self.repeats {
            request_from_origin(outgoing.headers_mut());
        }
        send(cx, self.request, outgoing, self.limit(cx)).await
    }

    /// Returns whether the reply is a 304 although neither this cache nor the client has sent a
    /// condition.
    fn is_unconditional_304(&self, reply: &Reply) -> bool {
        reply.response.status() == StatusCode::NOT_MODIFIED
            && !self.conditional
            && (self.request.forward == Forward::Whole || !self.request.head().has_conditions())
    }

    /// Returns the longest time until the head of the response arrives: shorter if a client waits
    /// and a stale response may be served instead.
    fn limit(&self, cx: &Context) -> Duration {
        let limits = &cx.limits;
        let selected = self.plan.selected.filter(|_| !self.plan.is_in_background);
        let stored = selected.and_then(|selected| self.candidates.get(selected.index));
        let may_be_stale = stored.is_some_and(|stored| {
            let head = self.request.head();
            let permission = cx.rules.stale_on_failure(&head, &stored.head, cx.now(), Failure::Disconnected);
            permission == Some(StalePermission::IfError)
        });
        if may_be_stale {
            limits.origin_timeout.min(limits.stale_if_error_timeout)
        } else {
            limits.origin_timeout
        }
    }

    /// Returns whether the reply validates a stored response: it is a 304 to conditions that this
    /// cache added.
    pub(super) fn is_validated_by(&self, reply: &Reply) -> bool {
        self.conditional && reply.response.status() == StatusCode::NOT_MODIFIED
    }
}

/// Reserves the key in the store before the request is sent.
///
/// A removal while the origin is working then prevents the response from being stored. Returns
/// `None` if the last response of the key forbade storing, or if the store fails.
pub(in super::super) async fn reserve(
    cx: &Context,
    request: &PendingRequest,
) -> Option<Box<dyn Reservation>> {
    if request.forward == Forward::AsItIsUnstored {
        return None;
    }
    if cx.uncacheable.forbids_storing(&request.key, cx.now()) {
        // The next response will probably forbid storing as well, and a reservation in a remote
        // store costs a round trip. If it does not, the response after it is stored.
        return None;
    }
    cx.store_call(StoreStep::Write, cx.limits.lookup_timeout, cx.store.reserve(&request.key)).await
}

/// Sends `outgoing` to the origin of `request`, and waits for the head of the final response, for
/// at most `limit`.
pub(super) async fn send(
    cx: &Context,
    request: &PendingRequest,
    outgoing: Request<Body>,
    limit: Duration,
) -> Result<Reply, OriginError> {
    let stopwatch = cx.stopwatch();
    let request_time = cx.now();
    // As `head_within` does, but without taking the request apart.
    let response = if outgoing.body().is_whole() {
        within(limit, request.origin.fetch(outgoing)).await
    } else {
        let (parts, body) = outgoing.into_parts();
        let fetch = |body| request.origin.fetch(Request::from_parts(parts, body));
        // Boxed, so that it adds nothing to the future of other requests.
        Box::pin(head_within(limit, body, fetch)).await
    };
    let timeout = || Err(OriginError::new(OriginErrorKind::Timeout(limit)));
    let mut response = response.unwrap_or_else(timeout)?;
    if response.status().is_informational() {
        let error = OriginError::new(OriginErrorKind::Protocol);
        return Err(error.with_source("the origin returned an interim (1xx) response as its final one"));
    }
    cx.rules.strip_hop_by_hop(response.headers_mut());
    let times = Exchange { request_time, response_time: cx.now() };
    cx.date_line.add_to(response.headers_mut(), times.response_time);
    Ok(Reply { response, times, head_time: stopwatch.map(|stopwatch| stopwatch.whole()) })
}
