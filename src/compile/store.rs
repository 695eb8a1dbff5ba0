//! `[store]`: the store that gateways share.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::world::read_file;
use crate::config::folder::Document;
use crate::config::spec::{StoreKind, StoreOnError, StoreSpec, StoreTopology};
use crate::config::{At, Diagnostic, Diagnostics, Period};
use crate::limit::{Lease, OnStoreError, SharedCounters};
use crate::shared_store::Redis;
use crate::shared_store::redis::{Settings, Topology};

/// The longest that a request may wait for the store.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where limits are counted when several gateways share them; nothing when they do not. Mistakes go to `diagnostics`.
pub(super) fn build(
    document: &Document<'_>,
    folder: Option<&std::path::Path>,
    shared: &Shared,
    diagnostics: &mut Diagnostics,
) -> Option<SharedCounters> {
    let file = document.gateway?;
    let spec = &document.store;
    let mut mistakes = Vec::new();
    let mut mistake = |span: std::ops::Range<usize>, message: String, hint: &str| {
        mistakes.push(Diagnostic::error("bad-value", file, span, message).hint(hint));
    };
    if spec.kind == StoreKind::Memory {
        for (name, span) in redis_only(spec) {
            mistake(
                span,
                format!("`{name}` is for a store that gateways share"),
                "add `kind = \"redis\"`, or leave it out",
            );
        }
        diagnostics.0.extend(mistakes);
        return None;
    }
    let urls: Vec<&At<String>> = spec.url.iter().chain(&spec.urls).collect();
    let topology = spec.topology.as_ref().map_or(StoreTopology::Single, |topology| topology.value);
    if let (Some(_), Some(second)) = (&spec.url, spec.urls.first()) {
        mistake(second.span.clone(), "a store has `url` or `urls`".to_owned(), "give one of the two");
    } else if let (StoreTopology::Single, Some(second)) = (topology, urls.get(1)) {
        let hint = "`topology = \"sentinel\"` or `\"cluster\"` for several";
        mistake(second.span.clone(), "a single server has one URL".to_owned(), hint);
    }
    if urls.is_empty() {
        diagnostics.push(
            Diagnostic::global("missing-key", "`[store]` with `kind = \"redis\"` needs the URL of the server")
                .hint("url = \"redis://127.0.0.1:6379\""),
        );
        diagnostics.0.extend(mistakes);
        return None;
    }
    let topology = match (topology, &spec.master) {
        (StoreTopology::Sentinel, Some(master)) => Topology::Sentinel { master: master.value.clone() },
        (StoreTopology::Sentinel, None) => {
            let hint = "master = \"mymaster\"";
            mistake(urls[0].span.clone(), "Sentinels need the name that they watch the server under".to_owned(), hint);
            Topology::Single
        }
        (other, master) => {
            if let Some(master) = master {
                mistake(master.span.clone(), "`master` is for Sentinels".to_owned(), "`topology = \"sentinel\"`");
            }
            if other == StoreTopology::Cluster { Topology::Cluster } else { Topology::Single }
        }
    };
    let mut period = |field: &Option<At<Period>>, default: Duration| match field {
        None => default,
        Some(period) if period.0.is_zero() || period.0 > LONGEST_TIMEOUT => {
            mistake(period.span.clone(), "expected more than 0 and at most 10 s".to_owned(), "for example `50ms`");
            default
        }
        Some(period) => period.0,
    };
    let default = Settings::new("");
    let (timeout, connect_timeout, pause) = (
        period(&spec.timeout, default.timeout),
        period(&spec.connect_timeout, default.connect_timeout),
        period(&spec.pause, default.pause),
    );
    let authorities = spec.ca_file.as_ref().and_then(|path| match read_file(folder, path) {
        Ok(bytes) => Some(bytes),
        Err(message) => {
            mistake(path.span.clone(), message, "a PEM file");
            None
        }
    });
    let lease = spec.lease.as_ref().map(|lease| {
        if !(lease.share.value > 0.0 && lease.share.value <= 0.5) {
            let hint = "`0.05` takes a twentieth of a limit at once";
            mistake(lease.share.span.clone(), "expected more than 0 and at most 0.5".to_owned(), hint);
        }
        let time = lease.time.as_ref().map_or(Duration::from_secs(1), |time| time.0);
        Lease { share: lease.share.value, time }
    });
    let settings = Settings {
        urls: urls.iter().map(|url| url.value.clone()).collect(),
        topology,
        username: spec.username.as_ref().map(|name| name.value.clone()),
        password: spec.password.as_ref().map(|password| password.value.clone()),
        authorities,
        timeout,
        connect_timeout,
        pause,
        prefix: spec.prefix.as_ref().map_or(default.prefix, |prefix| prefix.value.clone()),
    };
    let failed = !mistakes.is_empty();
    diagnostics.0.extend(mistakes);
    if failed {
        return None;
    }
    match shared.stores.get(settings, &shared.clock, shared.metrics.shared_store()) {
        Ok(store) => Some(SharedCounters {
            store: at_hand(store, shared),
            on_error: match spec.on_error.as_ref().map(|on_error| on_error.value) {
                None | Some(StoreOnError::Local) => OnStoreError::Local,
                Some(StoreOnError::Allow) => OnStoreError::Allow,
                Some(StoreOnError::Deny) => OnStoreError::Deny,
            },
            replicas: spec.replicas.as_ref().map_or(1, |replicas| replicas.get()),
            lease,
        }),
        Err(error) => {
            // The library's text does not repeat the URL, which may hold a password.
            diagnostics.push(
                Diagnostic::error("bad-url", file, urls[0].span.clone(), format!("this is no URL of a store: {error}"))
                    .hint("`redis://HOST:PORT/DATABASE`, or `rediss://` with TLS"),
            );
            None
        }
    }
}

/// Asks whether the store is there, so that the log says at once when it is not, and not only at the first request.
fn at_hand(store: Arc<Redis>, shared: &Shared) -> Arc<Redis> {
    if !shared.offline {
        let asked = Arc::clone(&store);
        shared.control.spawn(async move {
            // The store logs how it failed.
            let _ = asked.ping().await;
        });
    }
    store
}

/// The keys that are there and belong to a shared store.
fn redis_only(spec: &StoreSpec) -> Vec<(&'static str, std::ops::Range<usize>)> {
    fn place<T>(name: &'static str, field: Option<&At<T>>) -> Option<(&'static str, std::ops::Range<usize>)> {
        field.map(|field| (name, field.span.clone()))
    }
    [
        place("url", spec.url.as_ref()),
        place("urls", spec.urls.first()),
        place("topology", spec.topology.as_ref()),
        place("master", spec.master.as_ref()),
        place("username", spec.username.as_ref()),
        place("password", spec.password.as_ref()),
        place("ca-file", spec.ca_file.as_ref()),
        place("prefix", spec.prefix.as_ref()),
        place("timeout", spec.timeout.as_ref()),
        place("connect-timeout", spec.connect_timeout.as_ref()),
        place("pause", spec.pause.as_ref()),
        place("on-error", spec.on_error.as_ref()),
        place("replicas", spec.replicas.as_ref()),
        place("lease", spec.lease.as_ref().map(|lease| &lease.share)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
