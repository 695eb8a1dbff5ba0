//! What policies cost: a request through a pipeline of 20 header policies, beside an empty one.
//!
//! Both end in `return-response`, so that no socket is measured.

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use sluicegate::body::Body;

use support::{exchange, gateway};

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
