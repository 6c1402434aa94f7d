//! Handles a request that got no response from the origin: serves a stale response if permitted.

use std::sync::Arc;

use super::{
    super::{context::Context, error::FetchError, outcome::FlightOutcome, serve::serve_stale_on_error},
    exchange::{Fetched, OriginExchange},
};
use crate::{OriginError, OriginErrorKind, policy::Failure};

/// Returns a stale response instead of the error, if the rules permit it.
pub(super) async fn on_error(cx: &Arc<Context>, exchange: OriginExchange<'_>, error: OriginError) -> Fetched {
    tracing::debug!(%error, cause = error.cause(), "the origin failed");
    let outcome = FlightOutcome::of_error(&error);
    let OriginExchange { request, candidates, plan, .. } = exchange;
    let stale = serve_stale_on_error(cx, request, &candidates, plan, Failure::Disconnected).await;
    // Not an origin in this process: its handlers and loaders fail one by one.
    let is_out_of_reach = matches!(
        error.kind(),
        OriginErrorKind::Connect | OriginErrorKind::Protocol | OriginErrorKind::Timeout(_)
    );
    if is_out_of_reach && stale.is_some() {
        cx.failing.record(&request.target, cx.now());
    }
    Fetched { response: stale.ok_or(FetchError::Origin(error)), outcome, writing: None }
}
