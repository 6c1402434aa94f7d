//! Whether a stored response may answer a request (RFC 9111 §4).
//!
//! A fresh response and a request without directives of its own cost a comparison of the selecting values and two of
//! integers. Nothing is parsed, nothing allocated.

use std::time::Duration;

use crate::{
    ForwardReason, RequestHead, RequestHeaders, Rules, StoredHead, Timestamp, directives::RequestDirectives,
    request::HeaderFlags,
};

/// Which stored response was selected, and how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selected {
    /// Its place among the candidates.
    pub index: usize,
    /// Its current age (§4.2.3).
    pub age: Duration,
    /// Seconds of its lifetime that are left; negative when it is stale.
    pub ttl: i64,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Reuse {
    /// Serve it: it is fresh.
    Fresh(Selected),
    /// Serve it though it is stale. [`Permission::WhileRevalidate`] asks for a revalidation beside.
    Stale(Selected, Permission),
    /// Ask the origin whether it may still be served (§4.3).
    Validate(Selected, ValidateReason),
    /// Nothing stored can answer: the origin has to.
    Forward(MissReason),
    /// `only-if-cached`, and nothing stored may be used: 504 (§5.2.1.7).
    OnlyIfCached,
}

/// What allows a stale response (§4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Permission {
    /// The request's `max-stale` (§5.2.1.2).
    MaxStale,
    /// The response's `stale-while-revalidate` (RFC 5861 §3).
    WhileRevalidate,
    /// `stale-if-error` (RFC 5861 §4).
    IfError,
    /// The origin can't be reached (§4.2.4).
    Disconnected,
}

/// Why a stored response is not served without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidateReason {
    /// It is stale (§4.2).
    Stale,
    /// `no-cache` on the response (§5.2.2.4).
    NoCache,
    /// `no-cache` on the request (§5.2.1.4).
    RequestNoCache,
    /// It is older than the request's `max-age` (§5.2.1.1).
    RequestMaxAge,
    /// It is not fresh for as long as the request's `min-fresh` (§5.2.1.3).
    MinFresh,
    /// `Pragma: no-cache` (§5.4).
    Pragma,
    /// The clock says that it has not arrived yet: its age is unknown (§4.2.3).
    ClockWentBack,
}

impl ValidateReason {
    /// The section that says so.
    pub fn section(self) -> &'static str {
        match self {
            Self::Stale => "RFC 9111 §4.2",
            Self::NoCache => "RFC 9111 §5.2.2.4",
            Self::RequestNoCache => "RFC 9111 §5.2.1.4",
            Self::RequestMaxAge => "RFC 9111 §5.2.1.1",
            Self::MinFresh => "RFC 9111 §5.2.1.3",
            Self::Pragma => "RFC 9111 §5.4",
            Self::ClockWentBack => "RFC 9111 §4.2.3",
        }
    }

    /// What `Cache-Status` calls it (RFC 9211 §2.2).
    pub fn fwd(self) -> ForwardReason {
        match self {
            Self::Stale | Self::NoCache | Self::ClockWentBack => ForwardReason::Stale,
            Self::RequestNoCache | Self::RequestMaxAge | Self::MinFresh | Self::Pragma => {
                ForwardReason::Request
            }
        }
    }
}

/// Why nothing stored can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissReason {
    /// The method is not one that reuses (§4).
    Method,
    /// Nothing is stored under the key (§4).
    UriMiss,
    /// What is stored was selected by other values (§4.1).
    VaryMiss,
    /// Only a part is stored, and not the one that is asked for (§3.3).
    Partial,
    /// The request has a condition that only the origin may evaluate (§4.3.2).
    OriginPrecondition,
}

impl MissReason {
    /// The section that says so.
    pub fn section(self) -> &'static str {
        match self {
            Self::Method | Self::UriMiss => "RFC 9111 §4",
            Self::VaryMiss => "RFC 9111 §4.1",
            Self::Partial => "RFC 9111 §3.3",
            Self::OriginPrecondition => "RFC 9111 §4.3.2",
        }
    }

    /// What `Cache-Status` calls it (RFC 9211 §2.2).
    pub fn fwd(self) -> ForwardReason {
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
    /// What is to be done with this request, given what is stored under its key, newest first (§4).
    pub fn reuse<'c, F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        candidates: impl IntoIterator<Item = &'c StoredHead>,
        now: Timestamp,
    ) -> Reuse {
        if !request.may_reuse() {
            return Reuse::Forward(MissReason::Method);
        }
        let asked = asked(request);
        let only_if_cached = asked.as_ref().is_some_and(|asked| asked.only_if_cached);
        let decision = match select(request, candidates) {
            Ok(_) if request.has(HeaderFlags::FOR_ORIGIN) => Reuse::Forward(MissReason::OriginPrecondition),
            Ok((index, stored)) => self.decide(asked.as_ref(), index, stored, now),
            Err(why) => Reuse::Forward(why),
        };
        match decision {
            Reuse::Validate(..) | Reuse::Forward(_) if only_if_cached => Reuse::OnlyIfCached,
            decision => decision,
        }
    }

    fn decide(
        &self,
        asked: Option<&RequestDirectives>,
        index: usize,
        stored: &StoredHead,
        now: Timestamp,
    ) -> Reuse {
        let terms = &stored.freshness;
        let Some(age) = terms.current_age(now) else {
            let selected = Selected { index, age: terms.corrected_initial_age, ttl: 0 };
            return Reuse::Validate(selected, ValidateReason::ClockWentBack);
        };
        let lifetime = terms.lifetime.lifetime;
        let selected = Selected { index, age, ttl: whole_seconds(lifetime) - whole_seconds(age) };
        if terms.no_cache {
            return Reuse::Validate(selected, ValidateReason::NoCache);
        }
        let fresh = lifetime > age;
        if let Some(asked) = asked {
            // A user agent's own reload of what does not change (RFC 8246 §2); another's request is obeyed.
            let immutable = fresh && terms.immutable && self.kind == crate::CacheKind::Private;
            if let Some(why) = refuses(asked, age, lifetime)
                .filter(|why| !(immutable && *why == ValidateReason::RequestMaxAge))
            {
                return Reuse::Validate(selected, why);
            }
            if !fresh && terms.is_within(asked.max_stale, age) {
                return Reuse::Stale(selected, Permission::MaxStale);
            }
        }
        if fresh {
            Reuse::Fresh(selected)
        } else if terms.may_serve_while_revalidating(age) {
            Reuse::Stale(selected, Permission::WhileRevalidate)
        } else {
            Reuse::Validate(selected, ValidateReason::Stale)
        }
    }
}

/// The request's own directives, if it has any. `Pragma` counts only where there is no `Cache-Control` (§5.4).
fn asked<F: RequestHeaders>(request: &RequestHead<'_, F>) -> Option<RequestDirectives> {
    if !request.has_directives() {
        return None;
    }
    if let Some(lines) = request.lines(HeaderFlags::CACHE_CONTROL, "cache-control") {
        return Some(RequestDirectives::parse(lines));
    }
    let mut pragma = request.lines(HeaderFlags::PRAGMA, "pragma")?;
    let no_cache = pragma.any(|line| {
        line.split(|byte| *byte == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
    });
    Some(RequestDirectives { no_cache, ..RequestDirectives::default() })
}

/// Why the request does not take the response as it is (§5.2.1).
fn refuses(asked: &RequestDirectives, age: Duration, lifetime: Duration) -> Option<ValidateReason> {
    if asked.no_cache {
        Some(ValidateReason::RequestNoCache)
    } else if asked.max_age.is_some_and(|most| age > most || most.is_zero()) {
        Some(ValidateReason::RequestMaxAge)
    } else if asked.min_fresh.is_some_and(|least| lifetime.saturating_sub(age) < least) {
        Some(ValidateReason::MinFresh)
    } else {
        None
    }
}

/// The most recent of the matching responses (§4.1): by `Date`, then by when it arrived. A part is selected only
/// where nothing whole matches, and the part that is asked for lies within it.
fn select<'c, F: RequestHeaders>(
    request: &RequestHead<'_, F>,
    candidates: impl IntoIterator<Item = &'c StoredHead>,
) -> Result<(usize, &'c StoredHead), MissReason> {
    let mut selected: Option<(usize, &StoredHead)> = None;
    let mut miss = MissReason::UriMiss;
    for (index, stored) in candidates.into_iter().enumerate() {
        if !stored.selecting.matches(request) {
            if miss == MissReason::UriMiss {
                miss = MissReason::VaryMiss;
            }
            continue;
        }
        if !stored.can_answer(request) {
            miss = MissReason::Partial;
            continue;
        }
        let rank = |stored: &StoredHead| {
            (stored.part.is_none(), stored.freshness.date, stored.freshness.response_time)
        };
        if selected.is_none_or(|(_, best)| rank(stored) > rank(best)) {
            selected = Some((index, stored));
        }
    }
    selected.ok_or(miss)
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
