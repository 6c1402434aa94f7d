//! Target URIs in normal form (RFC 9110 §4.2.3, RFC 3986 §6.2.2).
//!
//! The normal form is what is looked up *and* what the origin is asked for. If two spellings shared a key but reached
//! the origin as they were sent, one could put another resource under the other's key.
//!
//! Normalised is what has the same meaning everywhere: the case of scheme and host, default ports, the case of
//! percent-encodings, dot segments. Nothing is decoded, query parameters stay in order, and doubled slashes stay.

use std::{borrow::Cow, fmt};

use http::Uri;

/// Longer targets are refused.
const LONGEST: usize = 64 * 1024;

/// The target URI of a request: scheme, authority, path and query, in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetUri {
    text: Box<str>,
    /// Where `://` begins.
    scheme: u32,
    /// Where the path begins.
    path: u32,
}

/// Why a target can't be one. It does not repeat the target, which may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetError {
    /// The scheme is not `http` or `https`.
    Scheme,
    /// The authority is empty, has user information, or is no host with an optional port.
    Authority,
    /// The path does not begin with `/`, or holds bytes that a URI can't.
    Path,
    /// It has more than 64 KiB.
    TooLong,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the scheme is neither http nor https",
            Self::Authority => "the authority is not a host with an optional port",
            Self::Path => "the path does not begin with / or holds bytes that a URI can't",
            Self::TooLong => "it is longer than 64 KiB",
        })
    }
}

impl std::error::Error for TargetError {}

impl TargetUri {
    /// From its parts, as they stand in a request.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(scheme: &str, authority: &str, path_and_query: &str) -> Result<Self, TargetError> {
        let parts = Parts::new(scheme, authority, path_and_query)?;
        let mut text =
            String::with_capacity(3 + parts.scheme.len() + parts.authority.len() + parts.path.len());
        text.push_str(parts.scheme);
        text.push_str("://");
        text.push_str(&parts.authority);
        let path = position(text.len());
        text.push_str(&parts.path);
        Ok(Self { text: text.into_boxed_str(), scheme: position(parts.scheme.len()), path })
    }

    /// From an absolute URI.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(uri: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = uri.split_once("://").ok_or(TargetError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        Self::new(scheme, authority, path)
    }

    /// From a request's absolute URI.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn from_uri(uri: &Uri) -> Result<Self, TargetError> {
        let scheme = uri.scheme_str().ok_or(TargetError::Scheme)?;
        let authority = uri.authority().ok_or(TargetError::Authority)?;
        Self::new(scheme, authority.as_str(), uri.path_and_query().map_or("/", |path| path.as_str()))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme as usize]
    }

    /// Host, and port if it is not the scheme's own.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme as usize + 3..self.path as usize]
    }

    /// Path and query; begins with `/`, or is `*`.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path as usize..]
    }

    /// Scheme and authority: the origin, such as `https://example.com`.
    pub fn origin(&self) -> &str {
        &self.text[..self.path as usize]
    }

    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same as an `http` URI; `None` for `*`, or for what `http` does not take as a URI.
    pub fn to_uri(&self) -> Option<Uri> {
        Uri::try_from(self.as_str()).ok()
    }

    /// Whether this URI is the normal form already.
    pub fn is_written_as(&self, uri: &Uri) -> bool {
        uri.scheme_str() == Some(self.scheme())
            && uri.authority().is_some_and(|authority| authority.as_str() == self.authority())
            && uri.path_and_query().is_some_and(|path| path.as_str() == self.path_and_query())
    }

    /// What a reference in a field of this target's response points to (RFC 3986 §5.2).
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn join(&self, reference: &str) -> Result<Self, TargetError> {
        let reference = reference.trim_matches([' ', '\t']).split('#').next().unwrap_or_default();
        let path = self.path_and_query().split('?').next().unwrap_or_default();
        if reference.is_empty() {
            return Ok(self.clone());
        }
        if has_scheme(reference) {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        if reference.starts_with('/') {
            return Self::new(self.scheme(), self.authority(), reference);
        }
        let joined = if reference.starts_with('?') {
            format!("{path}{reference}")
        } else {
            let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            format!("{folder}{reference}")
        };
        Self::new(self.scheme(), self.authority(), &joined)
    }
}

impl fmt::Display for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn position(at: usize) -> u32 {
    // Bounded by LONGEST.
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']).unwrap_or(reference.len());
    reference[end..].starts_with(':') && reference.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// The parts in normal form; borrowed where they were in it already.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'static str,
    pub(crate) authority: Cow<'a, str>,
    pub(crate) path: Cow<'a, str>,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(scheme: &str, authority: &'a str, path: &'a str) -> Result<Self, TargetError> {
        if authority.len() + path.len() > LONGEST {
            return Err(TargetError::TooLong);
        }
        let scheme = match scheme {
            "http" => "http",
            "https" => "https",
            other if other.eq_ignore_ascii_case("http") => "http",
            other if other.eq_ignore_ascii_case("https") => "https",
            _ => return Err(TargetError::Scheme),
        };
        Ok(Self { scheme, authority: normal_authority(scheme, authority)?, path: normal_path(path)? })
    }
}

/// Not in a host name (RFC 3986 §3.2.2).
const NOT_HOST: u8 = 1;
/// Not in a path or query. Anything from `!` to `~` is, but what ends a URI or never stands in one; what browsers send
/// unencoded is let be.
const NOT_PATH: u8 = 1 << 1;
const UPPER: u8 = 1 << 2;
const PERCENT: u8 = 1 << 3;
const DOT: u8 = 1 << 4;

/// What there is to know of each byte: a target is judged by one look at each of its bytes.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is = byte as u8;
        let mut class = 0;
        if !is.is_ascii_alphanumeric()
            && !matches!(is, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b'%')
        {
            class |= NOT_HOST;
        }
        if !matches!(is, b'!'..=b'~') || matches!(is, b'#' | b'<' | b'>' | b'"' | b'\\') {
            class |= NOT_PATH;
        }
        class |= if is.is_ascii_uppercase() { UPPER } else { 0 };
        class |= if is == b'%' { PERCENT } else { 0 };
        class |= if is == b'.' { DOT } else { 0 };
        classes[byte] = class;
        byte += 1;
    }
    classes
};

/// The classes of all bytes together.
fn classes(text: &str) -> u8 {
    text.bytes().fold(0, |seen, byte| seen | CLASSES[usize::from(byte)])
}

fn normal_authority<'a>(scheme: &str, authority: &'a str) -> Result<Cow<'a, str>, TargetError> {
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|end| end + 2).ok_or(TargetError::Authority)?,
        None => authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    let literal_byte = |byte: u8| byte.is_ascii_hexdigit() || b"[]:.v".contains(&byte);
    let literal = host.starts_with('[');
    let seen = classes(host);
    if host.is_empty() || !literal && seen & NOT_HOST != 0 || literal && !host.bytes().all(literal_byte) {
        return Err(TargetError::Authority);
    }
    let digits = port.strip_prefix(':').unwrap_or(port);
    if port.len() > 6
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
        || !port.is_empty() && !port.starts_with(':')
    {
        return Err(TargetError::Authority);
    }
    let default = matches!((scheme, digits), (_, "") | ("http", "80") | ("https", "443"));
    let kept = if default { host } else { authority };
    if seen & UPPER != 0 {
        return Ok(Cow::Owned(kept.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(kept))
}

fn normal_path(path: &str) -> Result<Cow<'_, str>, TargetError> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    let seen = classes(path);
    if seen & NOT_PATH != 0 {
        return Err(TargetError::Path);
    }
    let (hierarchy, query) = path.split_at(path.bytes().position(|byte| byte == b'?').unwrap_or(path.len()));
    if !hierarchy.is_empty() && !hierarchy.starts_with('/') {
        return Err(TargetError::Path);
    }
    let dotted = seen & (DOT | PERCENT) != 0 && has_dot_segment(hierarchy);
    let encoded = seen & PERCENT != 0 && has_lower_case_encoding(path);
    if !dotted && !encoded && !hierarchy.is_empty() {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = if dotted { without_dot_segments(hierarchy) } else { hierarchy.to_owned() };
    if normal.is_empty() {
        normal.push('/');
    }
    normal.push_str(query);
    Ok(Cow::Owned(if encoded { upper_case_encodings(&normal) } else { normal }))
}

/// `%2e` is a dot that was encoded needlessly (RFC 3986 §6.2.2.2), and origins take it for one.
fn is_dots(segment: &str) -> Option<usize> {
    match segment.len() {
        1 | 2 => segment.bytes().all(|byte| byte == b'.').then_some(segment.len()),
        3 | 4 | 6 => {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            matches!(&*plain, "." | "..").then_some(plain.len())
        }
        _ => None,
    }
}

fn has_dot_segment(path: &str) -> bool {
    let may = |two: &[u8]| matches!(two, b"/." | b"/%");
    path.as_bytes().windows(2).any(may) && path.split('/').any(|segment| is_dots(segment).is_some())
}

/// RFC 3986 §5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let dots = is_dots(segment);
        if dots == Some(2) {
            kept.pop();
        } else if dots.is_none() {
            kept.push(segment);
        }
        if dots.is_some() && segments.peek().is_none() {
            // The folder itself: it keeps its slash.
            kept.push("");
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in kept {
        normal.push('/');
        normal.push_str(segment);
    }
    normal
}

fn has_lower_case_encoding(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest[at + 1..].iter().take(2);
        if digits.clone().all(u8::is_ascii_hexdigit) && digits.clone().any(u8::is_ascii_lowercase) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn upper_case_encodings(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, encoded) = rest.split_at(at);
        normal.push_str(before);
        let taken = encoded.get(..3).filter(|three| three[1..].bytes().all(|byte| byte.is_ascii_hexdigit()));
        let taken = taken.map_or(1, str::len);
        normal.push_str(&encoded[..taken].to_ascii_uppercase());
        rest = &encoded[taken..];
    }
    normal.push_str(rest);
    normal
}
