//! The proxy of each worker, and the handle that makes the workers create it again.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::ReverseProxy;

/// A handle that makes the workers of a [`ProxyServer`](crate::ProxyServer) create their
/// [`ReverseProxy`] again, for example with a changed configuration; from
/// [`ProxyServer::reloader`](crate::ProxyServer::reloader). Clones reload the same server.
///
/// ```
/// # fn example() -> std::io::Result<()> {
/// use larder_proxy::{ProxyServer, ServerOptions};
///
/// let server = ProxyServer::bind(([127, 0, 0, 1], 0).into(), ServerOptions::default())?;
/// let reloader = server.reloader();
/// // Later, when the configuration has changed:
/// reloader.reload();
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reloader(Arc<AtomicU64>);

impl Reloader {
    /// Makes each worker create its proxy again at its next request. Requests in flight continue
    /// with the previous proxy.
    pub fn reload(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of reloads so far.
    fn generation(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The proxy of one worker, with the generation at which it was created.
pub(super) struct WorkerProxy<M> {
    make: M,
    reloader: Reloader,
    proxy: RefCell<(u64, Rc<ReverseProxy>)>,
}

impl<M: Fn() -> ReverseProxy> WorkerProxy<M> {
    /// Creates the worker's first proxy.
    pub(super) fn new(make: M, reloader: Reloader) -> Self {
        let generation = reloader.generation();
        let proxy = RefCell::new((generation, Rc::new(make())));
        Self { make, reloader, proxy }
    }

    /// Returns the proxy; creates it again after a reload.
    pub(super) fn current(&self) -> Rc<ReverseProxy> {
        let generation = self.reloader.generation();
        let mut current = self.proxy.borrow_mut();
        if current.0 != generation {
            *current = (generation, Rc::new((self.make)()));
        }
        Rc::clone(&current.1)
    }
}
