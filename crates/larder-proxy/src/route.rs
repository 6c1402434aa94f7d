//! Selects the origin of a request, and the options for its responses.
//!
//! A route is selected by the normalized, percent-decoded path: an origin may treat `/%61dmin` as
//! `/admin`, and the rules for one must apply to the other. How else origins read a path is in
//! [`crate::readings`].

use std::{cmp::Reverse, fmt, sync::Arc};

use larder_core::{
    FetchOptions, Origin, OverrideFn, RangeOptions,
    adapter::{FieldNormalization, KeyRules},
    policy::ClientDirectives,
};

use crate::{
    encoding::Encoding,
    readings::{has_other_readings, literal_path, other_readings},
    rules::{RouteRule, RouteRules},
};

/// A rule that selects requests by host and path prefix, with the origin to which they are
/// forwarded and the options for their responses.
///
/// Each setter consumes and returns the route.
/// [`ReverseProxy::with_routes`](crate::ReverseProxy::with_routes) documents which of several
/// matching routes is taken.
///
/// ```
/// use std::sync::Arc;
/// use larder_proxy::Route;
/// use larder_core::{Origin, OverrideFn, Overrides};
///
/// fn route(origin: Arc<dyn Origin>) -> Route {
///     let overrides = Overrides::default().with_default_freshness(std::time::Duration::from_secs(60));
///     Route::to(origin)
///         .host("*.example.com")
///         .prefix("/static")
///         .overrides(OverrideFn::always(overrides))
///         .ignore_query(["utm_*"])
/// }
/// ```
#[derive(Clone)]
pub struct Route {
    host: Option<Box<str>>,
    prefix: Box<str>,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) options: FetchOptions,
    pub(crate) key_rules: KeyRules,
    pub(crate) encoding: Encoding,
    /// `None`: the default for the kind of cache.
    pub(crate) client_directives: Option<ClientDirectives>,
    pub(crate) normalization: FieldNormalization,
    pub(crate) upgrades: bool,
    pub(crate) rules: RouteRules,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("host", &self.host)
            .field("prefix", &self.prefix)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Route {
    /// Creates a route for all requests to this origin, with default options.
    pub fn to(origin: Arc<dyn Origin>) -> Self {
        Self {
            host: None,
            prefix: "/".into(),
            origin,
            options: FetchOptions::default(),
            key_rules: KeyRules::default(),
            encoding: Encoding::default(),
            client_directives: None,
            normalization: FieldNormalization::default(),
            upgrades: true,
            rules: RouteRules::default(),
        }
    }

    /// Sets the host that a request must have, without port: `www.example.com`, or `*.example.com`
    /// for every name below `example.com`. Upper and lower case are equal. Default: every host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_ascii_lowercase().into());
        self
    }

    /// Sets the path prefix that a request must have, in whole segments: `/api` matches `/api` and
    /// `/api/users`, but not `/apis`. It begins with `/` and is not percent-encoded; a prefix
    /// without `/` at its beginning matches nothing. Default: `/`, which matches every path.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Adds overrides of the caching directives of the responses.
    ///
    /// Several calls add up. If they set the same override, the last call takes precedence; header
    /// names for `Vary` and groups are combined.
    #[must_use]
    pub fn overrides(mut self, overrides: OverrideFn) -> Self {
        self.options.overrides = Some(overrides.or(self.options.overrides.take()));
        self
    }

    /// Sets the longest body that is stored, in bytes; longer ones are forwarded and not stored.
    /// The lower of this and [`Limits::max_object`](larder_core::Limits::max_object) applies.
    /// Default: that limit.
    #[must_use]
    pub fn max_object(mut self, bytes: u64) -> Self {
        self.options.max_object = Some(bytes);
        self
    }

    /// Sets how requests for ranges of bytes are fetched that no stored response answers. Default:
    /// [`RangeOptions::default`].
    #[must_use]
    pub fn ranges(mut self, ranges: RangeOptions) -> Self {
        self.options.ranges = ranges;
        self
    }

    /// Sets the query parameters that responses do not depend on, such as `utm_*`.
    ///
    /// They are left out of the cache key and of the request to the origin: a parameter that only
    /// one client sends must not change the response of all. A `*` at the end of a name matches
    /// any rest. Default: none. A second call replaces the first.
    #[must_use]
    pub fn ignore_query<P: Into<String>>(mut self, parameters: impl IntoIterator<Item = P>) -> Self {
        self.key_rules = self.key_rules.with_ignored_query(parameters);
        self
    }

    /// Sets the rules by which requests get their keys: the query parameters, headers, cookies and
    /// contents that responses depend on. Default: the URL. A call replaces
    /// [`ignore_query`](Self::ignore_query).
    #[must_use]
    pub fn key_rules(mut self, rules: KeyRules) -> Self {
        self.key_rules = rules;
        self
    }

    /// Sets what the cache does with the caching directives of requests, such as `no-cache` of a
    /// browser's reload. Default: they are collapsed in a shared cache, and honored in a private
    /// one ([`ClientDirectives::for_server`]).
    ///
    /// RFC 9111 §5.2.1.
    #[must_use]
    pub fn client_directives(mut self, directives: ClientDirectives) -> Self {
        self.client_directives = Some(directives);
        self
    }

    /// Sets the request headers that are replaced by one of a few values, in the lookup and in the
    /// request to the origin, so that they select few responses. Default: none. A second call
    /// replaces the first.
    #[must_use]
    pub fn normalize(mut self, normalization: FieldNormalization) -> Self {
        self.normalization = normalization;
        self
    }

    /// Sets whether clients may switch the protocol of their connection, for example to WebSocket.
    /// Default: true. With false, such a request gets a 501.
    ///
    /// A request to switch passes the cache by. If the origin accepts, its connection is joined
    /// with that of the client. `h2c` and TLS are never passed: `Upgrade` is ignored then.
    ///
    /// RFC 9110 §7.8.
    #[must_use]
    pub fn upgrades(mut self, upgrades: bool) -> Self {
        self.upgrades = upgrades;
        self
    }

    /// Sets rules for some of the requests: those that bypass the cache, lose cookies, have cookies
    /// in their keys, or get other lifetimes. They apply in their order; see [`RouteRule`].
    /// Default: none. A second call replaces the first.
    #[must_use]
    pub fn rules(mut self, rules: Vec<RouteRule>) -> Self {
        self.rules = RouteRules::new(rules);
        self
    }

    /// Enables compression: a response is encoded once for each content coding that clients accept,
    /// and the results are stored. Default: off.
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, compression: Arc<larder_compress::Compression>) -> Self {
        self.encoding.settings = Some(compression);
        self
    }

    /// Returns whether this route is for this host, without port, and this path, compared by
    /// `is_same`.
    fn matches(&self, host: &str, path: &str, is_same: fn(&str, &str) -> bool) -> bool {
        let host_matches = match self.host.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && ends_with_ignoring_case(host, suffix),
                None => host.eq_ignore_ascii_case(pattern),
            },
        };
        let prefix = self.prefix.trim_end_matches('/');
        let prefix_matches = || {
            let parts = path.split_at_checked(prefix.len());
            parts.is_some_and(|(head, rest)| {
                is_same(head, prefix) && (rest.is_empty() || rest.starts_with('/'))
            })
        };
        host_matches && prefix_matches()
    }
}

/// Returns the precedence of a route: one for a host or a pattern over one for every host, so that
/// the paths of one tenant never go to a route of all; then by the length of the prefix; then a
/// full host name over a pattern.
pub(crate) fn precedence(host: Option<&str>, prefix: &str) -> (bool, usize, u8) {
    let host = match host {
        None => 0,
        Some(host) if host.starts_with('*') => 1,
        Some(_) => 2,
    };
    (host > 0, prefix.trim_end_matches('/').len(), host)
}

/// Returns whether `host`, which is at least as long, ends with `end`, in upper or lower case.
fn ends_with_ignoring_case(host: &str, end: &str) -> bool {
    host.get(host.len() - end.len()..).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// All routes, sorted by precedence, highest first.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Arc<[Route]>);

impl Routes {
    /// Sorts the routes by precedence.
    pub(crate) fn new(mut routes: Vec<Route>) -> Self {
        for route in &mut routes {
            route.key_rules.partitioned |= route.rules.have_forms();
        }
        routes.sort_by_key(|route| Reverse(precedence(route.host.as_deref(), &route.prefix)));
        Self(routes.into())
    }

    /// Returns the rules by which the requests of each route get their keys.
    pub(crate) fn key_rules(&self) -> impl Iterator<Item = &KeyRules> {
        self.0.iter().map(|route| &route.key_rules)
    }

    /// Returns the route for a request. `authority` may have a port, and `path` a query.
    ///
    /// # Errors
    ///
    /// Returns [`NoRoute`] if no route matches, or if origins read the path in two ways that belong
    /// to different routes: the response that one of them gives must not be stored by the rules of
    /// the other.
    pub(crate) fn find(&self, authority: &str, path: &str) -> Result<&Route, NoRoute> {
        if let [only] = &*self.0
            && only.host.is_none()
            && &*only.prefix == "/"
        {
            return Ok(only);
        }
        let host = match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
            _ => authority,
        };
        let path = path.split('?').next().unwrap_or_default();
        let literal_path = literal_path(path);
        let literal = self.0.iter().find(|route| route.matches(host, &literal_path, str::eq));
        // Whether an origin that ignores the case of letters reads a path as that of another route.
        let differs = |path: &str| {
            let found = self.0.iter().find(|route| route.matches(host, path, str::eq_ignore_ascii_case));
            match (found, literal) {
                (None, None) => false,
                (Some(found), Some(literal)) => {
                    found.host != literal.host || !found.prefix.eq_ignore_ascii_case(&literal.prefix)
                }
                _ => true,
            }
        };
        if has_other_readings(path) && other_readings(path).iter().any(|reading| differs(reading)) {
            return Err(NoRoute::Ambiguous);
        }
        literal.ok_or(NoRoute::Unknown)
    }
}

/// The reason why no route is chosen for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// No route is for this host and path.
    Unknown,
    /// The path has two readings, which belong to different routes.
    Ambiguous,
}

#[cfg(test)]
mod tests {
    use larder_testkit::FnOrigin;

    use super::*;

    #[test]
    fn the_most_specific_route_is_taken() {
        let route = |host: Option<&str>, prefix: &str| {
            let route = Route::to(FnOrigin::fixed(&[], b"")).prefix(prefix);
            match host {
                Some(host) => route.host(host),
                None => route,
            }
        };
        let routes = Routes::new(vec![
            route(None, "/"),
            route(None, "/api"),
            route(Some("*.example.com"), "/"),
            route(Some("www.example.com"), "/"),
            route(Some("www.example.com"), "/api/private/"),
        ]);
        for (host, path, expected) in [
            ("other.org", "/", (None, "/")),
            ("other.org", "/api", (None, "/api")),
            ("other.org", "/api?x", (None, "/api")),
            ("other.org", "/api/users", (None, "/api")),
            ("other.org", "/apis", (None, "/")),
            ("other.org", "/%61pi/users", (None, "/api")),
            ("other.org", "/%2e%2e/api/users", (None, "/api")),
            ("other.org", "/static/../api/x", (None, "/api")),
            ("other.org", "/static/%2e%2E/api/x", (None, "/api")),
            ("other.org", "/api%3fx", (None, "/")),
            ("other.org", "/%zz", (None, "/")),
            ("a.example.com:8080", "/", (Some("*.example.com"), "/")),
            ("example.com", "/", (None, "/")),
            ("WWW.example.com", "/", (Some("www.example.com"), "/")),
            ("www.example.com", "/api/private", (Some("www.example.com"), "/api/private/")),
            ("www.example.com", "/api/other", (Some("www.example.com"), "/")),
            ("[::1]:80", "/", (None, "/")),
            ("other.org", "/Caf%e9", (None, "/")),
            ("other.org", "/API-docs/Ünï", (None, "/")),
            ("other.org", "/a%00b", (None, "/")),
            ("other.org", "/api/%00", (None, "/api")),
        ] {
            let found = routes.find(host, path).map(|route| (route.host.as_deref(), &*route.prefix));
            assert_eq!(found, Ok(expected), "{host}{path}");
        }
        for ambiguous in [
            "//api",
            "/x//../api",
            "/static%2f..%2fapi/x",
            "/%2fapi/x",
            "/\\api",
            "/a/%5c../%5c../api",
            "/api;x",
            "/;x/api",
            "/%2561pi",
            "/api%00",
            "/api%00.css",
            "/%61pi%0a",
            "/api%2500",
            "/api%20",
            "/%c1%a1pi",
            "/%e0%81%a1pi",
            "/%f0%80%81%a1pi",
            "/x%c0%af..%c0%afapi",
            "/%25c1%25a1pi",
            "/%u0061pi",
            "/API",
            "/Api/users",
        ] {
            assert_eq!(routes.find("other.org", ambiguous).err(), Some(NoRoute::Ambiguous), "{ambiguous}");
        }
        let cases = Routes::new(vec![route(None, "/x"), route(None, "/X")]);
        let found = cases.find("other.org", "/X").map(|route| &*route.prefix);
        assert_eq!(found, Ok("/X"), "routes may differ in the case of letters only");
        let only = Routes::new(vec![route(Some("a"), "/")]);
        assert_eq!(only.find("b", "/").err(), Some(NoRoute::Unknown));
    }
}
