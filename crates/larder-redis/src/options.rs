//! Where the servers are, and how long anybody waits for them.

use std::{error::Error, fmt, time::Duration};

/// How the store uses its servers. Each field has a default.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Begins the name of each key, so that several caches can share a server. Default: `larder`.
    pub prefix: String,
    /// How long connecting may take. The first time, at the start, it may take ten times as long. Default: 100 ms.
    pub connect_timeout: Duration,
    /// How long a command may take. Default: 50 ms.
    pub command_timeout: Duration,
    /// Bytes of one body, at most; longer ones are not stored. Default: 64 MiB, at most 512 MiB.
    pub max_object: u64,
    /// For servers over TLS: the certificate authority to trust, in PEM. Default: empty, for the public ones.
    pub roots: Vec<u8>,
    /// Whether the store begins without its servers, if nobody answers at the start: every look-up is a miss then, until they are
    /// there. What waiting does not mend, a URL or a password that is wrong, is said all the same. Default: no.
    pub lazy_connect: bool,
    /// How long a lease lasts that its holder does not renew. It does, every third of that. Default: 6 s.
    pub lease: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "larder".to_owned(),
            connect_timeout: Duration::from_millis(100),
            command_timeout: Duration::from_millis(50),
            max_object: 64 << 20,
            roots: Vec::new(),
            lazy_connect: false,
            lease: Duration::from_secs(6),
        }
    }
}

/// The servers could not be reached at the start, or don't let us in.
#[derive(Debug)]
pub struct ConnectError {
    pub(crate) what: String,
    pub(crate) source: Option<redis::RedisError>,
}

impl ConnectError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// Whether it may be another answer later: not, if the server has answered that it does not want us.
    pub(crate) fn is_transient(&self) -> bool {
        use redis::ErrorKind::{AuthenticationFailed, InvalidClientConfig};
        self.source.as_ref().is_none_or(|error| {
            !matches!(error.kind(), AuthenticationFailed | InvalidClientConfig)
                && !matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Which servers a URL names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Servers {
    /// `redis://`, `rediss://`, `valkey://`, `valkeys://`
    One(String),
    /// `redis+cluster://h1:7000,h2:7001`
    Cluster(Vec<String>),
    /// `redis+sentinel://h1:26379,h2:26379/mymaster`
    Sentinel {
        sentinels: Vec<String>,
        master: String,
        user: Option<(String, String)>,
        database: i64,
        tls: bool,
    },
}

impl Servers {
    pub(crate) fn parse(url: &str) -> Result<Self, ConnectError> {
        let example = "e.g. redis://127.0.0.1:6379/0, redis+cluster://h1:7000,h2:7001 or \
                       redis+sentinel://h1:26379,h2:26379/mymaster";
        let wrong = |why: &str| ConnectError::new(format!("{why}; {example}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("the URL has no scheme"))?;
        let tls = scheme.starts_with("rediss") || scheme.starts_with("valkeys");
        if tls && !cfg!(feature = "tls") {
            return Err(ConnectError::new("servers over TLS need the feature `tls` of larder-redis"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let nodes = || hosts.split(',').filter(|host| !host.is_empty());
        match scheme {
            "redis" | "rediss" | "valkey" | "valkeys" => Ok(Self::One(url.to_owned())),
            "redis+cluster" | "rediss+cluster" => {
                let scheme = if tls { "rediss" } else { "redis" };
                let user = user.map_or_else(String::new, |user| format!("{user}@"));
                let nodes: Vec<_> = nodes().map(|host| format!("{scheme}://{user}{host}")).collect();
                if nodes.is_empty() { Err(wrong("no node is named")) } else { Ok(Self::Cluster(nodes)) }
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let (master, query) = path.split_once('?').unwrap_or((path, ""));
                let (master, database) = match master.split_once('/') {
                    Some((master, number)) => {
                        (master, number.parse().map_err(|_| wrong("the database is not a number"))?)
                    }
                    None => (master, 0),
                };
                if !query.is_empty() {
                    return Err(wrong("there are no options"));
                }
                let sentinels: Vec<_> = nodes().map(|host| format!("redis://{host}")).collect();
                if sentinels.is_empty() || master.is_empty() {
                    return Err(wrong("a Sentinel URL names the sentinels and, behind them, the master"));
                }
                let user = user.map(|user| {
                    let (name, password) = user.split_once(':').unwrap_or(("", user));
                    (name.to_owned(), password.to_owned())
                });
                Ok(Self::Sentinel { sentinels, master: master.to_owned(), user, database, tls })
            }
            _ => Err(wrong(&format!("there is no scheme '{scheme}' for a Redis server"))),
        }
    }

    /// Whether each server's address can be understood, too.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let addresses = match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Cluster(nodes) => nodes,
            Self::Sentinel { sentinels, .. } => sentinels,
        };
        addresses.iter().try_for_each(|url| {
            match redis::IntoConnectionInfo::into_connection_info(url.as_str()) {
                Ok(_) => Ok(()),
                Err(error) => Err(ConnectError {
                    what: "an address can't be understood: give host:port".to_owned(),
                    source: Some(error),
                }),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let one = |url: &str| Some(Servers::One(url.to_owned()));
        let sentinel = |user: Option<(&str, &str)>, database| {
            Some(Servers::Sentinel {
                sentinels: vec!["redis://a:1".to_owned(), "redis://b:2".to_owned()],
                master: "main".to_owned(),
                user: user.map(|(name, password)| (name.to_owned(), password.to_owned())),
                database,
                tls: false,
            })
        };
        for (url, expected) in [
            ("redis://h:1/2", one("redis://h:1/2")),
            ("rediss://user:secret@h", one("rediss://user:secret@h")),
            (
                "redis+cluster://u:p@a:1,b:2",
                Some(Servers::Cluster(vec!["redis://u:p@a:1".to_owned(), "redis://u:p@b:2".to_owned()])),
            ),
            ("redis+cluster://", None),
            ("redis+sentinel://a:1,b:2/main", sentinel(None, 0)),
            ("redis+sentinel://u:p@a:1,b:2/main/3", sentinel(Some(("u", "p")), 3)),
            ("redis+sentinel://a:1", None),
            ("memcached://a", None),
            ("a:1", None),
        ] {
            assert_eq!(Servers::parse(url).ok(), expected, "{url}");
        }
        for (url, expected) in [
            ("redis://h:1/2", true),
            ("redis+sentinel://a:1,b:2/main", true),
            ("redis+cluster://a:1,b:port", false),
            ("redis+sentinel://a:1,b:99999/main", false),
            ("redis://h:x", false),
        ] {
            let checked = Servers::parse(url).and_then(|servers| servers.check());
            assert_eq!(checked.is_ok(), expected, "{url}");
        }
    }
}
