//! The keys of the tables `[[listener]]` and `[tls]`.

use std::{
    fmt,
    marker::PhantomData,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A listener besides the first: a table `[[listener]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// Where to listen.
    pub listen: ListenConfig,
    /// Permissions of the file of a Unix socket. Default: `0o660`.
    pub unix_mode: Option<u32>,
    /// The certificates. Default: without TLS.
    #[serde(default)]
    pub tls: ListenerTlsConfig,
    /// Networks of the proxies that send the PROXY protocol; `private` for loopback and private
    /// networks. Default: none, the protocol is off.
    #[serde(default)]
    pub proxy_protocol: Option<Vec<String>>,
    /// Whether and how all requests are redirected to HTTPS. Default: not.
    #[serde(default, deserialize_with = "redirect")]
    pub redirect: Option<RedirectConfig>,
}

impl ListenerConfig {
    /// Creates the table of a listener without TLS.
    pub fn new(listen: ListenConfig) -> Self {
        Self { listen, unix_mode: None, tls: ListenerTlsConfig::Off, proxy_protocol: None, redirect: None }
    }
}

/// The value of `listen` of a listener: where it waits for connections.
///
/// ```
/// use larder_proxy::ListenConfig;
///
/// assert_eq!("[::]:443".parse(), Ok(ListenConfig::Tcp("[::]:443".parse()?)));
/// assert_eq!("unix:/run/larder.sock".parse(), Ok(ListenConfig::Unix("/run/larder.sock".into())));
/// assert_eq!("fd:web".parse(), Ok(ListenConfig::Inherited("web".to_owned())));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenConfig {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// Sockets that the service manager has opened: those with this name, or the one at this
    /// position, counted from 0.
    Inherited(String),
}

impl std::str::FromStr for ListenConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match Path::new(path).is_absolute() {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!("'{text}': the path of a Unix socket begins with /")),
            };
        }
        match text.strip_prefix("fd:") {
            Some("") => Err("fd: needs the position or the name of a socket, e.g. \"fd:0\"".to_owned()),
            Some(name) => Ok(Self::Inherited(name.to_owned())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!(
                    "'{text}' is not an IP address and port, a Unix socket or an inherited socket, e.g. \
                     \"[::]:443\", \"unix:/run/larder.sock\" or \"fd:0\""
                )
            }),
        }
    }
}

impl fmt::Display for ListenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "fd:{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for ListenConfig {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        String::deserialize(value)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for ListenConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The value of `tls` of a listener: its certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum ListenerTlsConfig {
    /// None: HTTP without TLS.
    #[default]
    Off,
    /// Those of the table `[tls]` at the top level.
    Shared,
    /// Its own.
    Own(TlsConfig),
}

impl<'de> Deserialize<'de> for ListenerTlsConfig {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(match Switch::deserialize(value)? {
            Switch::Off => Self::Off,
            Switch::On => Self::Shared,
            Switch::Table(table) => Self::Own(table),
        })
    }
}

/// Certificates: the table `[tls]`, or `tls` of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// File with the certificate chain, in PEM.
    pub cert: PathBuf,
    /// File with the private key, in PEM.
    pub key: PathBuf,
    /// Further certificates, which clients choose by the name that they request. Default: none.
    #[serde(default)]
    pub further: Vec<CertificateConfig>,
}

impl TlsConfig {
    /// Creates the table with the two files of one certificate.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into(), further: Vec::new() }
    }
}

/// A further certificate: a table `[[tls.further]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CertificateConfig {
    /// File with the certificate chain, in PEM.
    pub cert: PathBuf,
    /// File with the private key, in PEM.
    pub key: PathBuf,
}

impl CertificateConfig {
    /// Creates the table with its two files.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into() }
    }
}

/// How requests are redirected to HTTPS: the table `redirect` of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RedirectConfig {
    /// Status code: 301, 302, 307 or 308. Default: 308.
    pub status: Option<u16>,
    /// The host of the new URL. Default: that of the request.
    pub host: Option<String>,
    /// The port of the new URL. Default: 443.
    pub port: Option<u16>,
    /// Whether requests for `/.well-known/acme-challenge/` are served. Default: false.
    pub acme_challenges: bool,
}

/// Reads the value of `redirect`.
fn redirect<'de, D: Deserializer<'de>>(value: D) -> Result<Option<RedirectConfig>, D::Error> {
    Ok(match Switch::deserialize(value)? {
        Switch::Off => None,
        Switch::On => Some(RedirectConfig::default()),
        Switch::Table(table) => Some(table),
    })
}

/// A value that is `true`, `false` or a table.
enum Switch<T> {
    Off,
    On,
    Table(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(SwitchVisitor(PhantomData))
    }
}

struct SwitchVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SwitchVisitor<T> {
    type Value = Switch<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table")
    }

    fn visit_bool<E: Error>(self, is_on: bool) -> Result<Switch<T>, E> {
        Ok(if is_on { Switch::On } else { Switch::Off })
    }

    /// Reads a variable (`${NAME}`).
    fn visit_str<E: Error>(self, text: &str) -> Result<Switch<T>, E> {
        match text.parse() {
            Ok(is_on) => self.visit_bool(is_on),
            Err(_) => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Switch<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(table)).map(Switch::Table)
    }
}
