//! What routing costs among 10 and among 100,000 operations, and what building the router costs.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use sluicegate::routing::{BasePath, Build, Router, Template, normalise};

const TEMPLATES: [&str; 5] = ["/items", "/items/{id}", "/items/{id}/lines/{line}", "/Sets('{key}')", "/files/{*rest}"];

/// `apis` APIs with `operations` operations each: the five templates under ever new first segments.
fn build(apis: u32, operations: u32) -> Router<u32, u32> {
    let start = Instant::now();
    let mut builder = Router::builder();
    for api in 0..apis {
        let base = BasePath::parse(&format!("/team/api-{api}")).expect("a valid path");
        let handle = builder.api(api, &[], &base, None);
        for index in 0..operations {
            let shape = TEMPLATES[index as usize % TEMPLATES.len()];
            let template = Template::parse(&format!("/group{}{shape}", index / 5)).expect("a valid template");
            builder.operation(handle, Method::GET, &template, api * operations + index);
        }
    }
    let Build { router, conflicts } = builder.build();
    assert!(conflicts.is_empty());
    eprintln!("{} operations: parsed and built in {:?}", apis * operations, start.elapsed());
    router
}

fn routing(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    for (apis, operations) in [(2, 5), (1_000, 100)] {
        let router = build(apis, operations);
        let mut group = criterion.benchmark_group(format!("routing/{}", apis * operations));
        let prefix = format!("/team/api-{}/group{}", apis - 1, operations / 5 - 1);
        for (name, tail) in [
            ("literal", "/items"),
            ("variables", "/items/42/lines/7"),
            ("pattern", "/sets('abc')"),
            ("catch-all", "/files/a/b/c.txt"),
            ("miss", "/nothing"),
        ] {
            let path = format!("{prefix}{tail}");
            assert_eq!(router.route("localhost:8080", &Method::GET, &path, None, &headers).is_ok(), name != "miss");
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    router.route(black_box("localhost:8080"), &Method::GET, black_box(&path), None, &headers).is_ok()
                });
            });
        }
        // Every request somewhere else: what the processor's caches make of it.
        let paths: Vec<String> = (0..8_192u32)
            .map(|index| {
                let spread = index.wrapping_mul(2_654_435_761);
                format!("/team/api-{}/group{}/items/{index}", spread % apis, (spread >> 16) % (operations / 5))
            })
            .collect();
        let mut next = paths.iter().cycle();
        group.bench_function("scattered", |bencher| {
            bencher.iter(|| {
                let path = next.next().map_or("", String::as_str);
                router.route("localhost:8080", &Method::GET, black_box(path), None, &headers).is_ok()
            });
        });
        group.finish();
    }
    let mut group = criterion.benchmark_group("normalise");
    for (name, path) in
        [("normal", "/team/api-9/group9/items/42/lines/7"), ("escaped", "/team/api-9/%67roup9/items/./42/lines/7%2f8")]
    {
        group.bench_function(name, |bencher| bencher.iter(|| normalise(black_box(path)).is_ok()));
    }
    group.finish();
}

criterion_group!(benches, routing);
criterion_main!(benches);
