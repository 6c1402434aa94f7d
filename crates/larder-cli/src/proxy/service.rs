//! Notifies the service manager that has started the proxy, if one has.

use larder::proxy::{ProxyHandle, ServiceNotifier};
use tokio::task::spawn_local;

/// The service manager, if there is one.
#[derive(Clone)]
pub(super) struct Service(Option<ServiceNotifier>);

impl Service {
    /// Finds the service manager as systemd announces itself.
    pub(super) fn from_env() -> Self {
        Self(std::env::var_os("NOTIFY_SOCKET").map(ServiceNotifier::new))
    }

    /// Notifies the service manager that the proxy listens, and later that it shuts down.
    pub(super) fn has_started(self, proxy: ProxyHandle) {
        self.notify(ServiceNotifier::ready);
        spawn_local(async move {
            proxy.stopping().await;
            self.notify(ServiceNotifier::stopping);
        });
    }

    /// Notifies the service manager.
    pub(super) fn notify(&self, send: impl FnOnce(&ServiceNotifier) -> std::io::Result<()>) {
        if let Some(Err(error)) = self.0.as_ref().map(send) {
            tracing::warn!(%error, "can't notify the service manager (NOTIFY_SOCKET)");
        }
    }
}
