//! Defines the connection for commands, to one server or to a Cluster. `connect` opens it; `client`
//! shares it between tasks and decides when it is replaced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};

use crate::token::Nonce;

/// Timeouts in a row after which a connection is replaced: the server hangs, or the network has
/// forgotten the connection.
const MAX_TIMEOUTS: u32 = 2;

/// A connection to one server or to a Cluster. Clones share the underlying connections.
#[derive(Clone)]
pub(crate) struct Connection {
    link: Link,
    command_timeout: Duration,
    /// Timeouts since the last reply.
    timeouts: Arc<AtomicU32>,
}

#[derive(Clone)]
enum Link {
    /// One server, with the `run_id` of its process and its address.
    One(MultiplexedConnection, Arc<[u8]>, Arc<str>),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Wraps the connection to a server process at an address.
    pub(crate) fn to_server(
        connection: MultiplexedConnection,
        run_id: &[u8],
        address: Arc<str>,
        command_timeout: Duration,
    ) -> Self {
        let link = Link::One(connection, run_id.into(), address);
        Self { link, command_timeout, timeouts: Arc::default() }
    }

    /// Wraps the connection to a Cluster.
    pub(crate) fn to_cluster(connection: ClusterConnection, command_timeout: Duration) -> Self {
        Self { link: Link::Cluster(connection), command_timeout, timeouts: Arc::default() }
    }

    /// Returns the connection to a Cluster, or `None` for one server.
    pub(crate) fn as_cluster(&mut self) -> Option<&mut ClusterConnection> {
        match &mut self.link {
            Link::Cluster(connection) => Some(connection),
            Link::One(..) => None,
        }
    }

    /// Returns the timeout of a command.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.command_timeout
    }

    /// Returns the address of the only server.
    pub(crate) fn address(&self) -> Option<&str> {
        match &self.link {
            Link::One(_, _, address) => Some(address),
            Link::Cluster(_) => None,
        }
    }

    /// Returns whether both are clones of one connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.timeouts, &other.timeouts)
    }

    /// Records a reply.
    pub(crate) fn has_replied(&self) {
        // Usually it is zero, and a load does not contend with those of other tasks.
        if self.timeouts.load(Ordering::Relaxed) > 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// Records a timeout. Returns whether the connection has to be replaced.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.timeouts.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS
    }

    /// Returns the epoch in a reply: a token and the `run_id` of the server process that it belongs
    /// to. `None` if it is missing.
    ///
    /// # Errors
    ///
    /// Returns an error of the connection if the epoch belongs to another process than that of this
    /// connection: the server has become the replica of another, and has its data. The connection
    /// has to be replaced. (On a Cluster, scripts have checked this.)
    pub(crate) fn epoch(&self, value: &[u8]) -> Result<Option<Nonce>, RedisError> {
        let Some((token, process)) = value.split_first_chunk::<8>() else { return Ok(None) };
        match &self.link {
            Link::One(_, run_id, _) if **run_id != *process => {
                Err((ErrorKind::Io, "the server's data comes from another server process").into())
            }
            _ => Ok(Some(*token)),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.link {
            Link::One(connection, ..) => connection.req_packed_command(cmd),
            Link::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.link {
            Link::One(connection, ..) => connection.req_packed_commands(pipeline, offset, count),
            Link::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.link {
            Link::One(connection, ..) => connection.get_db(),
            Link::Cluster(connection) => connection.get_db(),
        }
    }
}
