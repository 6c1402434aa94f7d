//! One worker: a thread with its own runtime, listening sockets, connections and proxy.

use std::{future::poll_fn, io, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    activity::Activity,
    clients::ClientCounts,
    connection,
    context::{ConnectionContext, Warning, Warnings},
    limits::Connections,
    listening::{Accepted, BoundListener, ListenerContext, Listeners},
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

/// Time in which handshakes that have begun end, before a listening socket is closed: more than a
/// round trip to most clients. The client of a handshake that begins meanwhile connects again after
/// one second.
const HANDSHAKES: Duration = Duration::from_millis(200);

/// What a worker needs to start.
#[derive(Clone)]
pub(super) struct WorkerSetup<M> {
    pub(super) options: ServerOptions,
    /// The number of connections that each worker may have.
    pub(super) max_connections: usize,
    pub(super) clients: Arc<ClientCounts>,
    pub(super) make: M,
    pub(super) reloader: Reloader,
    pub(super) stages: watch::Receiver<Stage>,
}

/// A listener of a worker before its runtime exists.
#[derive(Debug)]
pub(super) struct WorkerListener {
    pub(super) bound: BoundListener,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

impl WorkerListener {
    /// Adds what the connections of the listener share.
    fn with_context(self) -> (BoundListener, ListenerContext) {
        let context = ListenerContext {
            options: self.bound.options.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls.map(|config| super::listening::TlsAcceptor(config.into())),
        };
        (self.bound, context)
    }
}

/// Runs a worker on this thread until the server has been shut down.
pub(super) fn run<M>(listeners: Vec<WorkerListener>, setup: WorkerSetup<M>) -> io::Result<()>
where
    M: Fn() -> ReverseProxy + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listeners = Listeners::new(listeners.into_iter().map(WorkerListener::with_context).collect())?;
        Worker::new(setup).serve(listeners).await;
        Ok(())
    })
}

/// A worker that runs.
struct Worker<M> {
    context: Rc<ConnectionContext<M>>,
    connections: Rc<Connections>,
    stages: watch::Receiver<Stage>,
    warnings: Rc<Warnings>,
}

impl<M: Fn() -> ReverseProxy + 'static> Worker<M> {
    /// Creates the worker and its proxy.
    fn new(setup: WorkerSetup<M>) -> Self {
        let connections = Connections::new(setup.max_connections);
        let warnings = Rc::<Warnings>::default();
        let context = Rc::new(ConnectionContext {
            options: setup.options,
            proxy: WorkerProxy::new(setup.make, setup.reloader),
            clients: setup.clients,
            warnings: Rc::clone(&warnings),
        });
        Self { context, connections, stages: setup.stages, warnings }
    }

    /// Accepts connections until the server is shut down, and then waits for their end.
    async fn serve(mut self, mut listeners: Listeners) {
        let mut stages = self.stages.clone();
        tokio::select! {
            biased;
            () = reached(&mut stages, Stage::Graceful) => {}
            () = self.accept(&mut listeners) => {}
        }
        let begun = Instant::now();
        let limit = self.context.options.shutdown_timeout;
        listeners.stop();
        self.connections.stop();
        tokio::select! {
            biased;
            () = reached(&mut stages, Stage::Immediate) => return,
            _ = timeout(HANDSHAKES.min(limit), self.accept(&mut listeners)) => {}
        }
        for accepted in listeners.close() {
            self.open(accepted);
        }
        self.connections.stop();
        self.end(limit.saturating_sub(begun.elapsed())).await;
    }

    /// Accepts connections until this is dropped.
    async fn accept(&mut self, listeners: &mut Listeners) {
        loop {
            if self.connections.is_full() {
                self.warnings.write(
                    Warning::Full,
                    &"a worker has as many connections as it may have: it accepts no more for now",
                );
            }
            self.connections.room().await;
            match poll_fn(|cx| listeners.poll_accept(cx)).await {
                Ok(accepted) => self.open(accepted),
                Err(error) => self.refused(&error).await,
            }
        }
    }

    /// Starts to serve a connection.
    fn open(&mut self, accepted: Accepted) {
        let activity = Rc::<Activity>::default();
        let open = self.connections.open(Rc::clone(&activity));
        accepted.stream.set_nodelay();
        let serving = connection::serve(Rc::clone(&self.context), accepted, activity);
        tokio::task::spawn_local(async move {
            serving.await;
            drop(open);
        });
    }

    /// Handles an error of a listening socket.
    async fn refused(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        // The client has left, or the call is to be repeated.
        if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            self.warnings.write(Warning::Accept, &format_args!("can't accept a connection: {error}"));
            sleep(ACCEPT_PAUSE).await;
        }
    }
    /// Lets the connections end within this time.
    async fn end(mut self, limit: Duration) {
        tokio::select! {
            biased;
            () = reached(&mut self.stages, Stage::Immediate) => return,
            ended = timeout(limit, self.connections.fewer_than(1)) => if ended.is_err() {
                let (open, limit) = (self.connections.len(), self.context.options.shutdown_timeout);
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
}
