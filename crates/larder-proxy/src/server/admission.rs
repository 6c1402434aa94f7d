//! Decides which connections are served: finds out who the client is, and counts it.

use std::{net::IpAddr, rc::Rc};

use super::{
    clients::CountedClient,
    context::{ConnectionContext, Warning},
    listening::{Accepted, ListenerContext, PreambleError, read_header},
    stream::RawStream,
};
use crate::ReverseProxy;

/// A connection that is served.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) stream: RawStream,
    /// The address of the client, which is behind the other end if that is a proxy.
    pub(super) peer: IpAddr,
    /// Whether the client uses TLS, for this connection or for the one to a proxy in front.
    pub(super) is_tls: bool,
    pub(super) listener: Rc<ListenerContext>,
    /// Counts the connection for its client; `None` for clients without a limit.
    pub(super) _counted: Option<CountedClient>,
}

/// Reads the header of the PROXY protocol if the listener expects one, and counts the connection
/// for its client. Returns `None` if it is to be closed.
pub(super) async fn admit<M: Fn() -> ReverseProxy>(
    context: &ConnectionContext<M>,
    accepted: Accepted,
) -> Option<Admitted> {
    let Accepted { mut stream, mut peer, mut is_unix, listener } = accepted;
    let mut is_tls = listener.is_tls();
    if let Some(senders) = &listener.options.proxy_protocol {
        if !is_unix && !senders.contains(peer) {
            context.warnings.write(Warning::ProxyProtocol, &format_args!(
                "closed a connection from {peer}: the listener is for proxies that send the PROXY protocol, \
                 and this is not one of them"
            ));
            return None;
        }
        // Boxed: most connections have none, and their futures need no room for it.
        match Box::pin(read_header(&mut stream)).await {
            Ok(header) => {
                is_tls |= header.is_tls();
                if let Some(source) = header.source() {
                    peer = source.ip();
                    is_unix = false;
                }
            }
            Err(PreambleError::Io(error)) => {
                tracing::debug!(%error, %peer, "a connection ended before its PROXY protocol header");
                return None;
            }
            Err(error) => {
                context
                    .warnings
                    .write(Warning::ProxyProtocol, &format_args!("closed a connection from {peer}: {error}"));
                return None;
            }
        }
    }
    let is_free = is_unix || context.proxy.current().is_trusted(peer);
    let counted = if is_free { None } else { Some(context.clients.count(peer)) };
    match counted {
        Some(None) => {
            context.warnings.write(
                Warning::Client,
                &format_args!("the client {peer} has as many connections as it may have: more are closed"),
            );
            None
        }
        counted => Some(Admitted { stream, peer, is_tls, listener, _counted: counted.flatten() }),
    }
}
