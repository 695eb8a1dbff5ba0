//! What the JSON policies cost on a body of 1 MiB, beside parsing and writing the same body once with `serde_json`.
//!
//! Each pipeline ends in `set-body` with the body's own text, which writes the document, and in `return-response`, so that no socket
//! is measured.

mod support;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use sluicegate::body::Body;

use support::{exchange, gateway};

const SET: &str = "[[inbound]]\npolicy = \"set-property\"\nparent = \"@body().value\"\nname = \"at\"\nvalue = \"x\"\n";
const HOLE: &str = "[[inbound]]\npolicy = \"set-property\"\nparent = \"@body().value\"\nname = \"label\"\nvalue = \"{@item().name}!\"\n";
const REPLACE: &str = "[[inbound]]\npolicy = \"string-replace\"\nparent = \"@body().value\"\nproperty = \"url\"\n\
                       from = \"https://api.contoso.com/\"\nto = \"\"\ntarget = \"@item().path\"\n";
const TO_ARRAY: &str =
    "[[inbound]]\npolicy = \"convert-object-to-array\"\nparent = \"@body().value\"\nproperty = \"people\"\n";
const TO_OBJECT: &str = "[[inbound]]\npolicy = \"convert-array-to-object\"\nproperty = \"value\"\nkey = \"name\"\n";
const DATES: &str =
    "[[inbound]]\npolicy = \"convert-dates\"\nproperties = [\"value.ordered\", \"value.shipped\", \"value.due\"]\n";
const NUMBERS: &str = "[[inbound]]\npolicy = \"convert-numbers\"\nproperties = [\"value.net\", \"value.gross\"]\nlocale = \"de-DE\"\nunits = [\"EUR\"]\n";
const WRITE: &str = "[[inbound]]\npolicy = \"set-body\"\nvalue = \"@bodyText()\"\n";

/// What business APIs answer.
fn item(number: usize) -> String {
    format!(
        r#"{{"id":{number},"name":"customer {number}","url":"https://api.contoso.com/v2/items/{number}","amount":{number}.50,"tags":["a","b"],"people":{{"u{number}":{{"order":" !","note":null}}}}}}"#
    )
}

/// What those of older ones answer: a date in each of the usual forms, and amounts as their country writes them.
fn unconverted(number: usize) -> String {
    let (day, thousands) = (number % 28 + 1, number % 900 + 1);
    format!(
        r#"{{"id":{number},"name":"customer {number}","url":"https://api.contoso.com/v2/items/{number}","ordered":"2026-11-{day:02} 08:30:00","shipped":"Sun, 01 Nov 2026 08:30:00 GMT","due":"/Date({number}000)/","net":"{thousands}.234,56","gross":"{thousands},50 EUR","tags":["a","b"]}}"#
    )
}

/// 1 MiB of such items.
fn body(item: fn(usize) -> String) -> Bytes {
    let mut text = String::from("{\"value\":[");
    for number in 0.. {
        if text.len() >= 1 << 20 {
            break;
        }
        text.push_str(if number == 0 { "" } else { "," });
        text.push_str(&item(number));
    }
    text.push_str("]}");
    Bytes::from(text)
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (body, unconverted) = (body(item), body(unconverted));
    for (name, body) in
        [("serde_json: parsed and written", &body), ("serde_json: parsed and written, to be converted", &unconverted)]
    {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let value: serde_json::Value = serde_json::from_slice(body).expect("JSON");
                black_box(serde_json::to_vec(&value).expect("text"))
            });
        });
    }
    for (name, body, policies) in [
        ("set-property on each item", &body, SET.to_owned()),
        ("set-property with a hole on each item", &body, HOLE.to_owned()),
        ("string-replace on each item", &body, REPLACE.to_owned()),
        ("convert-object-to-array on each item", &body, TO_ARRAY.to_owned()),
        ("convert-array-to-object", &body, TO_OBJECT.to_owned()),
        ("all five", &body, [SET, HOLE, REPLACE, TO_ARRAY, TO_OBJECT].concat()),
        ("convert-dates on each item", &unconverted, DATES.to_owned()),
        ("convert-numbers on each item", &unconverted, NUMBERS.to_owned()),
        ("convert-dates and convert-numbers", &unconverted, [DATES, NUMBERS].concat()),
    ] {
        let gateway = gateway(&runtime, &(policies + WRITE));
        let pipeline = gateway.operations[0].pipeline.clone();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let exchange = exchange(&gateway);
                let request = Request::get("/1").body(Body::from(body.clone())).expect("a request");
                black_box(runtime.block_on(pipeline.serve(&exchange, Box::new(request))))
            });
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
