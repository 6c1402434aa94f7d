//! Receives the invalidations that other processes of a cache publish. One channel serves a cache,
//! and each listener has its own connection. `messages` encodes and decodes the messages; the
//! scripts and `shared` publish them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use larder_core::{Invalidation, InvalidationFeed, InvalidationStream};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::shared::Shared;

/// Idle time after which the connection is probed, and the timeout of the probe. If a connection is
/// lost without notice, near copies can be served for up to the sum of both (1 s).
const PING: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The store's feed of invalidations by other processes.
#[derive(Debug)]
pub(crate) struct RedisInvalidations(pub(crate) Arc<Shared>);

impl InvalidationFeed for RedisInvalidations {
    fn listen(&self) -> Box<dyn InvalidationStream> {
        let (events, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(Arc::clone(&self.0), events));
        Box::new(Listener(receiver))
    }
}

#[derive(Debug)]
struct Listener(mpsc::UnboundedReceiver<Invalidation>);

#[async_trait]
impl InvalidationStream for Listener {
    async fn next(&mut self) -> Invalidation {
        // The task ends only when this receiver is dropped. If it ended earlier, invalidations
        // would be missed, so near copies must not be served.
        self.0.recv().await.unwrap_or(Invalidation::Disconnected)
    }
}

/// Subscribes to the channel, and again after each lost connection, until the listener is dropped.
async fn run(shared: Arc<Shared>, events: mpsc::UnboundedSender<Invalidation>) {
    let mut pause = FIRST_PAUSE;
    while !events.is_closed() {
        let limit = shared.options.connect_timeout.max(Duration::from_millis(500));
        let connecting = timeout(limit, async {
            let mut pubsub = shared.client.node_client().await?.get_async_pubsub().await?;
            pubsub.subscribe(shared.keys.channel()).await?;
            Ok::<_, redis::RedisError>(pubsub.split())
        });
        if let Ok(Ok((sink, messages))) = connecting.await {
            pause = FIRST_PAUSE;
            let _ = events.send(Invalidation::Connected);
            forward_messages(&shared, sink, messages, &events).await;
            let _ = events.send(Invalidation::Disconnected);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Sends each received message to the listener until the connection is lost or the listener is
/// dropped.
async fn forward_messages(
    shared: &Shared,
    mut sink: PubSubSink,
    mut messages: PubSubStream,
    events: &mpsc::UnboundedSender<Invalidation>,
) {
    loop {
        tokio::select! {
            () = events.closed() => return,
            message = messages.next() => match message {
                Some(message) => {
                    if let Some(invalidation) = shared.sender.decode(message.get_payload_bytes()) {
                        let _ = events.send(invalidation);
                    }
                }
                None => return,
            },
            () = sleep(PING) => {
                let pong = timeout(PING, sink.ping::<redis::Value>()).await;
                if !matches!(pong, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
