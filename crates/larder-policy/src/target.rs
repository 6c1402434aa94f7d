//! Normalizes target URIs (RFC 9110 §4.2.3, RFC 3986 §6.2.2).
//!
//! The normal form is both looked up in the cache *and* requested from the origin. If two spellings
//! shared a key but reached the origin as they were sent, one could store another resource under
//! the other's key.
//!
//! Only differences that have no meaning for any origin are normalized: the case of scheme and
//! host, default ports, the case of percent-encodings, dot segments, characters of a path that are
//! encoded without need (RFC 3986 §6.2.2.2), and characters that a URI contains only
//! percent-encoded (RFC 3986 §2.1). In the query nothing is decoded, since origins may sign it as
//! text. Repeated slashes stay as they are.

use std::{borrow::Cow, fmt};

use http::Uri;

use crate::{
    dot_segments::{has_dot_segment, without_dot_segments},
    percent::{
        decode_unreserved, encode, has_lower_case_encoding, has_unreserved_encoding, upper_case_encodings,
    },
};

/// Maximum length of authority, path and query together, in bytes. Longer targets are rejected.
const MAX_TARGET_LENGTH: usize = 64 * 1024;

/// The target URI of a request in normal form: scheme, authority, path and query.
///
/// Characters that no URI contains, such as `"`, `|` and those outside of ASCII, are
/// percent-encoded. White space and control characters are errors.
///
/// ```
/// use larder_policy::TargetUri;
///
/// let target = TargetUri::parse("HTTP://Example.com:80/a/../b?x=1").unwrap();
/// assert_eq!(target.as_str(), "http://example.com/b?x=1");
/// assert_eq!(target.join("/Manü").unwrap().as_str(), "http://example.com/Man%C3%BC");
/// assert_eq!(target.join("c").unwrap().as_str(), "http://example.com/c");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetUri {
    text: Box<str>,
    /// Offset of `://`.
    scheme: u32,
    /// Offset of the path.
    path: u32,
}

/// The reason why a target is invalid. It does not contain the target, which may contain secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetError {
    /// The scheme is not `http` or `https`.
    Scheme,
    /// The authority is empty, contains user information, or is not a host with an optional port.
    Authority,
    /// The path does not begin with `/`, or contains bytes that a URI cannot contain.
    Path,
    /// The target has more than 64 KiB.
    TooLong,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the scheme is neither http nor https",
            Self::Authority => "the authority is not a host with an optional port",
            Self::Path => "the path does not begin with / or contains bytes that a URI cannot contain",
            Self::TooLong => "the target is longer than 64 KiB",
        })
    }
}

impl fmt::Debug for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for TargetError {}

impl TargetUri {
    /// Creates a target from the parts of a request.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if a part is invalid or the target is too long.
    pub fn new(scheme: &str, authority: &str, path_and_query: &str) -> Result<Self, TargetError> {
        let parts = Parts::new(scheme, authority, path_and_query)?;
        let mut text =
            String::with_capacity(3 + parts.scheme.len() + parts.authority.len() + parts.path.len());
        text.push_str(parts.scheme);
        text.push_str("://");
        text.push_str(&parts.authority);
        let path = offset(text.len());
        text.push_str(&parts.path);
        Ok(Self { text: text.into_boxed_str(), scheme: offset(parts.scheme.len()), path })
    }

    /// Creates a target from an absolute URI. A fragment is removed.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the URI is not absolute, a part is invalid or the target is too
    /// long.
    pub fn parse(uri: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = uri.split_once("://").ok_or(TargetError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        Self::new(scheme, authority, path)
    }

    /// Creates a target from the absolute URI of a request.
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the URI is not absolute, a part is invalid or the target is too
    /// long.
    pub fn from_uri(uri: &Uri) -> Result<Self, TargetError> {
        let scheme = uri.scheme_str().ok_or(TargetError::Scheme)?;
        let authority = uri.authority().ok_or(TargetError::Authority)?;
        Self::new(scheme, authority.as_str(), uri.path_and_query().map_or("/", |path| path.as_str()))
    }

    /// Returns the scheme: `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme as usize]
    }

    /// Returns the host, and the port if it is not the default of the scheme.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme as usize + 3..self.path as usize]
    }

    /// Returns path and query. They begin with `/`, or are `*`.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path as usize..]
    }

    /// Returns scheme and authority, which form the origin, such as `https://example.com`.
    pub fn origin(&self) -> &str {
        &self.text[..self.path as usize]
    }

    /// Returns the whole URI.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the target with the unnecessary percent-encodings of its query decoded, those of
    /// letters, digits and `-._~` (RFC 3986 §6.2.2.2). Most servers treat both as the same, and
    /// their keys are different.
    ///
    /// A purge concerns both: its URL may come from a program with another habit of encoding.
    ///
    /// ```
    /// use larder_policy::TargetUri;
    ///
    /// let target = TargetUri::parse("https://example.com/%7Ealice?of=%7Ebob%26").unwrap();
    /// assert_eq!(target.as_str(), "https://example.com/~alice?of=%7Ebob%26");
    /// assert_eq!(target.decoded().as_str(), "https://example.com/~alice?of=~bob%26");
    /// ```
    #[must_use]
    pub fn decoded(&self) -> Self {
        let path = decode_unreserved(self.path_and_query());
        Self::new(self.scheme(), self.authority(), &path).unwrap_or_else(|_| self.clone())
    }

    /// Returns the target as an `http` URI, or `None` if `http` does not accept it, as for `*`.
    pub fn to_uri(&self) -> Option<Uri> {
        Uri::try_from(self.as_str()).ok()
    }

    /// Returns whether `uri` already has this normal form.
    pub fn is_written_as(&self, uri: &Uri) -> bool {
        uri.scheme_str() == Some(self.scheme())
            && uri.authority().is_some_and(|authority| authority.as_str() == self.authority())
            && uri.path_and_query().is_some_and(|path| path.as_str() == self.path_and_query())
    }

    /// Resolves a reference in a header field of this target's response (RFC 3986 §5.2).
    ///
    /// # Errors
    ///
    /// Returns a [`TargetError`] if the result is not a valid `http` or `https` target.
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

/// Returns an offset as 32 bits.
fn offset(index: usize) -> u32 {
    // Offsets are limited by `MAX_TARGET_LENGTH`.
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Returns whether a reference begins with a scheme.
fn has_scheme(reference: &str) -> bool {
    let end = reference.find([':', '/', '?']).unwrap_or(reference.len());
    reference[end..].starts_with(':') && reference.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// The parts of a target in normal form, borrowed if they already were in it.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'static str,
    pub(crate) authority: Cow<'a, str>,
    pub(crate) path: Cow<'a, str>,
}

impl<'a> Parts<'a> {
    /// Normalizes the parts of a target.
    pub(crate) fn new(scheme: &str, authority: &'a str, path: &'a str) -> Result<Self, TargetError> {
        if authority.len() + path.len() > MAX_TARGET_LENGTH {
            return Err(TargetError::TooLong);
        }
        let scheme = match scheme {
            "http" => "http",
            "https" => "https",
            other if other.eq_ignore_ascii_case("http") => "http",
            other if other.eq_ignore_ascii_case("https") => "https",
            _ => return Err(TargetError::Scheme),
        };
        let normal =
            Self { scheme, authority: normal_authority(scheme, authority)?, path: normal_path(path)? };
        // The normal form is a target itself: encodings may have made it longer.
        let length = normal.authority.len() + normal.path.len();
        if length > MAX_TARGET_LENGTH { Err(TargetError::TooLong) } else { Ok(normal) }
    }
}

/// A byte that a host name cannot contain (RFC 3986 §3.2.2).
const NOT_HOST: u8 = 1;
/// A byte that a request target cannot contain in any form: white space, controls, and `#`.
const NOT_PATH: u8 = 1 << 1;
const UPPER: u8 = 1 << 2;
const PERCENT: u8 = 1 << 3;
const DOT: u8 = 1 << 4;
/// A byte that a URI contains only percent-encoded (RFC 3986 §2), and that some clients send as it
/// is.
const RAW: u8 = 1 << 5;

/// The classes of each byte. A target is checked in one pass over its bytes.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        let mut class = 0;
        if !value.is_ascii_alphanumeric()
            && !matches!(value, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b'%')
        {
            class |= NOT_HOST;
        }
        if matches!(value, 0..=b' ' | b'#' | 0x7f) {
            class |= NOT_PATH;
        }
        if matches!(value, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..) {
            class |= RAW;
        }
        class |= if value.is_ascii_uppercase() { UPPER } else { 0 };
        class |= if value == b'%' { PERCENT } else { 0 };
        class |= if value == b'.' { DOT } else { 0 };
        classes[byte] = class;
        byte += 1;
    }
    classes
};

/// Returns the union of the classes of all bytes.
fn classes(text: &str) -> u8 {
    text.bytes().fold(0, |seen, byte| seen | CLASSES[usize::from(byte)])
}

/// Normalizes an authority: host in lower case, without the default port.
fn normal_authority<'a>(scheme: &str, authority: &'a str) -> Result<Cow<'a, str>, TargetError> {
    let seen = classes(authority);
    if seen & (NOT_HOST | UPPER) == 0 && !authority.is_empty() {
        // No port and no address literal: `:` and `[` are not in a name.
        return Ok(Cow::Borrowed(authority));
    }
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
    let normal = if default { host } else { authority };
    if seen & UPPER != 0 {
        return Ok(Cow::Owned(normal.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(normal))
}

/// Normalizes path and query: no dot segments, percent-encodings in upper case, in the path none
/// that is unnecessary, and what needs an encoding encoded.
fn normal_path(path: &str) -> Result<Cow<'_, str>, TargetError> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    let seen = classes(path);
    if seen & NOT_PATH != 0 {
        return Err(TargetError::Path);
    }
    if seen & (DOT | PERCENT | RAW) == 0 && path.starts_with('/') {
        return Ok(Cow::Borrowed(path));
    }
    let (hierarchy, query) = path.split_at(path.bytes().position(|byte| byte == b'?').unwrap_or(path.len()));
    if !hierarchy.is_empty() && !hierarchy.starts_with('/') {
        return Err(TargetError::Path);
    }
    let dotted = seen & (DOT | PERCENT) != 0 && has_dot_segment(hierarchy);
    let encoded = seen & PERCENT != 0 && has_lower_case_encoding(path);
    let unnecessary = seen & PERCENT != 0 && has_unreserved_encoding(hierarchy);
    let raw = seen & RAW != 0;
    if !dotted && !encoded && !unnecessary && !raw && !hierarchy.is_empty() {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = if dotted { without_dot_segments(hierarchy) } else { hierarchy.to_owned() };
    if normal.is_empty() {
        normal.push('/');
    }
    // Also if a removed segment was the reason not to decode.
    if unnecessary || dotted {
        normal = decode_unreserved(&normal).into_owned();
    }
    normal.push_str(query);
    if encoded {
        normal = upper_case_encodings(&normal);
    }
    Ok(Cow::Owned(if raw { encode(&normal, |byte| CLASSES[usize::from(byte)] & RAW != 0) } else { normal }))
}
