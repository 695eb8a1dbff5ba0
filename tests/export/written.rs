//! APIs whose TOML is written by hand: what of it becomes of a connector, and what the platform would refuse does not.

use serde_json::{Value, json};
use sluicegate::config::source::Sources;
use sluicegate::config::{Diagnostics, Severity, render};
use sluicegate::connector::export::{Address, Exported, export};
use sluicegate::connector::lint::lint;
use sluicegate::connector::package::{self, DEFINITION_FILE};

use super::{swagger_parser, text};

const GATEWAY: &str = r#"
[named-values]
secret = { file = "secret.txt" }

[backends.erp]
url = "https://erp.contoso.internal"

[[fragments.limits.policies]]
policy = "rate-limit-by-key"
calls  = 100
period = "1m"
key    = "@clientIp()"

[[fragments.pages.policies]]
policy   = "update-next-link"
property = "['@odata.nextLink']"

[[inbound]]
policy   = "include-fragment"
fragment = "limits"
"#;

const API: &str = r#"
[api]
name  = "erp-api"
path  = "/erp"
hosts = ["*.contoso.com"]
backend = "erp"
version = { scheme = "path", value = "v2" }

[[inbound]]
policy = "api-key"
header = "X-Key"

[[operation]]
name       = "list items"
match      = "GET /items?kind=open&page={page}"
parameters = [
  { name = "x-key", in = "header" },
  { name = "Authorization", in = "header" },
  { name = "connectionId", in = "query" },
  { name = "hidden", in = "query", required = true, visibility = "internal" },
  { name = "token", in = "query", default = "{{secret}}", visibility = "internal" },
  { name = "top", in = "query", type = "integer", default = "5", visibility = "internal" },
  { name = "body", in = "body" },
]

[[operation.outbound]]
policy   = "include-fragment"
fragment = "pages"

[[operation]]
name  = "list_items"
match = "POST /items"
summary = "Makes an item out of what is sent, with all that belongs to it and with everything else besides."
parameters = [
  { name = "body", in = "body", type = "array", required = true },
]

[[operation.inbound]]
policy = "quota"
calls  = 5
renewal-period = "1h"

[[operation]]
name       = "Upload"
match      = "POST /files/{name}"
parameters = [
  { name = "content", in = "form", type = "file", required = true },
  { name = "note", in = "form" },
]

[[operation]]
name  = "All"
match = "GET /all"

[[operation.backend]]
policy    = "collect-pages"
items     = "@body().value"
next-link = "nextLink"
answer    = "array"

[[operation]]
name  = "Rest"
match = "GET /rest/*"
"#;

fn exported(api: &str, host: &str) -> Exported {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("gateway.toml", GATEWAY), ("erp.toml", api), ("secret.txt", "s3cret-value")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    export(folder.path(), "erp-api", &Address::parse(host).unwrap()).unwrap()
}

fn parameter<'v>(operation: &'v Value, name: &str) -> Option<&'v Value> {
    operation["parameters"].as_array().unwrap().iter().find(|one| one["name"] == name)
}

#[test]
fn what_the_toml_says_is_there_and_what_is_refused_is_not() {
    let made = exported(API, "gateway.contoso.com");
    let definition = &made.definition;
    assert_eq!(definition["info"]["title"], "Erp");
    assert_eq!(definition["info"]["description"], "The API erp-api, called through its gateway");
    assert_eq!(definition["basePath"], "/erp/v2");
    let list = &definition["paths"]["/items"]["get"];
    assert_eq!(list["operationId"], "list_items");
    assert_eq!(list["summary"], "List items");
    assert_eq!(list["x-ms-pageable"], json!({ "nextLinkName": "@odata.nextLink" }));
    let policies = &made.properties["properties"]["policyTemplateInstances"];
    assert_eq!(policies[0]["parameters"]["x-ms-apimTemplateParameter.nextLinkPropertyName"], "@odata.nextLink");
    assert_eq!(policies[0]["parameters"]["x-ms-apimTemplate-operationName"], json!(["list_items"]));
    for gone in ["x-key", "Authorization", "connectionId", "body"] {
        assert!(parameter(list, gone).is_none(), "{gone}");
    }
    let kind = parameter(list, "kind").unwrap();
    assert_eq!((&kind["default"], &kind["x-ms-visibility"]), (&"open".into(), &"internal".into()));
    assert_eq!(parameter(list, "page").unwrap()["required"], true);
    assert!(parameter(list, "hidden").unwrap()["x-ms-visibility"].is_null());
    assert!(parameter(list, "token").unwrap()["default"].is_null());
    let top = parameter(list, "top").unwrap();
    assert_eq!((&top["default"], &top["x-ms-visibility"]), (&5.into(), &"internal".into()));
    assert_eq!(
        list["responses"]["429"]["description"],
        "A limit of the gateway is exceeded (100 calls in 1m). Retry-After tells when to try again."
    );
    let make = &definition["paths"]["/items"]["post"];
    assert_eq!(make["operationId"], "list_items_2");
    assert_eq!(make["summary"], "Makes an item out of what is sent, with all that belongs to it and with");
    assert!(make["description"].as_str().unwrap().ends_with("with everything else besides."));
    assert_eq!(parameter(make, "body").unwrap()["schema"], json!({ "type": "array", "items": { "type": "object" } }));
    assert!(make["responses"]["429"]["description"].as_str().unwrap().contains("(100 calls in 1m, 5 calls in 1h)"));
    let upload = &definition["paths"]["/files/{name}"]["post"];
    assert_eq!(upload["consumes"], json!(["multipart/form-data"]));
    assert_eq!(parameter(upload, "content").unwrap()["type"], "file");
    assert!(definition["paths"]["/all"]["get"].get("x-ms-pageable").is_none());
    assert!(definition["paths"].get("/rest/*").is_none());

    assert!(!format!("{}{}{:?}", definition, made.properties, made.notes).contains("s3cret"));
    for part in [
        "operation `list items` is called `list_items`",
        "operation `list_items` is called `list_items_2`",
        "operation `Rest` is left out: a connector has no `GET /rest/*`",
        "the parameter `Authorization` is left out",
        "the parameter `connectionId` of operation `list items` is left out",
        "the parameter `hidden` is shown to makers",
        "the default of `token` holds a secret and is left out",
        "the body of operation `list items` is left out: a GET of a connector has none",
        "`collect-pages` answers `All` with an array",
        "flows see no fields in the answers of",
    ] {
        assert!(made.notes.iter().any(|note| note.contains(part)), "{part}: {:#?}", made.notes);
    }
    assert!(!made.notes.iter().any(|note| note.contains("answers on")), "{:?}", made.notes);
}

#[test]
fn where_it_is_called() {
    let header = API.replace("scheme = \"path\", value", "scheme = \"header\", name = \"x-version\", value");
    let query = API.replace("scheme = \"path\"", "scheme = \"query\"");
    let root = API.replace("path  = \"/erp\"", "path  = \"/\"");
    for (name, api, host, base, version) in [
        ("a version in the path", API, "gateway.contoso.com", "/erp/v2", None),
        ("in front of the path", API, "https://gateway.contoso.com:8443/edge/", "/edge/erp/v2", None),
        ("a version in a header", &header, "gateway.contoso.com", "/erp", Some(("header", "x-version"))),
        ("a version in the query", &query, "gateway.contoso.com", "/erp", Some(("query", "api-version"))),
        ("no path", &root, "gateway.contoso.com", "/v2", None),
    ] {
        let made = exported(api, host);
        assert_eq!(made.definition["basePath"], base, "{name}");
        let found = parameter(&made.definition["paths"]["/all"]["get"], version.map_or("none", |(_, name)| name));
        let found = found.map(|one| (one["in"].as_str().unwrap(), one["name"].as_str().unwrap()));
        assert_eq!(found, version, "{name}");
    }
    let made = exported(API, "gateway.fabrikam.com");
    let told = "the API answers on `*.contoso.com` only, and not on `gateway.fabrikam.com`";
    assert!(made.notes.iter().any(|note| note == told), "{:?}", made.notes);
}

#[test]
fn it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    exported(API, "gateway.contoso.com").write("erp-api", folder.path(), false).unwrap();
    let said = swagger_parser(&[text(&folder.path().join(DEFINITION_FILE))]);
    assert!(said[0].starts_with("ok "), "{said:?}");
    let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    lint(&package::find(folder.path()).unwrap()[0], &mut sources, &mut diagnostics);
    diagnostics.0.retain(|one| one.severity == Severity::Error);
    assert!(diagnostics.0.is_empty(), "{}", render::text(&diagnostics, &sources));
}
