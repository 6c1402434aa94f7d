//! Decides how long a connection may wait, and for what.
//!
//! Each connection has one timer. It is set when a nearer deadline appears, and looked at again
//! when it fires, so that a request that is answered at once sets no timer.

use std::{rc::Rc, time::Duration};

use tokio::time::Instant;

use super::{activity::Activity, options::ServerOptions};

/// Time until an idle connection that is being closed is closed by force. Over HTTP/2 the
/// client may first confirm that it has seen the GOAWAY. Over HTTP/1, when the server shuts down,
/// the client may be sending a request.
pub(super) const CLOSING: Duration = Duration::from_secs(1);

/// Longest time in which the rest of a client's data is discarded after the last response.
const LINGER: Duration = Duration::from_secs(2);

/// Time until a connection without a deadline is looked at again.
const LOOK: Duration = Duration::from_secs(60);

/// A limit that is as good as none, and can be added to any instant.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Returns a limit that can be added to any instant. Zero is none.
pub(super) fn limit(limit: Duration) -> Duration {
    if limit.is_zero() { LONGEST } else { limit.min(LONGEST) }
}

/// What to do when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Look again: there is no deadline.
    Look,
    /// The head of a request is incomplete.
    Head,
    /// No request has arrived: close the connection, over HTTP/2 with a GOAWAY first.
    Idle,
    /// The client takes nothing.
    Send,
    /// The client has had its time to close.
    Closing,
}

/// The timeouts of one connection.
#[derive(Debug)]
pub(super) struct Timeouts {
    activity: Rc<Activity>,
    is_http_2: bool,
    keep_alive: Duration,
    request_timeout: Duration,
    send_timeout: Duration,
    opened: Instant,
    has_served: bool,
    idle_since: Instant,
    /// The first byte of a head that is not complete.
    head_since: Option<Instant>,
    /// The last time that the client took something, if it should take more.
    blocked_since: Option<Instant>,
    closing_since: Option<Instant>,
}

impl Timeouts {
    /// Creates the timeouts of a connection that was opened at `opened`.
    pub(super) fn new(
        options: &ServerOptions,
        activity: Rc<Activity>,
        is_http_2: bool,
        opened: Instant,
    ) -> Self {
        Self {
            activity,
            is_http_2,
            keep_alive: options.keep_alive.min(LONGEST),
            request_timeout: limit(options.request_timeout),
            send_timeout: limit(options.send_timeout),
            opened,
            has_served: false,
            idle_since: opened,
            head_since: None,
            blocked_since: None,
            closing_since: None,
        }
    }

    /// Records that the connection is being closed.
    pub(super) fn close(&mut self, now: Instant) {
        self.closing_since.get_or_insert(now);
    }

    /// Takes the events of the connection up to `now`.
    pub(super) fn update(&mut self, now: Instant) {
        let activity = &self.activity;
        let sent = activity.sent.take();
        if !activity.is_blocked.get() {
            self.blocked_since = None;
        } else if sent || self.blocked_since.is_none() {
            self.blocked_since = Some(now);
        }
        if activity.begun.take() {
            self.has_served = true;
            self.head_since = None;
        }
        let is_busy = activity.in_flight() > 0;
        // Over HTTP/2, what is sent may be a reply to a PING.
        if activity.ended.take() || is_busy || !self.is_http_2 && (sent || self.blocked_since.is_some()) {
            self.idle_since = now;
        }
        if activity.received.take() && !is_busy && !self.is_http_2 {
            self.head_since.get_or_insert(now);
        }
        if activity.is_lingering.get() || activity.is_stopping() && !is_busy && self.blocked_since.is_none() {
            let since = self.closing_since.get_or_insert(now);
            // At a shutdown, the client may still take the rest of an HTTP/2 response.
            if sent && activity.is_stopping() {
                *since = now;
            }
        } else if is_busy {
            // A request has overtaken the end of the connection.
            self.closing_since = None;
        }
    }

    /// Returns the next deadline, and what to do when it has passed.
    pub(super) fn next(&self, now: Instant) -> (Instant, Expiry) {
        if let Some(since) = self.closing_since {
            let is_lingering = self.activity.is_lingering.get() && !self.activity.is_stopping();
            let limit = if is_lingering { LINGER } else { CLOSING };
            return (since + limit, Expiry::Closing);
        }
        if let Some(since) = self.blocked_since {
            return (since + self.send_timeout, Expiry::Send);
        }
        if self.activity.in_flight() > 0 {
            return (now + LOOK, Expiry::Look);
        }
        if let Some(since) = self.head_since {
            // The first request has one limit from the opening.
            let since = if self.has_served { since } else { self.opened };
            return (since + self.request_timeout, Expiry::Head);
        }
        if !self.has_served {
            let preparing = if self.is_http_2 { self.keep_alive } else { Duration::ZERO };
            return (self.opened + self.request_timeout.max(preparing), Expiry::Idle);
        }
        (self.idle_since + self.keep_alive, Expiry::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(is_http_2: bool) -> (Rc<Activity>, Timeouts, Instant) {
        let (activity, now) = (Rc::new(Activity::default()), Instant::now());
        let timeouts = Timeouts::new(&ServerOptions::default(), Rc::clone(&activity), is_http_2, now);
        (activity, timeouts, now)
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_wait_has_its_own_limit() {
        let (activity, mut timeouts, start) = timeouts(false);
        assert_eq!(timeouts.next(start), (start + after(10), Expiry::Idle), "the first request");
        activity.received.set(true);
        timeouts.update(start + after(4));
        assert_eq!(timeouts.next(start), (start + after(10), Expiry::Head), "from the opening");
        let request = activity.begin(false);
        timeouts.update(start + after(5));
        assert_eq!(timeouts.next(start).1, Expiry::Look, "it is the origin's turn");
        activity.is_blocked.set(true);
        timeouts.update(start + after(20));
        assert_eq!(timeouts.next(start), (start + after(80), Expiry::Send));
        activity.sent.set(true);
        timeouts.update(start + after(30));
        assert_eq!(timeouts.next(start), (start + after(90), Expiry::Send), "each progress counts");
        activity.is_blocked.set(false);
        activity.sent.set(true);
        drop(request);
        timeouts.update(start + after(40));
        assert_eq!(timeouts.next(start), (start + after(115), Expiry::Idle));
        activity.received.set(true);
        timeouts.update(start + after(50));
        activity.received.set(true);
        timeouts.update(start + after(59));
        assert_eq!(timeouts.next(start), (start + after(60), Expiry::Head), "one byte of a second head");
    }

    #[test]
    fn a_shutdown_waits_for_a_client_that_takes_the_rest() {
        let (activity, mut timeouts, start) = timeouts(true);
        drop(activity.begin(false));
        activity.stop();
        timeouts.update(start);
        assert_eq!(timeouts.next(start), (start + after(1), Expiry::Closing));
        activity.sent.set(true);
        timeouts.update(start + after(1));
        assert_eq!(timeouts.next(start), (start + after(2), Expiry::Closing));
    }

    #[test]
    fn limits_of_any_length_are_limits() {
        let options = ServerOptions::default()
            .with_keep_alive(Duration::MAX)
            .with_request_timeout(Duration::MAX)
            .with_send_timeout(Duration::MAX);
        let (activity, now) = (Rc::new(Activity::default()), Instant::now());
        let mut timeouts = Timeouts::new(&options, Rc::clone(&activity), false, now);
        assert!(timeouts.next(now).0 > now);
        activity.is_blocked.set(true);
        timeouts.update(now);
        assert!(timeouts.next(now).0 > now);
        activity.is_blocked.set(false);
        drop(activity.begin(false));
        timeouts.update(now);
        assert!(timeouts.next(now).0 > now);
    }

    #[test]
    fn pings_do_not_keep_an_http_2_connection() {
        let (activity, mut timeouts, start) = timeouts(true);
        drop(activity.begin(false));
        timeouts.update(start);
        activity.received.set(true);
        activity.sent.set(true);
        timeouts.update(start + after(70));
        assert_eq!(timeouts.next(start), (start + after(75), Expiry::Idle));
        timeouts.close(start + after(75));
        assert_eq!(timeouts.next(start), (start + after(76), Expiry::Closing));
    }
}
