//! Selects the origin of a request, and the options for its responses.
//!
//! A route is selected by the normalized, percent-decoded path: an origin may treat `/%61dmin` as
//! `/admin`, and the rules for one must apply to the other.

use std::{borrow::Cow, fmt, sync::Arc};

use larder_core::{FetchOptions, Origin, OverrideFn, TargetUri, adapter::KeyRules};

use crate::encoding::Encoding;

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
    /// `/api/users`, but not `/apis`. Default: `/`, which matches every path.
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

    /// Enables compression: a response is encoded once for each content coding that clients accept,
    /// and the results are stored. Default: off.
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, compression: Arc<larder_compress::Compression>) -> Self {
        self.encoding.settings = Some(compression);
        self
    }

    /// Returns whether this route is for this host, without port, and this path.
    fn matches(&self, host: &str, path: &str) -> bool {
        let host_matches = match self.host.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && ends_with_ignoring_case(host, suffix),
                None => host.eq_ignore_ascii_case(pattern),
            },
        };
        let prefix = self.prefix.trim_end_matches('/');
        let prefix_matches =
            || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        host_matches && prefix_matches()
    }

    /// Returns the precedence: a route for a host or a pattern over one for every host, so that the
    /// paths of one tenant never go to a route of all; then by the length of the prefix; then a
    /// full host name over a pattern.
    fn precedence(&self) -> (bool, usize, u8) {
        let host = match self.host.as_deref() {
            None => 0,
            Some(host) if host.starts_with('*') => 1,
            Some(_) => 2,
        };
        (host > 0, self.prefix.trim_end_matches('/').len(), host)
    }
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
        routes.sort_by_key(|route| std::cmp::Reverse(route.precedence()));
        Self(routes.into())
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
        let find = |path: &str| self.0.iter().position(|route| route.matches(host, path));
        let path = path.split('?').next().unwrap_or_default();
        let literal = find(&literal_path(path));
        let has_other_readings = path.contains("//") || path.contains(['%', '\\', ';']);
        if has_other_readings && other_readings(path).iter().any(|reading| find(reading) != literal) {
            return Err(NoRoute::Ambiguous);
        }
        literal.map(|index| &self.0[index]).ok_or(NoRoute::Unknown)
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

/// Returns a path as an origin reads it that decodes only what needs no encoding (RFC 3986
/// §6.2.2.2), without dot segments.
fn literal_path(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', '.']) {
        return path.into();
    }
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    normal(&decoded(path, is_unreserved))
}

/// Returns the other ways in which origins read a path: decoded once or twice, and without the
/// parameters of its segments (RFC 3986 §3.3).
fn other_readings(path: &str) -> [Cow<'_, str>; 3] {
    let once = decoded(path, |_| true);
    let twice = decoded(&once, |_| true);
    let segments: Vec<_> =
        once.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    [plain_path(&once), plain_path(&twice), plain_path(&segments.join("/"))]
}

/// Returns a decoded path as an origin reads it that takes a backslash for a slash, and several
/// slashes for one.
fn plain_path(path: &str) -> Cow<'static, str> {
    let path = path.replace('\\', "/");
    let mut collapsed = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !collapsed.ends_with('/') {
            collapsed.push(character);
        }
    }
    normal(&collapsed)
}

/// Decodes the percent-encoded bytes for which `select` returns true.
fn decoded(path: &str, select: impl Fn(u8) -> bool) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let encoded = (*byte == b'%').then(|| after.first_chunk::<2>()).flatten().and_then(hexadecimal);
        let encoded = encoded.filter(|byte| select(*byte));
        bytes.push(encoded.unwrap_or(*byte));
        rest = if encoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Removes the dot segments of a path. What is not a valid path is returned unchanged.
fn normal(path: &str) -> Cow<'static, str> {
    match TargetUri::new("http", "host", &path.replace(['?', '#'], "_")) {
        Ok(target) => target.path_and_query().to_owned().into(),
        Err(_) => path.to_owned().into(),
    }
}

/// Returns the value of two hexadecimal digits.
fn hexadecimal(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
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
        ] {
            assert_eq!(routes.find("other.org", ambiguous).err(), Some(NoRoute::Ambiguous), "{ambiguous}");
        }
        let only = Routes::new(vec![route(Some("a"), "/")]);
        assert_eq!(only.find("b", "/").err(), Some(NoRoute::Unknown));
    }
}
