//! Finds servers (by a fixed address, through Sentinels, or as a Cluster) and connects to them.
//! When to reconnect is decided in `client`.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError,
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::{
    RedisConnectError, RedisOptions,
    client::{connection::Connection, servers::Servers},
};

/// The servers and the current connection to them.
pub(crate) struct Endpoint {
    pub(crate) topology: Topology,
    /// The shared connection. `None` before the first command and after a failure.
    pub(crate) current: Mutex<Option<Connection>>,
    /// Held while connecting, so that only one task connects.
    pub(crate) connecting: tokio::sync::Mutex<()>,
}

/// How the address of the server is determined.
pub(crate) enum Topology {
    /// The URL contains the address.
    Fixed(Box<Client>),
    /// Sentinels report the address of the current master.
    Sentinels(Box<tokio::sync::Mutex<SentinelClient>>),
    /// A Cluster, by some of its nodes. Its client reconnects to nodes without help.
    Cluster { client: Box<ClusterClient>, nodes: Vec<Client> },
}

impl Endpoint {
    /// Creates the clients of the servers. Connects to none. `cluster_timeout` limits each
    /// connection and each response of a Cluster's nodes.
    pub(crate) fn open(
        servers: Servers,
        options: &RedisOptions,
        cluster_timeout: Duration,
    ) -> Result<Self, RedisConnectError> {
        let invalid = |error: RedisError| connect_error("the server URL is invalid", error);
        let topology = match servers {
            Servers::One(url) => Topology::Fixed(Box::new(open_client(&url, options).map_err(invalid)?)),
            Servers::Sentinel { sentinels, master, user, database, tls } => {
                let addresses = sentinels
                    .into_iter()
                    .map(|url| Ok(Client::open(url)?.get_connection_info().addr().clone()))
                    .collect::<Result<Vec<_>, RedisError>>()
                    .map_err(invalid)?;
                let builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master);
                let mut builder = builder.map_err(invalid)?.set_client_to_redis_db(database);
                if let Some((name, password)) = user {
                    builder = builder.set_client_to_redis_password(password);
                    if !name.is_empty() {
                        builder = builder.set_client_to_redis_username(name);
                    }
                }
                if tls {
                    builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
                }
                #[cfg(feature = "tls")]
                if let Some(certificates) = certificates(options) {
                    builder = builder.set_client_to_redis_certificates(certificates);
                }
                let client = builder.build().map_err(invalid)?;
                Topology::Sentinels(Box::new(tokio::sync::Mutex::new(client)))
            }
            Servers::Cluster(urls) => {
                let nodes = urls.iter().map(|url| open_client(url, options)).collect::<Result<_, _>>();
                let builder = ClusterClient::builder(urls);
                #[cfg(feature = "tls")]
                let builder = match certificates(options) {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                let client = builder
                    .connection_timeout(cluster_timeout)
                    .response_timeout(cluster_timeout)
                    .retries(3)
                    .min_retry_wait(5)
                    .max_retry_wait(50)
                    .build()
                    .map_err(invalid)?;
                Topology::Cluster { client: Box::new(client), nodes: nodes.map_err(invalid)? }
            }
        };
        Ok(Self { topology, current: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }
}

impl Topology {
    /// Returns a client of one server: the fixed one, the current master, or a Cluster node that
    /// responds. Subscriptions use it, since each needs its own connection.
    pub(crate) async fn node_client(&self) -> Result<Client, RedisError> {
        match self {
            Self::Fixed(client) => Ok(Client::clone(client)),
            Self::Sentinels(sentinels) => sentinels.lock().await.async_get_client().await,
            // A Cluster forwards each published message to all nodes.
            Self::Cluster { nodes, .. } => {
                for node in nodes {
                    if node.get_multiplexed_async_connection().await.is_ok() {
                        return Ok(node.clone());
                    }
                }
                Err((ErrorKind::ClusterConnectionNotFound, "no node of the cluster responds").into())
            }
        }
    }

    /// Opens the connection for commands. Callers apply `limit` themselves; the timeout of the
    /// client is twice as long.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Connection, RedisError> {
        if let Self::Cluster { client, .. } = self {
            return Ok(Connection::Cluster(client.get_async_connection().await?));
        }
        // `RedisClient` limits each command and names it in the error. A second timer would only
        // add cost.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(limit * 2)).set_response_timeout(None);
        let client = self.node_client().await?;
        Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?))
    }
}

/// Creates the client of one server, with the configured certificate authorities if it uses TLS.
fn open_client(url: &str, options: &RedisOptions) -> Result<Client, RedisError> {
    #[cfg(feature = "tls")]
    if let Some(certificates) =
        certificates(options).filter(|_| url.starts_with("rediss:") || url.starts_with("valkeys:"))
    {
        return Client::build_with_tls(url, certificates);
    }
    let _ = options;
    Client::open(url)
}

/// Returns the configured certificate authorities, or `None` for the default ones.
#[cfg(feature = "tls")]
fn certificates(options: &RedisOptions) -> Option<redis::TlsCertificates> {
    let roots = Some(options.root_certificates.clone()).filter(|roots| !roots.is_empty())?;
    Some(redis::TlsCertificates { client_tls: None, root_cert: Some(roots) })
}

/// Converts the result of an attempt to connect within `limit`.
pub(crate) fn connect_result<T>(
    result: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    limit: Duration,
) -> Result<T, RedisConnectError> {
    match result {
        Ok(connected) => connected.map_err(|error| connect_error("the Redis server can't be reached", error)),
        Err(_) => Err(RedisConnectError::new(format!("the Redis server did not respond within {limit:?}"))),
    }
}

/// Creates the error of a failed connection. Rejected credentials replace `message`.
fn connect_error(message: &str, error: RedisError) -> RedisConnectError {
    let message = match error.kind() {
        ErrorKind::AuthenticationFailed => "the Redis server rejects this user and password".to_owned(),
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => {
            "the Redis server requires a valid user and password: redis://USER:PASSWORD@HOST".to_owned()
        }
        _ => message.to_owned(),
    };
    RedisConnectError { message, source: Some(error) }
}
