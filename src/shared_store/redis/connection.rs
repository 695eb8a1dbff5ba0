//! The connections to a store: one for each worker, on which all of its requests are pipelined.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, TlsCertificates,
};
use tokio::sync::{Mutex, OnceCell};

use super::settings::{Settings, Topology};

/// Makes connections.
pub(super) enum Connector {
    Single(Box<Client>),
    /// Asking the Sentinels takes turns.
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// A connection; a clone is the same one.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A place for the connection of one worker, filled by whoever comes first.
type Slot = Arc<OnceCell<Connection>>;

thread_local! {
    static SLOTS: RefCell<HashMap<u64, Slot, foldhash::fast::FixedState>> =
        const { RefCell::new(HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0))) };
}

/// This worker's place for a connection to the store `id`.
pub(super) fn slot(id: u64) -> Slot {
    SLOTS.with_borrow_mut(|slots| Arc::clone(slots.entry(id).or_default()))
}

/// Gives up the connection in `slot`; whoever asks next makes another.
pub(super) fn discard(id: u64, slot: &Slot) {
    SLOTS.with_borrow_mut(|slots| {
        if slots.get(&id).is_some_and(|current| Arc::ptr_eq(current, slot)) {
            slots.remove(&id);
        }
    });
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Result<Self, RedisError> {
        let tls = || TlsCertificates { client_tls: None, root_cert: settings.authorities.clone() };
        let nodes = || settings.urls.iter().map(|url| node(url, settings)).collect::<Result<Vec<_>, _>>();
        Ok(match &settings.topology {
            Topology::Single => {
                let node = node(settings.urls.first().map_or("", String::as_str), settings)?;
                let client =
                    if is_encrypted(&node) { Client::build_with_tls(node, tls())? } else { Client::open(node)? };
                Self::Single(Box::new(client))
            }
            Topology::Sentinel { master } => {
                let nodes = nodes()?;
                let encrypted = nodes.iter().any(is_encrypted);
                let addresses = nodes.into_iter().map(|node| node.addr().clone());
                let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?;
                if encrypted {
                    builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
                    builder =
                        builder.set_client_to_redis_certificates(tls()).set_client_to_sentinel_certificates(tls());
                }
                if let Some(name) = &settings.username {
                    builder = builder.set_client_to_redis_username(name);
                }
                if let Some(password) = &settings.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                Self::Sentinel(Box::new(Mutex::new(builder.build()?)))
            }
            Topology::Cluster => {
                let nodes = nodes()?;
                let encrypted = nodes.iter().any(is_encrypted);
                let mut builder = ClusterClient::builder(nodes)
                    .connection_timeout(settings.connect_timeout)
                    .response_timeout(settings.timeout)
                    // A slot that has just moved is found again within the time of one request.
                    .retries(2)
                    .min_retry_wait(1)
                    .max_retry_wait(10);
                if encrypted {
                    builder = builder.certs(tls());
                }
                Self::Cluster(Box::new(builder.build()?))
            }
        })
    }

    pub(super) async fn connect(&self, settings: &Settings) -> Result<Connection, RedisError> {
        let config = || {
            AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.connect_timeout))
                .set_response_timeout(Some(settings.timeout))
        };
        Ok(match self {
            Self::Single(client) => {
                Connection::One(client.get_multiplexed_async_connection_with_config(&config()).await?)
            }
            Self::Sentinel(client) => {
                let connection = client.lock().await.get_async_connection_with_config(&config()).await?;
                Connection::One(connection)
            }
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}

impl Connection {
    pub(super) async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

fn node(url: &str, settings: &Settings) -> Result<ConnectionInfo, RedisError> {
    let node = url.into_connection_info()?;
    let mut login = node.redis_settings().clone();
    if let Some(name) = &settings.username {
        login = login.set_username(name);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password);
    }
    Ok(node.set_redis_settings(login))
}

fn is_encrypted(node: &ConnectionInfo) -> bool {
    matches!(node.addr(), redis::ConnectionAddr::TcpTls { .. })
}
