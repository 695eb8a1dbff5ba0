//! What a cached answer costs: a look among many entries, and finding and making an answer with ten headers and a body of 1 KiB.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method, Response};
use sluicegate::body::Body;
use sluicegate::cache::answer::{Candidate, Found, Key};
use sluicegate::cache::{Bounds, Cache, Held, Memory, Place, Settings};
use sluicegate::clock::Clock;
use sluicegate::telemetry::Metrics;

fn cache(clock: &Clock, entries: usize) -> (Arc<Memory<Held>>, Arc<Cache>) {
    let metrics = Metrics::new(clock).cache();
    let bounds = Bounds { entries, bytes: 1 << 30, largest: 1 << 20 };
    let memory = Arc::new(Memory::new(bounds, metrics.memory.clone()));
    let settings = Settings { largest: bounds.largest, wait: Duration::from_secs(5) };
    (memory.clone(), Arc::new(Cache::new(memory, None, settings, clock.clone(), metrics)))
}

fn bench(criterion: &mut Criterion) {
    let clock = Clock::system();
    for entries in [100, 1_000_000_u64] {
        let (memory, _) = cache(&clock, 2 * entries as usize);
        let until = clock.now() + Duration::from_secs(3_600);
        for number in 0..entries {
            let kept = memory.put(&number.to_le_bytes(), Held::Value(Bytes::from_static(b"1")), until, clock.now());
            assert!(kept);
        }
        let now = clock.now();
        let mut number = 0_u64;
        criterion.bench_function(&format!("a value among {entries}"), |bencher| {
            bencher.iter(|| {
                // An order that no cache foresees.
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                black_box(memory.get(&((number >> 33) % entries).to_le_bytes(), now)).expect("it is there")
            });
        });
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (_, cache) = cache(&clock, 1_000);
    let request = HeaderMap::new();
    let key = || {
        let mut key = Key::default();
        for part in ["orders", "ListOrders", "erp", "https", "api.contoso.com", "/orders/v1/orders"] {
            key.part(b'x', part.as_bytes());
        }
        key.query(Some("page=7&size=50"), None);
        key
    };
    let candidate = Arc::new(Candidate::new(cache.clone(), Place::Memory, key(), key(), request.clone(), None));
    let mut response = Response::builder();
    for number in 0..9 {
        response = response.header(format!("x-header-{number}"), "a value as long as most are");
    }
    let mut response = response.body(Body::from(Bytes::from(vec![b'x'; 1_024]))).expect("a response");
    candidate.see(&mut response);
    assert!(candidate.keep(Duration::from_secs(3_600), false).is_some(), "it is kept");
    criterion.bench_function("an answer of 1 KiB with ten headers", |bencher| {
        bencher.iter(|| {
            let key = key();
            let found = runtime.block_on(cache.find(Place::Memory, &key, &request, true));
            let Found::Answer(stored, _) = found else { panic!("it is not found") };
            black_box(stored.answer(&Method::GET, &request, clock.now()))
        });
    });
}

criterion_group! { name = benches; config = Criterion::default().sample_size(50); targets = bench }
criterion_main!(benches);
