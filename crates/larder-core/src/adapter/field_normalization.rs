//! Replaces the values of request fields by one of a few, so that 10,000 spellings of a preference
//! select a few stored responses. `language` chooses among languages.

use std::{error::Error, fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header::ACCEPT_LANGUAGE};

use super::language::language_for;
use crate::{RequestHeaders, policy::is_normalizable};

/// Most values of a field.
const MAX_VALUES: usize = 256;

/// The request fields that are replaced by a normal form before the lookup, in the request that is
/// forwarded as well. Cloning is cheap.
///
/// A response with `Vary: Accept-Language` is stored once for each value of the field, and browsers
/// send thousands of different ones. With two languages as its values, it is stored at most twice.
/// The origin gets only the normal form: its response cannot depend on a part of the value that the
/// lookup ignores. Every normalized field has one value in each request, also where the client sent
/// none.
///
/// ```
/// use http::HeaderMap;
/// use larder_core::adapter::FieldNormalization;
///
/// let normalization = FieldNormalization::default()
///     .with_languages(["en", "de"])?
///     .with_values("x-device", ["desktop", "mobile"])?;
/// let mut headers = HeaderMap::new();
/// headers.insert("accept-language", "fr-FR,fr;q=0.9,de-CH;q=0.8,en;q=0.7".parse()?);
/// headers.insert("x-device", "a toaster".parse()?);
/// normalization.apply(&mut headers);
/// assert_eq!(headers["accept-language"], "de");
/// assert_eq!(headers["x-device"], "desktop");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct FieldNormalization {
    fields: Arc<[NormalField]>,
}

/// One field and its values, of which the first is the default.
#[derive(Debug, Clone)]
struct NormalField {
    name: HeaderName,
    values: Vec<HeaderValue>,
    is_language: bool,
}

impl FieldNormalization {
    /// Sets the languages in which responses exist: `Accept-Language` becomes one of them.
    ///
    /// It is chosen by lookup (RFC 4647 §3.4), in the order of the client's weights: `de-CH`
    /// selects `de`, and `pt` does not select `pt-BR`. If the client accepts none of them by name,
    /// it is the first one that it does not reject with `q=0`. A second call replaces the first.
    ///
    /// # Errors
    ///
    /// Returns an [`InvalidNormalization`] if there is no language or more than 256, or if one is
    /// not a language tag (RFC 5646).
    pub fn with_languages<T: AsRef<str>>(
        self,
        languages: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidNormalization> {
        let is_tag = |value: &str| {
            let is_subtag =
                |part: &str| matches!(part.len(), 1..=8) && part.bytes().all(|b| b.is_ascii_alphanumeric());
            value.len() <= 64 && value.split('-').all(is_subtag)
        };
        let values = values(&ACCEPT_LANGUAGE, languages, is_tag)?;
        Ok(self.with(NormalField { name: ACCEPT_LANGUAGE, values, is_language: true }))
    }

    /// Sets the values of another field, of which the first is the default.
    ///
    /// A request has one of them after that: the one that is equal to the client's value in upper
    /// or lower case, and the default if the client sent another value, several lines or none. A
    /// second call for the same field replaces the first.
    ///
    /// # Errors
    ///
    /// Returns an [`InvalidNormalization`] if there is no value or more than 256, if one is empty
    /// or not valid in a field, or if the field is not one that only selects a response
    /// ([`is_normalizable`](crate::policy::is_normalizable)), such as `Cookie`.
    pub fn with_values<T: AsRef<str>>(
        self,
        name: &str,
        allowed: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidNormalization> {
        let invalid = |reason| InvalidNormalization { field: name.to_owned(), reason };
        let parsed: HeaderName = name.parse().map_err(|_| invalid(Reason::Name))?;
        if !is_normalizable(&parsed) {
            return Err(invalid(Reason::Reserved));
        }
        let is_text = |value: &str| !value.is_empty() && value.trim() == value;
        let values = values(&parsed, allowed, is_text)?;
        Ok(self.with(NormalField { name: parsed, values, is_language: false }))
    }

    /// Returns whether no field is normalized.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the fields of a request that are not in normal form, with their normal form.
    ///
    /// For adapters with another header map than that of `http`: they replace all lines of each
    /// field by the returned value. Allocates only if a field differs.
    pub fn changes<F: RequestHeaders>(&self, headers: &F) -> Vec<(&HeaderName, &HeaderValue)> {
        self.fields.iter().filter_map(|field| Some((&field.name, field.change(headers)?))).collect()
    }

    /// Replaces the fields of a request by their normal form.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in self.changes(headers) {
            headers.insert(name, value.clone());
        }
    }

    /// Adds a field, or replaces the values of one.
    fn with(self, field: NormalField) -> Self {
        let name = field.name.clone();
        let others = self.fields.iter().filter(|other| other.name != name).cloned();
        Self { fields: others.chain([field]).collect() }
    }
}

impl NormalField {
    /// Returns the normal form of a request's field, unless the request has it already.
    fn change<F: RequestHeaders>(&self, headers: &F) -> Option<&HeaderValue> {
        let name = self.name.as_str();
        let mut lines = headers.lines(name);
        let line = lines.next();
        let line = line.filter(|_| lines.next().is_none());
        let normal = if self.is_language {
            language_for(&self.values, headers.lines(name))
        } else {
            let is_equal = |value: &&HeaderValue| {
                line.is_some_and(|line| line.trim_ascii().eq_ignore_ascii_case(value.as_bytes()))
            };
            self.values.iter().find(is_equal).or(self.values.first())
        };
        normal.filter(|normal| line != Some(normal.as_bytes()))
    }
}

/// Converts the values of a field, which are valid if `is_valid` returns true.
fn values<T: AsRef<str>>(
    name: &HeaderName,
    values: impl IntoIterator<Item = T>,
    is_valid: impl Fn(&str) -> bool,
) -> Result<Vec<HeaderValue>, InvalidNormalization> {
    let invalid = |reason| InvalidNormalization { field: name.as_str().to_owned(), reason };
    let mut converted = Vec::new();
    for value in values {
        let value = value.as_ref();
        let header = HeaderValue::from_str(value).ok().filter(|_| is_valid(value));
        converted.push(header.ok_or_else(|| invalid(Reason::Value(value.to_owned())))?);
    }
    match converted.len() {
        1..=MAX_VALUES => Ok(converted),
        0 => Err(invalid(Reason::NoValues)),
        _ => Err(invalid(Reason::TooManyValues)),
    }
}

/// The error of a field that cannot be normalized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidNormalization {
    field: String,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Name,
    Reserved,
    NoValues,
    TooManyValues,
    Value(String),
}

impl fmt::Display for InvalidNormalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = &self.field;
        match &self.reason {
            Reason::Name => write!(f, "'{field}' is not a valid header name"),
            Reason::Reserved => {
                write!(f, "'{field}' does more than select a response, so it keeps its value")
            }
            Reason::NoValues => write!(f, "'{field}' needs at least one value"),
            Reason::TooManyValues => write!(f, "'{field}' has more than {MAX_VALUES} values"),
            Reason::Value(value) => write!(f, "'{value}' is not a valid value of '{field}'"),
        }
    }
}

impl Error for InvalidNormalization {}
