//! A gateway and an exchange without a socket.

use std::sync::Arc;
use std::time::SystemTime;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use parking_lot::Mutex;
use sluicegate::clock::Clock;
use sluicegate::compile::{self, Shared};
use sluicegate::forwarded::TraceContext;
use sluicegate::gateway::Gateway;
use sluicegate::pipeline::{Exchange, State};

/// A gateway with one API of these policies, which then answers by itself.
pub(crate) fn gateway(runtime: &tokio::runtime::Runtime, policies: &str) -> Arc<Gateway> {
    let api = format!(
        "[api]\nname = \"bench\"\npath = \"/bench\"\n{policies}\n[[inbound]]\npolicy = \"return-response\"\n\n\
         [[operation]]\nname = \"Get\"\nmatch = \"GET /{{id}}\"\n"
    );
    let files = vec![("gateway.toml".to_owned(), String::new()), ("bench.toml".to_owned(), api)];
    let shared = Arc::new(Shared::new(Clock::system(), runtime.handle().clone()));
    let loaded = compile::compile(files, None, &shared);
    assert_eq!(loaded.diagnostics.errors(), 0, "{:?}", loaded.diagnostics);
    Arc::new(loaded.gateway.expect("the configuration has no mistake"))
}

/// One exchange of that API.
pub(crate) fn exchange(gateway: &Arc<Gateway>) -> Arc<Exchange> {
    Arc::new(Exchange {
        gateway: gateway.clone(),
        operation: gateway.operations.first().cloned(),
        request_id: HeaderValue::from_static("0191"),
        client_ip: [127, 0, 0, 1].into(),
        connection_ip: [127, 0, 0, 1].into(),
        certificate: Default::default(),
        encrypted: false,
        method: Method::GET,
        target: PathAndQuery::from_static("/bench/1"),
        base_len: 6,
        outside: Default::default(),
        authority: None,
        captures: Default::default(),
        trace: TraceContext::root(false, &mut fastrand::Rng::with_seed(1)),
        version: Version::HTTP_11,
        user_agent: None,
        request_bytes: 0,
        started: gateway.clock.now(),
        time: SystemTime::UNIX_EPOCH,
        recorder: None,
        state: Mutex::new(State::default()),
    })
}
