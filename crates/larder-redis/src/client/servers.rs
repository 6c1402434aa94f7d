//! Parses connection URLs: which servers there are, and whether they are one server, a Cluster or
//! monitored by Sentinels. `connect` opens the connections.

use crate::RedisConnectError;

/// The servers that a URL describes.
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
        /// Name (empty for none) and password for the master.
        user: Option<(String, String)>,
        database: i64,
        /// Whether the connection to the master uses TLS.
        tls: bool,
    },
}

impl Servers {
    /// Parses a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, RedisConnectError> {
        let example = "e.g. redis://127.0.0.1:6379/0, redis+cluster://h1:7000,h2:7001 or \
                       redis+sentinel://h1:26379,h2:26379/mymaster";
        let invalid = |why: &str| RedisConnectError::new(format!("{why}; {example}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("the server URL has no scheme"))?;
        let tls = scheme.starts_with("rediss") || scheme.starts_with("valkeys");
        if tls && !cfg!(feature = "tls") {
            return Err(RedisConnectError::new("TLS servers need the crate feature `tls` of larder-redis"));
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
                if nodes.is_empty() {
                    Err(invalid("the URL names no node"))
                } else {
                    Ok(Self::Cluster(nodes))
                }
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let (master, query) = path.split_once('?').unwrap_or((path, ""));
                let (master, database) = match master.split_once('/') {
                    Some((master, number)) => (
                        master,
                        number.parse().map_err(|_| invalid("the database of the URL is not a number"))?,
                    ),
                    None => (master, 0),
                };
                if !query.is_empty() {
                    return Err(invalid("a Sentinel URL takes no query parameters"));
                }
                let sentinels: Vec<_> = nodes().map(|host| format!("redis://{host}")).collect();
                if sentinels.is_empty() || master.is_empty() {
                    return Err(invalid(
                        "a Sentinel URL needs the Sentinels and, after them, the name of the master",
                    ));
                }
                let user = user.map(|user| {
                    let (name, password) = user.split_once(':').unwrap_or(("", user));
                    (name.to_owned(), password.to_owned())
                });
                Ok(Self::Sentinel { sentinels, master: master.to_owned(), user, database, tls })
            }
            _ => Err(invalid(&format!("unknown URL scheme '{scheme}' for a Redis server"))),
        }
    }

    /// Parses the address of each server. Connects to none.
    pub(crate) fn check(&self) -> Result<(), RedisConnectError> {
        let addresses = match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Cluster(nodes) => nodes,
            Self::Sentinel { sentinels, .. } => sentinels,
        };
        addresses.iter().try_for_each(|url| {
            match redis::IntoConnectionInfo::into_connection_info(url.as_str()) {
                Ok(_) => Ok(()),
                Err(error) => Err(RedisConnectError {
                    message: "invalid server address: expected host:port".to_owned(),
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
