//! Telling the others what was removed, and hearing of it: one channel for a cache, a connection for each who listens.
//!
//! A message says who sent it (nobody hears of his own), and what: `k` and the key, `g` and the group, `a` for everything.

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

/// How often the connection is asked whether it is there, and how long it may take to answer. A copy may be believed for
/// as long as both together after the connection is lost without a word.
const PING: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Bytes that name the sender.
const SENDER: usize = 32;

/// The store's own name among the senders.
#[derive(Debug)]
pub(crate) struct Sender(Token);

impl Sender {
    pub(crate) fn new() -> Self {
        Self(Token::new())
    }

    pub(crate) fn key(&self, key: &[u8]) -> Vec<u8> {
        self.message(b'k', &[key])
    }

    pub(crate) fn group(&self, group: &CacheGroup) -> Vec<u8> {
        self.message(b'g', &[group.origin().as_bytes(), b"\n", group.name().as_bytes()])
    }

    pub(crate) fn everything(&self) -> Vec<u8> {
        self.message(b'a', &[])
    }

    fn message(&self, what: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = self.0.as_str().as_bytes().to_vec();
        message.push(what);
        parts.iter().for_each(|part| message.extend_from_slice(part));
        message
    }

    /// What a message says, unless it is ours.
    fn read(&self, message: &[u8]) -> Option<Invalidation> {
        let (sender, rest) = message.split_at_checked(SENDER)?;
        if sender == self.0.as_str().as_bytes() {
            return None;
        }
        let (what, data) = rest.split_first()?;
        Some(match what {
            b'k' => CacheKey::from_bytes(data).map_or(Invalidation::Everything, Invalidation::Key),
            b'g' => {
                let group = std::str::from_utf8(data).ok().and_then(|data| data.split_once('\n'));
                group.map_or(Invalidation::Everything, |(origin, name)| {
                    Invalidation::Group(CacheGroup::new(origin, name))
                })
            }
            // Also what a later version may say.
            _ => Invalidation::Everything,
        })
    }
}

/// The ability to hear of removals.
#[derive(Debug)]
pub(crate) struct RedisRemovals(pub(crate) Arc<Shared>);

impl InvalidationFeed for RedisRemovals {
    fn listen(&self) -> Box<dyn InvalidationStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(Arc::clone(&self.0), sender));
        Box::new(Listener(receiver))
    }
}

#[derive(Debug)]
struct Listener(mpsc::UnboundedReceiver<Invalidation>);

#[async_trait]
impl InvalidationStream for Listener {
    async fn next(&mut self) -> Invalidation {
        // Its task ends only with this; were it otherwise, nothing could be believed.
        self.0.recv().await.unwrap_or(Invalidation::Disconnected)
    }
}

/// Until nobody listens any more.
async fn run(shared: Arc<Shared>, heard: mpsc::UnboundedSender<Invalidation>) {
    let mut pause = FIRST_PAUSE;
    while !heard.is_closed() {
        let limit = shared.options.connect_timeout.max(Duration::from_millis(500));
        let connecting = timeout(limit, async {
            let mut pubsub = shared.client.client().await?.get_async_pubsub().await?;
            pubsub.subscribe(shared.keys.channel()).await?;
            Ok::<_, redis::RedisError>(pubsub.split())
        });
        if let Ok(Ok((sink, messages))) = connecting.await {
            pause = FIRST_PAUSE;
            let _ = heard.send(Invalidation::Connected);
            hear(&shared, sink, messages, &heard).await;
            let _ = heard.send(Invalidation::Disconnected);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Until the connection is lost.
async fn hear(
    shared: &Shared,
    mut sink: PubSubSink,
    mut messages: PubSubStream,
    heard: &mpsc::UnboundedSender<Invalidation>,
) {
    loop {
        tokio::select! {
            () = heard.closed() => return,
            message = messages.next() => match message {
                Some(message) => {
                    if let Some(removed) = shared.sender.read(message.get_payload_bytes()) {
                        let _ = heard.send(removed);
                    }
                }
                None => return,
            },
            () = sleep(PING) => {
                let answered = timeout(PING, sink.ping::<redis::Value>()).await;
                if !matches!(answered, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
