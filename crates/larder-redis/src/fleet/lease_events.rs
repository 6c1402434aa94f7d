//! Receives the notifications that a lease was released. One connection serves all waiters of the
//! store. Without it, the waiters notice a release when they check the lease.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use redis::aio::PubSubSink;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use crate::client::RedisClient;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Timeout for connecting, and for each change of the subscriptions.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The waiter of each channel.
type Waiters = Arc<Mutex<HashMap<String, Weak<Waiter>>>>;

/// Subscribes to the channels of leases and notifies their waiters. Its task starts with the first
/// waiter.
#[derive(Debug)]
pub(crate) struct Notifier {
    waiters: Waiters,
    /// Sends the channels to subscribe to.
    channels: mpsc::UnboundedSender<String>,
    /// Receives the channels. `None` once the task has started and owns it.
    start: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    client: Arc<RedisClient>,
}

/// Waits for the release of one lease. All tasks of this process that wait for the same lease share
/// it.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    subscribed: Notify,
    notified: Notify,
}

impl Waiter {
    /// Waits until the channel is subscribed, so that no later notification is missed, but at most
    /// for `limit`.
    pub(crate) async fn subscribed(&self, limit: Duration) {
        let _ = timeout(limit, self.subscribed.notified()).await;
    }

    /// Waits for the next notification. Earlier ones do not count.
    pub(crate) async fn notified(&self) {
        self.notified.notified().await;
    }
}

impl Notifier {
    /// Creates a notifier. Connects to nothing.
    pub(crate) fn new(client: &Arc<RedisClient>) -> Self {
        let (channels, receiver) = mpsc::unbounded_channel();
        Self {
            waiters: Waiters::default(),
            channels,
            start: Mutex::new(Some(receiver)),
            client: Arc::clone(client),
        }
    }

    /// Returns the waiter of a channel, and subscribes to the channel if it has none yet.
    pub(crate) fn listen(&self, channel: &str) -> Arc<Waiter> {
        if let Some(receiver) = self.start.lock().take() {
            tokio::spawn(run(Arc::clone(&self.client), Arc::clone(&self.waiters), receiver));
        }
        let mut waiters = self.waiters.lock();
        if let Some(waiter) = waiters.get(channel).and_then(Weak::upgrade) {
            // The channel is subscribed or is about to be. This lets one more task pass
            // `subscribed`.
            waiter.subscribed.notify_one();
            return waiter;
        }
        let waiter = Arc::new(Waiter::default());
        waiters.insert(channel.to_owned(), Arc::downgrade(&waiter));
        drop(waiters);
        let _ = self.channels.send(channel.to_owned());
        waiter
    }
}

/// Subscribes and notifies, and reconnects after each lost connection, until the notifier is
/// dropped.
async fn run(client: Arc<RedisClient>, waiters: Waiters, mut channels: mpsc::UnboundedReceiver<String>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let connected = timeout(SUBSCRIBE_TIMEOUT, async { client.node().await?.subscriptions().await });
        let Ok(Ok(pubsub)) = connected.await else {
            if channels.is_closed() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            continue;
        };
        pause = FIRST_PAUSE;
        let (mut sink, mut messages) = pubsub.split();
        let known: Vec<String> = waiters.lock().keys().cloned().collect();
        for channel in known {
            subscribe(&mut sink, &waiters, channel).await;
        }
        loop {
            tokio::select! {
                channel = channels.recv() => match channel {
                    Some(channel) => subscribe(&mut sink, &waiters, channel).await,
                    None => return,
                },
                message = messages.next() => match message {
                    Some(message) => {
                        let waiter = waiters.lock().get(message.get_channel_name()).and_then(Weak::upgrade);
                        if let Some(waiter) = waiter {
                            waiter.notified.notify_waiters();
                        }
                        unsubscribe_idle(&mut sink, &waiters).await;
                    }
                    None => break,
                },
            }
        }
        // Notifications may have been lost with the connection: wake all waiters, so that each
        // checks its lease.
        let all: Vec<_> = waiters.lock().values().filter_map(Weak::upgrade).collect();
        all.iter().for_each(|waiter| waiter.notified.notify_waiters());
    }
}

/// Subscribes to a channel. Failure has no effect: the waiter then relies on its own checks.
async fn subscribe(sink: &mut PubSubSink, waiters: &Waiters, channel: String) {
    let subscribed = timeout(SUBSCRIBE_TIMEOUT, sink.subscribe(&channel)).await;
    let waiter = waiters.lock().get(&channel).and_then(Weak::upgrade);
    if let (Some(waiter), Ok(Ok(()))) = (waiter, subscribed) {
        waiter.subscribed.notify_one();
    }
}

/// Unsubscribes from the channels without a waiter.
async fn unsubscribe_idle(sink: &mut PubSubSink, waiters: &Waiters) {
    let idle: Vec<String> = {
        let mut waiters = waiters.lock();
        let idle = waiters.iter().filter(|(_, waiter)| waiter.strong_count() == 0);
        let idle: Vec<_> = idle.map(|(channel, _)| channel.clone()).collect();
        idle.iter().for_each(|channel| drop(waiters.remove(channel)));
        idle
    };
    for channel in idle {
        let _ = timeout(SUBSCRIBE_TIMEOUT, sink.unsubscribe(channel)).await;
    }
}
