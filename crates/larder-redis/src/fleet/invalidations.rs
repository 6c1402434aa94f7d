//! Receives the invalidations that other processes of a cache publish. One channel serves a cache,
//! and each listener has its own connection. `messages` encodes and decodes the messages; the
//! scripts and `shared` publish them.
//!
//! Each listener is a node: it registers itself, reports until when near copies may be served, and
//! acknowledges what it has received (`acknowledgements`).
//!
//! A registration is a probe: the server that executes it publishes an answer to the node, with the
//! number of the last removal. Only the answer shows that what is published there arrives here:
//! another server, such as a replica, would answer a `PING` as well.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use larder_core::{Invalidation, InvalidationFeed, InvalidationStream};
use redis::aio::PubSubStream;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
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
            let mut pubsub = shared.client.node().await?.subscriptions().await?;
            let channels = [shared.keys.channel(), shared.keys.node_channel(node.as_str())];
            pubsub.subscribe(&channels).await?;
            Ok::<_, redis::RedisError>(pubsub.split())
        });
        if let Ok(Ok((sink, messages))) = connecting.await {
            let mut feed = Feed::new(&shared, &node, &events, messages);
            if feed.forward_messages().await {
                pause = FIRST_PAUSE;
            }
            drop(sink);
            let _ = events.send(Message::Invalidation(Invalidation::Disconnected));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection of a listener.
struct Feed<'a> {
    shared: &'a Shared,
    node: &'a Token,
    events: &'a mpsc::UnboundedSender<Message>,
    messages: PubSubStream,
    /// What the connection has received. `None` before the first answer to a probe.
    received: Option<Received>,
    /// Whether all removals up to the last answer have been received, from one server process.
    is_complete: bool,
    /// The probe that was answered last.
    answered: Vec<u8>,
}

/// The server process that numbers the removals, and the number of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    run_id: String,
    number: u64,
}

impl<'a> Feed<'a> {
    /// Creates the feed of a connection that has received nothing.
    fn new(
        shared: &'a Shared,
        node: &'a Token,
        events: &'a mpsc::UnboundedSender<Message>,
        messages: PubSubStream,
    ) -> Self {
        Self { shared, node, events, messages, received: None, is_complete: true, answered: Vec::new() }
    }

    /// Sends each received message to the listener, and probes, until the connection is lost or the
    /// listener is dropped. Returns whether the connection has worked.
    async fn forward_messages(&mut self) -> bool {
        let mut probes = interval(PROBE);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_connected = false;
        loop {
            let (shared, node, probe) = (self.shared, self.node, Token::new());
            let mut registering = pin!(async {
                probes.tick().await;
                let sent = Instant::now();
                let registering = timeout(ALIVE, register(shared, node, &probe)).await;
                let late = |_| Err(unavailable("registration: no response in time"));
                registering.unwrap_or_else(late).map(|()| sent)
            });
            let registered = loop {
                tokio::select! {
                    () = self.events.closed() => return is_connected,
                    registered = &mut registering => break registered,
                    message = self.messages.next() => match message {
                        Some(message) => self.receive(&message),
                        None => return is_connected,
                    },
                }
            };
            let sent = match registered {
                Ok(sent) => sent,
                // Near copies are not served for long without a registration.
                Err(error) => {
                    tracing::debug!(%error, "a node is not registered");
                    continue;
                }
            };
            let has_answer = timeout_at(sent + ALIVE, self.has_answer(&probe)).await == Ok(true);
            if !has_answer || !self.is_complete {
                // What is published where the node is registered does not arrive here.
                return is_connected;
            }
            let until = Invalidation::AliveUntil((sent + ALIVE).into_std());
            let _ = self.events.send(Message::Invalidation(until));
            if !is_connected {
                is_connected = true;
                let _ = self.events.send(Message::Invalidation(Invalidation::Connected));
            }
        }
    }

    /// Waits for the answer to a probe. `false` if the connection is lost.
    ///
    /// The server sends all earlier messages before it. The listener gets them before it learns
    /// that the feed was alive.
    async fn has_answer(&mut self, probe: &Token) -> bool {
        while self.answered != probe.as_str().as_bytes() {
            let Some(message) = self.messages.next().await else { return false };
            self.receive(&message);
        }
        true
    }

    /// Sends a message to the listener, or notes that it answers a probe.
    fn receive(&mut self, message: &redis::Msg) {
        let payload = message.get_payload_bytes();
        if message.get_channel_name() != self.shared.keys.channel() {
            let Some((probe, answer)) = parse_answer(payload) else { return };
            self.is_complete &= *self.received.get_or_insert_with(|| answer.clone()) == answer;
            self.answered = probe;
            return;
        }
        let Some(message) = self.shared.sender.decode(payload) else { return };
        if let (Message::Number(number), Some(received)) = (&message, &mut self.received) {
            received.number = *number;
        }
        let _ = self.events.send(message);
    }
}

/// Parses an answer: the probe, the server's `run_id` and the last number.
fn parse_answer(payload: &[u8]) -> Option<(Vec<u8>, Received)> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    let (probe, run_id, number) = (words.next()?, words.next()?, words.next()?);
    Some((probe.into(), Received { run_id: run_id.to_owned(), number: number.parse().ok()? }))
}
