//! Lists the ways in which origins read the path of a request, to find out whether one of them
//! leads to another route.

use std::borrow::Cow;

use larder_core::TargetUri;

/// Returns a path as an origin reads it that decodes only what needs no encoding (RFC 3986
/// §6.2.2.2), without dot segments.
pub(crate) fn literal_path(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', '.']) {
        return path.into();
    }
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    normal(&decoded(path, is_unreserved))
}

/// All ways in which origins read a path.
#[derive(Debug)]
pub(crate) struct PathReadings<'a> {
    literal: Cow<'a, str>,
    others: Vec<Cow<'static, str>>,
}

impl<'a> PathReadings<'a> {
    /// Finds the readings of a path.
    pub(crate) fn of(path: &'a str) -> Self {
        let others = if has_other_readings(path) { other_readings(path) } else { Vec::new() };
        Self { literal: literal_path(path), others }
    }

    /// Returns the path as an origin reads it that decodes only what needs no encoding.
    pub(crate) fn literal(&self) -> &str {
        &self.literal
    }

    /// Returns all readings. Origins compare them with upper and lower case equal or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.literal()).chain(self.others.iter().map(|path| &**path))
    }
}

/// Returns whether origins may read a path in other ways than literally, apart from the case of
/// lower-case letters.
pub(crate) fn has_other_readings(path: &str) -> bool {
    path.contains("//")
        || path.bytes().any(|byte| matches!(byte, b'%' | b'\\' | b';') || byte.is_ascii_uppercase())
}

/// Returns the other ways in which origins read a path: decoded once or twice, with letters in
/// overlong encodings or as `%u0061`, up to a control character, and without the parameters of its
/// segments (RFC 3986 §3.3).
pub(crate) fn other_readings(path: &str) -> Vec<Cow<'static, str>> {
    let once = decoded_bytes(path, |_| true);
    let twice = decoded_bytes(&lenient_text(&once), |_| true);
    let mut readings = Vec::with_capacity(6);
    for bytes in [once, twice] {
        let lenient = lenient_text(&bytes);
        let up_to_control = lenient.split(|character: char| character.is_control()).next();
        let up_to_control = up_to_control.unwrap_or_default();
        let segments = up_to_control.split('/').map(|segment| segment.split(';').next());
        let segments: Vec<_> = segments.map(|segment| segment.unwrap_or_default().trim_end()).collect();
        readings.push(plain_path(&String::from_utf8_lossy(&bytes)));
        readings.push(plain_path(up_to_control));
        readings.push(plain_path(&segments.join("/")));
    }
    readings
}

/// Returns bytes as the text that a lenient decoder reads: with overlong UTF-8 (RFC 3629 §10), and
/// with `%u` before four hexadecimal digits as older servers decode it.
fn lenient_text(bytes: &[u8]) -> String {
    let continued = |byte: u8| u32::from(byte & 0x3f);
    let is_continued = |bytes: &[u8]| bytes.iter().all(|byte| byte & 0xc0 == 0x80);
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let (code, length) = match *rest {
            [0xc0 | 0xc1, b, ..] if is_continued(&[b]) => (u32::from(first & 1) << 6 | continued(b), 2),
            [0xe0, b @ 0x80..=0x9f, c, ..] if is_continued(&[c]) => (continued(b) << 6 | continued(c), 3),
            [0xf0, b @ 0x80..=0x8f, c, d, ..] if is_continued(&[c, d]) => {
                (continued(b) << 12 | continued(c) << 6 | continued(d), 4)
            }
            [b'%', b'u' | b'U', a, b, c, d, ..] => match (hexadecimal(&[a, b]), hexadecimal(&[c, d])) {
                (Some(high), Some(low)) => (u32::from(high) << 8 | u32::from(low), 6),
                _ => (0, 0),
            },
            _ => (0, 0),
        };
        match char::from_u32(code).filter(|_| length > 0) {
            Some(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => text.push(first),
        }
        rest = &rest[length.max(1)..];
    }
    String::from_utf8_lossy(&text).into_owned()
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

/// Decodes the percent-encoded bytes for which `select` returns true, as text.
fn decoded(path: &str, select: impl Fn(u8) -> bool) -> String {
    String::from_utf8_lossy(&decoded_bytes(path, select)).into_owned()
}

/// Decodes the percent-encoded bytes for which `select` returns true.
pub(crate) fn decoded_bytes(path: &str, select: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let encoded = (*byte == b'%').then(|| after.first_chunk::<2>()).flatten().and_then(hexadecimal);
        let encoded = encoded.filter(|byte| select(*byte));
        bytes.push(encoded.unwrap_or(*byte));
        rest = if encoded.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// Removes the dot segments of a path. What is not a valid path is returned unchanged.
fn normal(path: &str) -> Cow<'static, str> {
    let is_no_part = |character: char| matches!(character, '?' | '#' | ' ') || character.is_control();
    match TargetUri::new("http", "host", &path.replace(is_no_part, "_")) {
        Ok(target) => target.path_and_query().to_owned().into(),
        Err(_) => path.to_owned().into(),
    }
}

/// Returns the value of two hexadecimal digits.
fn hexadecimal(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
}
