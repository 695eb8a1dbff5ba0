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

/// The same API in 2.0 as JSON and in 3.0 as YAML.
const TWO: &str = r##"{
  "swagger": "2.0", "info": { "title": "Orders", "version": "1" }, "host": "erp.contoso.com",
  "paths": {
    "/orders/{id}": { "put": {
      "operationId": "PutOrder",
      "parameters": [
        { "name": "id", "in": "path", "required": true, "type": "integer" },
        { "name": "top", "in": "query", "type": "integer", "maximum": 50 },
        { "name": "x-tenant", "in": "header", "required": true, "type": "string", "enum": ["contoso"] },
        { "name": "api-version", "in": "query", "required": true, "type": "string", "default": "2", "x-ms-visibility": "internal" },
        { "name": "order", "in": "body", "required": true, "schema": { "$ref": "#/definitions/Order" } }
      ],
      "responses": { "200": { "description": "OK", "schema": { "type": "object" } } }
    } },
    "/orders": { "get": {
      "operationId": "ListOrders",
      "responses": { "200": { "description": "OK", "schema": { "type": "array", "items": { "$ref": "#/definitions/Order" } } } }
    } }
  },
  "definitions": { "Order": { "type": "object", "required": ["customer"], "properties": { "customer": { "type": "string", "maxLength": 9 } } } }
}"##;
const THREE: &str = r##"openapi: 3.0.3
info: { title: Orders, version: "1" }
servers: [{ url: https://erp.contoso.com }]
paths:
  /orders/{id}:
    put:
      operationId: PutOrder
      parameters:
        - { name: id, in: path, required: true, schema: { type: integer } }
        - { name: top, in: query, schema: { type: integer, maximum: 50 } }
        - { name: x-tenant, in: header, required: true, schema: { type: string, enum: [contoso] } }
        - { name: api-version, in: query, required: true, x-ms-visibility: internal, schema: { type: string, default: "2" } }
      requestBody: { required: true, content: { application/json: { schema: { $ref: "#/components/schemas/Order" } } } }
      responses: { "200": { description: OK, content: { application/json: { schema: { type: object } } } } }
  /orders:
    get:
      operationId: ListOrders
      responses:
        "200":
          description: OK
          content: { application/json: { schema: { type: array, items: { $ref: "#/components/schemas/Order" } } } }
components:
  schemas:
    Order: { type: object, required: [customer], properties: { customer: { type: string, maxLength: 9 } } }
"##;

#[test]
fn a_definition_of_each_generation_is_in_service() {
    for (file, definition) in [("orders.json", TWO), ("orders.yaml", THREE)] {
        let folder = Folder::new(&[(file, definition)]);
        let out = program()
            .args(["import", "connector"])
            .arg(folder.path().join(file))
            .arg("--out")
            .arg(folder.path())
            .args(["--validate", "refuse"])
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{file}: {}", String::from_utf8_lossy(&out.stderr));
        let listeners = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--stand-in", "echo"];
        let gateway = Gateway::spawn(program().arg("run").arg(folder.path()).args(listeners));
        let put = |path: &str, tenant: &str, body: &str| {
            let fields = format!("content-type: application/json\r\n{tenant}");
            Client::new(gateway.address).send("PUT", path, &fields, body).unwrap()
        };
        let (tenant, body) = ("x-tenant: contoso\r\n", r#"{"customer":"Contoso"}"#);
        for (name, path, tenant, body, want) in [
            ("all is well", "/orders/orders/7?top=50", tenant, body, 200),
            ("the path", "/orders/orders/seven", tenant, body, 400),
            ("the query", "/orders/orders/7?top=51", tenant, body, 400),
            ("the header", "/orders/orders/7", "x-tenant: fabrikam\r\n", body, 400),
            ("no header", "/orders/orders/7", "", body, 400),
            ("the body", "/orders/orders/7", tenant, r#"{"customer":"Contoso and more"}"#, 400),
            ("no body", "/orders/orders/7", tenant, "", 400),
        ] {
            let answer = put(path, tenant, body);
            assert_eq!(answer.status, want, "{file}, {name}: {}", answer.text());
        }
        let seen = put("/orders/orders/7", tenant, body).json();
        assert_eq!(seen["query"], "api-version=2", "{file}: what callers do not see is filled in");
        // The echo is no list: reported first, then refused.
        assert_eq!(gateway.get("/orders/orders").status, 200, "{file}");
        let found = |operation: &str, action: &str, policy: &str| {
            let labels = format!("action=\"{action}\",api=\"orders\",operation=\"{operation}\",policy=\"{policy}\"");
            gateway.metric(&format!("sluicegate_validation_failures_total{{{labels}}}"))
        };
        assert_eq!(found("ListOrders", "detect", "validate-content"), Some(1.0), "{file}");
        assert_eq!(found("PutOrder", "prevent", "validate-parameters"), Some(4.0), "{file}");
        assert_eq!(found("PutOrder", "prevent", "validate-content"), Some(2.0), "{file}");
        // What callers make up is no label.
        for number in 0..50 {
            assert_eq!(gateway.get(&format!("/orders/made-up-{number}")).status, 404, "{file}");
        }
        let metrics = gateway.admin("/metrics");
        assert!(!metrics.text().contains("made-up"), "{file}");
        let text = std::fs::read_to_string(folder.path().join("orders.toml")).unwrap();
        folder.replace("orders.toml", &text.replace("\"detect\"", "\"prevent\""));
        let refused = || gateway.get("/orders/orders");
        let answer = eventually("the refusal of answers", || Some(refused()).filter(|answer| answer.status == 502));
        assert!(!answer.text().contains("Array"), "{file}: {}", answer.text());
        let text = text.replacen("[[operation]]", "[[inbound]]\npolicy = \"mock-response\"\n\n[[operation]]", 1);
        folder.replace("orders.toml", &text);
        let made = || Some(gateway.get("/orders/orders")).filter(|answer| answer.json().is_array());
        let answer = eventually("the answer made up from the schema", made);
        assert_eq!(answer.json()[0]["customer"], "string", "{file}");
    }
}
