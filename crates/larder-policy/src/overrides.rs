//! What the cache's user says of a response, where its origin says nothing or says it wrong.
//!
//! It counts like a field for this cache alone: as a targeted field does (RFC 9213 §2.2), it takes the place of
//! `Cache-Control` and `Expires`. What goes on to the client is as the origin sent it.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::{directives::ResponseDirectives, targeted::Effective};

/// What the cache's user says of a response, where its origin says nothing or says it wrong. The default says nothing.
///
/// None of it reaches across users: `private`, `Authorization`, `Set-Cookie` and `Vary` keep their meaning in a shared
/// cache. Lifetimes count for responses that succeeded or redirect; errors keep what they came with.
///
/// ```
/// use std::time::Duration;
/// use larder_policy::Overrides;
///
/// let mut overrides = Overrides::default();
/// overrides.default_freshness = Some(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overrides {
    /// How long from its arrival the response is fresh, whatever it says: takes the place of its lifetimes, `no-cache`,
    /// `no-store` and `must-revalidate`.
    pub freshness: Option<Duration>,
    /// How long from its arrival the response is fresh if it says nothing of it: no lifetime, no `no-cache`. Takes the place
    /// of the heuristic (RFC 9111 §4.2.2).
    pub default_freshness: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3) for responses that don't say.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4) for responses that don't say.
    pub stale_if_error: Option<Duration>,
    /// Fields of the request that select the response, beside those that its `Vary` nominates.
    pub vary: Vec<HeaderName>,
    /// Groups that it belongs to, beside those that it names itself (RFC 9875).
    pub groups: Vec<Box<str>>,
    /// Not to be stored, whatever it says. Comes before everything else.
    pub no_store: bool,
}

/// Whose word a lifetime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DirectiveSource {
    #[default]
    Origin,
    /// The lifetime counts from the response's arrival.
    User,
}

impl Overrides {
    /// These, and where they say nothing, those. Names and groups of both.
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

    /// Changes what counts for this cache.
    pub(crate) fn apply(&self, status: StatusCode, expires: bool, effective: &mut Effective) {
        if self.no_store {
            effective.directives = ResponseDirectives { no_store: true, ..ResponseDirectives::default() };
            return;
        }
        let directives = &mut effective.directives;
        if status.is_success() || status.is_redirection() {
            let says_nothing = directives.max_age.is_none()
                && directives.s_maxage.is_none()
                && !directives.no_cache.is_all()
                && (effective.targeted || !expires);
            let lifetime = self.freshness.or(self.default_freshness.filter(|_| says_nothing));
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
                directives.max_age = lifetime;
                effective.targeted = true;
                effective.source = DirectiveSource::User;
            }
        }
        let default = |place: &mut Option<Duration>, value| *place = place.or(value);
        default(&mut directives.stale_while_revalidate, self.stale_while_revalidate);
        default(&mut directives.stale_if_error, self.stale_if_error);
    }
}
