//! Types of values in the configuration file that have a form of their own.

use std::{fmt, str::FromStr, time::Duration};

use larder::core::{adapter::ForwardedFields, policy};
use serde::Deserialize;

use crate::store_url;

/// A duration, such as `5s`, `1m 30s` or `250ms`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(crate) Duration);

/// A number of bytes, such as `512KiB` or `10GiB`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

impl TryFrom<String> for Time {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let parsed = humantime::Duration::from_str(&text);
        parsed
            .map(|time| Self(time.into()))
            .map_err(|_| InvalidValue(text, "a duration, e.g. \"5s\" or \"1m 30s\""))
    }
}

impl TryFrom<String> for Size {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        store_url::parse_size(&text)
            .map(Self)
            .ok_or(InvalidValue(text, "a size, e.g. \"512KiB\" or \"10GiB\""))
    }
}

/// A value that does not have the form that its key requires. It has the value and a description of
/// the form.
#[derive(Debug)]
pub(crate) struct InvalidValue(String, &'static str);

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not {}", self.0, self.1)
    }
}

/// The value of `trusted_proxies`: one text, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum TrustedNetworks {
    One(String),
    Many(Vec<String>),
}

impl Default for TrustedNetworks {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// The value of `forwarded_fields`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TargetFields {
    #[default]
    PreferXForwarded,
    XForwarded,
    Forwarded,
    Agreeing,
}

impl From<TargetFields> for ForwardedFields {
    fn from(fields: TargetFields) -> Self {
        match fields {
            TargetFields::PreferXForwarded => Self::PreferXForwarded,
            TargetFields::XForwarded => Self::XForwarded,
            TargetFields::Forwarded => Self::Forwarded,
            TargetFields::Agreeing => Self::Agreeing,
        }
    }
}

/// The value of `client_directives`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientDirectives {
    /// Obey each of them.
    Honor,
    /// Ignore all of them.
    Ignore,
    /// Send at most one reload a second to the origin for each stored response.
    Collapse,
}

impl From<ClientDirectives> for policy::ClientDirectives {
    fn from(directives: ClientDirectives) -> Self {
        match directives {
            ClientDirectives::Honor => Self::Honor,
            ClientDirectives::Ignore => Self::Ignore,
            ClientDirectives::Collapse => Self::Collapse,
        }
    }
}
