//! Identifies the request fields with which a client can make an origin respond for another target,
//! method or client than the one that the cache has in the key.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{COOKIE, HOST},
};

use super::joined_cookies;
use crate::{RequestHeaders, TargetUri};

/// The fields without the prefix `x-`, with `-` for `_`.
const STEERING: [&str; 43] = [
    "appengine-user-ip",
    "arr-ssl",
    "azure-clientip",
    "azure-socketip",
    "base-url",
    "client-ip",
    "cluster-client-ip",
    "envoy-external-address",
    "forwarded",
    "forwarded-by",
    "forwarded-for",
    "forwarded-host",
    "forwarded-path",
    "forwarded-port",
    "forwarded-prefix",
    "forwarded-proto",
    "forwarded-protocol",
    "forwarded-scheme",
    "forwarded-server",
    "forwarded-ssl",
    "forwarded-uri",
    "host",
    "http-destinationurl",
    "http-host-override",
    "http-method",
    "http-method-override",
    "http-path-override",
    "method-override",
    "original-host",
    "original-uri",
    "original-url",
    "originating-ip",
    "override-url",
    "proxy-url",
    "proxyuser-ip",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "rewrite-uri",
    "rewrite-url",
    "scheme",
    "script-name",
    "url-scheme",
];

/// The other fields. `Proxy` becomes the variable `HTTP_PROXY` of CGI programs, which libraries
/// take for the address of a proxy.
const OTHERS: [&str; 8] = [
    "cf-connecting-ip",
    "client-ip",
    "cluster-client-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy",
    "true-client-ip",
];

/// Returns whether servers and frameworks take a field for the real target, method or address of a
/// request. `name` is in lower case.
///
/// Gateways with CGI variables read `_` and other characters as `-` (RFC 9110 §17.10), so every
/// spelling counts.
///
/// ```
/// use larder_core::adapter::is_steering;
///
/// assert!(is_steering("x-forwarded-host") && is_steering("x_forwarded_host") && is_steering("forwarded"));
/// assert!(!is_steering("host") && !is_steering("x-requested-with"));
/// ```
pub fn is_steering(name: &str) -> bool {
    let rest = match name.as_bytes() {
        [b'x', separator, ..] if !separator.is_ascii_alphanumeric() => &name[2..],
        [b'c' | b'f' | b'p' | b't' | b'd' | b'w', ..] => {
            return OTHERS.iter().any(|other| is_spelled(name, other));
        }
        _ => return false,
    };
    STEERING.iter().any(|steering| is_spelled(rest, steering))
}

/// Returns whether a name has this spelling, with any separators.
fn is_spelled(name: &str, spelling: &str) -> bool {
    let as_dash = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.len() == spelling.len() && name.bytes().map(as_dash).eq(spelling.bytes())
}

/// Removes the fields that [`is_steering`] names.
pub fn strip_steering(fields: &mut HeaderMap) {
    strip(fields, is_steering);
}

/// Removes the fields with a name that a gateway with CGI variables reads as another name: with
/// other characters than letters, digits and `-` (RFC 9110 §17.10). nginx drops them as well.
pub(super) fn strip_ambiguous(fields: &mut HeaderMap) {
    strip(fields, |name| !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}

/// Makes the fields of a request what its key states, before a handler sees them.
///
/// Fields that steer the handler are removed. If a trusted proxy has sent the request, the scheme
/// and authority of the target are written to `X-Forwarded-Proto` and `X-Forwarded-Host`, and
/// `X-Forwarded-For` stays. `Host` gets its [normal form](normal_host), and several lines of cookies
/// become one.
///
/// ```
/// use http::HeaderMap;
/// use larder_core::adapter::set_target_fields;
///
/// let mut fields = HeaderMap::new();
/// fields.insert("host", "Example.com:80".parse()?);
/// fields.insert("x-forwarded-host", "evil.example".parse()?);
/// set_target_fields(&mut fields, "http", "example.com", false);
/// assert_eq!(fields["host"], "example.com");
/// assert_eq!(fields.len(), 1);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn set_target_fields(fields: &mut HeaderMap, scheme: &str, authority: &str, is_trusted: bool) {
    strip(fields, |name| is_steering(name) && !(is_trusted && name == "x-forwarded-for"));
    if is_trusted {
        let values = [("x-forwarded-proto", scheme), ("x-forwarded-host", authority)];
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_str(value) {
                fields.insert(HeaderName::from_static(name), value);
            }
        }
    }
    if let Some(Ok(host)) = normal_host(fields, scheme).map(HeaderValue::try_from) {
        fields.insert(HOST, host);
    }
    if let Some(Ok(cookies)) = joined_cookies(fields).map(HeaderValue::try_from) {
        fields.insert(COOKIE, cookies);
    }
}

/// Returns the normal form of the `Host` of a request: in lower case, without an empty or default
/// port. `None` if `Host` is missing, has this form already, or is not valid.
///
/// ```
/// use http::HeaderMap;
/// use larder_core::adapter::normal_host;
///
/// let mut fields = HeaderMap::new();
/// fields.insert("host", "Example.com:".parse()?);
/// assert_eq!(normal_host(&fields, "http").as_deref(), Some("example.com"));
/// fields.insert("host", "example.com:8080".parse()?);
/// assert_eq!(normal_host(&fields, "http"), None);
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn normal_host<H: RequestHeaders>(headers: &H, scheme: &str) -> Option<String> {
    let host = std::str::from_utf8(headers.lines("host").next()?).ok()?;
    let normal = TargetUri::new(scheme, host.trim_matches([' ', '\t']), "/").ok()?;
    (normal.authority() != host).then(|| normal.authority().to_owned())
}

/// Removes the fields for which `is_removed` returns true. Iterating over the present names costs
/// less than looking up each possible one.
fn strip(fields: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let removed: Vec<HeaderName> = fields.keys().filter(|name| is_removed(name.as_str())).cloned().collect();
    for name in removed {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_counts_and_nothing_else() {
        for steering in [
            "forwarded",
            "x-forwarded-host",
            "x_forwarded_host",
            "x-forwarded_host",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x_forwarded_proto",
            "x-forwarded-scheme",
            "x-forwarded-prefix",
            "x-host",
            "x-original-url",
            "x_original_url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-real-ip",
            "x-forwarded-port",
            "x-forwarded-ssl",
            "front-end-https",
            "true-client-ip",
            "x-client-ip",
        ] {
            assert!(is_steering(steering), "{steering}");
        }
        for other in
            ["host", "x-requested-with", "x-forwardedhost", "from", "accept", "date", "x-", "te", "x-api-key"]
        {
            assert!(!is_steering(other), "{other}");
        }
    }
}
