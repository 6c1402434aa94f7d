//! Decides whether a request fulfils a condition.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};

use super::{cookies, glob::Glob};
use crate::readings::PathReadings;

/// A condition on the requests that a [`RouteRule`](crate::RouteRule) is for.
///
/// It holds if one of its alternatives does. In the patterns, `*` stands for any text. Upper and
/// lower case are equal in names and values of headers, cookies and parameters.
///
/// ```
/// use http::{HeaderName, Method};
/// use larder_proxy::Condition;
///
/// let conditions = [
///     Condition::methods([Method::GET, Method::HEAD]),
///     Condition::paths(["/account", "/account/*"]),
///     Condition::headers([HeaderName::from_static("x-preview")]),
///     Condition::cookie("plan", "trial-*"),
///     Condition::parameters(["preview"]),
///     Condition::not([Condition::cookies(["session"])]),
/// ];
/// ```
#[derive(Debug, Clone)]
pub struct Condition(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Methods(Vec<Method>),
    Paths(Vec<Glob>),
    Headers(Vec<HeaderName>, Glob),
    Cookies(Vec<Glob>, Glob),
    Parameters(Vec<Glob>, Glob),
    /// They do not all hold.
    Not(Vec<Condition>),
}

impl Condition {
    /// Creates a condition on the method.
    pub fn methods(methods: impl IntoIterator<Item = Method>) -> Self {
        Self(Kind::Methods(methods.into_iter().collect()))
    }

    /// Creates a condition on the whole path, without the query. It is compared percent-decoded and
    /// without dot segments, with the case of letters.
    ///
    /// If origins could read the path in another way for which the condition is not the same, such
    /// as `/Account`, `//account` or `/account;.css`, the request bypasses the cache.
    pub fn paths<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        Self(Kind::Paths(globs(patterns)))
    }

    /// Creates a condition for requests that have one of these headers.
    pub fn headers(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self(Kind::Headers(names.into_iter().collect(), Glob::new("*")))
    }

    /// Creates a condition for requests that have this header in a line with this value.
    pub fn header(name: HeaderName, value: &str) -> Self {
        Self(Kind::Headers(vec![name], Glob::new(value)))
    }

    /// Creates a condition for requests that have one of these cookies.
    ///
    /// Programs read cookies in different ways. The condition holds if one of them could find the
    /// cookie.
    pub fn cookies<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Kind::Cookies(globs(names), Glob::new("*")))
    }

    /// Creates a condition for requests that have a cookie with this name and value, as
    /// [`cookies`](Self::cookies) finds it.
    pub fn cookie(name: &str, value: &str) -> Self {
        Self(Kind::Cookies(globs([name]), Glob::new(value)))
    }

    /// Creates a condition for requests that have one of these query parameters, with a value or
    /// without. Parameters that the route ignores do not count.
    pub fn parameters<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Kind::Parameters(globs(names), Glob::new("*")))
    }

    /// Creates a condition for requests that have a query parameter with this name and value.
    /// Parameters that the route ignores do not count.
    pub fn parameter(name: &str, value: &str) -> Self {
        Self(Kind::Parameters(globs([name]), Glob::new(value)))
    }

    /// Creates a condition that holds if these do not all hold, such as "none of these cookies".
    ///
    /// What is in doubt stays in doubt: if origins could read the path in several ways, the request
    /// bypasses the cache.
    pub fn not(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self(Kind::Not(conditions.into_iter().collect()))
    }

    /// Returns whether only the URL decides on the condition, which is in each key.
    pub(super) fn is_of_url(&self) -> bool {
        match &self.0 {
            Kind::Paths(_) | Kind::Parameters(..) => true,
            Kind::Methods(_) | Kind::Headers(..) | Kind::Cookies(..) => false,
            Kind::Not(conditions) => conditions.iter().all(Self::is_of_url),
        }
    }
}

/// Creates patterns.
fn globs<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Vec<Glob> {
    patterns.into_iter().map(|pattern| Glob::new(pattern.as_ref())).collect()
}

/// Whether a request fulfils conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Holds,
    Fails,
    /// It depends on how the origin reads the path.
    Doubtful,
}

/// What conditions see of a request.
pub(super) struct RequestView<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) paths: &'a PathReadings<'a>,
    /// In the form that is looked up and requested.
    pub(super) query: &'a str,
}

impl RequestView<'_> {
    /// Returns whether all conditions hold.
    pub(super) fn outcome(&self, conditions: &[Condition]) -> Outcome {
        let mut all = Outcome::Holds;
        for condition in conditions {
            match self.outcome_of(condition) {
                Outcome::Fails => return Outcome::Fails,
                Outcome::Doubtful => all = Outcome::Doubtful,
                Outcome::Holds => {}
            }
        }
        all
    }

    /// Returns whether a condition holds.
    fn outcome_of(&self, condition: &Condition) -> Outcome {
        let holds = match &condition.0 {
            Kind::Methods(methods) => methods.contains(self.method),
            Kind::Paths(patterns) => return self.outcome_of_path(patterns),
            Kind::Headers(names, value) => names.iter().any(|name| {
                let mut lines = self.headers.get_all(name).iter();
                lines.any(|line| value.matches_ignoring_case(line.as_bytes().trim_ascii()))
            }),
            Kind::Cookies(names, value) => {
                names.iter().any(|name| cookies::contains(self.headers, name, value))
            }
            Kind::Parameters(names, value) => self.has_parameter(names, value),
            Kind::Not(conditions) => {
                return match self.outcome(conditions) {
                    Outcome::Holds => Outcome::Fails,
                    Outcome::Fails => Outcome::Holds,
                    Outcome::Doubtful => Outcome::Doubtful,
                };
            }
        };
        if holds { Outcome::Holds } else { Outcome::Fails }
    }

    /// Returns whether the path matches one of the patterns, in each of its readings.
    fn outcome_of_path(&self, patterns: &[Glob]) -> Outcome {
        let holds = patterns.iter().any(|glob| glob.matches(self.paths.literal().as_bytes()));
        let is_same = self
            .paths
            .all()
            .all(|path| patterns.iter().any(|glob| glob.matches_ignoring_case(path.as_bytes())) == holds);
        match (is_same, holds) {
            (false, _) => Outcome::Doubtful,
            (true, true) => Outcome::Holds,
            (true, false) => Outcome::Fails,
        }
    }

    /// Returns whether there is a parameter with one of these names and this value. Older servers
    /// separate parameters at `;`, too.
    fn has_parameter(&self, names: &[Glob], value: &Glob) -> bool {
        self.query.split(['&', ';']).filter(|parameter| !parameter.is_empty()).any(|parameter| {
            let (name, text) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, text) = (decoded(name), decoded(text));
            names.iter().any(|glob| glob.matches_ignoring_case(&name)) && value.matches_ignoring_case(&text)
        })
    }
}

/// Decodes a name or value of a query, as applications read it.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return text.as_bytes().into();
    }
    let spaced = text.replace('+', " ");
    crate::readings::decoded_bytes(&spaced, |_| true).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn outcome(condition: &Condition, target: &str, headers: &HeaderMap) -> Outcome {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let paths = PathReadings::of(path);
        let view = RequestView { method: &Method::GET, headers, paths: &paths, query };
        view.outcome(std::slice::from_ref(condition))
    }

    #[test]
    fn conditions_hold() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "one"), ("x-a", "two"), ("cookie", "plan=trial-9")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let x_a = HeaderName::from_static("x-a");
        let (holds, fails) = (Outcome::Holds, Outcome::Fails);
        for (condition, target, expected) in [
            (Condition::methods([Method::GET]), "/", holds),
            (Condition::methods([Method::POST, Method::PUT]), "/", fails),
            (Condition::headers([x_a.clone(), HeaderName::from_static("x-b")]), "/", holds),
            (Condition::headers([HeaderName::from_static("x-b")]), "/", fails),
            (Condition::header(x_a.clone(), "TWO"), "/", holds),
            (Condition::header(x_a, "three"), "/", fails),
            (Condition::cookie("plan", "trial-*"), "/", holds),
            (Condition::cookie("plan", "full"), "/", fails),
            (Condition::parameters(["preview"]), "/?a=1&preview", holds),
            (Condition::parameters(["preview"]), "/?a=1;Pre%76iew=", holds),
            (Condition::parameters(["preview"]), "/?a=preview", fails),
            (Condition::parameters(["*"]), "/?", fails),
            (Condition::parameter("a", "x y"), "/?a=x+y", holds),
            (Condition::parameter("a", "x"), "/?a=y&a=x", holds),
            (Condition::paths(["/a", "/a/*"]), "/a/b?c", holds),
            (Condition::paths(["/a"]), "/a/", fails),
            (Condition::not([Condition::paths(["/a"])]), "/a", fails),
            (Condition::not([Condition::paths(["/a"])]), "/b", holds),
            (Condition::not([Condition::cookies(["plan"])]), "/", fails),
            (Condition::not([Condition::cookies(["session"])]), "/", holds),
            (Condition::not([Condition::cookies(["plan"]), Condition::paths(["/a"])]), "/a", fails),
            (Condition::not([Condition::cookies(["plan"]), Condition::paths(["/a"])]), "/b", holds),
            (Condition::not([Condition::not([Condition::paths(["/a"])])]), "/a", holds),
            (Condition::not([]), "/", fails),
        ] {
            assert_eq!(outcome(&condition, target, &headers), expected, "{condition:?} of {target}");
        }
    }

    /// A link to `/%61ccount` or `/account;.css` of a user's page left the page in the cache, for
    /// the one who had sent the link.
    #[test]
    fn a_path_with_several_readings_is_in_doubt() {
        let account = Condition::paths(["/account", "/account/*"]);
        let styles = Condition::paths(["*.css"]);
        let others = Condition::not([account.clone()]);
        let (holds, fails, doubtful) = (Outcome::Holds, Outcome::Fails, Outcome::Doubtful);
        for (condition, path, expected) in [
            (&account, "/account/x", holds),
            (&account, "/%61ccount/x", holds),
            (&account, "/static/../account/x", holds),
            (&account, "/other", fails),
            (&account, "/Other/%20x", fails),
            (&account, "/Account/x", doubtful),
            (&account, "//account/x", doubtful),
            (&account, "/%2561ccount/x", doubtful),
            (&account, "/x%2f..%2faccount/x", doubtful),
            (&account, "/account;x", doubtful),
            (&styles, "/a.css", holds),
            (&styles, "/a.CSS", doubtful),
            (&styles, "/account;.css", doubtful),
            (&styles, "/account%00.css", doubtful),
            (&styles, "/account/a;b/c.css", holds),
            (&others, "/account/x", fails),
            (&others, "/other", holds),
            (&others, "/Account/x", doubtful),
            (&others, "/account;x", doubtful),
        ] {
            assert_eq!(outcome(condition, path, &HeaderMap::new()), expected, "{path}");
        }
        // The pattern has the letters in upper case.
        let upper = Condition::paths(["/Account"]);
        assert_eq!(outcome(&upper, "/account", &HeaderMap::new()), doubtful);
    }
}
