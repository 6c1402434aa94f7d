//! Distributes the request to shut down: from a handle or a signal to the workers.

use std::io;

use tokio::sync::watch;

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Connections are accepted.
    Running,
    /// No connections are accepted, and requests in flight are completed.
    Graceful,
    /// Everything is closed.
    Immediate,
}

/// A handle that shuts down a [`RunningProxy`](crate::RunningProxy) from any task or thread. Clones
/// shut down the same server.
///
/// ```no_run
/// use larder_proxy::RunningProxy;
///
/// /// Serves until the future `end` is ready.
/// async fn serve_until(proxy: RunningProxy, end: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
///     let handle = proxy.handle();
///     tokio::spawn(async move {
///         end.await;
///         handle.shutdown();
///     });
///     proxy.serve().await
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ServerHandle(watch::Sender<Stage>);

impl ServerHandle {
    /// Creates a handle of a server that runs.
    pub(super) fn new() -> Self {
        Self(watch::channel(Stage::Running).0)
    }

    /// Stops accepting connections, closes idle ones, and lets requests in flight end within
    /// [`ServerOptions::shutdown_timeout`](crate::ServerOptions::shutdown_timeout).
    pub fn shutdown(&self) {
        self.advance(Stage::Graceful);
    }

    /// Closes all connections at once, also those with requests in flight.
    pub fn close(&self) {
        self.advance(Stage::Immediate);
    }

    /// Waits until the server begins to shut down.
    #[cfg(feature = "config")]
    pub(crate) async fn stopping(&self) {
        reached(&mut self.subscribe(), Stage::Graceful).await;
    }

    /// Returns the receiver of a worker.
    pub(super) fn subscribe(&self) -> watch::Receiver<Stage> {
        self.0.subscribe()
    }

    /// Goes to a stage, or stays at a later one.
    fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|current| {
            let advances = stage > *current;
            *current = stage.max(*current);
            advances
        });
    }
}

/// Waits until a stage or a later one has been reached.
pub(super) async fn reached(stages: &mut watch::Receiver<Stage>, stage: Stage) {
    // An error: all handles are gone, and with them the server.
    let _ = stages.wait_for(|current| *current >= stage).await;
}

/// The signals that shut down the server.
#[derive(Debug)]
pub(super) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Starts to receive the signals. They no longer end the process.
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
