//! Runs commands on one shared connection: reconnects after a failure, limits the time of each
//! command, and lets the circuit breaker (`breaker`) reject commands while the server does not
//! respond. The first command on each connection to a server ends the epoch of another process.
//!
//! `servers` parses the URL and `parameters` its options, `sentinels` finds the address of a
//! master, `connect` opens each `connection`, and `scripts` has the Lua scripts that the other
//! modules run with this client.

mod breaker;
mod connect;
pub(crate) mod connection;
pub(crate) mod parameters;
pub(crate) mod scripts;
mod sentinels;
mod server;
pub(crate) mod servers;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use larder_core::StoreError;
use redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, Script, ScriptInvocation, ServerErrorKind, Value,
    aio::MultiplexedConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
};
use tokio::time::{Instant, sleep, timeout};

use self::{
    breaker::Breaker,
    connect::{Endpoint, Topology, connect_result},
    connection::Connection,
    server::Server,
    servers::Servers,
};
use crate::{
    RedisConnectError, RedisOptions,
    entries::ttl::{EPOCH_TTL, millis},
    error::{failed, unavailable},
    token::nonce,
};

/// Longest time that connecting takes, with its several round trips, as a multiple of the timeout.
const CONNECT_FACTOR: u32 = 10;
/// Pause between two questions to the Sentinels about the master.
const SENTINEL_POLL: Duration = Duration::from_secs(1);

/// The epoch of a single server: the name of its key, and the script that replaces it.
#[derive(Debug)]
pub(crate) struct EpochScript {
    pub(crate) key: String,
    pub(crate) script: Script,
}

/// The client of the servers, shared by all tasks of a store.
pub(crate) struct RedisClient {
    endpoint: Endpoint,
    pub(crate) breaker: Breaker,
    epoch: EpochScript,
    connect_timeout: Duration,
    options: RedisOptions,
    /// This client, for the task that connects.
    this: Weak<Self>,
}

impl fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint is left out: its URLs may contain passwords.
        f.debug_struct("RedisClient").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl RedisClient {
    /// Connects for the first time. With `lazy_connect`, servers that can't be reached are no
    /// error.
    pub(crate) async fn connect(
        servers: Servers,
        options: &RedisOptions,
        epoch: EpochScript,
    ) -> Result<Arc<Self>, RedisConnectError> {
        let limit = options.connect_timeout * CONNECT_FACTOR;
        let endpoint = Endpoint::open(servers, options)?;
        let client = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            endpoint,
            breaker: Breaker::default(),
            epoch,
            connect_timeout: options.connect_timeout,
            options: options.clone(),
        });
        match client.connect_first(limit).await {
            Err(error) if options.lazy_connect && error.is_transient() => {
                tracing::warn!(%error, "Redis is not available, starting without it");
                client.breaker.failed();
            }
            connected => connected?,
        }
        if matches!(client.endpoint.topology, Topology::Sentinels { .. }) {
            tokio::spawn(follow_master(Arc::downgrade(&client)));
        }
        Ok(client)
    }

    /// Connects and checks that the server responds.
    async fn connect_first(&self, limit: Duration) -> Result<(), RedisConnectError> {
        let connecting = timeout(limit, async {
            let mut connection = self.open(limit).await?;
            if self.is_cluster() {
                redis::cmd("PING").query_async::<Value>(&mut connection).await?;
            }
            Ok(connection)
        });
        *self.endpoint.current.lock() = Some(connect_result(connecting.await, limit)?);
        Ok(())
    }

    /// Opens a connection for commands.
    ///
    /// To one server, the first command compares the process of the epoch with that of the server,
    /// and replaces the epoch if they differ: the server has restarted or was a replica, so that it
    /// may have lost removals. The server executes it before any command that reads an entry.
    async fn open(&self, limit: Duration) -> Result<Connection, RedisError> {
        if let Topology::Cluster { client, .. } = &self.endpoint.topology {
            let limit = self.options.command_timeout_at(Duration::ZERO);
            return Ok(Connection::to_cluster(client.get_async_connection().await?, limit));
        }
        let (mut connection, address) = self.endpoint.topology.connect_server(limit).await?;
        let mut script = self.epoch.script.prepare_invoke();
        script.key(&self.epoch.key).arg(&nonce()[..]).arg(millis(EPOCH_TTL));
        let (run_id, _): (Vec<u8>, Vec<u8>) = script.invoke_async(&mut connection).await?;
        // A master that hung may have been replaced before it answered.
        if let Topology::Sentinels { .. } = self.endpoint.topology
            && *self.node_address(limit).await? != *address
        {
            return Err((ErrorKind::Io, "the Sentinels report another master").into());
        }
        let limit = match self.options.command_timeout {
            Some(limit) => limit,
            None => self.options.command_timeout_at(round_trip(&mut connection).await?),
        };
        Ok(Connection::to_server(connection, &run_id, address, limit))
    }

    /// Returns whether the servers are a Cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.endpoint.topology, Topology::Cluster { .. })
    }

    /// Runs a command. `operation` names it in errors.
    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        cmd: &Cmd,
    ) -> Result<T, StoreError> {
        self.run(operation, async |connection: &mut Connection| cmd.query_async(connection).await).await
    }

    /// Returns the address of each master of a Cluster, or a single `None` for one server.
    pub(crate) async fn masters(&self) -> Result<Vec<Option<SingleNodeRoutingInfo>>, StoreError> {
        if !self.is_cluster() {
            return Ok(vec![None]);
        }
        // Each range of slots: first, last, master, replicas.
        let slots: Vec<Vec<Value>> = self.query("CLUSTER SLOTS", redis::cmd("CLUSTER").arg("SLOTS")).await?;
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

    /// Runs a command on one of the [`masters`](Self::masters).
    pub(crate) async fn query_at<T: FromRedisValue>(
        &self,
        node: Option<&SingleNodeRoutingInfo>,
        operation: &'static str,
        command: Cmd,
    ) -> Result<T, StoreError> {
        let call = async |connection: &mut Connection| {
            if let (Some(node), Some(cluster)) = (node, connection.as_cluster()) {
                let routing = RoutingInfo::SingleNode(node.clone());
                return Ok(redis::from_redis_value(cluster.route_command(command, routing).await?)?);
            }
            command.query_async(connection).await
        };
        self.run(operation, call).await
    }

    /// Runs several commands in one round trip. On a Cluster, their keys must have the same hash
    /// tag.
    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        self.run(operation, async |connection: &mut Connection| pipeline.query_async(connection).await).await
    }

    /// Runs a script by its digest, and loads it first if the server does not have it.
    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.run(operation, async |connection: &mut Connection| script.invoke_async(connection).await).await
    }

    /// Calls `call` with the connection and records the outcome in the circuit breaker.
    ///
    /// An error reply counts as a success of the server, unless it means that the server cannot
    /// serve. Without a usable response, the breaker counts a failure.
    pub(crate) async fn run<T>(
        &self,
        operation: &'static str,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        if !self.breaker.allow() {
            return Err(unavailable(
                "the circuit breaker is open, because the server did not respond to recent commands",
            ));
        }
        let outcome = async {
            let mut connection = self.connection().await.map_err(|error| {
                let source = error.source.unwrap_or_else(no_connection);
                (failed("connection", source), false)
            })?;
            let limit = connection.command_timeout();
            match timeout(limit, call(&mut connection)).await {
                Ok(Ok(value)) => {
                    connection.has_replied();
                    Ok(value)
                }
                Ok(Err(error)) => {
                    let responded = !needs_reconnect(&error);
                    if responded {
                        connection.has_replied();
                    } else {
                        self.drop_connection(&connection);
                    }
                    Err((failed(operation, error), responded))
                }
                Err(_) => {
                    if connection.has_timed_out() {
                        self.drop_connection(&connection);
                    }
                    Err((unavailable(format!("{operation}: no response within {limit:?}")), false))
                }
            }
        };
        let result: Result<T, (StoreError, bool)> = outcome.await;
        match result {
            Ok(value) => {
                self.breaker.succeeded();
                Ok(value)
            }
            Err((error, responded)) => {
                if responded {
                    self.breaker.succeeded();
                } else {
                    self.breaker.failed();
                }
                Err(error)
            }
        }
    }

    /// Returns the shared connection. Connects first if there is none; only one task connects at a
    /// time, and goes on if this caller no longer waits.
    pub(crate) async fn connection(&self) -> Result<Connection, RedisConnectError> {
        let current = || self.endpoint.current.lock().clone();
        if let Some(connection) = current() {
            return Ok(connection);
        }
        let connected = timeout(self.connect_timeout, async {
            let connecting = Arc::clone(&self.endpoint.connecting).lock_owned().await;
            if let Some(connection) = current() {
                return Ok(connection);
            }
            let Some(client) = self.this.upgrade() else { return Err(no_connection()) };
            let task = tokio::spawn(async move {
                let _connecting = connecting;
                let limit = client.connect_timeout * CONNECT_FACTOR;
                let connection = timeout(limit, client.open(limit)).await.map_err(|_| no_connection())??;
                *client.endpoint.current.lock() = Some(connection.clone());
                Ok(connection)
            });
            task.await.unwrap_or_else(|_| Err(no_connection()))
        });
        connect_result(connected.await, self.connect_timeout)
    }

    /// Drops the shared connection if it is still this one, so that the next command reconnects.
    fn drop_connection(&self, failed: &Connection) {
        let mut current = self.endpoint.current.lock();
        if current.as_ref().is_some_and(|current| current.is(failed)) {
            *current = None;
        }
    }

    /// Returns the address of the server that new connections would use.
    async fn node_address(&self, limit: Duration) -> Result<String, RedisError> {
        Ok(self.endpoint.topology.node(limit).await?.address())
    }

    /// Carries out a removal. With Sentinels, it is confirmed once they report the server that has
    /// carried it out as the master, and did so for long enough: during a failover, some clients
    /// use the old master and some the new one.
    pub(crate) async fn confirmed<T>(
        &self,
        removal: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !matches!(self.endpoint.topology, Topology::Sentinels { .. }) {
            return removal.await;
        }
        let lost = |error: RedisConnectError| failed("removal", error.source.unwrap_or_else(no_connection));
        let before = self.connection().await.map_err(lost)?;
        let removed = removal.await?;
        let limit = self.connect_timeout * CONNECT_FACTOR;
        let settled = self.endpoint.topology.is_settled_master(before.address(), limit).await;
        let is_master = settled.map_err(|error| failed("removal", error))?;
        if is_master && self.endpoint.current.lock().as_ref().is_some_and(|current| current.is(&before)) {
            return Ok(removed);
        }
        if !is_master {
            self.drop_connection(&before);
        }
        Err(unavailable("removal: the master or the connection to it has changed"))
    }

    /// Returns a client of one server, for callers that need their own connection.
    pub(crate) async fn node(&self) -> Result<Server, RedisError> {
        self.endpoint.topology.node(self.connect_timeout).await
    }
}

/// Measures the round trip of a connection: the shorter of two, in case the server or this process
/// was busy.
async fn round_trip(connection: &mut MultiplexedConnection) -> Result<Duration, RedisError> {
    let mut shortest = Duration::MAX;
    for _ in 0..2 {
        let sent = Instant::now();
        redis::cmd("PING").query_async::<Value>(connection).await?;
        shortest = shortest.min(sent.elapsed());
    }
    Ok(shortest)
}

/// Drops the connection to a server that is no longer the master, although it responds: it may be
/// cut off from the Sentinels. Ends with the client.
async fn follow_master(client: Weak<RedisClient>) {
    loop {
        sleep(SENTINEL_POLL).await;
        let Some(client) = client.upgrade() else { return };
        let current = client.endpoint.current.lock().clone();
        let Some(current) = current else { continue };
        if let Ok(master) = client.node_address(client.connect_timeout * CONNECT_FACTOR).await
            && current.address() != Some(&*master)
        {
            tracing::info!("the Sentinels report another master, connecting to it");
            client.drop_connection(&current);
        }
    }
}

/// Creates the error of a server that can't be reached in time.
fn no_connection() -> RedisError {
    (ErrorKind::Io, "no connection").into()
}

/// Returns whether the connection is unusable or its server cannot serve commands: it is loading,
/// read-only, without its master or cluster, or rejects the credentials.
fn needs_reconnect(error: &RedisError) -> bool {
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
