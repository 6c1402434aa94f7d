//! How servers are found and reached: by their address, by Sentinels, as a Cluster.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError,
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use crate::{ConnectError, RedisOptions, client::Connection, options::Servers};

/// The way to the servers.
pub(crate) struct Endpoint {
    pub(crate) topology: Topology,
    pub(crate) current: Mutex<Option<Connection>>,
    pub(crate) connecting: tokio::sync::Mutex<()>,
}

/// Who says where the server is.
pub(crate) enum Topology {
    Fixed(Box<Client>),
    Sentinels(Box<tokio::sync::Mutex<SentinelClient>>),
    /// Once connected, it looks after its connections itself.
    Cluster {
        client: Box<ClusterClient>,
        nodes: Vec<Client>,
    },
}

impl Endpoint {
    /// Understands where the servers are. Connects to nothing. `first`: how long the commands of a Cluster may take.
    pub(crate) fn open(
        servers: Servers,
        options: &RedisOptions,
        first: Duration,
    ) -> Result<Self, ConnectError> {
        let wrong = |error: RedisError| connect_error("the URL can't be used", error);
        let source = match servers {
            Servers::One(url) => Topology::Fixed(Box::new(client(&url, options).map_err(wrong)?)),
            Servers::Sentinel { sentinels, master, user, database, tls } => {
                let addresses = sentinels
                    .into_iter()
                    .map(|url| Ok(Client::open(url)?.get_connection_info().addr().clone()))
                    .collect::<Result<Vec<_>, RedisError>>()
                    .map_err(wrong)?;
                let builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master);
                let mut builder = builder.map_err(wrong)?.set_client_to_redis_db(database);
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
                let client = builder.build().map_err(wrong)?;
                Topology::Sentinels(Box::new(tokio::sync::Mutex::new(client)))
            }
            Servers::Cluster(urls) => {
                let nodes = urls.iter().map(|url| client(url, options)).collect::<Result<_, _>>();
                let builder = ClusterClient::builder(urls);
                #[cfg(feature = "tls")]
                let builder = match certificates(options) {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                let client = builder
                    .connection_timeout(first)
                    .response_timeout(first)
                    .retries(3)
                    .min_retry_wait(5)
                    .max_retry_wait(50)
                    .build()
                    .map_err(wrong)?;
                Topology::Cluster { client: Box::new(client), nodes: nodes.map_err(wrong)? }
            }
        };
        Ok(Self { topology: source, current: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }
}

impl Topology {
    /// A client for a connection of one's own: subscriptions need one.
    pub(crate) async fn client(&self) -> Result<Client, RedisError> {
        match self {
            Self::Fixed(client) => Ok(Client::clone(client)),
            Self::Sentinels(sentinels) => sentinels.lock().await.async_get_client().await,
            // What is published on one node of a Cluster is heard on all.
            Self::Cluster { nodes, .. } => {
                for node in nodes {
                    if node.get_multiplexed_async_connection().await.is_ok() {
                        return Ok(node.clone());
                    }
                }
                Err((ErrorKind::ClusterConnectionNotFound, "no node of the cluster answers").into())
            }
        }
    }

    pub(crate) async fn connect(&self, limit: Duration) -> Result<Connection, RedisError> {
        if let Self::Cluster { client, .. } = self {
            return Ok(Connection::Cluster(client.get_async_connection().await?));
        }
        // Our own limits stand around each command, and say what happened: no second timer for it.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(limit * 2)).set_response_timeout(None);
        let client = self.client().await?;
        Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?))
    }
}

fn client(url: &str, options: &RedisOptions) -> Result<Client, RedisError> {
    #[cfg(feature = "tls")]
    if let Some(certificates) =
        certificates(options).filter(|_| url.starts_with("rediss:") || url.starts_with("valkeys:"))
    {
        return Client::build_with_tls(url, certificates);
    }
    let _ = options;
    Client::open(url)
}

#[cfg(feature = "tls")]
fn certificates(options: &RedisOptions) -> Option<redis::TlsCertificates> {
    let roots = Some(options.roots.clone()).filter(|roots| !roots.is_empty())?;
    Some(redis::TlsCertificates { client_tls: None, root_cert: Some(roots) })
}

pub(crate) fn connect_result<T>(
    result: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    limit: Duration,
) -> Result<T, ConnectError> {
    match result {
        Ok(reached) => reached.map_err(|error| connect_error("the server can't be reached", error)),
        Err(_) => Err(ConnectError::new(format!("the server does not answer within {limit:?}"))),
    }
}

fn connect_error(what: &str, error: RedisError) -> ConnectError {
    let what = match error.kind() {
        ErrorKind::AuthenticationFailed => "the server does not take this user and password".to_owned(),
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => {
            "the server wants a user and password: redis://USER:PASSWORD@HOST".to_owned()
        }
        _ => what.to_owned(),
    };
    ConnectError { what, source: Some(error) }
}
