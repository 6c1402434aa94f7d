//! Rules of a route for some of its requests: which bypass the cache, lose cookies, have cookies in
//! their key, or get other lifetimes.
//!
//! `condition` decides whether a rule applies, `cookies` reads and removes cookies, `glob` matches.
//!
//! What a rule does must never make a stored response reachable for a request that it is not for:
//!
//! - A request that bypasses the cache neither gets a stored response nor stores one.
//! - Cookies are removed before the lookup and from the forwarded request, so that no response
//!   depends on them.
//! - Lifetimes are stored with a response. If other things than the URL decide on them, the number
//!   of the rule is part of the key: no client can change how long the response of others is fresh.
//! - If origins read a path in several ways, and a condition holds for some of them only, the
//!   request bypasses the cache.

mod condition;
mod cookies;
mod glob;

use std::borrow::Cow;

use http::{HeaderMap, header::COOKIE, request::Parts};
use larder_core::{CacheKey, OverrideFn, Overrides, adapter::KeyRules};

pub use self::condition::Condition;
use self::{
    condition::{Outcome, RequestView},
    glob::Glob,
};
use crate::readings::PathReadings;

/// A rule of a [`Route`](crate::Route) for requests that fulfil all of its conditions.
///
/// The rules of a route apply in their order. Each one sees the request as those before it left it,
/// and the first one that bypasses the cache is the last one that applies. Of lifetimes that
/// several rules set, the last one counts.
///
/// ```
/// use std::time::Duration;
/// use larder_core::Overrides;
/// use larder_proxy::{Condition, RouteRule};
///
/// let rules = vec![
///     // Users who have logged in are not served from the cache.
///     RouteRule::new([Condition::cookies(["session"])]).with_bypass(true),
///     // The cookies of analytics make no difference.
///     RouteRule::new([]).with_stripped_cookies(["_ga*", "_gid"]),
///     RouteRule::new([Condition::paths(["/assets/*"])])
///         .with_overrides(Overrides::default().with_freshness(Duration::from_secs(86_400))),
/// ];
/// ```
#[derive(Debug, Clone)]
pub struct RouteRule {
    conditions: Vec<Condition>,
    bypass: bool,
    stripped_cookies: Vec<Glob>,
    key_cookies: Vec<String>,
    overrides: Option<OverrideFn>,
}

impl RouteRule {
    /// Creates a rule that changes nothing yet. Without conditions, it applies to each request.
    pub fn new(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Self {
            conditions: conditions.into_iter().collect(),
            bypass: false,
            stripped_cookies: Vec::new(),
            key_cookies: Vec::new(),
            overrides: None,
        }
    }

    /// Sets whether requests bypass the cache: they get no stored response, and their responses are
    /// not stored. An unsafe request still invalidates what it changes. Default: false.
    #[must_use]
    pub fn with_bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// Sets the names of cookies that are removed from requests; a `*` matches any text, so that
    /// `*` removes all. Default: none.
    #[must_use]
    pub fn with_stripped_cookies<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.stripped_cookies = names.into_iter().map(|name| Glob::new(name.as_ref())).collect();
        self
    }

    /// Sets the names of cookies that are part of the key, in addition to those of the route
    /// ([`KeyRules::cookies`]). Default: none.
    #[must_use]
    pub fn with_key_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.key_cookies = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets overrides of the caching directives of responses. They take precedence over those of
    /// the route. Default: none.
    ///
    /// If the rule has conditions on the method, headers or cookies, its requests have keys of
    /// their own.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = (overrides != Overrides::default()).then(|| OverrideFn::always(overrides));
        self
    }

    /// Returns whether responses depend on what is not in the URL, so that the rule has to be in
    /// the key.
    fn is_marked(&self) -> bool {
        self.overrides.is_some() && self.conditions.iter().any(|condition| !condition.is_of_url())
    }
}

/// The rules of a route, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteRules(Box<[RouteRule]>);

/// What the rules of a route have decided for a request.
#[derive(Debug, Default)]
pub(crate) struct RuleEffects {
    /// Whether the request bypasses the cache.
    pub(crate) bypass: bool,
    pub(crate) overrides: Option<OverrideFn>,
    /// Names of cookies that are part of the key, beside those of the route.
    key_cookies: Vec<String>,
    /// The numbers of the rules that are part of the key.
    marks: Vec<u8>,
}

impl RouteRules {
    /// Creates the rules.
    pub(crate) fn new(rules: Vec<RouteRule>) -> Self {
        Self(rules.into())
    }

    /// Returns whether requests for one URL can have several keys because of the rules.
    pub(crate) fn have_forms(&self) -> bool {
        have_forms(&self.0)
    }

    /// Applies the rules to a request: removes cookies from it, and returns the rest of the
    /// effects, if there are any. Without rules, this is one comparison.
    pub(crate) fn apply(&self, url: &CacheKey, head: &mut Parts) -> Option<Box<RuleEffects>> {
        if self.0.is_empty() {
            return None;
        }
        let target = url.target();
        let after_scheme = target.find("://").map_or(0, |at| at + 3);
        let path = target[after_scheme..].find('/').map_or("/", |at| &target[after_scheme + at..]);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let paths = PathReadings::of(path);
        let mut effects: Option<Box<RuleEffects>> = None;
        for (number, rule) in self.0.iter().enumerate() {
            let view = RequestView { method: &head.method, headers: &head.headers, paths: &paths, query };
            let outcome = view.outcome(&rule.conditions);
            if outcome == Outcome::Fails {
                continue;
            }
            if rule.bypass || outcome == Outcome::Doubtful {
                return Some(Box::new(RuleEffects { bypass: true, ..RuleEffects::default() }));
            }
            strip_cookies(&mut head.headers, &rule.stripped_cookies);
            if rule.key_cookies.is_empty() && rule.overrides.is_none() {
                continue;
            }
            let effects = effects.get_or_insert_default();
            effects.key_cookies.extend(rule.key_cookies.iter().cloned());
            if let Some(overrides) = &rule.overrides {
                effects.overrides = Some(overrides.clone().or(effects.overrides.take()));
            }
            if rule.is_marked() {
                effects.marks.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        effects
    }
}

impl RuleEffects {
    /// Returns the rules for the key of the request.
    pub(crate) fn key_rules<'r>(&self, of_route: &'r KeyRules) -> Cow<'r, KeyRules> {
        if self.key_cookies.is_empty() {
            return Cow::Borrowed(of_route);
        }
        let cookies = of_route.cookies.iter().chain(&self.key_cookies).cloned();
        Cow::Owned(of_route.clone().with_cookies(cookies))
    }

    /// Returns what is in the key beside headers, cookies and content; `None` if nothing is.
    pub(crate) fn partition(&self) -> Option<&[u8]> {
        (!self.marks.is_empty()).then_some(&*self.marks)
    }
}

/// Returns whether requests for one URL can have several keys because of these rules.
pub(crate) fn have_forms(rules: &[RouteRule]) -> bool {
    rules.iter().any(|rule| !rule.key_cookies.is_empty() || rule.is_marked())
}

/// Removes cookies from a request.
fn strip_cookies(headers: &mut HeaderMap, names: &[Glob]) {
    if names.is_empty() || !headers.contains_key(COOKIE) {
        return;
    }
    if names.iter().any(Glob::is_any) {
        headers.remove(COOKIE);
        return;
    }
    if let Some(rest) = cookies::without(headers, names) {
        headers.remove(COOKIE);
        if let Some(rest) = rest {
            headers.insert(COOKIE, rest);
        }
    }
}
