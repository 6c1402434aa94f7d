//! What `larder get` and `larder watch` share: the options of the client, and the runtime.
//!
//! `larder explain` uses the parser for headers.

use std::{path::PathBuf, time::Duration};

use base64::Engine as _;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, USER_AGENT},
};
use larder::client::{
    CachedClient, CachedClientBuilder, RateLimit,
    reqwest::{Certificate, ClientBuilder, Url},
};

use crate::{
    humanize::parse_duration,
    store_url::{self, UsageError},
};

/// The key partition of private responses. A proxy on the same store never finds them.
pub(crate) const PRIVATE: &str = "private";

/// Longest time that connecting may take, if `--timeout` is not shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of the client.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// Store for responses: disk:PATH?max=10GiB, memory or redis://HOST.
    ///
    /// disk:PATH?max=10GiB holds up to 10 GiB; without max, up to what was given last, or 1 GiB.
    /// memory holds up to 512 MiB, and is lost when the command ends. Several machines can share a
    /// Redis store: redis://HOST:PORT/DB, rediss:// (over TLS), redis+sentinel:// or
    /// redis+cluster://.
    ///
    /// With two --store options, the first is a near tier, which must be memory, and the second a
    /// far tier. Lookups try the near tier first; responses are written to both.
    ///
    /// The default is a directory in $XDG_CACHE_HOME, or in ~/.cache if that is not set.
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// Header to send with each request, e.g. 'Accept-Language: de'; can be repeated.
    ///
    /// As in curl, 'Name;' sends the header without a value, and 'Name:' removes it, e.g.
    /// 'User-Agent:'.
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// User and password for the server (Basic authentication).
    ///
    /// They precede those in a URL.
    #[arg(short, long, value_name = "USER:PASSWORD")]
    user: Option<String>,
    /// Trust only the certificates in this file (PEM), instead of those of the system.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Accept any certificate. Others can then read and change what is transferred.
    #[arg(short = 'k', long)]
    insecure: bool,
    /// Request a compressed response, and decompress it: brotli, gzip, deflate or zstd.
    #[arg(long)]
    compressed: bool,
    /// Highest rate of requests to one server, e.g. 2/s, 30/m or 1/5s. What is in the cache is
    /// free.
    #[arg(long, value_name = "N/UNIT")]
    rate: Option<RateLimit>,
    /// Longest wait for data from a server: for the head of a response, or for more of its body.
    ///
    /// Connecting has the same limit, but at most 10s.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

impl ClientArgs {
    /// Checks the options without opening a store.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        self.headers()?;
        self.certificates()?;
        store_url::check(&self.store)
    }

    /// Returns the values of `--header`.
    pub(crate) fn header_lines(&self) -> &[String] {
        &self.header
    }

    /// Opens the store and creates the client.
    pub(crate) async fn client(&self) -> anyhow::Result<CachedClient> {
        Ok(self.builder().await?.build()?)
    }

    /// Opens the store and creates a builder of the client.
    pub(crate) async fn builder(&self) -> anyhow::Result<CachedClientBuilder> {
        let certificates = self.certificates()?;
        let tls = |http: ClientBuilder| match certificates {
            Some(certificates) => http.tls_certs_only(certificates),
            None => http,
        };
        let mut builder = CachedClient::builder()
            .store(store_url::open_or_default(&self.store).await?)
            .partition(PRIVATE)
            .default_headers(self.headers()?)
            .connect_timeout(self.timeout.min(CONNECT_TIMEOUT))
            .read_timeout(self.timeout)
            .brotli(self.compressed)
            .deflate(self.compressed)
            .gzip(self.compressed)
            .zstd(self.compressed)
            .reqwest(tls);
        if let Some(rate) = self.rate {
            builder = builder.rate_limit(rate);
        }
        if self.insecure {
            builder = builder.reqwest(|http| http.tls_danger_accept_invalid_certs(true));
        }
        Ok(builder)
    }

    /// Removes user and password from a URL if an option has others.
    pub(crate) fn without_overridden_user(&self, mut url: Url) -> Url {
        if self.user.is_some() {
            // They can be set in every URL that has a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        url
    }

    /// Returns the headers of all requests.
    fn headers(&self) -> Result<HeaderMap, UsageError> {
        let mut headers = parse_headers(&self.header)?;
        if let Some(user) = &self.user {
            if !user.contains(':') {
                return Err(UsageError("--user needs a password; e.g. --user name:password".to_owned()));
            }
            let credentials = base64::engine::general_purpose::STANDARD.encode(user);
            let mut value = HeaderValue::try_from(format!("Basic {credentials}"))
                .map_err(|_| UsageError("--user cannot be sent in a header".to_owned()))?;
            value.set_sensitive(true);
            headers.entry(AUTHORIZATION).or_insert(value);
        }
        Ok(headers)
    }

    /// Reads the certificates of `--cacert`.
    fn certificates(&self) -> Result<Option<Vec<Certificate>>, UsageError> {
        let Some(path) = &self.cacert else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| UsageError(format!("--cacert {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(&error))?;
        match Certificate::from_pem_bundle(&pem) {
            Ok(certificates) if certificates.is_empty() => Err(wrong(&"no certificate in PEM format")),
            Ok(certificates) => Ok(Some(certificates)),
            Err(error) => Err(wrong(&error)),
        }
    }
}

/// Parses the values of `--header`, and adds a `User-Agent` if none of them is one.
///
/// A header that is given several times is sent with each value. As in curl, `Name;` has no value,
/// and `Name:` means that the header is not sent.
pub(crate) fn parse_headers(lines: &[String]) -> Result<HeaderMap, UsageError> {
    let mut headers = HeaderMap::new();
    let mut sends_user_agent = true;
    for line in lines {
        let wrong =
            || UsageError(format!("--header '{line}' is not a header; e.g. --header 'Accept-Language: de'"));
        let (name, value) = match (line.split_once(':'), line.trim_end().strip_suffix(';')) {
            (Some((name, value)), _) => (name, Some(value.trim()).filter(|value| !value.is_empty())),
            (None, Some(name)) => (name, Some("")),
            (None, None) => return Err(wrong()),
        };
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        sends_user_agent &= name != USER_AGENT;
        if let Some(value) = value {
            headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
        }
    }
    if sends_user_agent {
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))));
    }
    Ok(headers)
}

/// Creates a runtime with two threads, so that connections make progress while a file is written.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_in_curl() {
        let parse = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|&line| line.to_owned()).collect();
            parse_headers(&lines).map(|headers| {
                let mut lines: Vec<_> = headers
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.to_str().expect("text")))
                    .filter(|line| !line.starts_with("user-agent=larder/"))
                    .collect();
                lines.sort();
                lines.join(" ")
            })
        };
        for (lines, expected) in [
            (&["X-A: 1", "x-a: 2"][..], "x-a=1 x-a=2"),
            (&["X-A;"], "x-a="),
            (&["X-A: a;b"], "x-a=a;b"),
            (&["X-A:", "X-B: 1"], "x-b=1"),
            (&["User-Agent: me"], "user-agent=me"),
        ] {
            assert_eq!(parse(lines).ok().as_deref(), Some(expected), "{lines:?}");
        }
        for wrong in ["X-A", "X A: 1", ": 1", "X-A: \u{7}"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        let none = parse_headers(&["User-Agent:".to_owned()]).expect("a header without a value");
        assert!(none.is_empty());
    }
}
