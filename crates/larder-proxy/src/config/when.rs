//! The keys of a table `[[route.when]]`.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::values;

/// A rule of a route for some of its requests: a table `[[route.when]]`. All of its conditions have
/// to hold.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct WhenConfig {
    /// Methods, of which the request has one. Default: any.
    pub method: Vec<String>,
    /// Patterns, of which the path matches one. Default: any.
    pub path: Vec<String>,
    /// Headers. Default: any.
    pub header: NamesConfig,
    /// Cookies. Default: any.
    pub cookie: NamesConfig,
    /// Query parameters. Default: any.
    pub query: NamesConfig,
    /// Conditions of which none may hold. Default: none.
    pub not: NotConfig,
    /// Whether requests bypass the cache. Default: false.
    pub bypass: bool,
    /// Names of cookies that are removed from requests. Default: none.
    pub strip_cookies: Vec<String>,
    /// What is part of the cache key, in addition to the `key` of the route.
    pub key: WhenKeyConfig,
    /// How long responses are fresh, whatever lifetime they specify. Default: as for the route.
    #[serde(deserialize_with = "values::duration")]
    pub freshness: Option<Duration>,
    /// How long responses are fresh if they specify no lifetime. Default: as for the route.
    #[serde(deserialize_with = "values::duration")]
    pub default_freshness: Option<Duration>,
    /// Default for the directive of this name. Default: as for the route.
    #[serde(deserialize_with = "values::duration")]
    pub stale_while_revalidate: Option<Duration>,
    /// Default for the directive of this name. Default: as for the route.
    #[serde(deserialize_with = "values::duration")]
    pub stale_if_error: Option<Duration>,
}

/// Conditions of which none may hold: the table `[route.when.not]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NotConfig {
    /// Methods, of which the request has none.
    pub method: Vec<String>,
    /// Patterns, of which the path matches none.
    pub path: Vec<String>,
    /// Headers, of which the request has none; of a table, not all with these values.
    pub header: NamesConfig,
    /// Cookies, of which the request has none; of a table, not all with these values.
    pub cookie: NamesConfig,
    /// Query parameters, of which the request has none; of a table, not all with these values.
    pub query: NamesConfig,
}

/// What a rule adds to the cache key: the table `[route.when.key]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct WhenKeyConfig {
    /// Names of cookies. Default: none.
    pub cookies: Vec<String>,
}

/// Names that a condition looks for: a list, of which the request has one, or a table of names and
/// values, of which it has all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum NamesConfig {
    /// The request has one of these, with any value.
    Any(Vec<String>),
    /// The request has all of these, each with a value that matches the pattern.
    All(BTreeMap<String, String>),
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self::Any(Vec::new())
    }
}

impl NamesConfig {
    /// Returns whether there are no names, and so no condition.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Any(names) => names.is_empty(),
            Self::All(values) => values.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for NamesConfig {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(NamesVisitor)
    }
}

/// Reads a name, a list of names, or a table of names and values.
struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = NamesConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, a list of names, or a table of names and values")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<NamesConfig, E> {
        Ok(NamesConfig::Any(vec![name.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NamesConfig, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(NamesConfig::Any(names))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<NamesConfig, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((name, value)) = table.next_entry()? {
            values.insert(name, value);
        }
        Ok(NamesConfig::All(values))
    }
}
