//! The connection: one, shared by everybody, made anew when it breaks; each command has a time limit, and a server that
//! does not answer is left alone for a while.

use std::{fmt, time::Duration};

use larder_core::StoreError;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture,
    ScriptInvocation, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;

use crate::{
    ConnectError, RedisOptions,
    breaker::Breaker,
    error::{failed, unavailable},
    options::Servers,
};

/// The first connection may take so many times longer than later ones.
const PATIENT: u32 = 10;

/// The servers, and the connection to them.
pub(crate) struct Link {
    servers: Way,
    pub(crate) breaker: Breaker,
    connect_timeout: Duration,
    command_timeout: Duration,
}

enum Way {
    One {
        source: Source,
        current: Mutex<Option<MultiplexedConnection>>,
        connecting: tokio::sync::Mutex<()>,
    },
    /// Looks after its connections itself.
    Cluster {
        connection: ClusterConnection,
        nodes: Vec<Client>,
    },
}

/// Who says where the server is.
enum Source {
    Fixed(Box<Client>),
    Sentinels(Box<tokio::sync::Mutex<SentinelClient>>),
}

/// A connection, of either kind.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs have passwords in them.
        f.debug_struct("Link").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects for the first time.
    pub(crate) async fn connect(servers: Servers, options: &RedisOptions) -> Result<Self, ConnectError> {
        let wrong = |error: RedisError| explained("the URL can't be used", error);
        let first = options.connect_timeout * PATIENT;
        // The library takes the process's; whoever has chosen one keeps it.
        #[cfg(feature = "tls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        let way = match servers {
            Servers::One(url) => Way::one(Source::Fixed(Box::new(client(&url, options).map_err(wrong)?))),
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
                Way::one(Source::Sentinels(Box::new(tokio::sync::Mutex::new(client))))
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
                let connecting = timeout(first, client.get_async_connection()).await;
                let connection = reached(connecting, first)?;
                Way::Cluster { connection, nodes: nodes.map_err(wrong)? }
            }
        };
        let link = Self {
            servers: way,
            breaker: Breaker::default(),
            connect_timeout: options.connect_timeout,
            command_timeout: options.command_timeout,
        };
        if let Way::One { source, current, .. } = &link.servers {
            let connecting = timeout(first, source.connect(first, options.command_timeout)).await;
            *current.lock() = Some(reached(connecting, first)?);
        }
        let answered =
            timeout(first, redis::cmd("PING").query_async::<Value>(&mut link.connection().await?)).await;
        reached(answered, first)?;
        Ok(link)
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.servers, Way::Cluster { .. })
    }

    /// Runs a command.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        what: &'static str,
        cmd: &Cmd,
    ) -> Result<T, StoreError> {
        self.on(what, async |connection: &mut Connection| cmd.query_async(connection).await).await
    }

    /// Each server that has keys of its own; `None` where there is only one.
    pub(crate) async fn masters(&self) -> Result<Vec<Option<SingleNodeRoutingInfo>>, StoreError> {
        if !self.is_cluster() {
            return Ok(vec![None]);
        }
        // Each range of slots: first, last, master, replicas.
        let slots: Vec<Vec<Value>> =
            self.query("asking for the nodes", redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let mut masters = Vec::new();
        for range in slots {
            let Some(Value::Array(node)) = range.get(2) else { continue };
            let (Some(Value::BulkString(host)), Some(Value::Int(port))) = (node.first(), node.get(1)) else {
                continue;
            };
            let host = String::from_utf8_lossy(host).into_owned();
            let port = u16::try_from(*port).unwrap_or(0);
            if !masters.contains(&(host.clone(), port)) {
                masters.push((host, port));
            }
        }
        let node = |(host, port)| Some(SingleNodeRoutingInfo::ByAddress { host, port });
        Ok(masters.into_iter().map(node).collect())
    }

    /// Runs a command on one of those.
    pub(crate) async fn query_at<T: FromRedisValue>(
        &self,
        node: Option<&SingleNodeRoutingInfo>,
        what: &'static str,
        command: Cmd,
    ) -> Result<T, StoreError> {
        let at = async |connection: &mut Connection| match (connection, node) {
            (Connection::Cluster(connection), Some(node)) => {
                let routing = RoutingInfo::SingleNode(node.clone());
                Ok(redis::from_redis_value(connection.route_command(command, routing).await?)?)
            }
            (connection, _) => command.query_async(connection).await,
        };
        self.on(what, at).await
    }

    /// Runs several, in one round trip. In a Cluster, their keys have one hash tag.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        what: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        self.on(what, async |connection: &mut Connection| pipeline.query_async(connection).await).await
    }

    /// Runs a script; sends it if the server does not know it.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        what: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.on(what, async |connection: &mut Connection| script.invoke_async(connection).await).await
    }

    async fn on<T>(
        &self,
        what: &'static str,
        act: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        if !self.breaker.may_ask() {
            return Err(unavailable("the server does not answer, and is left alone for a while"));
        }
        let done = async {
            let mut connection = self.connection().await.map_err(|error| {
                let source = error.source.unwrap_or_else(|| (ErrorKind::Io, "no connection").into());
                (failed("connecting", source), false)
            })?;
            match timeout(self.command_timeout, act(&mut connection)).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => {
                    let answered = !is_dead(&error);
                    if !answered {
                        self.forget();
                    }
                    Err((failed(what, error), answered))
                }
                Err(_) => {
                    Err((unavailable(format!("{what}: no answer within {:?}", self.command_timeout)), false))
                }
            }
        };
        let result: Result<T, (StoreError, bool)> = done.await;
        match result {
            Ok(value) => {
                self.breaker.succeeded();
                Ok(value)
            }
            Err((error, answered)) => {
                if answered {
                    self.breaker.succeeded();
                } else {
                    self.breaker.failed();
                }
                Err(error)
            }
        }
    }

    /// The connection, made anew if it broke.
    pub(crate) async fn connection(&self) -> Result<Connection, ConnectError> {
        let (source, current, connecting) = match &self.servers {
            Way::Cluster { connection, .. } => return Ok(Connection::Cluster(connection.clone())),
            Way::One { source, current, connecting } => (source, current, connecting),
        };
        let now = || current.lock().clone().map(Connection::One);
        if let Some(connection) = now() {
            return Ok(connection);
        }
        let limit = self.connect_timeout;
        let made = timeout(limit, async {
            let _one = connecting.lock().await;
            if let Some(connection) = now() {
                return Ok(connection);
            }
            let connection = source.connect(limit, self.command_timeout).await?;
            *current.lock() = Some(connection.clone());
            Ok(Connection::One(connection))
        });
        reached(made.await, limit)
    }

    /// The next command makes a new connection.
    fn forget(&self) {
        if let Way::One { current, .. } = &self.servers {
            *current.lock() = None;
        }
    }

    /// A client for a connection of one's own: subscriptions need one.
    pub(crate) async fn client(&self) -> Result<Client, RedisError> {
        match &self.servers {
            Way::One { source, .. } => source.client().await,
            // What is published on one node of a Cluster is heard on all.
            Way::Cluster { nodes, .. } => {
                for node in nodes {
                    if node.get_multiplexed_async_connection().await.is_ok() {
                        return Ok(node.clone());
                    }
                }
                Err((ErrorKind::ClusterConnectionNotFound, "no node of the cluster answers").into())
            }
        }
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

impl Way {
    fn one(source: Source) -> Self {
        Self::One { source, current: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }
}

impl Source {
    async fn client(&self) -> Result<Client, RedisError> {
        match self {
            Self::Fixed(client) => Ok(Client::clone(client)),
            Self::Sentinels(sentinels) => sentinels.lock().await.async_get_client().await,
        }
    }

    async fn connect(&self, limit: Duration, command: Duration) -> Result<MultiplexedConnection, RedisError> {
        // The library's own limits are longer, so that ours say what happened.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit * 2))
            .set_response_timeout(Some(command.max(limit) * 2));
        self.client().await?.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Whether the connection, or the server at its other end, is of no more use.
fn is_dead(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::ClusterConnectionNotFound
                | ErrorKind::Server(
                    ServerErrorKind::ReadOnly
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::BusyLoading
                        | ServerErrorKind::ClusterDown
                )
        )
}

fn reached<T>(
    result: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    limit: Duration,
) -> Result<T, ConnectError> {
    match result {
        Ok(reached) => reached.map_err(|error| explained("the server can't be reached", error)),
        Err(_) => Err(ConnectError::new(format!("the server does not answer within {limit:?}"))),
    }
}

fn explained(what: &str, error: RedisError) -> ConnectError {
    let what = match error.kind() {
        ErrorKind::AuthenticationFailed => "the server does not take this user and password".to_owned(),
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => {
            "the server wants a user and password: redis://USER:PASSWORD@HOST".to_owned()
        }
        _ => what.to_owned(),
    };
    ConnectError { what, source: Some(error) }
}
