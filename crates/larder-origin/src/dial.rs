//! Opens a TCP connection to a name: resolves it, and tries its addresses side by side, so that one
//! that does not respond delays a connection and does not prevent it (RFC 8305).

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::sleep,
};

/// Time after which the next address is tried, if the one before has neither connected nor failed
/// (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Connects to a port of a host, which is a name or an address.
///
/// # Errors
///
/// Returns an I/O error that names each address and why it failed, or that the name is unknown.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let literal = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
    let addresses = match literal {
        Some(address) => vec![address],
        None => lookup_host((host, port))
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("could not resolve {host}: {error}")))?
            .collect(),
    };
    let stream = race(interleaved(&addresses)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the addresses with the two families in turn, beginning with that of the first: a broken
/// family costs one delay (RFC 8305 §4).
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let is_first_family =
        |address: &SocketAddr| addresses.first().map(SocketAddr::is_ipv6) == Some(address.is_ipv6());
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_first_family);
    let mut second = second.into_iter();
    let mut turns = VecDeque::with_capacity(addresses.len());
    for address in first {
        turns.push_back(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns.truncate(MAX_ADDRESSES);
    turns
}

/// Connects to the first address that answers. The next one is tried when the one before has
/// failed, or after [`ATTEMPT_DELAY`].
async fn race(mut addresses: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut failures = Failures::default();
    // Dropping the set cancels the attempts that are left.
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = addresses.pop_front() {
            // A single address needs no task of its own.
            if attempts.is_empty() && addresses.is_empty() {
                return TcpStream::connect(address).await.map_err(|error| failures.with(address, &error));
            }
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let is_last = addresses.is_empty();
        tokio::select! {
            biased;
            Some(attempt) = attempts.join_next() => match attempt {
                Ok((_, Ok(stream))) => return Ok(stream),
                Ok((address, Err(error))) => failures.add(address, &error),
                Err(error) => failures.add_text(error.to_string()),
            },
            () = sleep(ATTEMPT_DELAY), if !is_last => {}
            else => return Err(failures.into_error()),
        }
        if attempts.is_empty() && addresses.is_empty() {
            return Err(failures.into_error());
        }
    }
}

/// Why the addresses of a name could not be reached.
#[derive(Debug, Default)]
struct Failures {
    kind: Option<io::ErrorKind>,
    texts: Vec<String>,
}

impl Failures {
    /// Adds the failure of one address.
    fn add(&mut self, address: SocketAddr, error: &io::Error) {
        self.kind = Some(error.kind());
        self.add_text(format!("{address}: {error}"));
    }

    /// Adds a failure as text.
    fn add_text(&mut self, text: String) {
        self.texts.push(text);
    }

    /// Adds the last failure, and returns the error of all.
    fn with(mut self, address: SocketAddr, error: &io::Error) -> io::Error {
        self.add(address, error);
        self.into_error()
    }

    /// Returns the error that names all failures.
    fn into_error(self) -> io::Error {
        let text =
            if self.texts.is_empty() { "the name has no address".to_owned() } else { self.texts.join(", ") };
        io::Error::new(self.kind.unwrap_or(io::ErrorKind::NotFound), text)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// Returns the address of a listener with a full queue, which drops further packets, and what
    /// keeps the queue full.
    async fn silent() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        // The queue holds a few; the first connection that stays pending shows that it is full.
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            queued.push(stream.expect("a place in the queue"));
            assert!(queued.len() < 16, "the queue never fills");
        }
        (address, (listener, queued))
    }

    async fn listening() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        (listener.local_addr().expect("an address"), listener)
    }

    async fn refusing() -> SocketAddr {
        listening().await.0
    }

    #[tokio::test]
    async fn an_address_that_does_not_respond_does_not_prevent_a_connection() {
        let ((silent, _full), (other, _listener)) = (silent().await, listening().await);
        let connected = race([silent, other].into()).await.expect("the second address responds");
        assert_eq!(connected.peer_addr().expect("an address"), other);
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_no_delay() {
        let (refusing, (other, _listener)) = (refusing().await, listening().await);
        tokio::time::pause();
        let before = tokio::time::Instant::now();
        let connected = race([refusing, other].into()).await.expect("the second address responds");
        assert_eq!(connected.peer_addr().expect("an address"), other);
        assert!(before.elapsed() < ATTEMPT_DELAY, "waited for the delay");
    }

    #[tokio::test]
    async fn the_error_names_each_address() {
        let (one, other) = (refusing().await, refusing().await);
        let error = race([one, other].into()).await.expect_err("both refuse");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(text.contains(&one.to_string()) && text.contains(&other.to_string()), "{text}");
        let error = connect("no-such-host.invalid", 80).await.expect_err("unknown");
        assert!(error.to_string().starts_with("could not resolve no-such-host.invalid: "), "{error}");
    }

    #[test]
    fn families_take_turns() {
        let six = |n: u16| SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, n]), 80);
        let four = |n: u8| SocketAddr::new(IpAddr::from([127, 0, 0, n]), 80);
        let turns = interleaved(&[six(1), six(2), six(3), four(1), four(2)]);
        assert_eq!(turns, [six(1), four(1), six(2), four(2), six(3)]);
        assert_eq!(interleaved(&[four(1), six(1), six(2)]), [four(1), six(1), six(2)]);
        assert_eq!(interleaved(&[four(1); 40]).len(), MAX_ADDRESSES);
        assert!(interleaved(&[]).is_empty());
    }
}
