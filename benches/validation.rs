//! What checking a message against its API's definition costs: a small request with parameters, and a body of 1 MiB, beside
//! parsing that body once with `serde_json`.
//!
//! Each pipeline ends in `return-response`, so that no socket is measured.

mod support;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Request};
use sluicegate::body::Body;

use support::{exchange, gateway};

/// The operation of the bench as OpenAPI describes it.
const DEFINITION: &str = r##"{
  "swagger": "2.0",
  "info": { "title": "Bench", "version": "1" },
  "paths": { "/{id}": { "get": {
    "operationId": "Get",
    "parameters": [
      { "name": "id", "in": "path", "required": true, "type": "string" },
      { "name": "top", "in": "query", "type": "integer", "minimum": 1, "maximum": 500 },
      { "name": "state", "in": "query", "type": "string", "enum": ["open", "closed"] },
      { "name": "x-tenant", "in": "header", "required": true, "type": "string", "pattern": "^[a-z0-9-]+$" },
      { "name": "items", "in": "body", "schema": { "$ref": "#/definitions/Items" } }
    ],
    "responses": { "200": { "description": "OK" } }
  } } },
  "definitions": {
    "Items": { "type": "object", "required": ["value"], "properties": { "value": { "type": "array", "items": { "$ref": "#/definitions/Item" } } } },
    "Item": { "type": "object", "required": ["id", "name"], "properties": {
      "id": { "type": "integer", "format": "int64" },
      "name": { "type": "string", "maxLength": 100 },
      "url": { "type": "string", "format": "uri" },
      "amount": { "type": "number", "minimum": 0 },
      "tags": { "type": "array", "items": { "type": "string", "enum": ["a", "b"] } },
      "due": { "type": "string", "format": "date-time" }
    } }
  }
}"##;

/// So many bytes of what business APIs take, and a little more.
fn body(length: usize) -> Bytes {
    let mut text = String::from("{\"value\":[");
    for number in 0.. {
        text.push_str(if number == 0 { "" } else { "," });
        text.push_str(&format!(
            r#"{{"id":{number},"name":"customer {number}","url":"https://api.contoso.com/v2/items/{number}","amount":{number}.50,"tags":["a","b"],"due":"2026-11-26T05:30:00Z"}}"#
        ));
        if text.len() >= length {
            break;
        }
    }
    text.push_str("]}");
    Bytes::from(text)
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.json");
    std::fs::write(&path, DEFINITION).expect("the definition is written");
    let definition = format!("definition = '{}'\n", path.display());
    let parameters = "[[inbound]]\npolicy = \"validate-parameters\"\nunspecified-parameter-action = \"detect\"\n";
    let content = "[[inbound]]\npolicy = \"validate-content\"\n";
    let large = body(1 << 20);
    criterion.bench_function("serde_json: 1 MiB parsed", |bencher| {
        bencher.iter(|| black_box(serde_json::from_slice::<serde_json::Value>(&large).expect("JSON")));
    });
    for (name, policies, body) in [
        ("nothing", "", Bytes::new()),
        ("parameters", parameters, Bytes::new()),
        ("content of 150 bytes", content, body(1)),
        ("content of 1 MiB", content, large),
    ] {
        let gateway = gateway(&runtime, &format!("{definition}{policies}"));
        let pipeline = gateway.operations[0].pipeline.clone();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let exchange = exchange(&gateway);
                let request = Request::get("/1?top=50&state=open")
                    .header("content-type", HeaderValue::from_static("application/json"))
                    .header("x-tenant", HeaderValue::from_static("contoso"))
                    .body(Body::from(body.clone()))
                    .expect("a request");
                let response = runtime.block_on(pipeline.serve(&exchange, Box::new(request)));
                assert_eq!(response.status(), 200, "the message is as defined");
                black_box(response)
            });
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
