//! Types of values that have a form of their own.

use std::{net::SocketAddr, time::Duration};

use larder_core::{adapter::ForwardedFields, policy::ClientDirectives};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// The format of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AccessLogFormat {
    /// The "combined" format of Apache and nginx, then the cache status and the duration.
    Text,
    /// A line of [`Text`](Self::Text), then the origin and how long the head of its response took.
    Extended,
    /// A JSON object.
    Json,
}

/// The value of `forwarded_fields`: the fields of trusted proxies that state scheme and host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ForwardedFieldsConfig {
    /// `X-Forwarded-*` if a request has any of these, and `Forwarded` otherwise.
    #[default]
    PreferXForwarded,
    /// Only `X-Forwarded-*`.
    XForwarded,
    /// Only `Forwarded`.
    Forwarded,
    /// Both, which must agree.
    Agreeing,
}

impl From<ForwardedFieldsConfig> for ForwardedFields {
    fn from(fields: ForwardedFieldsConfig) -> Self {
        match fields {
            ForwardedFieldsConfig::PreferXForwarded => Self::PreferXForwarded,
            ForwardedFieldsConfig::XForwarded => Self::XForwarded,
            ForwardedFieldsConfig::Forwarded => Self::Forwarded,
            ForwardedFieldsConfig::Agreeing => Self::Agreeing,
        }
    }
}

/// The value of `client_directives`: what to do with `Cache-Control` and `Pragma` of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClientDirectivesConfig {
    /// Obey each of them.
    Honor,
    /// Ignore all of them.
    Ignore,
    /// Send at most one reload a second to the origin for each stored response.
    Collapse,
}

impl From<ClientDirectivesConfig> for ClientDirectives {
    fn from(directives: ClientDirectivesConfig) -> Self {
        match directives {
            ClientDirectivesConfig::Honor => Self::Honor,
            ClientDirectivesConfig::Ignore => Self::Ignore,
            ClientDirectivesConfig::Collapse => Self::Collapse,
        }
    }
}

/// Parses a duration, such as `5s`, `1m 30s` or `250ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    humantime::parse_duration(&text)
        .map(Some)
        .map_err(|_| D::Error::custom(format!("'{text}' is not a duration, e.g. \"5s\" or \"1m 30s\"")))
}

/// Parses a size, such as `512KiB` or `10GiB`.
pub(super) fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(value)?;
    parse_size(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("'{text}' is not a size, e.g. \"512KiB\" or \"10GiB\"")))
}

/// Parses an address to listen on.
pub(super) fn required_address<'de, D: Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    text.parse().map_err(|_| {
        let message = "is not an IP address and port, e.g. \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::]:80\"";
        D::Error::custom(format!("'{text}' {message}"))
    })
}

/// Parses an address to listen on that has a default.
pub(super) fn address<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SocketAddr>, D::Error> {
    required_address(value).map(Some)
}

/// Parses a number of bytes, such as `1048576`, `512MiB` or `1GB`. Returns `None` if it is invalid.
///
/// ```
/// assert_eq!(larder_proxy::parse_size("512MiB"), Some(512 << 20));
/// assert_eq!(larder_proxy::parse_size("much"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1048576", Some(1 << 20)),
            ("512MiB", Some(512 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("10 GiB", Some(10 << 30)),
            ("1e3", None),
            ("-1", None),
            ("", None),
            ("99999999999GiB", None),
            ("5 parsecs", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text}");
        }
    }
}
