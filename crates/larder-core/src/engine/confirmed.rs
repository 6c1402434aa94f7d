//! What a scheduled refresh needs of the cache: the stored response of a request and when the
//! origin has confirmed it, how long a response that has just arrived is fresh, and the turn to
//! fetch among the processes that share the store.
//!
//! `larder-reqwest` has the schedules. A [`Confirmed`] response is compared and reported, it is not
//! served to clients: `decide` has no part in it.

use std::{fmt, time::Duration};

use super::{
    cache::Cache,
    events::StoreStep,
    options::{FetchOptions, ResponseContext},
    response::CacheResponse,
    serve::serve,
};
use crate::{
    CacheKey, CacheStatus, Claim, Lease, RequestHead, RequestHeaders, TargetUri, Timestamp,
    policy::{Exchange, Reuse},
    timeout::within,
};

/// Number of times that a turn is waited for.
const MAX_CLAIMS: u32 = 3;

/// The part of the key of a turn, which is not the key of a fetch.
const TURN: &[u8] = b"turn of a refresh";

/// A stored response, whatever its age, and when the origin has confirmed it; returned by
/// [`Refreshes::confirmed`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Confirmed {
    /// The response.
    pub response: CacheResponse,
    /// When the origin has sent it, or confirmed it with a 304, to any process on the store.
    pub at: Timestamp,
    /// How long it is still fresh. Zero if it is stale, or has to be validated before each use.
    pub fresh_for: Duration,
}

/// The right to refresh a key, among the processes that share a store; returned by
/// [`Refreshes::turn`]. It ends when dropped.
#[must_use = "the turn ends when it is dropped"]
pub struct RefreshTurn {
    lease: Option<Box<dyn Lease>>,
}

impl RefreshTurn {
    /// Returns whether other processes wait until this turn has ended. Otherwise the store has no
    /// leases, or none could be obtained.
    pub fn is_exclusive(&self) -> bool {
        self.lease.is_some()
    }
}

impl fmt::Debug for RefreshTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshTurn")
    }
}

/// What programs that refresh stored responses on a schedule need of a [`Cache`], such as
/// `larder-reqwest`.
///
/// ```
/// use larder_core::{Cache, CacheKey, Refreshes, RequestHead, TargetUri};
///
/// async fn last_confirmed(cache: &Cache, target: &TargetUri) -> Option<larder_core::policy::Timestamp> {
///     let (method, headers) = (http::Method::GET, http::HeaderMap::new());
///     let request = RequestHead::new(&method, &headers);
///     Some(Refreshes::new(cache).confirmed(&CacheKey::new(target), &request).await?.at)
/// }
/// # let _ = last_confirmed;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Refreshes<'a>(&'a Cache);

impl<'a> Refreshes<'a> {
    /// Creates a view of this cache.
    pub fn new(cache: &'a Cache) -> Self {
        Self(cache)
    }

    /// Returns the stored response that a request selects, whatever its age, and when the origin
    /// has confirmed it. `None` if there is none.
    ///
    /// It is not meant for clients: the response may be stale, or one that may not be served
    /// without validation.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn confirmed<F: RequestHeaders>(
        &self,
        key: &CacheKey,
        request: &RequestHead<'_, F>,
    ) -> Option<Confirmed> {
        let cx = &self.0.context;
        let candidates = cx.candidates(key).await;
        let reuse = cx.rules.reuse(request, candidates.iter().map(|candidate| &*candidate.head), cx.now());
        let (selected, is_fresh) = match reuse {
            Reuse::Fresh(selected) => (selected, true),
            Reuse::Stale(selected, _) | Reuse::Validate(selected, _) => (selected, false),
            Reuse::Forward(_) | Reuse::OnlyIfCached => return None,
        };
        let at = candidates[selected.index].head.freshness.response_time;
        let left = u64::try_from(selected.ttl).unwrap_or(0);
        let fresh_for = if is_fresh { Duration::from_secs(left) } else { Duration::ZERO };
        let (age, status) = (Some(selected.age), CacheStatus::hit(selected.ttl));
        let response = serve(cx, key, candidates, selected.index, request, age, status).await;
        Some(Confirmed { response: response.ok()?, at, fresh_for })
    }

    /// Returns how long the response to a request was fresh when it arrived, by the rules of the
    /// cache and the overrides of `options`. `None` if it cannot be stored.
    ///
    /// It does not wait until the response is stored.
    pub fn fresh_for(
        &self,
        request: &http::Request<()>,
        response: &CacheResponse,
        options: &FetchOptions,
    ) -> Option<Duration> {
        let cx = &self.0.context;
        if let Some(ttl) = response.cache_status.ttl {
            return u64::try_from(ttl).ok().map(Duration::from_secs);
        }
        let (status, headers) = (response.status, response.headers());
        let (method, uri) = (request.method(), request.uri());
        let context = ResponseContext { method, uri, request_headers: request.headers(), status, headers };
        let overrides = options.overrides.as_ref().map(|overrides| overrides.apply(&context));
        let rules = overrides.map(|overrides| cx.rules.clone().with_overrides(overrides));
        let rules = rules.as_ref().unwrap_or(&cx.rules);
        let target = TargetUri::from_uri(uri).ok()?;
        let now = cx.now();
        let exchange = Exchange { request_time: now, response_time: now };
        let head = RequestHead::new(method, request.headers());
        let stored = rules.storable(&target, &head, status, headers, exchange).ok()?.freshness;
        stored.lifetime.lifetime.checked_sub(stored.corrected_initial_age)
    }

    /// Waits for the turn to refresh a key among the processes that share the store, if the store
    /// has leases ([`CacheStore::leases`](crate::CacheStore::leases)). Otherwise it returns at once.
    ///
    /// While a turn is held, other processes wait for it: at most three times
    /// [`Limits::collapse_timeout`](crate::Limits::collapse_timeout), and then refresh without it.
    /// It does not concern ordinary requests. After a wait, look at [`confirmed`](Self::confirmed)
    /// again.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any point.
    pub async fn turn(&self, key: &CacheKey) -> RefreshTurn {
        let cx = &self.0.context;
        let key = key.with_extra(TURN);
        for _ in 0..MAX_CLAIMS {
            let Some(leases) = cx.store.leases() else { break };
            let claiming = leases.claim(&key);
            match cx.store_call(StoreStep::Lookup, cx.limits.lookup_timeout, claiming).await {
                Some(Claim::Granted(lease)) => return RefreshTurn { lease: Some(lease) },
                Some(Claim::Held(held)) => {
                    if within(cx.limits.collapse_timeout, held.released()).await.is_none() {
                        break;
                    }
                }
                // The store failed: each process refreshes on its own.
                None => break,
            }
        }
        RefreshTurn { lease: None }
    }
}
