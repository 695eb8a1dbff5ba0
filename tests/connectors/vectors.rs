//! What the policy templates make of one value, as their documentation shows it and as the chains of published connectors need it: each
//! line of the tables becomes an operation of a package, which is imported and called.

use serde_json::{Value as Json, json};

use super::applied::Stage;
use super::support::wire::Message;

/// A template that edits a body.
struct Body {
    name: &'static str,
    template: &'static str,
    section: &'static str,
    /// Without the prefix that all of them have.
    parameters: Json,
    given: Json,
    want: Json,
}

/// A template that sets a part of the request.
struct Part {
    name: &'static str,
    template: &'static str,
    parameters: Json,
    /// The path of the operation.
    path: &'static str,
    want: Want,
}

enum Want {
    Host(&'static str, &'static str),
    Header(&'static str, &'static str),
    Query(&'static str, &'static str),
    Path(&'static str),
}

const REQUEST: &str = "Request";
const RESPONSE: &str = "Response";

fn bodies() -> Vec<Body> {
    let set = |parent: &str, name: &str, value: &str| json!({ "newPropertyParentPathTemplate": parent, "newPropertySubPathTemplate": name, "propertyValuePathTemplate": value });
    let place = |parent: &str, property: &str, target: &str, more: Json| {
        let mut all = json!({ "propertyParentPath": parent, "newPropertyPath": target });
        if !property.is_empty() {
            all["propertySubPath"] = property.into();
        }
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let link = "https://api.shop.example/v2/orders/";
    vec![
        Body {
            name: "a property of an object (documented)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body().teams", "place", "Oslo"),
            given: json!({ "teams": { "red": { "size": "3" }, "blue": { "size": "5" } } }),
            want: json!({ "teams": { "place": "Oslo", "red": { "size": "3" }, "blue": { "size": "5" } } }),
        },
        Body {
            name: "a property of each item; a number stays text (documented)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body().teams", "size", "12"),
            given: json!({ "teams": [{ "name": "red" }, { "name": "blue" }] }),
            want: json!({ "teams": [{ "name": "red", "size": "12" }, { "name": "blue", "size": "12" }] }),
        },
        Body {
            name: "text of two properties (documented)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body()", "label", "{@body().street} {@body().number}"),
            given: json!({ "street": "Elm", "number": "9b" }),
            want: json!({ "street": "Elm", "number": "9b", "label": "Elm 9b" }),
        },
        Body {
            name: "an array that is written down (LawVu)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body()", "events", "[\"order.made\"]"),
            given: json!({ "url": "https://y" }),
            want: json!({ "url": "https://y", "events": ["order.made"] }),
        },
        Body {
            name: "an object put into an array (Blackbaud)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body()", "lines", "[{@body().lines}]"),
            given: json!({ "lines": { "item": "pen" } }),
            want: json!({ "lines": [{ "item": "pen" }] }),
        },
        Body {
            name: "JSON around a value (Oneflow)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body()", "rules", "[{\"all_of\": [{\"kind\": \"STATE\", \"in\": {@body().rules} }] }]"),
            given: json!({ "rules": ["new", "paid"] }),
            want: json!({ "rules": [{ "all_of": [{ "kind": "STATE", "in": ["new", "paid"] }] }] }),
        },
        Body {
            name: "a name in brackets (AzureAD)",
            template: "setproperty",
            section: REQUEST,
            parameters: set("@body()", "['@odata.id']", "https://graph.example/objects/{@body()['@odata.id']}"),
            given: json!({ "@odata.id": "7" }),
            want: json!({ "@odata.id": "https://graph.example/objects/7" }),
        },
        Body {
            name: "of an answer (iObeya)",
            template: "setproperty",
            section: RESPONSE,
            parameters: set("@body()", "nextLink", "{@body().more}"),
            given: json!({ "more": "https://h/q?page=3", "list": [] }),
            want: json!({ "more": "https://h/q?page=3", "list": [], "nextLink": "https://h/q?page=3" }),
        },
        Body {
            name: "an array by a key, beside what was there (documented)",
            template: "convertarraytoobject",
            section: REQUEST,
            parameters: place(
                "@body()",
                "list",
                "byName",
                json!({ "keyWithinCollectionPath": "Name", "retainKey": "false" }),
            ),
            given: json!({ "list": [{ "Name": "red", "size": "3" }, { "Name": "blue", "size": "5" }] }),
            want: json!({
                "list": [{ "Name": "red", "size": "3" }, { "Name": "blue", "size": "5" }],
                "byName": { "red": { "size": "3" }, "blue": { "size": "5" } },
            }),
        },
        Body {
            name: "an array by a key, in its place (Planner)",
            template: "convertarraytoobject",
            section: REQUEST,
            parameters: place(
                "@body()",
                "links",
                "@body().links",
                json!({ "keyWithinCollectionPath": "to", "retainKey": "false" }),
            ),
            given: json!({ "links": [{ "to": "https%3A//c%2Ed", "alias": "y" }] }),
            want: json!({ "links": { "https%3A//c%2Ed": { "alias": "y" } } }),
        },
        Body {
            name: "the key stays unless it is said",
            template: "convertarraytoobject",
            section: REQUEST,
            parameters: place("@body()", "p", "@body().p", json!({ "keyWithinCollectionPath": "q" })),
            given: json!({ "p": [{ "q": "one", "r": 2 }] }),
            want: json!({ "p": { "one": { "q": "one", "r": 2 } } }),
        },
        Body {
            name: "an object as an array, beside it (documented)",
            template: "convertobjecttoarray",
            section: REQUEST,
            parameters: place("@body()", "byName", "@body().list", json!({ "keyName": "Name", "valueName": "More" })),
            given: json!({ "byName": { "red": { "size": "3" }, "blue": { "size": "5" } } }),
            want: json!({
                "byName": { "red": { "size": "3" }, "blue": { "size": "5" } },
                "list": [{ "Name": "red", "More": { "size": "3" } }, { "Name": "blue", "More": { "size": "5" } }],
            }),
        },
        Body {
            name: "of each item (Planner)",
            template: "convertobjecttoarray",
            section: RESPONSE,
            parameters: place(
                "@body().value",
                "people",
                "@item()._people",
                json!({ "keyName": "who", "valueName": "value" }),
            ),
            given: json!({ "value": [{ "id": "1", "people": { "u9": { "order": " !" } } }] }),
            want: json!({ "value": [{
                "id": "1",
                "people": { "u9": { "order": " !" } },
                "_people": [{ "who": "u9", "value": { "order": " !" } }],
            }] }),
        },
        Body {
            name: "`null` is the parent itself (CO2 Signal)",
            template: "convertobjecttoarray",
            section: RESPONSE,
            parameters: place("@body()", "null", "@body().All", json!({ "keyName": "Name", "valueName": "More" })),
            given: json!({ "NO": { "zone": "North" } }),
            want: json!({ "NO": { "zone": "North" }, "All": [{ "Name": "NO", "More": { "zone": "North" } }] }),
        },
        Body {
            name: "text as an array, by a dotted path; `@body.` without brackets (documented)",
            template: "stringtoarray",
            section: REQUEST,
            parameters: place(
                "@body()",
                "teams.red.ages",
                "@body.teams.red.ages",
                json!({ "delimiterList": ";", "childPropertyName": "age" }),
            ),
            given: json!({ "teams": { "red": { "ages": "4;1" }, "blue": { "ages": "7;2" } } }),
            want: json!({ "teams": { "red": { "ages": [{ "age": "4" }, { "age": "1" }] }, "blue": { "ages": "7;2" } } }),
        },
        Body {
            name: "a part of a text of each item, under another name (FreeAgent)",
            template: "stringreplace",
            section: RESPONSE,
            parameters: place(
                "@body().orders",
                "url",
                "@item().id",
                json!({ "sourceString": link, "replacementString": "" }),
            ),
            given: json!({ "orders": [{ "url": format!("{link}9") }] }),
            want: json!({ "orders": [{ "url": format!("{link}9"), "id": "9" }] }),
        },
        Body {
            name: "as it is written, and everywhere (Planner)",
            template: "stringreplace",
            section: REQUEST,
            parameters: place(
                "@body().links",
                "to",
                "@item().to",
                json!({ "sourceString": ".", "replacementString": "%2E" }),
            ),
            given: json!({ "links": [{ "to": "d.e.f" }] }),
            want: json!({ "links": [{ "to": "d%2Ee%2Ef" }] }),
        },
        Body {
            name: "what is in an object moves up (AzureAD)",
            template: "moveproperties",
            section: REQUEST,
            parameters: json!({
                "srcParentPath": "@body()",
                "srcSubPath": "more",
                "dstParentPath": "@body()",
                "dstSubPath": "null",
                "copyOnlySubProperties": "true",
            }),
            given: json!({ "name": "m", "more": { "ext_c": "3", "ext_d": "4" } }),
            want: json!({ "name": "m", "ext_c": "3", "ext_d": "4" }),
        },
    ]
}

fn parts() -> Vec<Part> {
    let host = |template: &'static str, want: &'static str, path: &'static str| Part {
        name: template,
        template: "dynamichosturl",
        parameters: json!({ "urlTemplate": template }),
        path: "/a",
        want: Want::Host(want, path),
    };
    let header = |name: &'static str, value: &'static str, want: &'static str| Part {
        name: value,
        template: "setheader",
        parameters: json!({ "name": name, "value": value }),
        path: "/a",
        want: Want::Header(name, want),
    };
    let query = |value: &'static str, want: &'static str| Part {
        name: value,
        template: "setqueryparameter",
        parameters: json!({ "name": "site", "value": value }),
        path: "/a",
        want: Want::Query("site", want),
    };
    let route = |path: &'static str, new: &'static str, want: &'static str| Part {
        name: new,
        template: "routerequesttoendpoint",
        parameters: json!({ "newPath": new, "httpMethod": "@Request.OriginalHTTPMethod" }),
        path,
        want: Want::Path(want),
    };
    vec![
        host("https://@header('kind').shop.example:@header('port')", "red.shop.example:4321", "/a"),
        host("https://@connectionParameters('unit').shop.example", "blue.shop.example", "/a"),
        host("https://fixed.shop.example", "fixed.shop.example", "/a"),
        host(
            "https://@header('kind').shop.@queryParameters('site')/@connectionParameters('below')",
            "red.shop.org",
            "/deep/a",
        ),
        host("https://@header('none', 'other').shop.example", "other.shop.example", "/a"),
        header("kind", "@headers('kind')ish", "redish"),
        header("kind", "dark@headers('kind')", "darkred"),
        header("unit", "@connectionParameters('unit', '')", "blue"),
        header("name", "@connectionParameters('name', '')", ""),
        query("@connectionParameters('unit')", "blue"),
        query("@queryParameters('site')@connectionParameters('unit')", "orgblue"),
        query("@connectionParameters('none', 'other')", "other"),
        route("/v2/get/{id}", "/get/{id}", "/get/7"),
        route("/get/{id}", "/@queryParameters('version')/get/{id}", "/v2/get/7"),
        route("/get/{id}", "/@header('version', 'v1')/get/{id}", "/v1/get/7"),
    ]
}

/// Imports a package whose n-th operation has the n-th of the policies, and a path of its own.
#[track_caller]
fn stage(policies: &[(&str, &str, &Json, &str)]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let (mut paths, mut instances) = (json!({}), Vec::new());
    for (number, (template, section, parameters, path)) in policies.iter().enumerate() {
        let name = format!("Operation{number}");
        let mut all = json!({ "x-ms-apimTemplate-operationName": [name], "x-ms-apimTemplate-policySection": section });
        for (key, value) in parameters.as_object().unwrap() {
            all[format!("x-ms-apimTemplateParameter.{key}")] = value.clone();
        }
        instances.push(json!({ "templateId": template, "title": name, "parameters": all }));
        let id = json!([{ "name": "id", "in": "path", "required": true, "type": "string" }]);
        let id = if path.contains("{id}") { id } else { json!([]) };
        let answer = json!({ "200": { "description": "OK" } });
        paths[format!("/{number}{path}")] =
            json!({ "post": { "operationId": name, "parameters": id, "responses": answer } });
    }
    let definition = json!({
        "swagger": "2.0",
        "info": { "title": "Vectors", "version": "1" },
        "host": "www.shop.example",
        "basePath": "/",
        "schemes": ["https"],
        "paths": paths,
    });
    let parameter = json!({ "type": "string", "uiDefinition": { "constraints": { "required": "false" } } });
    let properties = json!({ "properties": {
        "connectionParameters": { "unit": parameter, "below": parameter },
        "policyTemplateInstances": instances,
    } });
    let package = folder.path().join("vectors");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("apiDefinition.swagger.json"), definition.to_string()).unwrap();
    std::fs::write(package.join("apiProperties.json"), properties.to_string()).unwrap();
    let hosts = ["*.shop.example:*", "*.shop.org", "*.shop.example"];
    Stage::with(&package, &[("unit", "blue"), ("below", "deep")], &hosts)
}

fn parsed(message: &Message) -> Json {
    serde_json::from_slice(&message.body).unwrap_or_default()
}

#[test]
fn bodies_become_what_the_templates_are_documented_to_make_of_them() {
    let cases = bodies();
    let policies: Vec<_> = cases.iter().map(|case| (case.template, case.section, &case.parameters, "")).collect();
    let stage = stage(&policies);
    for (number, case) in cases.iter().enumerate() {
        let (asked, response) = stage.ask(&format!("POST /vectors/{number}"), Some(&case.given), &case.given);
        let [asked] = &asked[..] else { panic!("{}: {response:?}", case.name) };
        let (changed, other) = if case.section == REQUEST { (asked, &response) } else { (&response, asked) };
        assert_eq!(parsed(changed), case.want, "{}", case.name);
        assert_eq!(parsed(other), case.given, "{}: the other message stays", case.name);
    }
}

#[test]
fn parts_of_requests_become_what_the_templates_are_documented_to_make_of_them() {
    let cases = parts();
    let policies: Vec<_> = cases.iter().map(|case| (case.template, "Request", &case.parameters, case.path)).collect();
    let stage = stage(&policies);
    for (number, case) in cases.iter().enumerate() {
        let path = format!("/{number}{}", case.path.replace("{id}", "7"));
        let fields = [("kind", "red"), ("port", "4321")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let line = format!("POST /vectors{path}?site=org&version=v2");
        let request = Message { first_line: line, fields: fields.into(), body: Vec::new() };
        let (asked, response) = stage.send(&request, &Json::Null);
        let [asked] = &asked[..] else { panic!("{}: {response:?}", case.name) };
        let target = asked.first_line.split(' ').nth(1).unwrap();
        let (sent, query) = target.split_once('?').unwrap();
        match case.want {
            Want::Host(host, base) => {
                let below = base.strip_suffix(case.path).unwrap();
                assert_eq!((asked.field("host"), sent), (Some(host), &*format!("{below}{path}")), "{}", case.name);
            }
            Want::Header(name, value) => assert_eq!(asked.field(name), Some(value), "{}", case.name),
            Want::Query(name, value) => {
                let found: Vec<&str> = query.split('&').filter(|pair| pair.starts_with(&format!("{name}="))).collect();
                assert_eq!(found, [format!("{name}={value}")], "{}", case.name);
            }
            Want::Path(path) => {
                assert_eq!(sent, path, "{}", case.name);
                assert_eq!(query, "site=org&version=v2", "{}: the query stays", case.name);
            }
        }
    }
}

/// A mistake of a maker costs the policy that it is in, and nothing else; a call that is no function of templates is text.
#[test]
fn a_faulty_policy_stops_neither_the_others_nor_the_gateway() {
    let set = |parent: &str, value: &str| {
        json!({
            "newPropertyParentPathTemplate": parent,
            "newPropertySubPathTemplate": "x",
            "propertyValuePathTemplate": value,
        })
    };
    let text = |value: &str| set("@body()", value);
    let cases = [
        ("setheader", json!({ "name": "x", "value": "a\nb" }), None),
        ("routerequesttoendpoint", json!({ "newPath": "/b/{nothing}" }), None),
        ("dynamichosturl", json!({ "urlTemplate": "www.shop.example" }), None),
        ("setproperty", set("@item()", "y"), None),
        (
            "setvaluefromurl",
            json!({ "parameterTemplate": "@body().x", "parameterValueUrl": "/b", "parameterValuePathTemplate": "@body().x" }),
            None,
        ),
        ("setproperty", text("@concat('a','b') {@body().a}"), Some("@concat('a','b') 1")),
        ("setproperty", text("c@@d @{foo('x')}"), Some("c@@d @{foo('x')}")),
        ("setproperty", text("'{@body().a}' {@body().a"), Some("'1' {@body().a")),
    ];
    let policies: Vec<_> = cases.iter().map(|(template, parameters, _)| (*template, REQUEST, parameters, "")).collect();
    let stage = stage(&policies);
    for (number, (template, parameters, want)) in cases.iter().enumerate() {
        let given = json!({ "a": 1 });
        let (asked, _) = stage.ask(&format!("POST /vectors/{number}"), Some(&given), &json!({}));
        let [asked] = &asked[..] else { panic!("{template} {parameters}") };
        let want = want.map_or(given, |x| json!({ "a": 1, "x": x }));
        assert_eq!(asked.first_line, format!("POST /{number} HTTP/1.1"), "{template} {parameters}");
        assert_eq!((parsed(asked), asked.field("x")), (want, None), "{template} {parameters}");
    }
}

/// `setvaluefromurl` as its page shows it.
#[test]
fn a_header_from_another_request_of_the_same_service() {
    let parameters = json!({
        "parameterTemplate": "@headers('place')",
        "httpMethod": "GET",
        "parameterValueUrl": "/v1.0/teams/{id}/more",
        "parameterValuePathTemplate": "@body().red.place",
    });
    let stage = stage(&[("setvaluefromurl", "Request", &parameters, "/teams/{id}")]);
    let answer = json!({ "red": { "place": "Oslo" } });
    let (asked, _) = stage.ask("POST /vectors/0/teams/7", Some(&json!({ "n": 1 })), &answer);
    let [side, main] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((side.first_line.as_str(), side.body.len()), ("GET /v1.0/teams/7/more HTTP/1.1", 0));
    assert_eq!((main.first_line.as_str(), main.field("place")), ("POST /0/teams/7 HTTP/1.1", Some("Oslo")));
    assert_eq!(parsed(main), json!({ "n": 1 }));
}
