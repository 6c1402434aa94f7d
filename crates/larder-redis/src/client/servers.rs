//! Parses connection URLs: which servers there are, and whether they are one server, a Cluster or
//! monitored by Sentinels. `connect` opens the connections.

use redis::{IntoConnectionInfo as _, RedisConnectionInfo, RedisError};

use crate::RedisConnectError;

/// The servers that a URL describes. It has no `Debug`, since it contains passwords.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) enum Servers {
    /// `redis://`, `rediss://`, `valkey://`, `valkeys://`
    One(String),
    /// `redis+cluster://h1:7000,h2:7001`
    Cluster(Vec<String>),
    /// `redis+sentinel://h1:26379,h2:26379/mymaster`
    Sentinel {
        sentinels: Vec<String>,
        master: String,
        /// Name and password for the master, as in a URL: `name:password` or `:password`.
        user: Option<String>,
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
                if !query.is_empty() {
                    return Err(invalid(
                        "a Sentinel URL takes no other parameters than timeout and required",
                    ));
                }
                let (master, database) = match master.split_once('/') {
                    Some((master, number)) => (
                        master,
                        number.parse().map_err(|_| invalid("the database of the URL is not a number"))?,
                    ),
                    None => (master, 0),
                };
                let sentinels: Vec<_> = nodes().map(|host| format!("redis://{host}")).collect();
                if sentinels.is_empty() || master.is_empty() {
                    return Err(invalid(
                        "a Sentinel URL needs the Sentinels and, after them, the name of the master",
                    ));
                }
                // Without a name, the colon may be missing, unlike in other URLs.
                let user = user.map(|user| format!("{}{user}", if user.contains(':') { "" } else { ":" }));
                Ok(Self::Sentinel { sentinels, master: master.to_owned(), user, database, tls })
            }
            // The scheme is not repeated: in a malformed URL, it may be a password.
            _ => Err(invalid("unknown URL scheme for a Redis server")),
        }
    }

    /// Parses the address of each server. Connects to none.
    pub(crate) fn check(&self) -> Result<(), RedisConnectError> {
        let (addresses, master) = match self {
            Self::One(url) => (std::slice::from_ref(url), None),
            Self::Cluster(nodes) => (&nodes[..], None),
            Self::Sentinel { sentinels, user, database, .. } => {
                (&sentinels[..], Some(master_settings(user.as_deref(), *database)))
            }
        };
        let addresses = addresses.iter().map(|url| url.as_str().into_connection_info().map(drop));
        for checked in addresses.chain(master.map(|settings| settings.map(drop))) {
            let wrong = "invalid server address: expected host:port";
            checked.map_err(|error| RedisConnectError::invalid_url(wrong, &error))?;
        }
        Ok(())
    }
}

/// Returns the settings of a connection to the master that Sentinels report.
pub(crate) fn master_settings(user: Option<&str>, database: i64) -> Result<RedisConnectionInfo, RedisError> {
    let info = match user {
        Some(user) => format!("redis://{user}@master").into_connection_info()?.redis_settings().clone(),
        None => RedisConnectionInfo::default(),
    };
    Ok(info.set_db(database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let one = |url: &str| Some(Servers::One(url.to_owned()));
        let sentinel = |user: Option<&str>, database| {
            Some(Servers::Sentinel {
                sentinels: vec!["redis://a:1".to_owned(), "redis://b:2".to_owned()],
                master: "main".to_owned(),
                user: user.map(str::to_owned),
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
            ("redis+sentinel://u:p@a:1,b:2/main/3", sentinel(Some("u:p"), 3)),
            ("redis+sentinel://p@a:1,b:2/main/3", sentinel(Some(":p"), 3)),
            ("redis+sentinel://a:1", None),
            ("memcached://a", None),
            ("a:1", None),
        ] {
            assert_eq!(Servers::parse(url).ok(), expected, "{url}");
        }
        let settings = master_settings(Some("us%3Aer:p%40ss"), 2).expect("it is valid");
        assert_eq!((settings.username(), settings.password()), (Some("us:er"), Some("p@ss")));
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
