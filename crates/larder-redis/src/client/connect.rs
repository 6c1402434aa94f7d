//! Finds servers (by a fixed address, through Sentinels, or as a Cluster) and connects to them.
//! When to reconnect is decided in `client`.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, aio::MultiplexedConnection, cluster::ClusterClient,
};

use crate::{
    RedisConnectError, RedisOptions,
    client::{
        connection::Connection,
        sentinels::Sentinels,
        server::{Server, tcp_settings},
        servers::{Servers, master_settings},
    },
};

/// Time after which a Cluster's client gives a node up, as a multiple of the timeouts of the
/// options.
const NODE_FACTOR: u32 = 4;

/// The servers and the current connection to them.
pub(crate) struct Endpoint {
    pub(crate) topology: Topology,
    /// The shared connection. `None` before the first command and after a failure.
    pub(crate) current: Mutex<Option<Connection>>,
    /// Held while connecting, so that only one task connects.
    pub(crate) connecting: Arc<tokio::sync::Mutex<()>>,
}

/// How the address of the server is determined.
pub(crate) enum Topology {
    /// The URL contains the address.
    Fixed(Box<Server>),
    /// Sentinels report the address of the current master.
    Sentinels { sentinels: Sentinels, master: Box<MasterInfo> },
    /// A Cluster, by some of its nodes. Its client reconnects to nodes without help.
    Cluster { client: Box<ClusterClient>, nodes: Vec<Server> },
}

/// What is needed to connect to a master, besides its address.
pub(crate) struct MasterInfo {
    settings: RedisConnectionInfo,
    tls: bool,
    options: RedisOptions,
}

impl MasterInfo {
    /// Creates the client of the master at an address.
    fn server(&self, host: String, port: u16) -> Result<Server, RedisError> {
        let address = if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info()?.set_redis_settings(self.settings.clone());
        Server::open(info, &self.options)
    }
}

impl Endpoint {
    /// Creates the clients of the servers. Connects to none.
    pub(crate) fn open(servers: Servers, options: &RedisOptions) -> Result<Self, RedisConnectError> {
        let invalid = |error: RedisError| RedisConnectError::invalid_url("the server URL is invalid", &error);
        let open = |url: &String| Server::open(url.as_str().into_connection_info()?, options);
        let topology = match servers {
            Servers::One(url) => Topology::Fixed(Box::new(open(&url).map_err(invalid)?)),
            Servers::Sentinel { sentinels, master, user, database, tls } => {
                let sentinels = sentinels.iter().map(open).collect::<Result<Vec<_>, _>>();
                let settings = master_settings(user.as_deref(), database).map_err(invalid)?;
                Topology::Sentinels {
                    sentinels: Sentinels::new(sentinels.map_err(invalid)?, master),
                    master: Box::new(MasterInfo { settings, tls, options: options.clone() }),
                }
            }
            Servers::Cluster(urls) => {
                let nodes = urls.iter().map(open).collect::<Result<_, _>>();
                let builder = ClusterClient::builder(urls).tcp_settings(tcp_settings());
                #[cfg(feature = "tls")]
                let builder = match certificates(options) {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                let client = builder
                    .connection_timeout(options.connect_timeout * NODE_FACTOR)
                    .response_timeout(options.command_timeout_at(Duration::ZERO) * NODE_FACTOR)
                    .retries(3)
                    .min_retry_wait(5)
                    .max_retry_wait(50)
                    .build()
                    .map_err(invalid)?;
                Topology::Cluster { client: Box::new(client), nodes: nodes.map_err(invalid)? }
            }
        };
        Ok(Self { topology, current: Mutex::default(), connecting: Arc::default() })
    }
}

impl Topology {
    /// Returns one server: the fixed one, the current master, or a Cluster node that
    /// responds. Subscriptions use it, since each needs its own connection. `limit` is the timeout
    /// of each Sentinel.
    pub(crate) async fn node(&self, limit: Duration) -> Result<Server, RedisError> {
        match self {
            Self::Fixed(server) => Ok(Server::clone(server)),
            Self::Sentinels { sentinels, master } => {
                let found = sentinels.master(limit).await?;
                master.server(found.host, found.port)
            }
            // A Cluster forwards each published message to all nodes.
            Self::Cluster { nodes, .. } => {
                for node in nodes {
                    if node.connect(AsyncConnectionConfig::new(), limit).await.is_ok() {
                        return Ok(node.clone());
                    }
                }
                Err((ErrorKind::ClusterConnectionNotFound, "no node of the cluster responds").into())
            }
        }
    }

    /// Opens the connection to the only server and returns it with the server's address. Callers
    /// apply `limit` themselves; the timeout of the client is twice as long.
    pub(crate) async fn connect_server(
        &self,
        limit: Duration,
    ) -> Result<(MultiplexedConnection, Arc<str>), RedisError> {
        // `RedisClient` limits each command and names it in the error. A second timer would only
        // add cost.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let server = self.node(limit).await?;
        let address = server.address();
        Ok((server.connect(config, limit * 2).await?, address.into()))
    }
}

/// How long Sentinels have to know a master before a removal there is confirmed: by then, every
/// client that can reach them has left the old master.
const MASTER_SETTLES: Duration = Duration::from_millis(2500);

impl Topology {
    /// Waits until the server at an address is known as the master by its Sentinels, for so long
    /// that no client uses another one. Returns whether it is the master. Without Sentinels, there
    /// is no other.
    pub(crate) async fn is_settled_master(
        &self,
        address: Option<&str>,
        limit: Duration,
    ) -> Result<bool, RedisError> {
        let Self::Sentinels { sentinels, master } = self else { return Ok(true) };
        loop {
            let found = sentinels.master(limit).await?;
            let missing = MASTER_SETTLES.saturating_sub(found.known_for);
            let server = master.server(found.host, found.port)?;
            if address != Some(&*server.address()) {
                return Ok(false);
            }
            if missing.is_zero() {
                return Ok(true);
            }
            tokio::time::sleep(missing).await;
        }
    }
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
