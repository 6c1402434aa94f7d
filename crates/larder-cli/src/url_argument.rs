//! Parses URLs as people type and paste them, for all commands, and for lists of URLs.

use larder::{client::reqwest::Url, core::TargetUri};

use crate::store_url::UsageError;

/// Longest URL, in bytes. Longer ones are errors.
pub(crate) const MAX_URL: usize = 64 * 1024;

/// Parses a URL: an http or https URL as browsers accept it, without its fragment.
///
/// Spaces and other characters that a URL cannot contain are percent-encoded, and names of hosts
/// may be international. Without a scheme it is `http`, as in curl. User and password may precede
/// the host.
///
/// # Errors
///
/// Returns what is wrong. The text has no password.
pub(crate) fn parse_url(text: &str) -> Result<Url, UsageError> {
    let text = text.trim().trim_start_matches('\u{feff}').trim();
    let shown = without_password(text);
    if text.len() > MAX_URL {
        return Err(UsageError(format!("a URL has more than {MAX_URL} bytes: {shown:.80}…")));
    }
    let lower = text.get(..6).unwrap_or(text).to_ascii_lowercase();
    let full = match lower.starts_with("http:") || lower.starts_with("https:") || has_scheme(text) {
        true => Url::parse(text),
        false => Url::parse(&format!("http://{}", text.trim_start_matches('/'))),
    };
    let mut url = full.map_err(|error| UsageError(format!("'{shown}' is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UsageError(format!("'{shown}': the scheme is neither http nor https")));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Parses a URL from the command line. `command` is what precedes the URL in the example of the
/// error.
pub(crate) fn parse_argument(text: &str, command: &str) -> Result<Url, UsageError> {
    parse_url(text).map_err(|error| UsageError(format!("{error}; e.g. {command} https://example.com/")))
}

/// Parses a URL from the command line as the target of a request, which has no user and password.
pub(crate) fn parse_target(text: &str, command: &str) -> Result<TargetUri, UsageError> {
    let mut url = parse_argument(text, command)?;
    // They cannot be set for URLs without a host, which `parse_url` does not return.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    TargetUri::parse(url.as_str())
        .map_err(|error| UsageError(format!("{url}: {error}; e.g. {command} https://example.com/")))
}

/// Returns a URL for people, in the form in which it was given, but without its password.
pub(crate) fn without_password(text: &str) -> String {
    let start = authority_start(text);
    let end = text[start..].find(['/', '\\', '?', '#']).map_or(text.len(), |at| start + at);
    let Some(at) = text[start..end].rfind('@') else { return text.to_owned() };
    match text[start..start + at].find(':') {
        Some(colon) => format!("{}:…{}", &text[..start + colon], &text[start + at..]),
        None => text.to_owned(),
    }
}

/// Returns where the authority begins, for all forms that [`parse_url`] accepts.
fn authority_start(text: &str) -> usize {
    let begins_with =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let scheme = match ["https:", "http:"].into_iter().find(|scheme| begins_with(scheme)) {
        Some(scheme) => scheme.len(),
        None if has_scheme(text) => text.find("://").map_or(0, |at| at + 3),
        None => 0,
    };
    scheme + text[scheme..].bytes().take_while(|byte| matches!(byte, b'/' | b'\\')).count()
}

/// Returns whether the text begins with a scheme and `://`.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_people_paste_them() {
        for (text, expected) in [
            ("https://example.com", "https://example.com/"),
            ("HTTPS://Example.COM/A", "https://example.com/A"),
            ("example.com", "http://example.com/"),
            ("example.com:8080/a?b=c", "http://example.com:8080/a?b=c"),
            ("localhost:3000", "http://localhost:3000/"),
            ("127.0.0.1:80/x", "http://127.0.0.1/x"),
            ("[::1]:8080/x", "http://[::1]:8080/x"),
            ("//example.com/x", "http://example.com/x"),
            ("http:example.com/x", "http://example.com/x"),
            ("example.com/?to=https://example.org/", "http://example.com/?to=https://example.org/"),
            (" https://example.com/a b?c d ", "https://example.com/a%20b?c%20d"),
            ("https://example.com/Manü?q=ü", "https://example.com/Man%C3%BC?q=%C3%BC"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/"),
            ("user:pw@example.com/", "http://user:pw@example.com/"),
            ("https://user:p@ss@example.com/", "https://user:p%40ss@example.com/"),
            ("https://example.com/a#part", "https://example.com/a"),
            ("https://example.com/a|b[1]{2}\"`^", "https://example.com/a|b[1]%7B2%7D%22%60^"),
            ("\u{feff}https://example.com/", "https://example.com/"),
        ] {
            let url = parse_url(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let as_target = parse_target(text, "larder get");
            assert_eq!(url.as_str(), expected, "{text}");
            assert!(as_target.is_ok(), "{text}: {as_target:?}");
        }
        for wrong in
            ["", "http://", "ftp://example.com/", "http://a b/", "mailto:someone", "file:///etc/passwd"]
        {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_message_has_a_password() {
        for (text, expected) in [
            ("https://user:SECRET@example.com/a@b:c", "https://user:…@example.com/a@b:c"),
            ("user:SECRET@example.com", "user:…@example.com"),
            ("user:SECRET@example.com/?to=https://x.org/", "user:…@example.com/?to=https://x.org/"),
            ("https:/user:SECRET@h/", "https:/user:…@h/"),
            ("HTTP:user:SECRET@h", "HTTP:user:…@h"),
            ("//user:SECRET@h/", "//user:…@h/"),
            ("ftp://user:SECRET@h/", "ftp://user:…@h/"),
            ("https://user:SEC@RET@example.com/", "https://user:…@example.com/"),
            ("https://user@example.com/", "https://user@example.com/"),
            ("https://example.com/a:b@c", "https://example.com/a:b@c"),
        ] {
            assert_eq!(without_password(text), expected);
        }
        let error = parse_url("ftp://user:SECRET@example.com/").expect_err("another scheme").to_string();
        assert!(!error.contains("SECRET"), "{error}");
    }
}
