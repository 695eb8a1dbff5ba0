//! What reading and evaluating an expression costs. Reading happens once for each value of the configuration, evaluating for
//! each request.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate::expression::testing::MapFacts;
use sluicegate::expression::{Dialect, Expression};

const CASES: &[(&str, &str)] = &[
    ("literal", "application/json"),
    ("header", "@headers('x-tenant')"),
    ("comparison", "@equals(headers('x-tenant'), 'contoso')"),
    ("condition", "@and(equals(method(), 'GET'), greater(status(), 399))"),
    ("property", "@body().customer"),
    ("interpolation", "/v2/@{pathParameters('id')}/lines?tenant=@{headers('x-tenant')}"),
    ("concat and lower", "@toLower(concat(headers('x-tenant'), ':', claims('sub')))"),
    ("date", "@addDays(utcNow(), 1, 'R')"),
];

fn parse(text: &str) -> Expression {
    Expression::parse(text, Dialect::Gateway).expect("the cases are valid")
}

fn expressions(criterion: &mut Criterion) {
    let facts = MapFacts::sample();
    let mut group = criterion.benchmark_group("expression/evaluate");
    for (name, text) in CASES {
        let expression = parse(text);
        group.bench_function(*name, |bencher| bencher.iter(|| black_box(expression.evaluate(black_box(&facts)))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("expression/parse");
    for (name, text) in CASES {
        group.bench_function(*name, |bencher| bencher.iter(|| parse(black_box(text))));
    }
    group.finish();
}

criterion_group!(benches, expressions);
criterion_main!(benches);
