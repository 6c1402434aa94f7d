//! Connects to one server, over TCP, TLS or a Unix socket, for commands or for subscriptions.
//! Which server that is is decided in `connect`.

#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, RedisError,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

#[cfg(feature = "tls")]
use self::tls::Tls;
use crate::RedisOptions;

/// Idle time after which TCP probes a connection, and the pause between probes.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Time after which TCP drops a connection with sent bytes that are not acknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is needed to connect to one server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: Client,
    /// Exists if the server is reached over TLS.
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Server {
    /// Creates the client of one server, with the configured certificate authorities if it uses
    /// TLS. Connects to nothing.
    pub(super) fn open(info: ConnectionInfo, options: &RedisOptions) -> Result<Self, RedisError> {
        let info = info.set_tcp_settings(tcp_settings());
        #[cfg(feature = "tls")]
        let tls = Tls::of(&info, options)?;
        let _ = options;
        Ok(Self {
            client: Client::open(info)?,
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// Returns the address, for messages.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Opens a connection for commands, which fails after `limit`.
    pub(super) async fn connect(
        &self,
        config: AsyncConnectionConfig,
        limit: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let settings = self.client.get_connection_info().redis_settings();
            let connecting = async {
                MultiplexedConnection::new_with_config(settings, tls.connect().await?, config).await
            };
            let connected = tokio::time::timeout(limit, connecting).await;
            let (connection, driver) = connected.map_err(|_| tls::timed_out())??;
            // It ends with the last clone of the connection.
            tokio::spawn(driver);
            return Ok(connection);
        }
        let config = config.set_connection_timeout(Some(limit));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Opens a connection for subscriptions. Callers limit the time.
    pub(crate) async fn subscriptions(&self) -> Result<PubSub, RedisError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let settings = self.client.get_connection_info().redis_settings();
            return PubSub::new(settings, tls.connect().await?).await;
        }
        self.client.get_async_pubsub().await
    }
}

/// Returns the settings of each TCP connection: one that a router has forgotten is noticed.
pub(super) fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(3);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout(USER_TIMEOUT);
    settings
}
