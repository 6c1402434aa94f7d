//! Sends a request to switch protocols past the cache: nothing is looked up, stored, collapsed or
//! invalidated for it.
//!
//! Its response has no content that a cache could store, and other requests for its URL have other
//! responses. What is known of the key from those stays as it is.

use http::{Request, StatusCode};

use super::{context::Context, error::FetchError, report, response::CacheResponse};
use crate::{
    Body, CacheDetail, CacheKey, CacheStatus, ForwardReason, Origin, OriginError, OriginErrorKind, Upgrade,
    Upgraded, policy::strip_unforwardable, timeout::within,
};

/// Sends the request, and returns the response with the connection, if the origin has switched it.
pub(super) async fn pass_upgrade(
    cx: &Context,
    key: &CacheKey,
    mut request: Request<Body>,
    upgrade: Upgrade,
    origin: &dyn Origin,
) -> Result<(CacheResponse, Option<Upgraded>), FetchError> {
    let reported = cx.stopwatch().map(|stopwatch| (request.method().clone(), stopwatch));
    strip_unforwardable(request.headers_mut());
    // It would be in the way of `upgrade` in `Connection`.
    request.headers_mut().remove(http::header::TE);
    request.extensions_mut().insert(upgrade.clone());
    let mut upgraded = None;
    let mut result = send(cx, request, &upgrade, origin, &mut upgraded).await;
    if let Some((method, stopwatch)) = reported {
        report::result(cx, key, &method, stopwatch, &mut result);
    }
    result.map(|response| (response, upgraded))
}

/// Sends the request, and checks the response.
async fn send(
    cx: &Context,
    request: Request<Body>,
    upgrade: &Upgrade,
    origin: &dyn Origin,
    upgraded: &mut Option<Upgraded>,
) -> Result<CacheResponse, FetchError> {
    let limit = cx.limits.origin_timeout;
    let response = within(limit, origin.fetch(request)).await;
    let mut response = response.unwrap_or_else(|| Err(OriginErrorKind::Timeout(limit).into()))?;
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let connection = Upgraded::detach(&mut response);
        *upgraded = connection.filter(|_| upgrade.is_accepted_by(response.headers()));
    }
    if status.is_informational() && upgraded.is_none() {
        let error = OriginError::new(OriginErrorKind::Protocol);
        return Err(error
            .with_source("the origin switched to a protocol that the request does not name")
            .into());
    }
    let (mut parts, body) = response.into_parts();
    cx.rules.strip_hop_by_hop(&mut parts.headers);
    cx.rules.strip_tags(&mut parts.headers);
    let mut cache_status = CacheStatus::forwarded(ForwardReason::Bypass);
    cache_status.fwd_status = Some(status);
    cache_status.detail = Some(CacheDetail::Upgrade);
    let body = match upgraded {
        Some(_) => {
            // The connection has no message to frame any more.
            parts.headers.remove(http::header::CONTENT_LENGTH);
            upgrade.write_to(&mut parts.headers);
            Body::empty()
        }
        None => {
            cx.date_line.add_to(&mut parts.headers, cx.now());
            body
        }
    };
    Ok(CacheResponse::from_origin(status, parts.headers, cache_status, body))
}
