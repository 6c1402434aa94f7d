//! One worker: a thread with its own runtime, listening socket, connections and proxy.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    runtime::{Builder, LocalOptions},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    activity::Activity,
    connection::{self, ConnectionContext},
    limits::Connections,
    options::ServerOptions,
    reload::{Reloader, WorkerProxy},
    shutdown::{Stage, reached},
};
use crate::ReverseProxy;

/// Pause after the system has refused a connection, for example because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest time that a worker continues after its last connection, for bodies that are being stored
/// and revalidations in the background.
const DRAIN: Duration = Duration::from_secs(5);

/// Shortest time between two warnings about a limit.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What a worker needs to start.
#[derive(Clone)]
pub(super) struct WorkerSetup<M> {
    pub(super) options: ServerOptions,
    pub(super) make: M,
    pub(super) reloader: Reloader,
    pub(super) stages: watch::Receiver<Stage>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

/// Runs a worker on this thread until the server has been shut down.
pub(super) fn run<M>(listener: TcpListener, setup: WorkerSetup<M>) -> io::Result<()>
where
    M: Fn() -> ReverseProxy + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let worker = Worker::new(setup);
        worker.serve(listener).await;
        Ok(())
    })
}

/// A worker that runs.
struct Worker<M> {
    context: Rc<ConnectionContext<M>>,
    connections: Rc<Connections>,
    stages: watch::Receiver<Stage>,
    warned: Option<Instant>,
}

impl<M: Fn() -> ReverseProxy + 'static> Worker<M> {
    /// Creates the worker and its proxy.
    fn new(setup: WorkerSetup<M>) -> Self {
        let options = setup.options;
        let connections = Connections::new(options.max_connections, options.max_connections_per_client);
        let context = Rc::new(ConnectionContext {
            options,
            proxy: WorkerProxy::new(setup.make, setup.reloader),
            #[cfg(feature = "tls")]
            tls: setup.tls.map(Into::into),
        });
        Self { context, connections, stages: setup.stages, warned: None }
    }

    /// Accepts connections until the server is shut down, and then waits for their end.
    async fn serve(mut self, listener: tokio::net::TcpListener) {
        loop {
            if self.connections.is_full() {
                self.warn("a worker has as many connections as it may have: it accepts no more for now");
            }
            let connections = Rc::clone(&self.connections);
            let accepting = async {
                connections.room().await;
                listener.accept().await
            };
            let accepted = tokio::select! {
                biased;
                () = reached(&mut self.stages, Stage::Graceful) => break,
                accepted = accepting => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => self.open(tcp, peer),
                Err(error) => self.refused(&error).await,
            }
        }
        drop(listener);
        self.end().await;
    }

    /// Starts to serve a connection.
    fn open(&mut self, tcp: TcpStream, peer: SocketAddr) {
        let activity = Rc::<Activity>::default();
        let Some(open) = self.connections.open(peer.ip(), Rc::clone(&activity)) else {
            self.warn("a client has as many connections to a worker as it may have: more are closed");
            return;
        };
        // Failure only costs time.
        let _ = tcp.set_nodelay(true);
        let serving = connection::serve(Rc::clone(&self.context), tcp, peer, activity);
        tokio::task::spawn_local(async move {
            serving.await;
            drop(open);
        });
    }

    /// Handles an error of the listening socket.
    async fn refused(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        // The client has left, or the call is to be repeated.
        if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            self.warn(&format!("can't accept a connection: {error}"));
            sleep(ACCEPT_PAUSE).await;
        }
    }

    /// Lets the connections end within the time for it.
    async fn end(mut self) {
        self.connections.stop();
        let limit = self.context.options.shutdown_timeout;
        tokio::select! {
            biased;
            () = reached(&mut self.stages, Stage::Immediate) => return,
            ended = timeout(limit, self.connections.fewer_than(1)) => if ended.is_err() {
                let open = self.connections.len();
                tracing::warn!(open, ?limit, "closed connections with requests in flight at the shutdown");
            },
        }
        let proxy = self.context.proxy.current();
        tokio::select! {
            biased;
            () = reached(&mut self.stages, Stage::Immediate) => {}
            _ = proxy.cache().drain(DRAIN) => {}
        }
    }

    /// Writes a warning, unless there was one shortly before.
    fn warn(&mut self, message: &str) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
            self.warned = Some(Instant::now());
            tracing::warn!("{message}");
        }
    }
}
