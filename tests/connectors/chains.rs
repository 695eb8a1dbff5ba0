//! The two longest chains of published connectors, end to end, with what they make written down: on fixtures of the same shape, and
//! on the packages themselves where they are at hand.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::applied::{Stage, corpus};
use super::support::wire::Message;

/// A fixture or a real package, and its words for the same things.
struct Cards {
    folder: PathBuf,
    api: &'static str,
    host: &'static str,
    assign: &'static str,
    unassign: &'static str,
    details: &'static str,
    card: &'static str,
    card_details: &'static str,
    groups: (&'static str, &'static str, &'static str),
    assignment: &'static str,
    link: &'static str,
    step: &'static str,
}

fn real(name: &str) -> Option<PathBuf> {
    corpus()?.into_iter().find(|path| path.ends_with(name))
}

fn cards() -> Vec<Cards> {
    let own = Cards {
        folder: Path::new("tests/fixtures/connectors/boards").to_owned(),
        api: "boards",
        host: "graph.contoso.com",
        assign: "PATCH /boards/v1.0/boards/cards/7/assign",
        unassign: "PATCH /boards/v1.0/boards/cards/7/unassign",
        details: "PATCH /boards/v2/v1.0/boards/cards/7/details",
        card: "/v1.0/boards/cards/7",
        card_details: "/v1.0/boards/cards/7/details",
        groups: (
            "GET /boards/v1.0/me/teams",
            "/v1.0/me/memberOf/$/contoso.team",
            "$filter=kinds/any(k%3Ak%20eq%20'Team')&$select=id,displayName",
        ),
        assignment: "contoso.assignment",
        link: "contoso.link",
        step: "contoso.step",
    };
    let planner = |folder| Cards {
        folder,
        api: "planner",
        host: "graph.microsoft.com",
        assign: "PATCH /planner/v1.0/planner/tasks/7/assignusers",
        unassign: "PATCH /planner/v1.0/planner/tasks/7/unassignusers",
        details: "PATCH /planner/v1.0/planner/tasks/7/details",
        card: "/v1.0/planner/tasks/7",
        card_details: "/v1.0/planner/tasks/7/details",
        groups: (
            "GET /planner/v1.0/me/memberOf",
            "/v1.0/me/memberOf/$/microsoft.graph.group",
            "$filter=groupTypes/any(c%3Ac%20eq%20'Unified')&$select=id,displayName",
        ),
        assignment: "microsoft.graph.plannerAssignment",
        link: "microsoft.graph.plannerExternalReference",
        step: "microsoft.graph.plannerChecklistItem",
    };
    std::iter::once(own).chain(real("Planner").map(planner)).collect()
}

fn body(message: &Message) -> Json {
    serde_json::from_slice(&message.body).unwrap_or_default()
}

/// The plain characters of a query, however it is escaped.
fn plain(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[test]
fn people_in_one_text_become_an_object_by_their_escaped_names() {
    for cards in cards() {
        let stage = Stage::new(&[cards.folder], false);
        let answer = json!({ "@odata.etag": "W/\"1\"", "assignments": { "u2": { "orderHint": "8" } } });
        let sent = json!({ "assignments": "a@b.com;u2" });
        let (asked, response) = stage.ask(cards.assign, Some(&sent), &answer);
        let [side, main] = &asked[..] else { panic!("{}: {asked:?}", cards.api) };
        assert_eq!(side.first_line, format!("GET {} HTTP/1.1", cards.card), "the version is asked for first");
        assert_eq!((side.field("host"), side.body.len()), (Some(cards.host), 0));
        assert_eq!(side.field("authorization"), main.field("authorization"), "with the connection's token");
        assert!(main.field("authorization").unwrap().starts_with("Bearer "));
        assert_eq!(main.first_line, format!("PATCH {} HTTP/1.1", cards.card));
        assert_eq!(main.field("if-match"), Some("W/\"1\""));
        let person = json!({ "orderHint": " !", "@odata.type": cards.assignment });
        let want = format!(r#"{{"assignments":{{"a%40b%2Ecom":{person},"u2":{person}}}}}"#);
        assert_eq!(String::from_utf8_lossy(&main.body), want, "{}: also in this order", cards.api);
        let want = json!([{ "userId": "u2", "value": { "orderHint": "8" } }]);
        assert_eq!(body(&response)["_assignments"], want, "{}", cards.api);
        // Nobody is left of an object that had nothing but its key: null takes somebody off.
        let (asked, _) = stage.ask(cards.unassign, Some(&sent), &answer);
        assert_eq!(body(&asked[1]), json!({ "assignments": { "a%40b%2Ecom": null, "u2": null } }), "{}", cards.api);
    }
}

#[test]
fn links_are_escaped_on_the_way_and_read_as_they_were_on_the_way_back() {
    for cards in cards() {
        let stage = Stage::new(&[cards.folder], false);
        let url = "https://a.b/100%/x@y#z";
        let escaped = "https%3A//a%2Eb/100%25/x%40y%23z";
        let answer = json!({
            "@odata.etag": "W/\"2\"",
            "references": { escaped: { "alias": "A" } },
            "checklist": { "c1": { "title": "T" } },
        });
        let sent = json!({
            "references": [{ "resourceLink": url, "alias": "A" }],
            "checklist": [{ "id": "c1", "title": "T", "isChecked": true }],
        });
        let (asked, response) = stage.ask(cards.details, Some(&sent), &answer);
        let [side, main] = &asked[..] else { panic!("{}: {asked:?}", cards.api) };
        assert_eq!(side.first_line, format!("GET {} HTTP/1.1", cards.card_details));
        assert_eq!(main.field("if-match"), Some("W/\"2\""));
        let want = json!({
            "references": { escaped: { "alias": "A", "previewPriority": " !", "@odata.type": cards.link } },
            "checklist": { "c1": { "title": "T", "isChecked": true, "@odata.type": cards.step } },
        });
        assert_eq!(body(main), want, "{}", cards.api);
        let want = json!({
            "@odata.etag": "W/\"2\"",
            "references": [{ "resourceLink": url, "value": { "alias": "A" } }],
            "checklist": [{ "id": "c1", "value": { "title": "T" } }],
        });
        assert_eq!(body(&response), want, "{}", cards.api);
        // Who changes only the description has neither.
        let (asked, _) =
            stage.ask(cards.details, Some(&json!({ "description": "d" })), &json!({ "@odata.etag": "W/\"3\"" }));
        assert_eq!(body(&asked[1]), json!({ "description": "d" }), "{}", cards.api);
        let (line, path, query) = cards.groups;
        let (asked, _) = stage.ask(line, None, &json!({ "value": [] }));
        let target = asked[0].first_line.split(' ').nth(1).unwrap();
        assert_eq!(plain(target), plain(&format!("{path}?{query}")), "{}", cards.api);
    }
}

/// Seven policies in a row: a key becomes a token from another host, and the call goes on as if nothing had been.
#[test]
fn a_token_is_fetched_by_policies_alone() {
    let own = (Path::new("tests/fixtures/connectors/readings").to_owned(), "readings", "readings.example");
    let cradl = real("Cradl-AI").map(|folder| (folder, "cradl-ai", "lucidtech.ai"));
    for (folder, api, host) in std::iter::once(own).chain(cradl) {
        let stage = Stage::new(&[folder], false);
        let (asked, response) = stage.ask(&format!("GET /{api}/models?x=1"), None, &json!({ "access_token": "t0ken" }));
        assert!(response.first_line.contains(" 200 "), "{api}: {response:?}");
        let [side, main] = &asked[..] else { panic!("{api}: {asked:?}") };
        assert_eq!(side.first_line, "POST /oauth2/token?grant_type=client_credentials HTTP/1.1", "{api}");
        assert_eq!(side.field("host"), Some(&*format!("auth.{host}")));
        assert_eq!(side.field("authorization"), Some("Basic value-of-apikey"));
        assert_eq!(side.field("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(main.first_line, "GET /v1/models?x=1 HTTP/1.1", "{api}");
        assert_eq!(main.field("host"), Some(&*format!("api.{host}")));
        assert_eq!(main.field("authorization"), Some("Bearer t0ken"));
        assert_eq!(main.field("content-type"), Some("application/json"));
        assert_eq!(main.field("clientcredentials"), Some("value-of-apikey"), "the definition's own security");
        // Without a token the call is not made.
        let (asked, response) = stage.ask(&format!("GET /{api}/models"), None, &json!({ "error": "no" }));
        assert_eq!((asked.len(), response.first_line.contains(" 502 ")), (1, true), "{api}: {response:?}");
    }
}

/// A webhook whose `Location` the package sets, at a host that the connection chooses: where it is deleted is told by one policy for one
/// operation, and callers get there through the gateway.
#[test]
fn a_location_that_a_package_sets_leads_through_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("hooks");
    std::fs::create_dir(&package).unwrap();
    let operation =
        |id: &str| json!({ "operationId": id, "summary": id, "responses": { "200": { "description": "ok" } } });
    let definition = json!({
        "swagger": "2.0",
        "info": { "title": "Hooks", "version": "1" },
        "host": "hooks.contoso.com",
        "basePath": "/",
        "schemes": ["https"],
        "paths": {
            "/v1/register": { "post": operation("Register") },
            "/v1/deregister": { "delete": operation("Deregister") },
            "/v1/other": { "post": operation("Other") },
        },
    });
    let own = |name: &str, value: &str| (format!("x-ms-apimTemplateParameter.{name}"), Json::from(value));
    let set = |name: &str, value: &str| {
        let mut parameters: serde_json::Map<String, Json> =
            [own("name", name), own("value", value)].into_iter().collect();
        parameters.insert("x-ms-apimTemplate-policySection".to_owned(), "Response".into());
        parameters.insert("x-ms-apimTemplate-operationName".to_owned(), json!(["Register"]));
        json!({ "templateId": "setheader", "title": name, "parameters": parameters })
    };
    let host: serde_json::Map<String, Json> =
        [own("urlTemplate", "https://@connectionParameters('region')/prod")].into_iter().collect();
    let properties = json!({ "properties": {
        "connectionParameters": { "region": { "type": "string" } },
        "policyTemplateInstances": [
            set("location", "https://@connectionParameters('region')/prod/v1/deregister?id=7"),
            { "templateId": "dynamichosturl", "title": "Host", "parameters": host },
            set("x-kind", "hook"),
        ],
    } });
    for (name, text) in [("apiDefinition.swagger.json", definition), ("apiProperties.json", properties)] {
        std::fs::write(package.join(name), text.to_string()).unwrap();
    }
    let stage = Stage::with(&package, &[("region", "us.contoso.com")], &[]);
    let (asked, response) = stage.ask("POST /hooks/v1/register", Some(&json!({})), &json!({}));
    assert_eq!(asked[0].first_line, "POST /prod/v1/register HTTP/1.1");
    let location = response.field("location").expect("a location");
    assert_eq!(location, "http://gateway.test/hooks/v1/deregister?id=7");
    assert_eq!(response.field("x-kind"), Some("hook"));
    let target = location.strip_prefix("http://gateway.test").unwrap();
    let (asked, _) = stage.ask(&format!("DELETE {target}"), None, &json!({}));
    assert_eq!(asked[0].first_line, "DELETE /prod/v1/deregister?id=7 HTTP/1.1");
    assert_eq!(asked[0].field("host"), Some("us.contoso.com"));
    let (_, response) = stage.ask("POST /hooks/v1/other", Some(&json!({})), &json!({}));
    assert_eq!(response.field("location"), None, "the other operation has none");
}
