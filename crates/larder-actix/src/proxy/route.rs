//! Which origin a request goes to, and what is said of its responses.
//!
//! A route is chosen by the path in normal form, with what is percent-encoded decoded: an origin may take `/%61dmin` for `/admin`,
//! and what is ruled for the one has to hold for the other.

use std::{borrow::Cow, sync::Arc};

use larder_core::{FetchOptions, Origin, OverrideFn, TargetUri};

use crate::{encoding::Encoding, query::IgnoredQuery};

/// Requests for one origin, and what is said of its responses.
#[derive(Debug, Clone)]
pub struct Route {
    host: Option<Box<str>>,
    prefix: Box<str>,
    pub(super) origin: Arc<dyn Origin>,
    pub(super) options: FetchOptions,
    pub(super) ignored: IgnoredQuery,
    pub(super) encoding: Encoding,
}

impl Route {
    /// Every request, to this origin.
    pub fn to(origin: Arc<dyn Origin>) -> Self {
        Self {
            host: None,
            prefix: "/".into(),
            origin,
            options: FetchOptions::default(),
            ignored: IgnoredQuery::default(),
            encoding: Encoding::default(),
        }
    }

    /// Only requests for this host: a name without port, or with `*.` before it for all names below it.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_ascii_lowercase().into());
        self
    }

    /// Only paths below this one: `/api` has `/api` and `/api/users` below it, and not `/apis`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What is said of the responses, over what the origin says.
    #[must_use]
    pub fn overrides(mut self, says: OverrideFn) -> Self {
        self.options.overrides = Some(says.or(self.options.overrides.take()));
        self
    }

    /// Longest body that is stored, in bytes.
    #[must_use]
    pub fn max_object(mut self, bytes: u64) -> Self {
        self.options.max_object = Some(bytes);
        self
    }

    /// Parameters of the query that responses don't depend on; a `*` at the end stands for anything. The origin gets them all
    /// the same.
    #[must_use]
    pub fn ignore_query<P: Into<String>>(mut self, parameters: impl IntoIterator<Item = P>) -> Self {
        self.ignored = parameters.into_iter().collect();
        self
    }

    /// Keeps the codings that clients ask for, each made once.
    #[cfg(feature = "compress")]
    #[must_use]
    pub fn compress(mut self, how: Arc<larder_compress::Compression>) -> Self {
        self.encoding.settings = Some(how);
        self
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        let host_matches = match self.host.as_deref() {
            None => true,
            Some(wanted) => match wanted.strip_prefix('*') {
                Some(below) => host.len() > below.len() && ends_with_ignoring_case(host, below),
                None => host.eq_ignore_ascii_case(wanted),
            },
        };
        let prefix = self.prefix.trim_end_matches('/');
        let below = || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        host_matches && below()
    }

    /// The longest prefix goes first; of the same, a host before none, and a whole name before a pattern.
    fn rank(&self) -> (usize, u8) {
        let host = match self.host.as_deref() {
            None => 0,
            Some(host) if host.starts_with('*') => 1,
            Some(_) => 2,
        };
        (self.prefix.trim_end_matches('/').len(), host)
    }
}

fn ends_with_ignoring_case(host: &str, end: &str) -> bool {
    host.get(host.len() - end.len()..).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// All routes, the one that goes first first.
#[derive(Debug, Clone)]
pub(super) struct Routes(Arc<[Route]>);

impl Routes {
    pub(super) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.rank()));
        Self(routes.into())
    }

    /// The route of a request. `path` is with its query.
    pub(super) fn of(&self, authority: &str, path: &str) -> Option<&Route> {
        if let [only] = &*self.0
            && only.host.is_none()
            && &*only.prefix == "/"
        {
            return Some(only);
        }
        let host = match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
            _ => authority,
        };
        let path = decided_by(path);
        self.0.iter().find(|route| route.matches(host, &path))
    }
}

/// The path by which a route is chosen.
fn decided_by(path: &str) -> Cow<'_, str> {
    let path = path.split('?').next().unwrap_or_default();
    if !path.contains(['%', '.', '\\']) {
        return path.into();
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let decoded = (*byte == b'%').then(|| after.first_chunk::<2>()).flatten().and_then(hexadecimal);
        bytes.push(decoded.unwrap_or(*byte));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    let decoded = String::from_utf8_lossy(&bytes);
    // Dot segments that only came to light now. What can't be a path is matched as it is.
    match TargetUri::new("http", "host", &decoded.replace(['?', '#'], "_")) {
        Ok(target) => target.path_and_query().to_owned().into(),
        Err(_) => decoded.into_owned().into(),
    }
}

fn hexadecimal(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use larder_testkit::FnOrigin;

    use super::*;

    #[test]
    fn the_most_particular_route_is_taken() {
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
            ("other.org", "/static%2f..%2fapi/x", (None, "/api")),
            ("other.org", "/api%3fx", (None, "/")),
            ("other.org", "/%zz", (None, "/")),
            ("a.example.com:8080", "/", (Some("*.example.com"), "/")),
            ("example.com", "/", (None, "/")),
            ("WWW.example.com", "/", (Some("www.example.com"), "/")),
            ("www.example.com", "/api/private", (Some("www.example.com"), "/api/private/")),
            ("www.example.com", "/api/other", (None, "/api")),
            ("[::1]:80", "/", (None, "/")),
        ] {
            let found = routes.of(host, path).map(|route| (route.host.as_deref(), &*route.prefix));
            assert_eq!(found, Some(expected), "{host}{path}");
        }
        assert!(Routes::new(vec![route(Some("a"), "/")]).of("b", "/").is_none());
    }
}
