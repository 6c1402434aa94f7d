//! Receives the invalidations that other processes of a cache publish. One channel serves a cache,
//! and each listener has its own connection. `messages` encodes and decodes the messages; the
//! scripts and `shared` publish them.
//!
//! Each listener is a node: it registers itself, probes its connection, reports until when near
//! copies may be served, and acknowledges what it has received (`acknowledgements`).

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use larder_core::{Invalidation, InvalidationFeed, InvalidationStream, StoreError};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    error::unavailable,
    fleet::{
        acknowledgements::{ALIVE, acknowledge, register},
        messages::Message,
    },
    shared::Shared,
    token::Token,
};

/// Pause between two probes of the connection.
const PROBE: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The store's feed of invalidations by other processes.
#[derive(Debug)]
pub(crate) struct RedisInvalidations(pub(crate) Arc<Shared>);

impl InvalidationFeed for RedisInvalidations {
    fn listen(&self) -> Box<dyn InvalidationStream> {
        let (events, receiver) = mpsc::unbounded_channel();
        let node = Token::new();
        tokio::spawn(run(Arc::clone(&self.0), node.clone(), events));
        Box::new(Listener { shared: Arc::clone(&self.0), node, receiver })
    }
}

#[derive(Debug)]
struct Listener {
    shared: Arc<Shared>,
    node: Token,
    receiver: mpsc::UnboundedReceiver<Message>,
}

#[async_trait]
impl InvalidationStream for Listener {
    async fn next(&mut self) -> Invalidation {
        loop {
            match self.receiver.recv().await {
                Some(Message::Invalidation(invalidation)) => return invalidation,
                // The caller has applied everything before it.
                Some(Message::Number(number)) => {
                    let (shared, node) = (Arc::clone(&self.shared), self.node.clone());
                    tokio::spawn(async move { acknowledge(&shared, &node, number).await });
                }
                // The task ends only when this receiver is dropped. If it ended earlier,
                // invalidations would be missed, so near copies must not be served.
                None => return Invalidation::Disconnected,
            }
        }
    }
}

/// Receives messages, and reconnects after each lost connection, until the listener is dropped.
async fn run(shared: Arc<Shared>, node: Token, events: mpsc::UnboundedSender<Message>) {
    let mut pause = FIRST_PAUSE;
    while !events.is_closed() {
        let connecting = timeout(LONGEST_PAUSE, async {
            let mut pubsub = shared.client.node_client().await?.get_async_pubsub().await?;
            pubsub.subscribe(shared.keys.channel()).await?;
            Ok::<_, redis::RedisError>(pubsub.split())
        });
        if let Ok(Ok((sink, messages))) = connecting.await {
            if forward_messages(&shared, &node, sink, messages, &events).await {
                pause = FIRST_PAUSE;
            }
            let _ = events.send(Message::Invalidation(Invalidation::Disconnected));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Sends each received message to the listener, and probes the connection, until it is lost or the
/// listener is dropped. Returns whether the connection has worked.
async fn forward_messages(
    shared: &Shared,
    node: &Token,
    mut sink: PubSubSink,
    mut messages: PubSubStream,
    events: &mpsc::UnboundedSender<Message>,
) -> bool {
    let mut probes = interval(PROBE);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_connected = false;
    loop {
        let mut probe = pin!(async {
            probes.tick().await;
            probe(shared, node, &mut sink).await
        });
        let answered = loop {
            tokio::select! {
                () = events.closed() => return is_connected,
                answered = &mut probe => break answered,
                message = messages.next() => match message {
                    Some(message) => forward(shared, events, &message),
                    None => return is_connected,
                },
            }
        };
        // The server has sent all messages from before its answer, so they have arrived. The
        // listener gets them before it learns that the feed was alive.
        while let Some(message) = tokio::task::unconstrained(messages.next()).now_or_never() {
            match message {
                Some(message) => forward(shared, events, &message),
                None => return is_connected,
            }
        }
        match answered {
            Ok(sent) => {
                let until = Invalidation::AliveUntil((sent + ALIVE).into_std());
                let _ = events.send(Message::Invalidation(until));
                if !is_connected {
                    is_connected = true;
                    let _ = events.send(Message::Invalidation(Invalidation::Connected));
                }
            }
            Err(Failed::Connection) => return is_connected,
            // Near copies are not served for long without a registration.
            Err(Failed::Registration(error)) => tracing::debug!(%error, "a node is not registered"),
        }
    }
}

/// Why a probe has failed.
enum Failed {
    Registration(StoreError),
    Connection,
}

/// Registers the node, and then probes the connection. Returns the time at which the probe was
/// sent.
async fn probe(shared: &Shared, node: &Token, sink: &mut PubSubSink) -> Result<Instant, Failed> {
    let registering = timeout(ALIVE, register(shared, node));
    let late = |_| Err(unavailable("registration: no response in time"));
    registering.await.unwrap_or_else(late).map_err(Failed::Registration)?;
    let sent = Instant::now();
    match timeout(ALIVE, sink.ping::<redis::Value>()).await {
        Ok(Ok(_)) => Ok(sent),
        _ => Err(Failed::Connection),
    }
}

/// Sends a message to the listener.
fn forward(shared: &Shared, events: &mpsc::UnboundedSender<Message>, message: &redis::Msg) {
    if let Some(message) = shared.sender.decode(message.get_payload_bytes()) {
        let _ = events.send(message);
    }
}
