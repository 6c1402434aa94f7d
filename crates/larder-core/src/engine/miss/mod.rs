//! Serves a request after a lookup that was a miss: serve a stale response, follow a flight, lead
//! one, or go to the origin uncollapsed.
//!
//! [`Miss`] is what the lookup found. `stored` uses it. `collapse` shares the fetches of requests:
//! `lead` and `follow` are the two roles in a flight, `flights` holds the state of collapsing,
//! `uncacheable` the keys that are not collapsed. `reloads` collapses requests for responses that
//! are stored, `ranges` those for parts of one, and `slices` serves parts of a long one. `fetch`
//! sends the request to the origin.

mod collapse;
pub(super) mod flights;
mod follow;
pub(super) mod lead;
mod ranges;
pub(super) mod reloads;
mod slice_body;
mod slices;
mod stored;
pub(super) mod uncacheable;

use std::{fmt, sync::Arc};

use http::{Method, Request};

use self::{
    collapse::collapse,
    lead::finish,
    slices::serve_slices,
    stored::{Step, use_stored},
};
use super::{
    background::revalidate_in_background,
    bypass::Bypass,
    context::Context,
    decide::{Decision, decide},
    error::FetchError,
    fetch::{fetch_past_cache, fetch_unchanged},
    options::FetchOptions,
    report,
    request::{PendingRequest, target_of},
    response::CacheResponse,
    stopwatch::Stopwatch,
};
use crate::{Body, CacheKey, Candidates, ForwardReason, Origin, TargetUri, policy::ClientDirectives};

/// The result of a lookup that could not be served, so that it need not be repeated.
///
/// Continue with [`fetch`](Self::fetch), as the example of [`Cache::lookup`](crate::Cache::lookup)
/// does.
pub struct Miss {
    pub(super) context: Arc<Context>,
    pub(super) key: CacheKey,
    pub(super) candidates: Candidates,
    /// The result of [`Flights::generation`](flights::Flights::generation) before the lookup.
    pub(super) generation: u64,
    /// The decision on the candidates, if one was taken.
    pub(super) decision: Option<Decision>,
    /// What the cache does with the client's caching directives.
    pub(super) clients: ClientDirectives,
    /// The method, and the reason for forwarding, if the adapter may [bypass](Self::into_bypass) the engine.
    pub(super) bypass: Option<(Method, ForwardReason)>,
    /// Whether the fetch bypasses the cache, as of [`Cache::pass`](crate::Cache::pass).
    pub(super) passes: bool,
    /// Exists if the cache has an observer.
    pub(super) stopwatch: Option<Stopwatch>,
}

impl fmt::Debug for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Miss")
            .field("key", &self.key)
            .field("candidates", &self.candidates.len())
            .finish_non_exhaustive()
    }
}

impl Miss {
    /// Returns the permission to call the origin without the engine, if that is correct for this
    /// request.
    ///
    /// It is for a GET or HEAD if nothing is stored under the key and the last response forbade
    /// storing, such as with `no-store`. The adapter need not convert the request and the response
    /// then. This is an optimization for origins that are handlers of the same program; an adapter
    /// can ignore it and call [`fetch`](Self::fetch). [`Bypass`](crate::Bypass) has an example.
    ///
    /// # Errors
    ///
    /// Returns the miss unchanged if the request has to go through the engine.
    #[expect(clippy::result_large_err, reason = "a miss continues in the caller; boxing it would cost more")]
    pub fn into_bypass(self) -> Result<Bypass, Self> {
        let Some((method, fwd)) = self.bypass else { return Err(self) };
        Ok(Bypass { context: self.context, key: self.key, method, fwd, stopwatch: self.stopwatch })
    }

    /// Serves the request that was looked up, with the origin where necessary.
    ///
    /// The request's URI must be absolute, with scheme and authority; this method normalizes it. It
    /// also removes hop-by-hop header fields. `request` must be the request that was looked up.
    ///
    /// # Errors
    ///
    /// Returns a [`FetchError`] if the URI cannot be fetched, or if the origin returned no response
    /// and no stored response may be served instead.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point. If other requests wait for the fetch, one of them takes over,
    /// or the fetch continues if its head has arrived.
    pub async fn fetch(
        self,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        let target = target_of(request.uri())?;
        self.fetch_target(target, request, origin, options).await
    }

    /// Serves the request that was looked up, with the target that the caller has parsed
    /// already.
    pub(super) async fn fetch_target(
        self,
        target: TargetUri,
        request: Request<Body>,
        origin: Arc<dyn Origin>,
        options: &FetchOptions,
    ) -> Result<CacheResponse, FetchError> {
        let Self { context, key, candidates, generation, decision, clients, passes, stopwatch, .. } = self;
        let cx = &context;
        // Copied only if there is an observer to report to.
        let reported = stopwatch.map(|stopwatch| (key.clone(), request.method().clone(), stopwatch));
        let (mut request, body) = PendingRequest::new(key, target, request, origin, options, clients)?;
        let mut result = if passes {
            // Boxed, so that it adds nothing to the future of other requests.
            finish(cx, Box::pin(fetch_past_cache(cx, &request, body)).await, None)
        } else if body.is_empty() && request.head().may_reuse() {
            let decision = decision.unwrap_or_else(|| decide(cx, &request.head(), &candidates));
            match use_stored(cx, &request, candidates, decision).await {
                Step::Forward(plan, candidates) => {
                    let sliced = if request.options.ranges.slice.is_some() {
                        // Boxed, so that it adds nothing to the future of other requests.
                        Box::pin(serve_slices(cx, &request, &candidates, generation)).await
                    } else {
                        None
                    };
                    match sliced {
                        Some(response) => Ok(response),
                        None => collapse(cx, &mut request, plan, candidates, generation).await,
                    }
                }
                Step::Serve(response) => Ok(response),
                Step::ServeAndRevalidate(response, plan, candidates) => {
                    ranges::choose(cx, &mut request, plan, &candidates);
                    revalidate_in_background(cx, request, candidates, plan, generation);
                    Ok(response)
                }
            }
        } else {
            // Boxed for the same reason.
            finish(cx, Box::pin(fetch_unchanged(cx, &request, body, candidates)).await, None)
        };
        if let Ok(response) = &mut result
            && !cx.rules.tag_fields.is_empty()
        {
            response.strip_tags(&cx.rules);
        }
        if let Some((key, method, stopwatch)) = reported {
            report::result(cx, &key, &method, stopwatch, &mut result);
        }
        result
    }
}
