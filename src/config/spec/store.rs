//! `[store]`: where limits and quotas are counted; `[cache]`: how much is cached.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{At, Period, Size};

/// `[store]`: where counters are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StoreSpec {
    /// The kind of store. Default `memory`.
    pub kind: StoreKind,
    /// The file that quotas are kept in over restarts and crashes, relative to the configuration folder; it is made when it is
    /// not there. Only one process can use it. With `redis` the server has the quotas, and keeps them over its own restarts as far as it
    /// is told to (`appendonly yes`); the file then has what this gateway counts by itself while the server does not answer. Default:
    /// none, and quotas counted here are forgotten when the process ends.
    pub path: Option<At<String>>,
    /// How often changed counts are written to the file: at most what was counted in such an interval is lost when the process
    /// or the machine crashes. From 10 ms to 1 h; default `1s`.
    pub sync_interval: Option<At<Period>>,
    /// The `redis://HOST:PORT/DATABASE` or, with TLS, `rediss://` URL of the server. Only with `redis`, as is all that follows.
    pub url: Option<At<String>>,
    /// The URLs of the Sentinels, or of some servers of the cluster. Either this or `url`.
    pub urls: Vec<At<String>>,
    /// How the servers work together. Default `single`.
    pub topology: Option<At<StoreTopology>>,
    /// The name under which the Sentinels watch the server. Only with `sentinel`, and needed there.
    pub master: Option<At<String>>,
    /// The user to authenticate as. Default: the one in the URL, else the server's default user.
    pub username: Option<At<String>>,
    /// The password, usually `"{{named-value}}"`. Default: the one in the URL, else none.
    pub password: Option<At<String>>,
    /// PEM file of the authorities that the server's certificate is checked by, relative to the configuration folder. Default: the
    /// system's.
    pub ca_file: Option<At<String>>,
    /// What every key begins with, so that gateways with nothing in common can use one server. Default `sluicegate:`.
    pub prefix: Option<At<String>>,
    /// How long an answer may take; then `on-error` decides. Default `50ms`.
    pub timeout: Option<At<Period>>,
    /// How long a connection may take to come about. Default `1s`.
    pub connect_timeout: Option<At<Period>>,
    /// How long nothing is asked after a failure, so that an outage costs one time-out and not one for each request. Default `1s`.
    pub pause: Option<At<Period>>,
    /// What decides while the store does not answer. Default `local`.
    pub on_error: Option<At<StoreOnError>>,
    /// How many gateways share the store. While it does not answer, each counts for itself with this part of every limit, rounded
    /// up. Default 1: each admits the whole limit.
    pub replicas: Option<At<NonZeroU32>>,
    /// Rate limits taken in advance.
    pub lease: Option<StoreLeaseSpec>,
}

/// `[store.lease]`: each gateway takes part of a rate limit in advance, so that most decisions need no round trip. Together they
/// then admit at most `replicas × share × calls` more than the limit in any window, and may refuse as much that the limit would admit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreLeaseSpec {
    /// Which part of `calls` is taken at once: more than 0, at most 0.5.
    pub share: At<f64>,
    /// How long it may be used; what is left then is lost. Default `1s`.
    pub time: Option<At<Period>>,
}

/// Kinds of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In the memory of this process; counters survive reloads, not restarts.
    #[default]
    Memory,
    /// In a Redis (6 or later) or Valkey server, for all gateways that use it: each decision is one atomic round trip.
    Redis,
}

/// How the servers of a store work together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreTopology {
    /// One server.
    #[default]
    Single,
    /// A server that Sentinels watch and name. After a failover what was counted last may be missing: Redis replicates after it
    /// answers.
    Sentinel,
    /// A cluster.
    Cluster,
}

/// What decides while the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreOnError {
    /// Each gateway counts in its memory; see `replicas`.
    #[default]
    Local,
    /// Requests are admitted and not counted. Weakens every limit: an outage of the store lifts them.
    Allow,
    /// Requests are refused, with 429 and the time until the store is asked again.
    Deny,
}

/// `[cache]`: how much `cache-store`, `cache-store-value` and side calls keep in memory, and for how long requests wait for each other.
/// What is kept outlives a reload that does not change `entries` and `size`, not a restart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CacheSpec {
    /// The most entries; at least 1. Beyond it the oldest goes that was not read lately. Default 10000.
    pub entries: Option<At<u64>>,
    /// The most bytes of all entries together, keys and headers included. Default `64MiB`.
    pub size: Option<At<Size>>,
    /// The longest body or value that is kept, in memory or in the shared store; longer answers stream through uncached. At most
    /// `size`. Default `1MiB`.
    pub entry_size: Option<At<Size>>,
    /// How long a request waits for another one that fetches the same answer; then it fetches for itself. `"0s"` and nobody waits.
    /// At most `1m`. Default `5s`.
    pub wait: Option<At<Period>>,
}
