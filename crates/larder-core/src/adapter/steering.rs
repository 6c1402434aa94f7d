//! Identifies the request fields with which a client can make an origin respond for another target,
//! method or client than the one that the cache has in the key.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The fields without the prefix `x-`, with `-` for `_`.
const STEERING: [&str; 27] = [
    "arr-ssl",
    "client-ip",
    "cluster-client-ip",
    "forwarded",
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
    "http-method",
    "http-method-override",
    "method-override",
    "original-host",
    "original-uri",
    "original-url",
    "real-ip",
    "rewrite-uri",
    "rewrite-url",
    "scheme",
    "url-scheme",
];

/// Returns whether servers and frameworks take a field for the real target, method or address of a
/// request. `name` is in lower case.
///
/// Gateways with CGI variables read `_` as `-` (RFC 9110 §17.10), so both spellings count. A field
/// that a server reads only with the prefix `X-` counts with it only, except `Forwarded`
/// (RFC 7239).
///
/// ```
/// use larder_core::adapter::is_steering;
///
/// assert!(is_steering("x-forwarded-host") && is_steering("x_forwarded_host") && is_steering("forwarded"));
/// assert!(!is_steering("host") && !is_steering("x-requested-with"));
/// ```
pub fn is_steering(name: &str) -> bool {
    let rest = match name.as_bytes() {
        [b'x', b'-' | b'_', ..] => &name[2..],
        [b'f', ..] if name == "forwarded" => return true,
        // The names of some load balancers and platforms.
        [b'f', ..] => return is_spelled(name, "front-end-https"),
        [b't', ..] => return is_spelled(name, "true-client-ip"),
        [b'c', ..] => return is_spelled(name, "cf-connecting-ip"),
        _ => return false,
    };
    STEERING.iter().any(|steering| is_spelled(rest, steering))
}

/// Returns whether a name has this spelling, with `_` or `-`.
fn is_spelled(name: &str, spelling: &str) -> bool {
    let as_dash = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == spelling.len() && name.bytes().map(as_dash).eq(spelling.bytes())
}

/// Removes the fields that [`is_steering`] names.
pub fn strip_steering(fields: &mut HeaderMap) {
    strip(fields, is_steering);
}

/// Makes the fields of a request what its key states, before a handler sees them.
///
/// Fields that steer the handler are removed. If a trusted proxy has sent the request, the scheme
/// and authority of the target are written to `X-Forwarded-Proto` and `X-Forwarded-Host`, and
/// `X-Forwarded-For` stays.
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
