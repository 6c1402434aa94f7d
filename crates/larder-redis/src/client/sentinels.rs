//! Reads the address of the current master from its Sentinels. When that is done is decided in
//! `client`.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, aio::MultiplexedConnection};
use tokio::time::timeout;

use super::server::Server;

/// The Sentinels of a master, with a connection to each that has answered.
pub(crate) struct Sentinels {
    master: String,
    sentinels: Vec<(Server, Mutex<Option<MultiplexedConnection>>)>,
}

/// What a Sentinel knows of the master.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Number of the failover that made it the master.
    failover: u64,
    /// How long the Sentinel has known it as the master.
    pub(crate) known_for: Duration,
}

/// Wait for the other Sentinels once most have answered. One of them may be the only one that knows
/// of a failover so far.
const FURTHER_ANSWERS: Duration = Duration::from_millis(100);

impl Sentinels {
    /// Creates the clients of the Sentinels that monitor `master`. Connects to none.
    pub(crate) fn new(sentinels: impl IntoIterator<Item = Server>, master: String) -> Self {
        Self { master, sentinels: sentinels.into_iter().map(|client| (client, Mutex::default())).collect() }
    }

    /// Returns the master that the Sentinel with the latest failover knows.
    ///
    /// Queries all at once, and waits for all of them within `limit`, but only a moment longer than
    /// for most of them: one that hangs delays the others little, and one that is cut off does not
    /// decide alone.
    pub(crate) async fn master(&self, limit: Duration) -> Result<Master, RedisError> {
        let mut asking: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| self.ask(sentinel, limit)).collect();
        let (mut answers, mut failed) = (Vec::<Master>::new(), None);
        let mut wait = limit;
        while let Ok(Some(answer)) = timeout(wait, asking.next()).await {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => failed = Some(error),
            }
            if answers.len() > self.sentinels.len() / 2 {
                wait = FURTHER_ANSWERS;
            }
        }
        let latest =
            answers.into_iter().max_by_key(|answer| (answer.failover, std::cmp::Reverse(answer.known_for)));
        latest.ok_or_else(|| {
            failed.unwrap_or_else(|| (ErrorKind::EmptySentinelList, "no Sentinel has answered").into())
        })
    }

    /// Queries one Sentinel, over its last connection or a new one.
    async fn ask(
        &self,
        (server, last): &(Server, Mutex<Option<MultiplexedConnection>>),
        limit: Duration,
    ) -> Result<Master, RedisError> {
        let asked = timeout(limit, async {
            let known = last.lock().take();
            let mut connection = match known {
                Some(connection) => connection,
                None => server.connect(AsyncConnectionConfig::new(), limit).await?,
            };
            let mut command = redis::cmd("SENTINEL");
            let fields: HashMap<String, String> =
                command.arg("MASTER").arg(&self.master).query_async(&mut connection).await?;
            *last.lock() = Some(connection);
            let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
            let port = number("port").and_then(|port| u16::try_from(port).ok());
            match (fields.get("ip"), port) {
                (Some(host), Some(port)) => Ok(Master {
                    host: host.clone(),
                    port,
                    failover: number("config-epoch").unwrap_or_default(),
                    known_for: Duration::from_millis(number("role-reported-time").unwrap_or_default()),
                }),
                _ => Err((ErrorKind::UnexpectedReturnType, "a Sentinel returned no address").into()),
            }
        });
        asked.await.unwrap_or_else(|_| Err((ErrorKind::Io, "a Sentinel did not respond in time").into()))
    }
}
