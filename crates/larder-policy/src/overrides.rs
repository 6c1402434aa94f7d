//! Applies the caching settings of this cache's operator, for responses where the origin specifies
//! nothing or the wrong thing.
//!
//! An override acts like a field that targets this cache alone: like a targeted field
//! (RFC 9213 §2.2), it replaces `Cache-Control` and `Expires`. The fields that are forwarded to the
//! client stay as the origin sent them.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::directives::{DirectiveSource, EffectiveDirectives, MAX_LIFETIME, ResponseDirectives};

/// Caching settings for responses where the origin specifies nothing or the wrong thing. The
/// default overrides nothing.
///
/// No setting makes one user's response available to another: `private`, `Authorization`,
/// `Set-Cookie` and `Vary` keep their meaning in a shared cache. Lifetimes apply to 2xx and 3xx
/// responses. Errors keep the lifetimes that they were sent with. Lifetimes of more than 2^31
/// seconds count as 2^31 seconds (RFC 9111 §1.2.2).
///
/// ```
/// use std::time::Duration;
/// use larder_policy::Overrides;
///
/// let overrides = Overrides::default()
///     .with_default_freshness(Duration::from_secs(60))
///     .with_groups(["news"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrides {
    /// Freshness lifetime, counted from the arrival of the response, whatever the response
    /// specifies. It replaces the response's lifetimes, `no-cache`, `no-store` and
    /// `must-revalidate`. Default: none.
    pub freshness: Option<Duration>,
    /// Freshness lifetime, counted from the arrival of the response, for a response with neither a
    /// lifetime nor `no-cache`. It replaces the heuristic lifetime (RFC 9111 §4.2.2). Default:
    /// none.
    ///
    /// In a shared cache it does not apply to the response to a request with `Authorization` or
    /// `Cookie`, nor to one with `Set-Cookie`: it could be meant for one user, and nothing in it
    /// shows the opposite. Such a response is validated each time.
    pub default_freshness: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3) for responses that do not specify it. Default: none.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4) for responses that do not specify it. Default: none.
    pub stale_if_error: Option<Duration>,
    /// Request fields that select the response, in addition to those that its `Vary` nominates.
    /// Default: none.
    pub vary: Vec<HeaderName>,
    /// Cache groups of the response, in addition to those in its `Cache-Groups` (RFC 9875), before
    /// which they come. Default: none.
    pub groups: Vec<Box<str>>,
    /// Whether storing is forbidden, whatever the response specifies. It takes precedence over all
    /// other settings. Default: false.
    pub no_store: bool,
}

impl Overrides {
    /// Returns these overrides, with unset ones taken from `others`. The lists `vary` and `groups`
    /// are concatenated, and `no_store` is set if either has it.
    #[must_use]
    pub fn or(mut self, others: Self) -> Self {
        self.freshness = self.freshness.or(others.freshness);
        self.default_freshness = self.default_freshness.or(others.default_freshness);
        self.stale_while_revalidate = self.stale_while_revalidate.or(others.stale_while_revalidate);
        self.stale_if_error = self.stale_if_error.or(others.stale_if_error);
        self.vary.extend(others.vary);
        self.groups.extend(others.groups);
        self.no_store |= others.no_store;
        self
    }

    /// Sets the freshness lifetime of a response, whatever it specifies
    /// ([`freshness`](Self::freshness)).
    #[must_use]
    pub fn with_freshness(mut self, freshness: Duration) -> Self {
        self.freshness = Some(freshness);
        self
    }

    /// Sets the freshness lifetime of a response that specifies neither a lifetime nor `no-cache`
    /// ([`default_freshness`](Self::default_freshness)).
    #[must_use]
    pub fn with_default_freshness(mut self, default_freshness: Duration) -> Self {
        self.default_freshness = Some(default_freshness);
        self
    }

    /// Sets `stale-while-revalidate` for responses that do not specify it
    /// ([`stale_while_revalidate`](Self::stale_while_revalidate)).
    #[must_use]
    pub fn with_stale_while_revalidate(mut self, stale_while_revalidate: Duration) -> Self {
        self.stale_while_revalidate = Some(stale_while_revalidate);
        self
    }

    /// Sets `stale-if-error` for responses that do not specify it
    /// ([`stale_if_error`](Self::stale_if_error)).
    #[must_use]
    pub fn with_stale_if_error(mut self, stale_if_error: Duration) -> Self {
        self.stale_if_error = Some(stale_if_error);
        self
    }

    /// Sets the request fields that select the response, in addition to those in its `Vary`
    /// ([`vary`](Self::vary)).
    #[must_use]
    pub fn with_vary(mut self, vary: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary = vary.into_iter().collect();
        self
    }

    /// Sets the cache groups of the response, in addition to those in its `Cache-Groups`
    /// ([`groups`](Self::groups)).
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item: Into<Box<str>>>) -> Self {
        self.groups = groups.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether storing is forbidden, whatever the response specifies
    /// ([`no_store`](Self::no_store)).
    #[must_use]
    pub fn with_no_store(mut self, no_store: bool) -> Self {
        self.no_store = no_store;
        self
    }

    /// Applies the overrides to the directives of a response. `expires` is whether it has an
    /// `Expires` field.
    pub(crate) fn apply(&self, status: StatusCode, expires: bool, effective: &mut EffectiveDirectives) {
        if self.no_store {
            effective.directives = ResponseDirectives { no_store: true, ..ResponseDirectives::default() };
            return;
        }
        let may_guess = effective.may_guess;
        let directives = &mut effective.directives;
        if status.is_success() || status.is_redirection() {
            let unspecified = directives.max_age.is_none()
                && directives.s_maxage.is_none()
                && !directives.no_cache.is_all()
                && (effective.targeted || !expires);
            let lifetime = self.freshness.or(self.default_freshness.filter(|_| unspecified && may_guess));
            if self.freshness.is_some() {
                *directives = ResponseDirectives {
                    private: std::mem::take(&mut directives.private),
                    public: directives.public,
                    stale_while_revalidate: directives.stale_while_revalidate,
                    stale_if_error: directives.stale_if_error,
                    ..ResponseDirectives::default()
                };
            }
            if lifetime.is_some() {
                directives.max_age = lifetime.map(|lifetime| lifetime.min(MAX_LIFETIME));
                effective.targeted = true;
                effective.source = DirectiveSource::Override;
            }
        }
        let default = |slot: &mut Option<Duration>, value: Option<Duration>| {
            *slot = slot.or(value.map(|value| value.min(MAX_LIFETIME)));
        };
        default(&mut directives.stale_while_revalidate, self.stale_while_revalidate);
        default(&mut directives.stale_if_error, self.stale_if_error);
    }
}
