//! A package that was imported: what the import writes, at work.

use std::num::NonZeroU32;
use std::path::Path;

use serde_json::Value as Json;
use sluicegate::connector::connection::Given;
use sluicegate::connector::folder::Folder;
use sluicegate::connector::package;

use crate::scripted::{Act, Scripted, gateway, status};
use crate::support::gateway::Gateway;
use crate::support::wire::Message;

const GATEWAY: &str = r#"
[backends.tasks]
url = "{{backend}}/v1"

[subscriptions.ann]
keys = ["sha256:21fdbeecb49c56644f6cc4444328f5da14132c8a38fd86aad19b4da9e521a79c"]

[subscriptions.bob]
keys = ["sha256:9b94dc1a51a38769f135edf04033ad7f2f487b6c25929be7a861cfc1ab10cf98"]

[connections.of-ann]
api           = "tasks"
subscriptions = ["ann"]
parameters    = { api_key = "a", region = "eu" }

[connections.of-all]
api        = "tasks"
parameters = { api_key = "b", region = "eu" }
"#;

/// The API of a fixture as it is imported.
fn imported(limit: Option<u32>) -> String {
    let out = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(out.path()).unwrap();
    folder.limit = limit.and_then(NonZeroU32::new);
    let places = package::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors/tasks")).unwrap();
    for place in &places {
        assert!(folder.import(place, &Given::default()).unwrap().written);
    }
    std::fs::read_to_string(out.path().join("tasks.toml")).unwrap()
}

fn start(backend: &Scripted, limit: Option<u32>) -> Gateway {
    let definition = r#"definition  = "imported/tasks/apiDefinition.swagger.json""#;
    let own =
        format!("definition = \"{}/tests/connectors/tasks/apiDefinition.swagger.json\"", env!("CARGO_MANIFEST_DIR"));
    let api = imported(limit);
    assert!(api.contains(definition), "{api}");
    let api = api.replace(definition, &format!("{own}\nsubscription-required = false"));
    gateway(backend, &[("gateway.toml", GATEWAY), ("tasks.toml", &api)])
}

fn task(key: &str) -> Message {
    let fields =
        if key.is_empty() { Vec::new() } else { vec![("ocp-apim-subscription-key".to_owned(), key.to_owned())] };
    Message { first_line: "GET /tasks/tasks/7".to_owned(), fields, ..Message::default() }
}

#[test]
fn each_connection_has_a_limit_of_its_own() {
    let backend = Scripted::start(|_, _| Act::Answer("{}".to_owned()));
    let gateway = start(&backend, Some(3));
    let ask = |key: &str| gateway.send(&task(key)).unwrap();
    for number in 0..3 {
        assert_eq!(status(&ask("ann-key")), "200", "{number}");
    }
    let refused = ask("ann-key");
    assert_eq!(status(&refused), "429");
    let wait = refused.field("retry-after").unwrap();
    let text = format!(r#"{{"statusCode":429,"message":"Rate limit is exceeded. Try again in {wait} seconds."}}"#);
    assert_eq!(String::from_utf8_lossy(&refused.body), text, "as the platform answers");
    // Whoever has no connection of their own shares that of all others.
    for (key, want) in [("bob-key", "200"), ("", "200"), ("bob-key", "200"), ("", "429")] {
        assert_eq!(status(&ask(key)), want, "{key}");
    }
    gateway.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(status(&ask("ann-key")), "200", "after a minute");
}

#[test]
fn errors_links_and_ids_are_those_of_a_connector() {
    let backend = Scripted::start(|_, number| match number {
        0 => Act::Send("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops"),
        1 => Act::Send("HTTP/1.1 202 Accepted\r\nlocation: /v1/tasks/7?wait=1\r\ncontent-length: 0\r\n\r\n"),
        _ => Act::Send("HTTP/1.1 400 Bad\r\ncontent-length: 15\r\n\r\n{\"message\":\"x\"}"),
    });
    let gateway = start(&backend, None);
    let mut request = task("ann-key");
    request.fields.push(("x-ms-client-request-id".to_owned(), "call-1".to_owned()));
    request.fields.push(("x-ms-workflow-run-id".to_owned(), "run-1".to_owned()));

    let failed = gateway.send(&request).unwrap();
    assert_eq!(status(&failed), "500");
    let error: Json = serde_json::from_slice(&failed.body).unwrap();
    assert_eq!(error["error"]["innerError"], "oops", "{error}");
    assert_eq!(error["error"]["clientRequestId"], "call-1", "{error}");
    assert_eq!(failed.field("x-ms-client-request-id"), Some("call-1"));
    assert_eq!(failed.field("x-ms-request-id"), failed.field("x-request-id"));
    let asked = backend.rest();
    for (name, want) in
        [("x-ms-client-request-id", "call-1"), ("x-ms-correlation-id", "call-1"), ("x-ms-workflow-run-id", "run-1")]
    {
        assert_eq!(asked[0].field(name), Some(want), "{name}");
    }

    let accepted = gateway.send(&request).unwrap();
    assert_eq!(accepted.field("location"), Some("http://gateway.test/tasks/tasks/7?wait=1"));
    let told = gateway.send(&request).unwrap();
    assert_eq!((status(&told), told.body.as_slice()), ("400", &b"{\"message\":\"x\"}"[..]), "callers can read it");
}

#[test]
fn what_is_for_failures_runs_when_the_backend_is_to_blame() {
    let backend = Scripted::start(|_, number| match number {
        0 => Act::Send("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"),
        _ => Act::Begin(""),
    });
    let gateway = start(&backend, Some(2));
    let answered = gateway.send(&task("ann-key")).unwrap();
    assert_eq!((status(&answered), answered.field("x-failed")), ("500", None), "an answer is no failure");
    let failed = std::thread::scope(|scope| {
        let asked = scope.spawn(|| gateway.send(&task("ann-key")));
        (0..2).for_each(|_| drop(backend.target()));
        gateway.clock.advance(std::time::Duration::from_secs(120));
        asked.join().unwrap().unwrap()
    });
    assert_eq!((status(&failed), failed.field("x-failed")), ("504", Some("yes")));
    let refused = gateway.send(&task("wrong-key")).unwrap();
    assert_eq!((status(&refused), refused.field("x-failed")), ("401", None), "the caller's own mistake");
}
