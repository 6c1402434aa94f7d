//! Joins the connection of a client with that of an origin after both have switched to another
//! protocol (RFC 9110 §7.8), and copies the bytes in both directions.
//!
//! The end of one direction is passed on, and the other goes on. What a side does not take stays in
//! the network: at most one read waits in each direction, and none has a buffer while it is idle.

use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use larder_core::Upgraded;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use super::{activity::Activity, options::ServerOptions, socket::ClientStream, timeouts::limit};

/// Most bytes of one read.
const CHUNK: usize = 16 * 1024;

/// Copies bytes between the client and the origin until both directions have ended, one side has
/// failed, or a timeout has passed. Then both connections are closed.
pub(super) async fn join(
    mut client: ClientStream,
    mut origin: Upgraded,
    activity: &Activity,
    options: &ServerOptions,
) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let mut silence = Silence::new(options);
    let mut timer = pin!(sleep_until(silence.deadline()));
    poll_fn(|cx| {
        loop {
            let client_sends = up.poll(cx, Pin::new(&mut client), Pin::new(&mut origin));
            let origin_sends = down.poll(cx, Pin::new(&mut origin), Pin::new(&mut client));
            match (client_sends, origin_sends) {
                // The client's connection has failed, or there is nothing more to come for it.
                (Poll::Ready(Err(Failed::Reader)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
                (Poll::Ready(_), Poll::Ready(Ok(()))) => return Poll::Ready(()),
                // An origin that takes no more may still send.
                _ => {}
            }
            let now = Instant::now();
            silence.update(activity, now);
            let deadline = silence.deadline();
            if deadline <= now {
                tracing::debug!(
                    "closed a connection that has switched protocols: it was silent for too long"
                );
                activity.reset_on_close();
                return Poll::Ready(());
            }
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// How long nothing has gone through the tunnel.
struct Silence {
    upgrade_timeout: Duration,
    send_timeout: Duration,
    /// The last time that the client has sent or taken something.
    since: Instant,
    /// The last time that the client has taken something, if it should take more.
    blocked_since: Option<Instant>,
}

impl Silence {
    /// Begins now.
    fn new(options: &ServerOptions) -> Self {
        Self {
            upgrade_timeout: limit(options.upgrade_timeout),
            send_timeout: limit(options.send_timeout),
            since: Instant::now(),
            blocked_since: None,
        }
    }

    /// Takes the events of the client's connection up to `now`.
    fn update(&mut self, activity: &Activity, now: Instant) {
        let (sent, received) = (activity.sent.take(), activity.received.take());
        if sent || received {
            self.since = now;
        }
        if !activity.is_blocked.get() {
            self.blocked_since = None;
        } else if sent || self.blocked_since.is_none() {
            self.blocked_since = Some(now);
        }
    }

    /// Returns when the tunnel is closed if nothing happens.
    fn deadline(&self) -> Instant {
        let idle = self.since + self.upgrade_timeout;
        self.blocked_since.map_or(idle, |since| idle.min(since + self.send_timeout))
    }
}

/// The side that has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    Reader,
    Writer,
}

/// The state of one direction.
#[derive(Debug, Default)]
struct Direction {
    stage: Stage,
    /// Bytes that were read and that the writer has not taken, from `written` on.
    waiting: Vec<u8>,
    written: usize,
    needs_flush: bool,
}

#[derive(Debug, Clone, Copy, Default)]
enum Stage {
    #[default]
    Open,
    /// The reader has ended; the end is being passed on.
    Ending,
    Ended,
    Failed(Failed),
}

impl Direction {
    /// Copies what can be copied. Ready when the direction has ended, also if it had before.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
    ) -> Poll<Result<(), Failed>>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        loop {
            match self.stage {
                Stage::Open => match ready!(self.poll_open(cx, reader.as_mut(), writer.as_mut())) {
                    Ok(true) => {}
                    Ok(false) => self.stage = Stage::Ending,
                    Err(failed) => self.stage = Stage::Failed(failed),
                },
                Stage::Ending => match ready!(writer.as_mut().poll_shutdown(cx)) {
                    Ok(()) => self.stage = Stage::Ended,
                    Err(_) => self.stage = Stage::Failed(Failed::Writer),
                },
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Failed(failed) => return Poll::Ready(Err(failed)),
            }
        }
    }

    /// Writes what waits, and then copies one chunk. Returns false at the end of the reader.
    fn poll_open<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
    ) -> Poll<Result<bool, Failed>>
    where
        R: AsyncRead,
        W: AsyncWrite,
    {
        while self.written < self.waiting.len() {
            let rest = &self.waiting[self.written..];
            match ready!(writer.as_mut().poll_write(cx, rest)) {
                Ok(length @ 1..) => self.written += length,
                Ok(0) | Err(_) => return Poll::Ready(Err(Failed::Writer)),
            }
        }
        (self.waiting, self.written) = (Vec::new(), 0);
        let mut space = [const { MaybeUninit::<u8>::uninit() }; CHUNK];
        let mut chunk = ReadBuf::uninit(&mut space);
        let read = reader.poll_read(cx, &mut chunk);
        if !matches!(read, Poll::Ready(Ok(()))) && self.needs_flush {
            // No more comes for now, so what was written has to go out.
            match writer.as_mut().poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::Writer)),
                Poll::Pending => {}
            }
        }
        if ready!(read).is_err() {
            return Poll::Ready(Err(Failed::Reader));
        }
        let mut rest = chunk.filled();
        if rest.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.needs_flush = true;
        while !rest.is_empty() {
            match writer.as_mut().poll_write(cx, rest) {
                Poll::Ready(Ok(length @ 1..)) => rest = &rest[length..],
                Poll::Ready(_) => return Poll::Ready(Err(Failed::Writer)),
                Poll::Pending => {
                    self.waiting = rest.to_vec();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(true))
    }
}
