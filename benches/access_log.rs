//! What an access-log line and a metrics record cost. The bar is 400 ns a line.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Method, StatusCode, Version};
use sluicegate::clock::Clock;
use sluicegate::telemetry::access_log::{AccessLog, Format, Line, Options, Target, Upstream};
use sluicegate::telemetry::metrics::{Metrics, Record};

fn line(clock: &Clock) -> Line<'static> {
    Line {
        time: clock.wall(),
        request_id: "0197a3c2-6f0e-7c4e-9b1a-3f5d2a7c9e10",
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        client_request_id: None,
        client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 57)),
        protocol: Version::HTTP_11,
        method: &Method::GET,
        host: Some("api.contoso.example"),
        path: "/orders/v1/orders/1042",
        query: Some("expand=lines&subscription-key=0123456789abcdef"),
        api: Some("orders"),
        operation: Some("GetOrder"),
        status: StatusCode::OK,
        bytes_in: 0,
        bytes_out: 1_024,
        duration: Duration::from_micros(1_234),
        upstream: Some(Upstream {
            backend: "erp",
            endpoint: "10.20.30.40:8081",
            status: Some(StatusCode::OK),
            duration: Duration::from_micros(1_001),
            attempts: 1,
        }),
        cache: None,
        subscription: Some("sub-flow-team"),
        consumer: Some("flow-team"),
        error: None,
        validation: &[],
        user_agent: Some(b"azure-logic-apps/1.0 (workflow 0123456789; version 08585)"),
        aborted: false,
        truncated: false,
    }
}

fn access_log(criterion: &mut Criterion) {
    let clock = Clock::system();
    let metrics = Metrics::new(&clock);
    let mut group = criterion.benchmark_group("access_log");
    group.throughput(Throughput::Elements(1));
    for (name, format) in [("json", Format::Json), ("human", Format::Human)] {
        let target = Target::File("/dev/null".into());
        let options = Options { format, target, ..Options::default() };
        let log = AccessLog::new(options, metrics.access_log_dropped.clone()).expect("/dev/null opens");
        let line = line(&clock);
        group.bench_function(name, |bencher| bencher.iter(|| log.write(black_box(&line))));
    }
    group.bench_function("json, clock read", |bencher| {
        let options = Options { target: Target::File("/dev/null".into()), ..Options::default() };
        let log = AccessLog::new(options, metrics.access_log_dropped.clone()).expect("/dev/null opens");
        let line = line(&clock);
        bencher.iter(|| log.write(&Line { time: clock.wall(), ..*black_box(&line) }));
    });
    group.finish();

    let operation = metrics.operation(&metrics.api("orders"), "GetOrder");
    let record = Record {
        method: &Method::GET,
        status: StatusCode::OK,
        duration: Duration::from_micros(1_234),
        request_bytes: 0,
        response_bytes: 1_024,
        client_aborted: false,
        upstream_truncated: false,
    };
    criterion.bench_function("metrics/record", |bencher| bencher.iter(|| operation.record(black_box(&record))));
}

criterion_group!(benches, access_log);
criterion_main!(benches);
