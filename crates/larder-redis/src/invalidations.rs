//! Publishes invalidations to the other processes of a cache and receives theirs. One channel
//! serves a cache, and each listener has its own connection.
//!
//! A message consists of the sender's token (32 bytes), a tag and data: `k` and the key, `g` and
//! the group, or `a` for everything. A process ignores its own messages.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use larder_core::{CacheGroup, CacheKey, Invalidation, InvalidationFeed, InvalidationStream};
use redis::aio::{PubSubSink, PubSubStream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{store::Shared, token::Token};

/// Idle time after which the connection is probed, and the timeout of the probe. If a connection is
/// lost without notice, near copies can be served for up to the sum of both (1 s).
const PING: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of the sender's token at the beginning of a message.
const SENDER_BYTES: usize = 32;

/// Encodes and decodes messages. The token identifies the messages that this store has sent.
#[derive(Debug)]
pub(crate) struct Sender(Token);

impl Sender {
    /// Creates a sender with a random token.
    pub(crate) fn new() -> Self {
        Self(Token::new())
    }

    /// Returns the message that a key was removed or its entries were replaced.
    pub(crate) fn key(&self, key: &[u8]) -> Vec<u8> {
        self.message(b'k', &[key])
    }

    /// Returns the message that a group was removed or marked stale.
    pub(crate) fn group(&self, group: &CacheGroup) -> Vec<u8> {
        self.message(b'g', &[group.origin().as_bytes(), b"\n", group.name().as_bytes()])
    }

    /// Returns the message that any entry may have been removed or marked stale.
    pub(crate) fn everything(&self) -> Vec<u8> {
        self.message(b'a', &[])
    }

    /// Builds a message from its tag and data.
    fn message(&self, tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = self.0.as_str().as_bytes().to_vec();
        message.push(tag);
        parts.iter().for_each(|part| message.extend_from_slice(part));
        message
    }

    /// Decodes a message. Returns `None` if this store has sent it or it is too short.
    fn decode(&self, message: &[u8]) -> Option<Invalidation> {
        let (sender, rest) = message.split_at_checked(SENDER_BYTES)?;
        if sender == self.0.as_str().as_bytes() {
            return None;
        }
        let (tag, data) = rest.split_first()?;
        Some(match tag {
            b'k' => CacheKey::from_bytes(data).map_or(Invalidation::Everything, Invalidation::Key),
            b'g' => {
                let group = std::str::from_utf8(data).ok().and_then(|data| data.split_once('\n'));
                group.map_or(Invalidation::Everything, |(origin, name)| {
                    Invalidation::Group(CacheGroup::new(origin, name))
                })
            }
            // `a`, and tags that later versions may add.
            _ => Invalidation::Everything,
        })
    }
}

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
