//! The connection: one, shared by everybody, made anew when it breaks; each command has a time limit, and a server that
//! does not answer is left alone for a while.

use std::{fmt, time::Duration};

use larder_core::StoreError;
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, ScriptInvocation,
    ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
};
use tokio::time::timeout;

use crate::{
    ConnectError, RedisOptions,
    breaker::Breaker,
    connect::{Endpoint, Topology, connect_result},
    error::{failed, unavailable},
    options::Servers,
};

/// The first connection may take so many times longer than later ones.
const FIRST_CONNECT_FACTOR: u32 = 10;

/// The servers, and the connection to them.
pub(crate) struct RedisClient {
    endpoint: Endpoint,
    pub(crate) breaker: Breaker,
    connect_timeout: Duration,
    command_timeout: Duration,
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

impl fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs have passwords in them.
        f.debug_struct("Link").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl RedisClient {
    /// Connects for the first time.
    pub(crate) async fn connect(servers: Servers, options: &RedisOptions) -> Result<Self, ConnectError> {
        let first = options.connect_timeout * FIRST_CONNECT_FACTOR;
        let link = Self {
            endpoint: Endpoint::open(servers, options, first)?,
            breaker: Breaker::default(),
            connect_timeout: options.connect_timeout,
            command_timeout: options.command_timeout,
        };
        match link.reach(first).await {
            Err(error) if options.lazy_connect && error.is_transient() => {
                tracing::warn!(%error, "starting without Redis");
                link.breaker.failed();
            }
            reached => reached?,
        }
        Ok(link)
    }

    /// Connects, and sees that there is somebody.
    async fn reach(&self, limit: Duration) -> Result<(), ConnectError> {
        let connecting = timeout(limit, self.endpoint.topology.connect(limit)).await;
        let mut connection = connect_result(connecting, limit)?;
        let answered = timeout(limit, redis::cmd("PING").query_async::<Value>(&mut connection)).await;
        connect_result(answered, limit)?;
        *self.endpoint.current.lock() = Some(connection);
        Ok(())
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.endpoint.topology, Topology::Cluster { .. })
    }

    /// Runs a command.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        what: &'static str,
        cmd: &Cmd,
    ) -> Result<T, StoreError> {
        self.run(what, async |connection: &mut Connection| cmd.query_async(connection).await).await
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
        self.run(what, at).await
    }

    /// Runs several, in one round trip. In a Cluster, their keys have one hash tag.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        what: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        self.run(what, async |connection: &mut Connection| pipeline.query_async(connection).await).await
    }

    /// Runs a script; sends it if the server does not know it.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        what: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.run(what, async |connection: &mut Connection| script.invoke_async(connection).await).await
    }

    async fn run<T>(
        &self,
        what: &'static str,
        act: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        if !self.breaker.allow() {
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
                        self.invalidate_connection();
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
        let now = || self.endpoint.current.lock().clone();
        if let Some(connection) = now() {
            return Ok(connection);
        }
        let limit = self.connect_timeout;
        let made = timeout(limit, async {
            let _one = self.endpoint.connecting.lock().await;
            if let Some(connection) = now() {
                return Ok(connection);
            }
            let connection = self.endpoint.topology.connect(limit).await?;
            *self.endpoint.current.lock() = Some(connection.clone());
            Ok(connection)
        });
        connect_result(made.await, limit)
    }

    /// The next command makes a new connection.
    fn invalidate_connection(&self) {
        if !self.is_cluster() {
            *self.endpoint.current.lock() = None;
        }
    }

    /// A client for a connection of one's own.
    pub(crate) async fn client(&self) -> Result<Client, RedisError> {
        self.endpoint.topology.client().await
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
