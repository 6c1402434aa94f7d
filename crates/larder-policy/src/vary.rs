//! Matches the selecting header fields (RFC 9111 §4.1): decides which of several stored responses a
//! request selects.
//!
//! The values are stored as received and in a normal form. A request with identical lines matches
//! without normalization. Otherwise the normal forms are compared. They only differ from the lines
//! in what has no meaning by the definition of the field.
//!
//! The normal form of a field is computed at most once for a request, whatever the number of stored
//! responses is ([`NormalForms`]), and values of more than 4 KiB are not normalized: their lines
//! are compared byte by byte. Two spellings of such a value select different responses, which costs
//! a request to the origin and is never wrong (§4.1).

use std::{hash::Hasher as _, sync::OnceLock};

use http::{HeaderMap, HeaderName};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::{
    RequestHead, RequestHeaders,
    header_names::{AUTHORIZATION, VARY},
    list::{list_members, members_of},
    request::HeaderFlags,
};

/// Maximum number of nominated names. More count as `Vary: *`.
const MAX_NAMES: usize = 64;

/// Length in bytes up to which a value is normalized, over all its lines.
const MAX_NORMALIZED: usize = 4096;

/// The normalized values of the request fields that the `Vary` of a response nominates (§4.1).
#[derive(Debug, Clone, Default)]
pub struct SelectingHeaders {
    /// Nominated fields, sorted by name.
    entries: Box<[Entry]>,
    /// Whether no request matches: `Vary` contains `*`, an invalid name or too many names.
    matches_none: bool,
    /// The result of [`short_fingerprint`](Self::short_fingerprint), once it has been computed.
    short_fingerprint: OnceLock<u64>,
}

/// One nominated field and its value in the request.
#[derive(Debug, Clone)]
struct Entry {
    name: HeaderName,
    /// Value in normal form. `None` if the request did not have the field.
    value: Option<Box<[u8]>>,
    /// Value as received, if it is one line and differs from the normal form.
    raw: Option<Box<[u8]>>,
}

impl PartialEq for SelectingHeaders {
    fn eq(&self, other: &Self) -> bool {
        self.matches_none == other.matches_none && self.iter().eq(other.iter())
    }
}

impl Eq for SelectingHeaders {}

impl SelectingHeaders {
    /// Returns this request's values of the fields that the response's `Vary` and `additional`
    /// nominate.
    pub(crate) fn of<F: RequestHeaders>(
        response: &HeaderMap,
        additional: impl Iterator<Item = HeaderName>,
        request: &RequestHead<'_, F>,
    ) -> Self {
        let mut names: Vec<_> = additional.collect();
        for member in members_of(response, &VARY) {
            match HeaderName::from_bytes(member) {
                // `*` is a token, and would therefore also be a valid field name.
                Ok(name) if member != b"*" && names.len() < MAX_NAMES => names.push(name),
                // An invalid field name nominates an unknown field.
                _ => return Self { matches_none: true, ..Self::default() },
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let entry = |name: HeaderName| {
            let value = normal_form(&name, request.fields());
            let raw = {
                let mut lines = request.fields().lines_of(&name);
                let single = lines.next().filter(|_| lines.next().is_none());
                let single = single.filter(|line| name != AUTHORIZATION && Some(*line) != value.as_deref());
                single.map(Box::from)
            };
            Entry { name, value, raw }
        };
        Self { entries: names.into_iter().map(entry).collect(), ..Self::default() }
    }

    /// Creates the value from what a store has read back: names with their values in normal form.
    pub fn from_stored(entries: Vec<(HeaderName, Option<Vec<u8>>)>, never_matches: bool) -> Self {
        let entry = |(name, value): (HeaderName, Option<Vec<u8>>)| Entry {
            name,
            value: value.map(Vec::into_boxed_slice),
            raw: None,
        };
        Self {
            entries: entries.into_iter().map(entry).collect(),
            matches_none: never_matches,
            ..Self::default()
        }
    }

    /// Returns whether this request has the same values.
    pub fn matches<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> bool {
        self.matches_with(&mut NormalForms::of(request))
    }

    /// Returns whether the request of these normal forms has the same values.
    pub(crate) fn matches_with<F: RequestHeaders>(&self, request: &mut NormalForms<'_, F>) -> bool {
        !self.matches_none && self.entries.iter().all(|entry| entry.matches(request))
    }

    /// Returns this request's values of the nominated fields as bytes, or `None` if no request
    /// matches, as for `Vary: *`. Requests that match the same stored responses have equal bytes.
    pub fn variant_of<F: RequestHeaders>(&self, request: &RequestHead<'_, F>) -> Option<Vec<u8>> {
        let mut variant = Vec::new();
        for entry in &self.entries {
            let value = normal_form(&entry.name, request.fields());
            let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
            variant.extend_from_slice(&length.to_le_bytes());
            variant.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        (!self.matches_none).then_some(variant)
    }

    /// Returns a fingerprint of 128 bits of the names and values, for stores that name each variant
    /// of a key.
    ///
    /// Equal values have equal fingerprints, in every process, on every platform and in every
    /// version of this crate, so a store may write it to disk or to another machine. Different
    /// values have different ones except by chance, or by a client that searches for a collision:
    /// the hash is not keyed. Compare the values themselves before a response is served.
    ///
    /// It is the SipHash-1-3 of 128 bits, with a key of zeros, of three parts for each name in
    /// order: the name, `1` or `0` for present or absent, and the value in normal form. If no
    /// request matches, the part `*` follows. Each part is preceded by its length, 64 bits
    /// little-endian.
    ///
    /// ```
    /// use larder_policy::SelectingHeaders;
    ///
    /// let none = SelectingHeaders::default();
    /// assert_eq!(none.fingerprint(), SelectingHeaders::from_stored(Vec::new(), false).fingerprint());
    /// assert_ne!(none.fingerprint(), SelectingHeaders::from_stored(Vec::new(), true).fingerprint());
    /// ```
    pub fn fingerprint(&self) -> u128 {
        let mut hasher = SipHasher13::new();
        let mut part = |bytes: &[u8]| {
            hasher.write(&(bytes.len() as u64).to_le_bytes());
            hasher.write(bytes);
        };
        for (name, value) in self.iter() {
            part(name.as_str().as_bytes());
            part(if value.is_some() { b"1" } else { b"0" });
            part(value.unwrap_or_default());
        }
        if self.matches_none {
            part(b"*");
        }
        hasher.finish128().as_u128()
    }

    /// Returns the lower 64 bits of the [`fingerprint`](Self::fingerprint), which are computed once
    /// and then kept in memory.
    ///
    /// For tables in which a collision does no harm.
    pub fn short_fingerprint(&self) -> u64 {
        *self.short_fingerprint.get_or_init(|| self.fingerprint() as u64)
    }

    /// Returns whether no request matches: `Vary` contains `*`, an invalid name or more than 64
    /// names.
    pub fn never_matches(&self) -> bool {
        self.matches_none
    }

    /// Returns the names, sorted, with their values in normal form.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.entries.iter().map(|entry| (&entry.name, entry.value.as_deref()))
    }

    /// Returns whether other variants of the response are to be expected: any field selects, or no
    /// request matches.
    ///
    /// In a private cache every response also selects by `Authorization`. A response to a request
    /// without credentials counts as one without variants, since most keys have no other.
    pub fn varies(&self) -> bool {
        let selects = |entry: &Entry| entry.value.is_some() || entry.name != AUTHORIZATION;
        self.matches_none || self.entries.iter().any(selects)
    }

    /// Returns the approximate memory use of the values in bytes.
    pub(crate) fn weight(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        self.entries.iter().map(|entry| size_of::<Entry>() + length(&entry.value) + length(&entry.raw)).sum()
    }
}

/// The normal forms of one request's fields, each computed when a stored response first needs it.
pub(crate) struct NormalForms<'a, F> {
    fields: &'a F,
    has_credentials: bool,
    computed: Vec<(HeaderName, Option<Box<[u8]>>)>,
}

impl<'a, F: RequestHeaders> NormalForms<'a, F> {
    /// Creates the value for a request. Nothing is allocated before a normal form is needed.
    pub(crate) fn of(request: &RequestHead<'a, F>) -> Self {
        let has_credentials = request.has(HeaderFlags::AUTHORIZATION);
        Self { fields: request.fields(), has_credentials, computed: Vec::new() }
    }

    /// Returns the normal form of a field.
    fn get(&mut self, name: &HeaderName) -> Option<&[u8]> {
        let index = self.computed.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.computed.push((name.clone(), normal_form(name, self.fields)));
            self.computed.len() - 1
        });
        self.computed[index].1.as_deref()
    }
}

impl Entry {
    /// Returns whether a request has the same value of this field.
    fn matches<F: RequestHeaders>(&self, request: &mut NormalForms<'_, F>) -> bool {
        if self.name == AUTHORIZATION && self.value.is_none() {
            // Almost every response of a private cache: no field has to be looked up.
            return !request.has_credentials;
        }
        let mut lines = request.fields.lines_of(&self.name);
        let first = lines.next();
        let one_line = lines.next().is_none();
        match (first, &self.value) {
            (None, None) => true,
            (None, Some(_)) | (Some(_), None) => false,
            (Some(line), Some(value)) => {
                // The normal form of credentials is no credential itself.
                let as_stored = line == &**value && self.name != AUTHORIZATION;
                one_line && (as_stored || Some(line) == self.raw.as_deref())
                    || request.get(&self.name) == Some(value)
            }
        }
    }
}

/// Returns the normal form of a field value over all its lines.
///
/// The lines of every field are joined (RFC 9110 §5.3). The fields of content negotiation
/// (RFC 9110 §12.5) are also known to be lists in which order and white space have no meaning, and
/// in which some parts are case-insensitive, unless they are longer than [`MAX_NORMALIZED`].
fn normal_form(name: &HeaderName, request: &impl RequestHeaders) -> Option<Box<[u8]>> {
    let mut lines = request.lines_of(name).map(<[u8]>::trim_ascii);
    let (first, second) = (lines.next()?, lines.next());
    let ignores_case = match name.as_str() {
        "accept" => Some(false),
        "accept-charset" | "accept-encoding" | "accept-language" => Some(true),
        _ => None,
    };
    // The joined lines of a long value are longer than any normal form, and equal none.
    let length = match second {
        None => first.len(),
        Some(_) => request.lines_of(name).map(|line| line.trim_ascii().len()).sum(),
    };
    let lines = std::iter::once(first).chain(second).chain(lines);
    if *name == AUTHORIZATION {
        return Some(credentials_fingerprint(&lines.collect::<Vec<_>>()));
    }
    let Some(ignores_case) = ignores_case.filter(|_| length <= MAX_NORMALIZED) else {
        return Some(lines.collect::<Vec<_>>().join(&b", "[..]).into_boxed_slice());
    };
    let mut members: Vec<Vec<u8>> =
        list_members(lines).map(|member| normal_member(member, ignores_case)).collect();
    members.sort_unstable();
    Some(members.join(&b","[..]).into_boxed_slice())
}

/// Returns a hash of credentials, so that a store contains no secret.
fn credentials_fingerprint(lines: &[&[u8]]) -> Box<[u8]> {
    let mut hasher = SipHasher13::new();
    for line in lines {
        hasher.write(&(line.len() as u64).to_le_bytes());
        hasher.write(line);
    }
    format!("{:032x}", hasher.finish128().as_u128()).into_bytes().into()
}

/// Normalizes a list member: no white space around semicolons, and lower case where case has no
/// meaning. The value of a media type parameter may be case-sensitive (RFC 9110 §8.3.1); types,
/// codings, languages and names are not.
fn normal_member(member: &[u8], ignores_case: bool) -> Vec<u8> {
    let mut normal = Vec::with_capacity(member.len());
    let mut quoted = false;
    let mut escaped = false;
    let mut in_value = false;
    for byte in member {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => continue,
            b'=' if !quoted => in_value = true,
            b';' if !quoted => in_value = false,
            _ => {}
        }
        let case_sensitive = quoted || in_value && !ignores_case;
        normal.push(if case_sensitive { *byte } else { byte.to_ascii_lowercase() });
    }
    normal
}
