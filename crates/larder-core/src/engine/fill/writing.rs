//! Writes a response to the store: at once where the store is ready, otherwise in a background task
//! that continues after the response has been sent.

use std::{pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;

use super::{
    super::{
        context::Context,
        events::{BodyBroken, Event, StoreStep, Stored},
        excess::evict_excess,
        resume::{ResumableSource, StoredResponse},
    },
    fanout::{BodyFanout, Completion, FanoutTimeouts},
};
use crate::{
    Body, CacheKey, EntryId, Reservation, StoreError, StoreErrorKind, StoreWriter, StoredHead,
    timeout::{poll_once, within},
};

/// The rest of the writing of a response, which continues after the response has been sent.
pub(in super::super) enum Writing {
    /// One operation on the store.
    Operation(Pin<Box<dyn Future<Output = bool> + Send>>),
    /// A body that is still arriving.
    Streaming(Box<StreamingFill>),
}

impl Writing {
    /// Polls an operation on the store once. Returns the operation if it has to continue, and
    /// whether it has stored the response: `None` if it has failed.
    pub(in super::super) async fn start(
        operation: impl Future<Output = bool> + Send + 'static,
    ) -> (Option<bool>, Option<Self>) {
        let mut operation: Pin<Box<dyn Future<Output = bool> + Send>> = Box::pin(operation);
        match poll_once(operation.as_mut()).await {
            Poll::Ready(stored) => (stored.then_some(true), None),
            Poll::Pending => (Some(false), Some(Self::Operation(operation))),
        }
    }

    /// Continues in a background task. Drops `until_stored` once the response is in the store, or
    /// will not be.
    pub(in super::super) fn spawn(self, cx: &Arc<Context>, until_stored: impl Send + 'static) {
        match self {
            Self::Operation(operation) => cx.tasks.spawn(async move {
                operation.await;
                drop(until_stored);
            }),
            Self::Streaming(fill) => {
                let shared = Arc::clone(cx);
                cx.tasks.spawn(async move { fill.run(&shared, until_stored).await });
            }
        }
    }
}

/// Writes a body that is in memory to the store, and returns whether it was stored.
pub(super) async fn write_whole(
    cx: &Context,
    key: &CacheKey,
    reservation: Box<dyn Reservation>,
    head: Arc<StoredHead>,
    bytes: Bytes,
    may_exceed: bool,
) -> bool {
    let length = bytes.len() as u64;
    let of_excess = may_exceed.then(|| Arc::clone(&head));
    let write = async {
        let keep_until = head.keep_until();
        let mut writer = reservation.begin(head, Some(length), keep_until).await?;
        if !bytes.is_empty() {
            writer.write(bytes).await?;
        }
        writer.commit().await
    };
    let written = within(cx.limits.store_timeout, write).await;
    let stored = record_write(cx, key, length, written);
    if let Some(head) = of_excess.filter(|_| stored) {
        evict_excess(cx, key, &head).await;
    }
    stored
}

/// Reports the outcome of a write to the observer, and returns whether the entry was stored.
fn record_write(
    cx: &Context,
    key: &CacheKey,
    bytes: u64,
    written: Option<Result<EntryId, StoreError>>,
) -> bool {
    match written {
        Some(Ok(_)) => {
            cx.observe(&Event::Stored(Stored { key, bytes }));
            true
        }
        failed => {
            cx.store_failed(StoreStep::Write, failed.and_then(Result::err).as_ref());
            false
        }
    }
}

/// A body that is still arriving, for its readers and for the store.
pub(in super::super) struct StreamingFill {
    pub(super) key: CacheKey,
    pub(super) head: Arc<StoredHead>,
    pub(super) fanout: Arc<BodyFanout>,
    /// The part of the body that has not arrived.
    pub(super) rest: Body,
    pub(super) begun: Begun,
    pub(super) max_len: u64,
    pub(super) may_exceed: bool,
    /// What the clients read that have fallen behind the window, once the store has it.
    pub(super) in_store: Option<StoredResponse>,
}

/// The result of [`Reservation::begin`], or `None` after a timeout.
pub(super) type BeginResult = Option<Result<Box<dyn StoreWriter>, StoreError>>;

/// The writer of an entry, or the operation that creates it.
pub(super) enum Begun {
    Writer(Box<dyn StoreWriter>),
    Pending(Pin<Box<dyn Future<Output = BeginResult> + Send>>),
}

impl StreamingFill {
    /// Reads the body to its end, for the clients and for the store. Drops `until_stored` once the
    /// response is in the store, or will not be.
    async fn run(self, cx: &Context, until_stored: impl Send) {
        let Self { key, head, fanout, rest, begun, max_len, may_exceed, in_store } = self;
        let limits = &cx.limits;
        let timeouts = FanoutTimeouts { origin: limits.body_timeout, slow_reader: limits.store_timeout };
        let store = async {
            let writer = match begun {
                Begun::Writer(writer) => Some(Ok(writer)),
                Begun::Pending(begin) => begin.await,
            };
            let stored = write_streaming(cx, (&key, in_store), &fanout, writer, max_len).await;
            if stored && may_exceed {
                evict_excess(cx, &key, &head).await;
            }
            // Not earlier: until the response is in the store, requests find it through the flight.
            drop(until_stored);
        };
        let (completion, ()) = tokio::join!(fanout.pump(rest, timeouts), store);
        if completion == Completion::Broken {
            cx.observe(&Event::BodyBroken(BodyBroken { key: &key }));
        }
    }
}

/// Writes an arriving body to the store, and commits once the body is known to be complete. Returns
/// whether it was stored.
async fn write_streaming(
    cx: &Context,
    (key, in_store): (&CacheKey, Option<StoredResponse>),
    fanout: &Arc<BodyFanout>,
    writer: BeginResult,
    max_len: u64,
) -> bool {
    let limit = cx.limits.store_timeout;
    let mut writer = match writer {
        Some(Ok(writer)) => writer,
        failed => {
            record_write(cx, key, 0, failed.map(|begun| begun.map(|_| EntryId(0))));
            fanout.store_failed(limit).await;
            return false;
        }
    };
    fanout.set_follow(match (writer.follow(), in_store) {
        (Some(source), Some(response)) => Some(Arc::new(ResumableSource { source, response })),
        (follow, _) => follow,
    });
    let mut position = 0;
    loop {
        match fanout.next_for_store(position).await {
            Ok(Some(chunk)) => {
                position += chunk.len() as u64;
                let written = if position > max_len {
                    Some(Err(StoreError::new(
                        StoreErrorKind::Full,
                        "the",
                        "the body is longer than max_object",
                    )))
                } else {
                    within(limit, writer.write(chunk)).await
                };
                if !matches!(written, Some(Ok(()))) {
                    record_write(cx, key, position, written.map(|result| result.map(|()| EntryId(0))));
                    // Keep the writer until the clients that read from it have caught up.
                    fanout.store_failed(limit).await;
                    return false;
                }
            }
            Ok(None) => {
                let committed = within(limit, writer.commit()).await;
                return record_write(cx, key, position, committed);
            }
            // Dropping the writer abandons the entry.
            Err(_broken) => return false,
        }
    }
}
