//! An origin that replaces its own URLs in the headers of responses by the public ones, so that
//! clients stay on the server in front.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{CONTENT_LOCATION, LINK, LOCATION, SET_COOKIE},
    uri::Authority,
};
use larder_core::{Body, Origin, OriginError};

use crate::{HyperOptions, destination::Destination};

/// An origin that replaces the URLs of a server in the headers of its responses by the URLs that
/// clients use.
///
/// For the server at `http://10.0.0.1:3000/app` and a request for `https://example.com/login`,
/// `http://10.0.0.1:3000/app/home` and `/app/home` become `https://example.com/home` and `/home`:
///
/// - in `Location` and `Content-Location`, and between `<` and `>` in `Link`;
/// - in `Set-Cookie`, the server's name in `Domain`, and its path in `Path`.
///
/// Everything else stays: URLs of other servers, of other paths, relative ones, and those with the
/// public name that have no path of the server's to remove.
///
/// The cache sees the public URLs, with which responses are stored. That is safe because the public
/// scheme and name, which it takes from the request's URI, are part of each key.
///
/// ```
/// use std::sync::Arc;
///
/// use larder_origin::{HyperOptions, HyperOrigin, UrlRewrite};
///
/// # fn main() -> Result<(), larder_origin::OptionsError> {
/// let options = HyperOptions::to("http://10.0.0.1:3000/app")?;
/// let server = HyperOrigin::new(options.clone())?;
/// let origin = UrlRewrite::new(Arc::new(server), &options);
/// # Ok(())
/// # }
/// ```
pub struct UrlRewrite {
    inner: Arc<dyn Origin>,
    /// `None` if requests are sent to the server in their URI.
    server: Option<ServerUrl>,
}

impl fmt::Debug for UrlRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlRewrite").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl UrlRewrite {
    /// Creates an origin around `inner`, which sends requests to [`HyperOptions::to`] of these
    /// options. Without it, the origin changes nothing.
    pub fn new(inner: Arc<dyn Origin>, options: &HyperOptions) -> Self {
        let server = options.to.as_ref().and_then(|to| {
            let base = to.path().trim_end_matches('/').into();
            Some(ServerUrl { destination: Destination::of(to)?, base })
        });
        Self { inner, server }
    }
}

#[async_trait]
impl Origin for UrlRewrite {
    async fn fetch(&self, request: Request<Body>) -> Result<Response<Body>, OriginError> {
        let Some(server) = &self.server else { return self.inner.fetch(request).await };
        let target = request.uri().clone();
        let mut response = self.inner.fetch(request).await?;
        if !response.headers().keys().any(is_mapped) {
            return Ok(response);
        }
        if let (Some(scheme), Some(authority)) = (target.scheme_str(), target.authority()) {
            let is_same = Destination::of(&target).as_ref() == Some(&server.destination);
            if !is_same || !server.base.is_empty() {
                Mapping { server, scheme, authority }.apply(response.headers_mut());
            }
        }
        Ok(response)
    }

    fn supports_background_revalidation(&self) -> bool {
        self.inner.supports_background_revalidation()
    }
}

/// Returns whether a field contains URLs of the server, or names or paths of them.
fn is_mapped(name: &HeaderName) -> bool {
    [LOCATION, CONTENT_LOCATION, LINK, SET_COOKIE].contains(name)
}

/// The URL of a server.
#[derive(Debug)]
struct ServerUrl {
    destination: Destination,
    /// The path in front of each path, without `/` at its end; empty if there is none.
    base: Box<str>,
}

/// The URL of a server, and the public one of a request.
struct Mapping<'a> {
    server: &'a ServerUrl,
    scheme: &'a str,
    authority: &'a Authority,
}

impl Mapping<'_> {
    /// Replaces the server's URLs in all fields.
    fn apply(&self, fields: &mut HeaderMap) {
        for (name, value) in fields.iter_mut().filter(|(name, _)| is_mapped(name)) {
            let Ok(text) = std::str::from_utf8(value.as_bytes()) else { continue };
            let mapped = if *name == LOCATION || *name == CONTENT_LOCATION {
                self.reference(text)
            } else if *name == LINK {
                self.link(text)
            } else {
                self.cookie(text)
            };
            if let Some(mapped) = mapped.and_then(|mapped| HeaderValue::from_str(&mapped).ok()) {
                *value = mapped;
            }
        }
    }

    /// Returns the public form of a URI reference; `None` if it stays.
    fn reference(&self, text: &str) -> Option<String> {
        let is_scheme = |text: &str| ["http", "https"].iter().any(|name| text.eq_ignore_ascii_case(name));
        let (scheme, rest) = match text.strip_prefix("//") {
            Some(rest) => (None, rest),
            None => match text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
                Some((scheme, rest)) => (Some(scheme), rest),
                None => return self.path(text),
            },
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if self.is_server(scheme, authority) {
            let path = self.without_base(path)?;
            let public = self.authority;
            let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
            return Some(match scheme {
                Some(_) => format!("{}://{public}{slash}{path}", self.scheme),
                None => format!("//{public}{slash}{path}"),
            });
        }
        // The server has received the public name: only its path is not public.
        if self.server.base.is_empty() || !authority.eq_ignore_ascii_case(self.authority.as_str()) {
            return None;
        }
        let path = self.without_base(path)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(format!("{}{slash}{path}", &text[..text.len() - rest.len() + authority.len()]))
    }

    /// Returns the public form of a reference that begins with a path of the server; `None` if it
    /// stays.
    fn path(&self, text: &str) -> Option<String> {
        if self.server.base.is_empty() || !text.starts_with('/') {
            return None;
        }
        let path = self.without_base(text)?;
        // `//name` would be another server. Browsers read `/\name` and `/<tab>/name` in this way.
        let is_plain = |byte: &u8| !matches!(byte, b'/' | b'\\') && *byte > b' ';
        Some(match path.as_bytes() {
            [b'/'] => "/".to_owned(),
            [b'/', second, ..] if is_plain(second) => path.to_owned(),
            [b'/', ..] => format!("{}://{}{path}", self.scheme, self.authority),
            _ => format!("/{path}"),
        })
    }

    /// Removes the server's path from the beginning of a path, query and fragment. `None` if it is
    /// not there as whole segments, or if dot segments may lead out of it.
    fn without_base<'t>(&self, text: &'t str) -> Option<&'t str> {
        let base = &*self.server.base;
        if base.is_empty() {
            return Some(text);
        }
        let rest = text.strip_prefix(base)?;
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let leads_out = path.contains("/..") || path.to_ascii_lowercase().contains("%2e");
        let is_whole = rest.is_empty() || rest.starts_with(['/', '?', '#']);
        (is_whole && !leads_out).then_some(rest)
    }

    /// Returns whether an authority, after this scheme, is that of the server.
    fn is_server(&self, scheme: Option<&str>, authority: &str) -> bool {
        let server = &self.server.destination;
        let own_scheme = if server.is_tls { "https" } else { "http" };
        if !scheme.is_none_or(|scheme| scheme.eq_ignore_ascii_case(own_scheme)) || authority.contains('@') {
            return false;
        }
        let uri = Uri::builder().scheme(own_scheme).authority(authority).path_and_query("/").build();
        uri.is_ok_and(|uri| Destination::of(&uri).as_ref() == Some(server))
    }

    /// Maps the references between `<` and `>` in a `Link` (RFC 8288 §3); `None` if all stay.
    fn link(&self, text: &str) -> Option<String> {
        let mut mapped: Option<String> = None;
        let (mut copied, mut at, mut is_quoted) = (0, 0, false);
        while let Some(byte) = text.as_bytes().get(at) {
            match byte {
                b'\\' if is_quoted => at += 1,
                b'"' => is_quoted = !is_quoted,
                b'<' if !is_quoted => {
                    let Some(length) = text[at + 1..].find('>') else { break };
                    let end = at + 1 + length;
                    if let Some(reference) = self.reference(&text[at + 1..end]) {
                        let mapped = mapped.get_or_insert_default();
                        mapped.push_str(&text[copied..=at]);
                        mapped.push_str(&reference);
                        copied = end;
                    }
                    at = end;
                }
                _ => {}
            }
            at += 1;
        }
        mapped.map(|mapped| mapped + &text[copied..])
    }

    /// Maps `Domain` and `Path` of a cookie (RFC 6265 §4.1); `None` if both stay.
    fn cookie(&self, text: &str) -> Option<String> {
        let mut mapped: Option<String> = None;
        let mut copied = 0;
        let first = text.find(';')?;
        let mut at = first + 1;
        for attribute in text[first + 1..].split(';') {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let start = at + attribute.len() - value.len();
            at += attribute.len() + 1;
            let value = value.trim_ascii();
            let public = if name.trim_ascii().eq_ignore_ascii_case("domain") {
                self.domain(value)
            } else if name.trim_ascii().eq_ignore_ascii_case("path") {
                self.cookie_path(value)
            } else {
                None
            };
            if let Some(public) = public {
                let mapped = mapped.get_or_insert_default();
                mapped.push_str(&text[copied..start]);
                mapped.push_str(public);
                copied = at - 1;
            }
        }
        mapped.map(|mapped| mapped + &text[copied..])
    }

    /// Returns the public host, if the domain of a cookie is the server's name.
    fn domain(&self, domain: &str) -> Option<&str> {
        let name = domain.strip_prefix('.').unwrap_or(domain);
        let host = self.authority.host();
        (name.eq_ignore_ascii_case(&self.server.destination.host) && !name.eq_ignore_ascii_case(host))
            .then_some(host)
    }

    /// Returns the public path of a cookie, if it is one of the server's.
    fn cookie_path<'t>(&self, path: &'t str) -> Option<&'t str> {
        if self.server.base.is_empty() {
            return None;
        }
        let path = self.without_base(path)?;
        Some(if path.starts_with('/') { path } else { "/" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps a field of a response to a request for `https://example.com`.
    fn mapped(server: &str, name: &'static str, value: &str) -> String {
        let options = HyperOptions::to(server).expect("a URL");
        let rewrite =
            UrlRewrite::new(Arc::new(crate::HyperOrigin::new(options.clone()).expect("valid")), &options);
        let authority = Authority::from_static("example.com");
        let server = rewrite.server.as_ref().expect("a server");
        let mut fields = HeaderMap::new();
        fields.insert(name, HeaderValue::from_str(value).expect("a value"));
        Mapping { server, scheme: "https", authority: &authority }.apply(&mut fields);
        fields[name].to_str().expect("text").to_owned()
    }

    #[test]
    fn locations_of_the_server_become_public() {
        let (plain, app) = ("http://10.0.0.1:3000", "http://app.internal/shop/");
        for (server, value, expected) in [
            (plain, "http://10.0.0.1:3000/login?a=b#c", "https://example.com/login?a=b#c"),
            (plain, "HTTP://10.0.0.1:3000", "https://example.com"),
            (plain, "http://10.0.0.1:3000?a", "https://example.com/?a"),
            (plain, "//10.0.0.1:3000/a", "//example.com/a"),
            (plain, "http://10.0.0.1/a", "http://10.0.0.1/a"),
            (plain, "https://10.0.0.1:3000/a", "https://10.0.0.1:3000/a"),
            (plain, "http://10.0.0.1:3000@evil.test/", "http://10.0.0.1:3000@evil.test/"),
            (plain, "http://10.0.0.1:3000.evil.test/", "http://10.0.0.1:3000.evil.test/"),
            (plain, "http://10.0.0.1:3000\\evil", "http://10.0.0.1:3000\\evil"),
            (
                plain,
                "https://other.test/?to=http://10.0.0.1:3000/",
                "https://other.test/?to=http://10.0.0.1:3000/",
            ),
            (plain, "/login", "/login"),
            (plain, "login?to=//10.0.0.1:3000/", "login?to=//10.0.0.1:3000/"),
            (plain, "//evil.test/", "//evil.test/"),
            (plain, "", ""),
            (app, "http://APP.internal:80/shop/cart", "https://example.com/cart"),
            (app, "http://app.internal/shop", "https://example.com"),
            (app, "http://app.internal/shop?a", "https://example.com/?a"),
            (app, "http://app.internal/shopping", "http://app.internal/shopping"),
            (app, "http://app.internal/", "http://app.internal/"),
            (app, "http://example.com/shop/cart", "http://example.com/cart"),
            (app, "https://example.com/shop", "https://example.com/"),
            (app, "https://example.com/cart", "https://example.com/cart"),
            (app, "/shop/cart", "/cart"),
            (app, "/shop", "/"),
            (app, "/shop?a", "/?a"),
            (app, "/shop/", "/"),
            (app, "/shopping", "/shopping"),
            (app, "/other", "/other"),
            (app, "/shop/../other", "/shop/../other"),
            (app, "/shop/%2E./other", "/shop/%2E./other"),
            (app, "/shop/a?b=/..", "/a?b=/.."),
            (app, "/shop/a?b=https://example.com/shop/", "/a?b=https://example.com/shop/"),
            (app, "ftp://example.com/shop/a", "ftp://example.com/shop/a"),
        ] {
            assert_eq!(mapped(server, "location", value), expected, "{value} of {server}");
        }
    }

    /// A client had requested `//evil.test`, and the server redirected to `/shop//evil.test/`.
    #[test]
    fn no_path_becomes_the_name_of_a_server() {
        for (value, expected) in [
            ("/shop//evil.test/", "https://example.com//evil.test/"),
            ("/shop/\\evil.test/", "https://example.com/\\evil.test/"),
            ("/shop/\t/evil.test/", "https://example.com/\t/evil.test/"),
            ("http://app.internal/shop//evil.test/", "https://example.com//evil.test/"),
        ] {
            assert_eq!(mapped("http://app.internal/shop", "location", value), expected, "{value}");
        }
    }

    #[test]
    fn links_and_cookies_of_the_server_become_public() {
        let app = "http://app.internal/shop";
        for (name, value, expected) in [
            (
                "link",
                "</shop/a.css>; rel=preload; title=\"</shop/b>, \\\"<\", <http://app.internal/shop/c>; rel=next, <d>",
                "</a.css>; rel=preload; title=\"</shop/b>, \\\"<\", <https://example.com/c>; rel=next, <d>",
            ),
            ("link", "<https://other.test/>; rel=next", "<https://other.test/>; rel=next"),
            ("link", "</shop/a", "</shop/a"),
            ("set-cookie", "a=/shop; Path=/shop; Domain=app.internal", "a=/shop; Path=/; Domain=example.com"),
            (
                "set-cookie",
                "a=1;domain = .APP.internal ; path=/shop/x;Secure",
                "a=1;domain =example.com; path=/x;Secure",
            ),
            ("set-cookie", "a=1; Path=/; Domain=internal", "a=1; Path=/; Domain=internal"),
            ("set-cookie", "a=Path=/shop", "a=Path=/shop"),
            ("set-cookie", "a=1; Path=/shop/b;", "a=1; Path=/b;"),
            ("content-location", "/shop/a", "/a"),
            ("x-location", "/shop/a", "/shop/a"),
        ] {
            assert_eq!(mapped(app, name, value), expected, "{name}");
        }
    }
}
