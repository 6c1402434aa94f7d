//! Relays between a store and its server, for tests of the network.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Forwards bytes to and from a server. Connections from before the last change of `generation`
/// stay open and forward nothing any more, as in a router that has forgotten them. Returns the
/// port.
pub(crate) async fn forgetful_relay(to: u16, generation: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
            let (client, server) = (client.into_split(), server.into_split());
            let born = generation.load(Ordering::SeqCst);
            for (mut from, mut to) in [(client.0, server.1), (server.0, client.1)] {
                let generation = Arc::clone(&generation);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from.read(&mut buffer).await {
                        let is_forgotten = generation.load(Ordering::SeqCst) != born;
                        if !is_forgotten && to.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    port
}

/// Forwards bytes to and from a server, each way after `delay`: what the client sends within this
/// time is one batch. Counts the batches, which are the round trips of a client that waits for each
/// reply. Returns the port.
pub(crate) async fn distant_relay(to: u16, delay: Duration, batches: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
            let (client, server) = (client.into_split(), server.into_split());
            for (mut from, mut to, count) in
                [(client.0, server.1, Some(Arc::clone(&batches))), (server.0, client.1, None)]
            {
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    while let Ok(1..) = from.read_buf(&mut buffer).await {
                        tokio::time::sleep(delay).await;
                        while let Some(Ok(1..)) = from.read_buf(&mut buffer).now_or_never() {}
                        if let Some(count) = &count {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        if to.write_all(&buffer).await.is_err() {
                            return;
                        }
                        buffer.clear();
                    }
                });
            }
        }
    });
    port
}

/// Forwards bytes to and from the server of which the port is in `to` when a connection begins, as
/// a name that means another server later. Returns the port.
pub(crate) async fn switched_relay(to: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it listens").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", to.load(Ordering::SeqCst))).await;
            let Ok(mut server) = server else { continue };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    port
}
