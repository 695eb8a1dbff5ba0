//! What policies cost: a request through a pipeline of 20 header policies, beside an empty one.
//!
//! Both end in `return-response`, so that no socket is measured.

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use criterion::{Criterion, criterion_group, criterion_main};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Version};
use parking_lot::Mutex;
use sluicegate::body::Body;
use sluicegate::clock::Clock;
use sluicegate::compile::{self, Shared};
use sluicegate::forwarded::TraceContext;
use sluicegate::gateway::Gateway;
use sluicegate::pipeline::{Exchange, State};

fn gateway(runtime: &tokio::runtime::Runtime, policies: &str) -> Arc<Gateway> {
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

fn exchange(gateway: &Arc<Gateway>) -> Arc<Exchange> {
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
        authority: None,
        captures: Default::default(),
        trace: TraceContext::root(false, &mut fastrand::Rng::with_seed(1)),
        version: Version::HTTP_11,
        user_agent: None,
        request_bytes: 0,
        started: gateway.clock.now(),
        time: SystemTime::UNIX_EPOCH,
        state: Mutex::new(State::default()),
    })
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let literal = |number: usize| {
        format!("[[inbound]]\npolicy = \"set-header\"\nname = \"x-header-{number}\"\nvalue = \"value {number}\"\n")
    };
    let copy = |number: usize| {
        format!(
            "[[inbound]]\npolicy = \"set-header\"\nname = \"x-header-{number}\"\nvalue = \"@headers('user-agent')\"\n"
        )
    };
    let layered: String = (0..5)
        .map(|number| format!("{}[[inbound]]\npolicy = \"timeout\"\nduration = \"10s\"\n", literal(number)))
        .collect();
    for (name, policies) in [
        ("empty", String::new()),
        ("20 headers, literal", (0..20).map(literal).collect()),
        ("20 headers, from a header", (0..20).map(copy).collect()),
        ("5 headers, 5 layers", layered),
    ] {
        let gateway = gateway(&runtime, &policies);
        let pipeline = gateway.operations[0].pipeline.clone();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let exchange = exchange(&gateway);
                let request =
                    Request::get("/1").header("user-agent", "bench/1.0").body(Body::Empty).expect("a request");
                black_box(runtime.block_on(pipeline.serve(&exchange, Box::new(request))))
            });
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(50); targets = bench }
criterion_main!(benches);
