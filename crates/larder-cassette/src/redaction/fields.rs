//! Replaces secrets in header fields, URLs, forms and JSON, and keeps everything around them.

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, REFERER},
};
use larder_core::policy::header_names::{CONTENT_LOCATION, LOCATION, SET_COOKIE};

use crate::json_text;

/// What replaces a secret.
pub(super) const REDACTED: &str = "REDACTED";

/// What replaces JSON in which secrets are not looked for.
const TOO_DEEP: &[u8] = b"\"REDACTED: more than 128 levels of JSON\"";

/// Replaces the values of header fields: those that `is_secret` selects by their lower-case name
/// and value, and those that the client has marked as sensitive. URLs in other fields lose their
/// secret parameters, which `is_secret_parameter` selects.
pub(super) fn headers(
    headers: &mut HeaderMap,
    is_secret: impl Fn(&HeaderName) -> bool,
    is_secret_parameter: &dyn Fn(&str, &str) -> bool,
) {
    for (name, value) in headers.iter_mut() {
        let redacted = if is_secret(name) || value.is_sensitive() {
            Some(field(name, value))
        } else if [CONTENT_LOCATION, LOCATION, REFERER].contains(name) {
            value.to_str().ok().map(|url| reference(url, is_secret_parameter).into_owned())
        } else {
            None
        };
        if let Some(redacted) = redacted {
            // What was a header value is one without some of its characters.
            *value = HeaderValue::try_from(redacted).unwrap_or(HeaderValue::from_static(REDACTED));
        }
    }
}

/// Returns the value of a field without its secret. The scheme of credentials stays, and the names
/// and attributes of cookies.
fn field(name: &HeaderName, value: &HeaderValue) -> String {
    let Ok(text) = value.to_str() else { return REDACTED.to_owned() };
    let cookie = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={REDACTED}"),
        None => REDACTED.to_owned(),
    };
    if [AUTHORIZATION, PROXY_AUTHORIZATION].contains(name) {
        match text.split_once(' ') {
            Some((scheme, _)) if is_token(scheme) => format!("{scheme} {REDACTED}"),
            _ => REDACTED.to_owned(),
        }
    } else if *name == COOKIE {
        text.split(';').map(cookie).collect::<Vec<_>>().join(";")
    } else if *name == SET_COOKIE {
        let (pair, attributes) = text.split_at(text.find(';').unwrap_or(text.len()));
        cookie(pair) + attributes
    } else {
        REDACTED.to_owned()
    }
}

/// Returns whether this is the name of an authentication scheme, and not a secret with a space.
fn is_token(scheme: &str) -> bool {
    scheme.len() <= 24
        && scheme.bytes().all(|letter| letter.is_ascii_alphabetic() || b"-0123456789".contains(&letter))
}

/// Returns a reference to a URL without the values of its secret parameters, and without user and
/// password.
fn reference<'a>(url: &'a str, is_secret: &dyn Fn(&str, &str) -> bool) -> Cow<'a, str> {
    let (before, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let (path, parameters) = before.split_at(before.find('?').map_or(before.len(), |at| at + 1));
    let parameters = self::parameters(parameters, is_secret);
    // A fragment can have parameters, too, as that of an OAuth redirect.
    let fragment = match fragment.strip_prefix('#') {
        Some(inner) => Cow::Owned(format!("#{}", self::parameters(inner, is_secret))),
        None => Cow::Borrowed(fragment),
    };
    let path = match path.split_once("//") {
        Some((scheme, rest)) if scheme.is_empty() || scheme.ends_with(':') => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            Cow::Owned(format!("{scheme}//{host}{rest}"))
        }
        _ => Cow::Borrowed(path),
    };
    Cow::Owned(format!("{path}{parameters}{fragment}"))
}

/// Returns a URL without the values of its secret parameters, and without user and password.
pub(super) fn url(url: &Uri, is_secret: &dyn Fn(&str, &str) -> bool) -> Option<Uri> {
    reference(&url.to_string(), is_secret).parse().ok()
}

/// Returns a query or a form without the values of its secret parameters.
pub(super) fn parameters<'a>(text: &'a str, is_secret: &dyn Fn(&str, &str) -> bool) -> Cow<'a, str> {
    let secret = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        (is_secret(&decoded(name), &decoded(value))).then(|| format!("{name}={REDACTED}"))
    };
    if !text.split('&').any(|pair| secret(pair).is_some()) {
        return Cow::Borrowed(text);
    }
    let pairs: Vec<_> = text.split('&').map(|pair| secret(pair).unwrap_or_else(|| pair.to_owned())).collect();
    Cow::Owned(pairs.join("&"))
}

/// Returns the text without percent-encoding and with spaces for `+`, as far as that is valid.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = &after[if byte.is_some() { 2 } else { 0 }..];
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns JSON with `"REDACTED"` for the values that `is_secret` selects by their path and token
/// (`replace_values`). Of deep JSON, all is replaced. `None` if nothing is replaced.
pub(super) fn json(body: &Bytes, is_secret: impl Fn(&[String], &str) -> bool) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    if json_text::is_deep(text) {
        return Some(Bytes::from_static(TOO_DEEP));
    }
    let replaced = json_text::replace_values(text, |path, token| {
        is_secret(path, token).then(|| format!("\"{REDACTED}\""))
    });
    replaced.map(Bytes::from)
}
