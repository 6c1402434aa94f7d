//! Selecting header fields (RFC 9111 §4.1): which of several stored responses a request gets.
//!
//! The values are kept as they came and in a normal form. A request whose lines are the same bytes as before matches
//! without further ado; otherwise the normal forms are compared, which differ from the lines only in what the field's own
//! definition gives no meaning to.

use http::{HeaderMap, HeaderName};

use crate::{
    RequestHead, RequestHeaders,
    header_names::VARY,
    request::{members, members_of},
};

/// More nominated names than this count as `*`.
const MOST_NAMES: usize = 64;

/// The request's values of the fields that `Vary` nominates, normalised.
#[derive(Debug, Clone, Default)]
pub struct SelectingHeaders {
    /// Sorted by name.
    entries: Box<[Entry]>,
    any: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    name: HeaderName,
    /// In normal form; `None` if the request had no such field.
    value: Option<Box<[u8]>>,
    /// As it came, where that is one line and not the normal form already.
    raw: Option<Box<[u8]>>,
}

impl PartialEq for SelectingHeaders {
    fn eq(&self, other: &Self) -> bool {
        self.any == other.any && self.iter().eq(other.iter())
    }
}

impl Eq for SelectingHeaders {}

impl SelectingHeaders {
    /// What this request had where the response's `Vary` looks, and `beside`.
    pub(crate) fn of<F: RequestHeaders>(
        response: &HeaderMap,
        beside: &[HeaderName],
        request: &RequestHead<'_, F>,
    ) -> Self {
        let mut names = beside.to_vec();
        for member in members_of(response, &VARY) {
            match HeaderName::from_bytes(member) {
                // `*` is a token, and so would be a name.
                Ok(name) if member != b"*" && names.len() < MOST_NAMES => names.push(name),
                // What can't be a name nominates nobody knows what.
                _ => return Self { entries: Box::default(), any: true },
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let entry = |name: HeaderName| {
            let value = normal_form(&name, request.fields());
            let raw = {
                let mut lines = request.fields().lines(name.as_str());
                let one = lines.next().filter(|_| lines.next().is_none());
                one.filter(|line| Some(*line) != value.as_deref()).map(Box::from)
            };
            Entry { name, value, raw }
        };
        Self { entries: names.into_iter().map(entry).collect(), any: false }
    }

    /// Put together again from what a store kept: names with their values in normal form.
    pub fn from_stored(entries: Vec<(HeaderName, Option<Vec<u8>>)>, never_matches: bool) -> Self {
        let entry = |(name, value): (HeaderName, Option<Vec<u8>>)| Entry {
            name,
            value: value.map(Vec::into_boxed_slice),
            raw: None,
        };
        Self { entries: entries.into_iter().map(entry).collect(), any: never_matches }
    }

    /// Whether this request has the same values.
    pub fn matches<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> bool {
        !self.any && self.entries.iter().all(|entry| entry.matches(request.fields()))
    }

    /// This request's values of the same fields, framed by their lengths: equal for requests that match the same stored
    /// responses. `None` for `*`.
    pub fn variant_of<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> Option<Vec<u8>> {
        let mut variant = Vec::new();
        for entry in &self.entries {
            let value = normal_form(&entry.name, request.fields());
            let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
            variant.extend_from_slice(&length.to_le_bytes());
            variant.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        (!self.any).then_some(variant)
    }

    /// `*`: no request does.
    pub fn never_matches(&self) -> bool {
        self.any
    }

    /// The names, sorted, with their values in normal form.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.entries.iter().map(|entry| (&entry.name, entry.value.as_deref()))
    }

    pub(crate) fn weight(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        self.entries.iter().map(|entry| size_of::<Entry>() + length(&entry.value) + length(&entry.raw)).sum()
    }
}

impl Entry {
    fn matches(&self, request: &impl RequestHeaders) -> bool {
        let mut lines = request.lines(self.name.as_str());
        let first = lines.next();
        let one_line = lines.next().is_none();
        match (first, &self.value) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(line), Some(value)) => {
                one_line && (line == &**value || Some(line) == self.raw.as_deref())
                    || normal_form(&self.name, request).as_deref() == Some(value)
            }
        }
    }
}

/// The value of a field over all its lines, without what its definition gives no meaning to.
///
/// Lines are joined (RFC 9110 §5.3) for every field. Of the fields of content negotiation (RFC 9110 §12.5) it is known
/// besides that they are lists whose order and white space mean nothing, and which parts are case-insensitive.
fn normal_form(name: &HeaderName, request: &impl RequestHeaders) -> Option<Box<[u8]>> {
    let mut lines = request.lines(name.as_str()).map(<[u8]>::trim_ascii).peekable();
    lines.peek()?;
    let whole_case = match name.as_str() {
        "accept" => false,
        "accept-charset" | "accept-encoding" | "accept-language" => true,
        _ => return Some(lines.collect::<Vec<_>>().join(&b", "[..]).into_boxed_slice()),
    };
    let mut members: Vec<Vec<u8>> = members(lines).map(|member| normal_member(member, whole_case)).collect();
    members.sort_unstable();
    Some(members.join(&b","[..]).into_boxed_slice())
}

/// A member without white space around its semicolons. The value of a media type's parameter may be case-sensitive
/// (RFC 9110 §8.3.1); types, codings, languages and names are not.
fn normal_member(member: &[u8], whole_case: bool) -> Vec<u8> {
    let mut normal = Vec::with_capacity(member.len());
    let mut quoted = false;
    let mut in_value = false;
    for byte in member {
        match byte {
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => continue,
            b'=' if !quoted => in_value = true,
            b';' if !quoted => in_value = false,
            _ => {}
        }
        let keep = quoted || in_value && !whole_case;
        normal.push(if keep { *byte } else { byte.to_ascii_lowercase() });
    }
    normal
}
