//! How a Redis or Valkey server is reached: plain data.

use std::time::Duration;

/// How the servers of a store work together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One server.
    Single,
    /// One server among several, which [Sentinels](https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/) name.
    Sentinel {
        /// The name under which the Sentinels watch it.
        master: String,
    },
    /// A [cluster](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/): keys are spread over its servers.
    Cluster,
}

/// How a store is reached.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// `redis://` or `rediss://` URLs: of the server, of the Sentinels, or of some servers of the cluster.
    pub urls: Vec<String>,
    /// How the servers work together.
    pub topology: Topology,
    /// The user name to authenticate with; the URL's when there is none.
    pub username: Option<String>,
    /// The password to authenticate with; the URL's when there is none.
    pub password: Option<String>,
    /// PEM certificates of the authorities that a server's certificate is checked by; the system's when there are none.
    pub authorities: Option<Vec<u8>>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long nothing is asked after a failure.
    pub pause: Duration,
    /// What every key begins with, so that several gateways with nothing in common can use one server.
    pub prefix: String,
}

impl Settings {
    /// One server with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            topology: Topology::Single,
            username: None,
            password: None,
            authorities: None,
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            pause: Duration::from_secs(1),
            prefix: "sluicegate:".to_owned(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A URL may hold a password.
        f.debug_struct("Settings")
            .field("topology", &self.topology)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
