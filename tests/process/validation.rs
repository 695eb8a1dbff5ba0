//! Validation against a definition as operators see it: the report of an import, the access log, the metric, and a definition that changes.

use crate::support::{Client, Folder, Gateway, eventually, program};

const DEFINITION: &str = r#"{
  "swagger": "2.0",
  "info": { "title": "Orders", "version": "1" },
  "host": "erp.contoso.com",
  "paths": {
    "/orders/{id}": {
      "get": {
        "operationId": "GetOrder",
        "parameters": [
          { "name": "id", "in": "path", "required": true, "type": "string" },
          { "name": "top", "in": "query", "type": "integer", "maximum": 50 }
        ],
        "responses": { "404": { "description": "None" } }
      }
    }
  }
}"#;

/// Imports the definition and lets the backend of it be the built-in sample.
fn import(folder: &Folder, how: &[&str]) {
    folder.write("orders.json", DEFINITION);
    let path = |name: &str| folder.path().join(name);
    let out = program()
        .args(["import", "connector"])
        .arg(path("orders.json"))
        .arg("--out")
        .arg(folder.path())
        .args(how)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let gateway = std::fs::read_to_string(path("gateway.toml")).unwrap();
    folder.write(
        "gateway.toml",
        &gateway
            .replace("https://erp.contoso.com", "sample:/v1")
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0"),
    );
}

#[test]
fn what_is_found_is_in_the_log_and_in_the_metric() {
    let folder = Folder::new(&[]);
    import(&folder, &["--validate", "report"]);
    let gateway = Gateway::run(folder.path());
    assert_eq!(gateway.get("/orders/orders/1?top=51").status, 404, "reported, not refused");
    let log = gateway.access_log(1);
    let line = &log[0];
    assert_eq!((line["api"].as_str(), line["operation"].as_str()), (Some("orders"), Some("GetOrder")), "{line}");
    let found = &line["validation"][0];
    assert_eq!(found["policy"], "validate-parameters", "{line}");
    assert_eq!((found["name"].as_str(), found["type"].as_str()), (Some("top"), Some("QueryParameter")), "{line}");
    assert_eq!(
        (found["rule"].as_str(), found["action"].as_str()),
        (Some("IncorrectMessage"), Some("detect")),
        "{line}"
    );
    assert!(found["details"].as_str().unwrap().contains("exceeds maximum value of 50"), "{line}");
    let series = r#"sluicegate_validation_failures_total{action="detect",api="orders",operation="GetOrder",policy="validate-parameters"}"#;
    assert_eq!(gateway.metric(series), Some(1.0));
}

#[test]
fn requests_are_refused_and_a_changed_definition_counts_at_once() {
    let folder = Folder::new(&[]);
    import(&folder, &["--validate", "refuse"]);
    let gateway = Gateway::run(folder.path());
    let answer = Client::new(gateway.address).request("GET", "/orders/orders/1?top=51", "").unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("The value of the query parameter top does not conform to the definition."));
    let definition = "imported/orders/orders.json";
    let text = std::fs::read_to_string(folder.path().join(definition)).unwrap();
    folder.replace(definition, &text.replace("\"maximum\": 50", "\"maximum\": 60"));
    eventually("the new maximum", || (gateway.get("/orders/orders/1?top=51").status == 404).then_some(()));
    folder.replace(definition, "{");
    gateway.says("imported/orders/orders.json");
    assert_eq!(gateway.get("/orders/orders/1?top=61").status, 400, "the one before stays in force");
    assert_eq!(gateway.get("/orders/orders/1?top=51").status, 404);
}
