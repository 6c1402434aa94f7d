//! What other processes say: that a lease was given back. One connection listens for all who wait; without it, they wait
//! until the lease runs out.

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
/// How long a subscription may take.
const LIMIT: Duration = Duration::from_secs(1);

type Waiting = Arc<Mutex<HashMap<String, Weak<Waiter>>>>;

/// Listens, from the first that somebody waits for.
#[derive(Debug)]
pub(crate) struct Notifier {
    waiting: Waiting,
    wanted: mpsc::UnboundedSender<String>,
    start: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    link: Arc<RedisClient>,
}

/// Somebody waits for news of one channel.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    subscribed: Notify,
    notified: Notify,
}

impl Waiter {
    /// Returns when it is certain that nothing will be missed; or after a while, when it is not.
    pub(crate) async fn subscribed(&self, limit: Duration) {
        let _ = timeout(limit, self.subscribed.notified()).await;
    }

    pub(crate) async fn notified(&self) {
        self.notified.notified().await;
    }
}

impl Notifier {
    pub(crate) fn new(link: &Arc<RedisClient>) -> Self {
        let (wanted, receiver) = mpsc::unbounded_channel();
        Self {
            waiting: Waiting::default(),
            wanted,
            start: Mutex::new(Some(receiver)),
            link: Arc::clone(link),
        }
    }

    pub(crate) fn listen(&self, channel: &str) -> Arc<Waiter> {
        if let Some(receiver) = self.start.lock().take() {
            tokio::spawn(run(Arc::clone(&self.link), Arc::clone(&self.waiting), receiver));
        }
        let mut waiting = self.waiting.lock();
        if let Some(ear) = waiting.get(channel).and_then(Weak::upgrade) {
            // Subscribed already, or about to be: whoever waited first wakes the next.
            ear.subscribed.notify_one();
            return ear;
        }
        let ear = Arc::new(Waiter::default());
        waiting.insert(channel.to_owned(), Arc::downgrade(&ear));
        drop(waiting);
        let _ = self.wanted.send(channel.to_owned());
        ear
    }
}

/// Until the store is gone.
async fn run(link: Arc<RedisClient>, waiting: Waiting, mut wanted: mpsc::UnboundedReceiver<String>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let connected = timeout(LIMIT, async { link.client().await?.get_async_pubsub().await });
        let Ok(Ok(pubsub)) = connected.await else {
            if wanted.is_closed() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            continue;
        };
        pause = FIRST_PAUSE;
        let (mut sink, mut messages) = pubsub.split();
        let known: Vec<String> = waiting.lock().keys().cloned().collect();
        for channel in known {
            subscribe(&mut sink, &waiting, channel).await;
        }
        loop {
            tokio::select! {
                channel = wanted.recv() => match channel {
                    Some(channel) => subscribe(&mut sink, &waiting, channel).await,
                    None => return,
                },
                message = messages.next() => match message {
                    Some(message) => {
                        let ear = waiting.lock().get(message.get_channel_name()).and_then(Weak::upgrade);
                        if let Some(ear) = ear {
                            ear.notified.notify_waiters();
                        }
                        unsubscribe_idle(&mut sink, &waiting).await;
                    }
                    None => break,
                },
            }
        }
        // What was said meanwhile is lost: everybody looks for himself.
        let ears: Vec<_> = waiting.lock().values().filter_map(Weak::upgrade).collect();
        ears.iter().for_each(|ear| ear.notified.notify_waiters());
    }
}

async fn subscribe(sink: &mut PubSubSink, waiting: &Waiting, channel: String) {
    let subscribed = timeout(LIMIT, sink.subscribe(&channel)).await;
    let ear = waiting.lock().get(&channel).and_then(Weak::upgrade);
    if let (Some(ear), Ok(Ok(()))) = (ear, subscribed) {
        ear.subscribed.notify_one();
    }
}

/// Channels that nobody waits for any more.
async fn unsubscribe_idle(sink: &mut PubSubSink, waiting: &Waiting) {
    let unheard: Vec<String> = {
        let mut waiting = waiting.lock();
        let unheard = waiting.iter().filter(|(_, ear)| ear.strong_count() == 0);
        let unheard: Vec<_> = unheard.map(|(channel, _)| channel.clone()).collect();
        unheard.iter().for_each(|channel| drop(waiting.remove(channel)));
        unheard
    };
    for channel in unheard {
        let _ = timeout(LIMIT, sink.unsubscribe(channel)).await;
    }
}
