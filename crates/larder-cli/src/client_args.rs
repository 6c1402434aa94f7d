//! What `larder get` and `larder watch` share: the options of the client, the runtime, and Ctrl-C.
//!
//! `larder explain` and `larder purge` use the parsers for URLs and headers.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT};
use larder::{
    client::{CachedClient, CachedClientBuilder},
    core::TargetUri,
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
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// Store for responses: disk:PATH?max=10GiB, memory or redis://HOST [default: disk, in
    /// ~/.cache/larder/http].
    ///
    /// disk:PATH?max=10GiB holds up to 10 GiB; without max, up to what was given last, or 1 GiB.
    /// memory holds up to 512 MiB, and is lost when the command ends. Several machines can share a
    /// Redis store: redis://HOST:PORT/DB, rediss:// (over TLS), redis+sentinel:// or
    /// redis+cluster://.
    ///
    /// With two --store options, the first is a near tier, which must be memory, and the second a
    /// far tier. Lookups try the near tier first; responses are written to both.
    ///
    /// The default directory is $XDG_CACHE_HOME/larder/http if XDG_CACHE_HOME is set.
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
    /// Header to send with each request, e.g. 'Accept-Language: de'; can be repeated.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Longest wait for data from a server: for the head of a response, or for more of its body.
    ///
    /// Connecting has the same limit, but at most 10s.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

impl ClientArgs {
    /// Checks the options without opening a store.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        parse_headers(&self.header)?;
        store_url::check(&self.store)
    }

    /// Opens the store and creates the client.
    pub(crate) async fn client(&self) -> anyhow::Result<CachedClient> {
        Ok(self.builder().await?.build()?)
    }

    /// Opens the store and creates a builder of the client.
    pub(crate) async fn builder(&self) -> anyhow::Result<CachedClientBuilder> {
        Ok(CachedClient::builder()
            .store(store_url::open_or_default(&self.store).await?)
            .partition(PRIVATE)
            .default_headers(parse_headers(&self.header)?)
            .connect_timeout(self.timeout.min(CONNECT_TIMEOUT))
            .read_timeout(self.timeout))
    }
}

/// Parses the values of `--header`, and adds a `User-Agent` if none of them is one.
pub(crate) fn parse_headers(lines: &[String]) -> Result<HeaderMap, UsageError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))));
    for line in lines {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parsed.ok_or_else(|| {
            UsageError(format!("--header '{line}' is not a header; e.g. --header 'Accept-Language: de'"))
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Parses a URL that was given on the command line. `command` is what precedes the URL in the
/// example of the error.
pub(crate) fn parse_target(url: &str, command: &str) -> Result<TargetUri, UsageError> {
    TargetUri::parse(url)
        .map_err(|error| UsageError(format!("{url}: {error}; e.g. {command} https://example.com/")))
}

/// Runs `work` to its end, or until Ctrl-C. Returns `None` if it was interrupted.
pub(crate) async fn until_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    }
}

/// Creates a runtime with two threads, so that connections make progress while a file is written.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
