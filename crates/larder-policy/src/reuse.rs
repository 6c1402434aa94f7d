//! Decides whether a stored response may be used for a request (RFC 9111 §4).
//!
//! A fresh response and a request without directives cost one comparison of the selecting header
//! values and two comparisons of integers. Nothing is parsed or allocated. The `stale` module
//! decides whether a stale response may be served, and `serving` how the selected response is
//! served.

use std::time::Duration;

use crate::{
    ForwardReason, RequestHead, RequestHeaders, Rules, StoredHead, Timestamp,
    age::current_age,
    directives::RequestDirectives,
    list::list_members,
    request::HeaderFlags,
    serving::can_be_served,
    stale::{is_within_max_stale, may_serve_while_revalidating},
    vary::NormalForms,
};

/// The selected stored response and its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selected {
    /// Index of the response among the candidates.
    pub index: usize,
    /// Current age (§4.2.3).
    pub age: Duration,
    /// Remaining freshness in seconds, negative if the response is stale.
    pub ttl: i64,
}

/// The decision on a request, given the stored responses.
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reuse {
    /// Serve the selected response, which is fresh.
    Fresh(Selected),
    /// Serve the selected response although it is stale. With [`StalePermission::WhileRevalidate`],
    /// also revalidate it in the background.
    Stale(Selected, StalePermission),
    /// Validate the selected response with the origin before it is served (§4.3).
    Validate(Selected, ValidateReason),
    /// Forward the request to the origin, since no stored response can be used.
    Forward(MissReason),
    /// Respond with 504: the request has `only-if-cached`, and no stored response may be served
    /// (§5.2.1.7).
    OnlyIfCached,
}

/// The rule that permits a stale response (§4.2.4).
///
/// The enum is exhaustive, so that no match misses a new variant: adding one is a breaking change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StalePermission {
    /// `max-stale` in the request (§5.2.1.2).
    MaxStale,
    /// `stale-while-revalidate` in the response (RFC 5861 §3).
    WhileRevalidate,
    /// `stale-if-error` in the response or the request (RFC 5861 §4).
    IfError,
    /// The origin cannot be reached (§4.2.4).
    Disconnected,
}

/// The reason why a stored response must be validated before it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidateReason {
    /// The response is stale (§4.2).
    Stale,
    /// `no-cache` in the response (§5.2.2.4).
    NoCache,
    /// `no-cache` in the request (§5.2.1.4).
    RequestNoCache,
    /// The response is older than `max-age` in the request allows (§5.2.1.1).
    RequestMaxAge,
    /// The response does not stay fresh for as long as `min-fresh` in the request requires
    /// (§5.2.1.3).
    MinFresh,
    /// `Pragma: no-cache` in the request (§5.4). [`Rules::reuse`] currently reports it as
    /// [`RequestNoCache`](Self::RequestNoCache) instead.
    Pragma,
    /// The response time lies in the future, since the clock was set back. The age is unknown
    /// (§4.2.3).
    ClockSetBack,
}

impl ValidateReason {
    /// Returns the section of RFC 9111 that requires the validation, such as `RFC 9111 §4.2`.
    pub fn section(self) -> &'static str {
        match self {
            Self::Stale => "RFC 9111 §4.2",
            Self::NoCache => "RFC 9111 §5.2.2.4",
            Self::RequestNoCache => "RFC 9111 §5.2.1.4",
            Self::RequestMaxAge => "RFC 9111 §5.2.1.1",
            Self::MinFresh => "RFC 9111 §5.2.1.3",
            Self::Pragma => "RFC 9111 §5.4",
            Self::ClockSetBack => "RFC 9111 §4.2.3",
        }
    }

    /// Returns whether only a directive of the request requires the validation, such as that of a
    /// reload.
    pub fn is_required_by_request(self) -> bool {
        self.forward_reason() == ForwardReason::Request
    }

    /// Returns the reason as the `fwd` parameter of `Cache-Status` (RFC 9211 §2.2).
    pub fn forward_reason(self) -> ForwardReason {
        match self {
            Self::Stale | Self::NoCache | Self::ClockSetBack => ForwardReason::Stale,
            Self::RequestNoCache | Self::RequestMaxAge | Self::MinFresh | Self::Pragma => {
                ForwardReason::Request
            }
        }
    }
}

/// The reason why no stored response can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissReason {
    /// The method does not allow stored responses to be used (§4).
    Method,
    /// No response is stored under the key (§4).
    UriMiss,
    /// The stored responses have other selecting header values (§4.1).
    VaryMiss,
    /// Only a partial response is stored, which does not contain the requested range (§3.3).
    Partial,
    /// The request has a precondition that only the origin may evaluate (§4.3.2).
    OriginPrecondition,
}

impl MissReason {
    /// Returns the section of RFC 9111 that rules out the stored responses, such as
    /// `RFC 9111 §4.1`.
    pub fn section(self) -> &'static str {
        match self {
            Self::Method | Self::UriMiss => "RFC 9111 §4",
            Self::VaryMiss => "RFC 9111 §4.1",
            Self::Partial => "RFC 9111 §3.3",
            Self::OriginPrecondition => "RFC 9111 §4.3.2",
        }
    }

    /// Returns the reason as the `fwd` parameter of `Cache-Status` (RFC 9211 §2.2).
    pub fn forward_reason(self) -> ForwardReason {
        match self {
            Self::Method => ForwardReason::Method,
            Self::UriMiss => ForwardReason::UriMiss,
            Self::VaryMiss => ForwardReason::VaryMiss,
            Self::Partial => ForwardReason::Partial,
            Self::OriginPrecondition => ForwardReason::Request,
        }
    }
}

impl Rules {
    /// Returns the decision on this request, given the responses stored under its key (§4).
    ///
    /// Of the candidates that match, the most recent one is selected, and of equally recent ones
    /// the first. Callers pass the candidates with the newest first.
    pub fn reuse<'c, F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        now: Timestamp,
    ) -> Reuse {
        if !request.may_reuse() {
            return Reuse::Forward(MissReason::Method);
        }
        let directives = request_directives(request);
        let only_if_cached = directives.as_ref().is_some_and(|directives| directives.only_if_cached);
        let decision = match select(request, candidates) {
            Ok(_) if request.has(HeaderFlags::ORIGIN_PRECONDITION) => {
                Reuse::Forward(MissReason::OriginPrecondition)
            }
            Ok((index, stored)) => self.decide(directives.as_ref(), index, stored, now),
            Err(reason) => Reuse::Forward(reason),
        };
        match decision {
            Reuse::Validate(..) | Reuse::Forward(_) if only_if_cached => Reuse::OnlyIfCached,
            decision => decision,
        }
    }

    /// Returns the decision on a request for which `stored` was selected.
    fn decide(
        &self,
        directives: Option<&RequestDirectives>,
        index: usize,
        stored: &StoredHead,
        now: Timestamp,
    ) -> Reuse {
        let freshness = &stored.freshness;
        let Some(age) = current_age(freshness, now) else {
            let selected = Selected { index, age: freshness.corrected_initial_age, ttl: 0 };
            return Reuse::Validate(selected, ValidateReason::ClockSetBack);
        };
        let lifetime = freshness.lifetime.lifetime;
        let selected = Selected { index, age, ttl: whole_seconds(lifetime) - whole_seconds(age) };
        if freshness.no_cache {
            return Reuse::Validate(selected, ValidateReason::NoCache);
        }
        let fresh = lifetime > age;
        if let Some(directives) = directives {
            // RFC 8246 §2: a user agent does not revalidate a fresh immutable response on a reload
            // (`max-age=0`). A shared cache obeys the request of its client.
            let immutable = fresh && freshness.immutable && self.kind == crate::CacheKind::Private;
            if let Some(reason) = rejected_by(directives, age, lifetime)
                .filter(|reason| !(immutable && *reason == ValidateReason::RequestMaxAge))
            {
                return Reuse::Validate(selected, reason);
            }
            if !fresh && is_within_max_stale(freshness, directives.max_stale, age) {
                return Reuse::Stale(selected, StalePermission::MaxStale);
            }
        }
        if fresh {
            Reuse::Fresh(selected)
        } else if may_serve_while_revalidating(freshness, age) {
            Reuse::Stale(selected, StalePermission::WhileRevalidate)
        } else {
            Reuse::Validate(selected, ValidateReason::Stale)
        }
    }
}

/// Returns the request's caching directives, or `None` if it has none or the cache ignores them.
/// `Pragma` counts only without `Cache-Control` (§5.4).
fn request_directives<F: RequestHeaders>(request: &RequestHead<'_, F>) -> Option<RequestDirectives> {
    if !request.has_directives() {
        return None;
    }
    if let Some(directives) = request.cache_control() {
        return Some(directives);
    }
    let pragma = request.lines(HeaderFlags::PRAGMA, "pragma")?;
    let no_cache = list_members(pragma).any(|member| member.eq_ignore_ascii_case(b"no-cache"));
    Some(RequestDirectives { no_cache, ..RequestDirectives::default() })
}

/// Returns the reason why the request does not accept a response of this age, if there is one
/// (§5.2.1).
fn rejected_by(directives: &RequestDirectives, age: Duration, lifetime: Duration) -> Option<ValidateReason> {
    if directives.no_cache {
        Some(ValidateReason::RequestNoCache)
    } else if directives.max_age.is_some_and(|limit| age > limit || limit.is_zero()) {
        Some(ValidateReason::RequestMaxAge)
    } else if directives.min_fresh.is_some_and(|required| lifetime.saturating_sub(age) < required) {
        Some(ValidateReason::MinFresh)
    } else {
        None
    }
}

/// Selects the most recent of the matching responses (§4.1), by `Date`, then by arrival time.
///
/// A partial response is selected only if it contains the requested range and no complete response
/// matches.
fn select<'c, F: RequestHeaders>(
    request: &RequestHead<'_, F>,
    candidates: impl IntoIterator<Item = &'c StoredHead>,
) -> Result<(usize, &'c StoredHead), MissReason> {
    let mut selected: Option<(usize, &StoredHead)> = None;
    let mut miss = MissReason::UriMiss;
    let mut normal_forms = NormalForms::of(request);
    for (index, stored) in candidates.into_iter().enumerate() {
        if !stored.selecting.matches_with(&mut normal_forms) {
            if miss == MissReason::UriMiss {
                miss = MissReason::VaryMiss;
            }
            continue;
        }
        if !can_be_served(stored, request) {
            miss = MissReason::Partial;
            continue;
        }
        let rank = |stored: &StoredHead| {
            // A `Date` of a clock that is ahead makes a response no more recent than it is.
            let freshness = &stored.freshness;
            let date = freshness.date.min(freshness.response_time);
            (stored.part.is_none(), date, freshness.response_time)
        };
        if selected.is_none_or(|(_, best)| rank(stored) > rank(best)) {
            selected = Some((index, stored));
        }
    }
    selected.ok_or(miss)
}

/// Returns the whole seconds of a duration, at most `i64::MAX`.
fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
