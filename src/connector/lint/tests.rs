//! What lint says of packages with one mistake each.

use std::path::Path;

use super::*;
use crate::config::codes::CONNECTOR_CODES;
use crate::connector::package;

mod rules;

const DEFINITION: &str = r##"{
  "swagger": "2.0",
  "info": { "title": "Tasks", "description": "Tasks of a team, and who does them.", "version": "1.0", "contact": { "name": "Contoso", "email": "help@contoso.com" } },
  "host": "api.contoso.com", "basePath": "/v1", "schemes": ["https"],
  "paths": {
    "/tasks/{id}": { "get": {
      "operationId": "GetTask", "summary": "Get a task", "description": "Gets a task.",
      "parameters": [{ "name": "id", "in": "path", "required": true, "x-ms-url-encoding": "single", "type": "string", "x-ms-summary": "Id" }],
      "responses": { "200": { "description": "OK", "schema": { "type": "object", "properties": { "id": { "type": "string" } } } } } } },
    "/hooks": { "x-ms-notification-content": { "schema": { "type": "object" } }, "post": {
      "operationId": "Hook", "summary": "When a task is new", "description": "Tells of tasks.", "x-ms-trigger": "single",
      "parameters": [{ "name": "b", "in": "body", "required": true, "schema": { "type": "object", "required": ["url"], "properties": { "url": { "type": "string", "x-ms-visibility": "internal", "x-ms-notification-url": true } } } }],
      "responses": { "201": { "description": "Made", "headers": { "Location": { "type": "string" } } } } } },
    "/hooks/{id}": { "delete": {
      "operationId": "Unhook", "summary": "Unhook", "description": "Ends it.", "x-ms-visibility": "internal",
      "parameters": [{ "name": "id", "in": "path", "required": true, "x-ms-url-encoding": "single", "type": "string", "x-ms-summary": "Id" }],
      "responses": { "204": { "description": "Gone" } } } }
  },
  "securityDefinitions": { "key": { "type": "apiKey", "in": "header", "name": "X-Key" } },
  "security": [{ "key": [] }],
  "x-ms-connector-metadata": [
    { "propertyName": "Website", "propertyValue": "https://contoso.com" },
    { "propertyName": "Privacy policy", "propertyValue": "https://contoso.com/privacy" },
    { "propertyName": "Categories", "propertyValue": "Productivity" }
  ]
}"##;
const PROPERTIES: &str = r##"{ "properties": {
  "connectionParameters": { "api_key": { "type": "securestring" }, "host": { "type": "string" } },
  "iconBrandColor": "#da3b01", "capabilities": ["actions"], "publisher": "Contoso", "stackOwner": "Contoso",
  "policyTemplateInstances": [{ "templateId": "setheader", "title": "t", "parameters": {
    "x-ms-apimTemplateParameter.name": "X-A", "x-ms-apimTemplateParameter.value": "@connectionParameters('host')",
    "x-ms-apimTemplate-operationName": ["GetTask"] } }]
} }"##;

/// What `GetTask` answers.
const OK: &str =
    r#""200": { "description": "OK", "schema": { "type": "object", "properties": { "id": { "type": "string" } } } }"#;

/// What lint tells of a package after some replacements: code, name of the file, line.
fn lines(edits: &[(&str, &str)], script: Option<&str>) -> Vec<(&'static str, String, usize)> {
    let folder = tempfile::tempdir().unwrap();
    let (mut definition, mut properties) = (DEFINITION.to_owned(), PROPERTIES.to_owned());
    for (from, to) in edits {
        assert!(definition.contains(from) || properties.contains(from), "`{from}` is in neither file");
        definition = definition.replacen(from, to, 1);
        properties = properties.replacen(from, to, 1);
    }
    std::fs::write(folder.path().join(package::DEFINITION_FILE), definition).unwrap();
    std::fs::write(folder.path().join(package::PROPERTIES_FILE), properties).unwrap();
    if let Some(script) = script {
        std::fs::write(folder.path().join(package::SCRIPT_FILE), script).unwrap();
    }
    let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    for place in package::find(folder.path()).unwrap() {
        lint(&place, &mut sources, &mut diagnostics);
    }
    diagnostics.sort();
    let line = |one: &Diagnostic| {
        let at = one.location.as_ref().unwrap();
        let file = sources.file(at.file);
        let name = Path::new(&*file.name).file_name().unwrap().to_str().unwrap().to_owned();
        (one.code, name, file.position(at.span.start).0)
    };
    diagnostics.0.iter().map(line).collect()
}

/// The codes alone.
fn codes(edits: &[(&str, &str)]) -> Vec<&'static str> {
    lines(edits, None).into_iter().map(|one| one.0).collect()
}

#[test]
fn mistakes_of_makers() {
    let get = r#""operationId": "GetTask", "summary": "Get a task""#;
    let host = r#""templateId": "dynamichosturl", "title": "t", "parameters": { "x-ms-apimTemplateParameter.urlTemplate": "https://@connectionParameters('host')", "#;
    let (long, huge) = (format!("{}\"", "a".repeat(81)), "a".repeat(1 << 20));
    let mut shown = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    let set = r#""templateId": "setheader", "title": "t", "parameters": {"#;
    for (name, edits, want) in [
        ("nothing", &[][..], &[][..]),
        ("an unknown operation", &[(r#"["GetTask"]"#, r#"["GetTasks"]"#)], &["unknown-operation"]),
        ("another case of an operation", &[(r#"["GetTask"]"#, r#"["gettask"]"#)], &["unknown-operation"]),
        (
            "an undeclared parameter",
            &[("@connectionParameters('host')", "@connectionParameters('hosts')")],
            &["undeclared-parameter"],
        ),
        (
            "another case of a parameter",
            &[("@connectionParameters('host')", "@connectionParameters('Host')")],
            &["parameter-case"],
        ),
        ("nothing holds the key", &[(r#""api_key": {"#, r#""apikey": {"#)], &["undeclared-parameter"]),
        (
            "an unknown function",
            &[("@connectionParameters('host')", "@conectionParameters('host')")],
            &["unknown-function"],
        ),
        ("the base path lost", &[(set, host)], &["lost-base-path"]),
        ("the base path repeated", &[(set, host), ("Parameters('host')\", ", "Parameters('host')/v1\", ")], &[]),
        (
            "the host of the request",
            &[(set, host), ("https://@connectionParameters('host')", "https://@headers('h')/v1")],
            &["host-from-request", "undeclared-input"],
        ),
        (
            "a list that no operation fills",
            &[(
                "\"type\": \"string\", \"x-ms-summary\": \"Id\"",
                "\"type\": \"string\", \"x-ms-dynamic-values\": { \"operationId\": \"ListTasks\" }, \"x-ms-summary\": \"Id\"",
            )],
            &["unknown-operation"],
        ),
        ("a query in a path", &[("\"/hooks\":", "\"/hooks?a=b\":")], &["bad-path"]),
        ("no slash", &[("\"/hooks\":", "\"hooks\":")], &["bad-path"]),
        ("a brace too many", &[("\"/hooks\":", "\"/hooks}\":")], &["bad-path"]),
        ("an unknown template", &[("setheader", "blockoperation")], &["unknown-template"]),
        (
            "a template's parameter missing",
            &[("x-ms-apimTemplateParameter.name", "x-ms-apimTemplateParameter.nam")],
            &["missing-parameter", "unknown-property"],
        ),
        (
            "only names of variables differ",
            &[
                ("\"/hooks/{id}\": { \"delete\"", "\"/tasks/{key}\": { \"get\""),
                (
                    "\"id\", \"in\": \"path\", \"required\": true, \"x-ms-url-encoding\": \"single\", \"type\": \"string\", \"x-ms-summary\": \"Id\" }],\n      \"responses\": { \"204\"",
                    "\"key\", \"in\": \"path\", \"required\": true, \"x-ms-url-encoding\": \"single\", \"type\": \"string\", \"x-ms-summary\": \"Id\" }],\n      \"responses\": { \"204\"",
                ),
            ],
            &["webhook-location", "ambiguous-paths"],
        ),
        (
            "a value like a literal",
            &[("/hooks/{id}\": { \"delete", "/tasks/new\": { \"get")],
            &["webhook-location", "ambiguous-paths", "path-parameter"],
        ),
        (
            "pages without a link",
            &[(
                get,
                r#""x-ms-pageable": { "nextLinkName": "next" }, "operationId": "GetTask", "summary": "Get a task""#,
            )],
            &["no-next-link", "no-next-link"],
        ),
        (
            "a webhook without Location",
            &[(r#", "headers": { "Location": { "type": "string" } }"#, "")],
            &["webhook-location"],
        ),
        ("no summary", &[(get, r#""operationId": "GetTask""#)], &["missing-summary"]),
        ("a full stop", &[("Get a task\"", "Get a task.\"")], &["summary-punctuation"]),
        ("a parameter without a summary", &[(r#", "x-ms-summary": "Id""#, "")], &["missing-summary"]),
        ("a long name", &[("\"Tasks\"", "\"Tasks of all of our teams and more\"")], &["long-name"]),
        ("a reserved name", &[("\"Tasks\"", "\"Tasks API\"")], &["reserved-name"]),
        (
            "no operationId",
            &[("\"operationId\": \"GetTask\",", ""), ("[\"GetTask\"]", "[]")],
            &["missing-operation-id"],
        ),
        (
            "an operationId twice",
            &[("\"operationId\": \"Unhook\"", "\"operationId\": \"GetTask\"")],
            &["duplicate-operation"],
        ),
        ("no host", &[("\"api.contoso.com\"", "\"{{your host}}\"")], &["bad-host"]),
        ("no https", &[("[\"https\"]", "[\"http\"]")], &["no-https"]),
        (
            "a variable that is not declared",
            &[("\"name\": \"id\"", "\"name\": \"ids\"")],
            &["path-parameter", "path-parameter"],
        ),
        (
            "the Authorization header",
            &[(
                "\"parameters\": [{ \"name\": \"b\", ",
                "\"parameters\": [{ \"name\": \"Authorization\", \"in\": \"header\", \"x-ms-summary\": \"A\", \"type\": \"string\" }, { \"name\": \"b\", ",
            )],
            &["reserved-parameter"],
        ),
        (
            "nobody can fill it in",
            &[("\"x-ms-summary\": \"Id\"", "\"x-ms-visibility\": \"internal\"")],
            &["internal-without-default"],
        ),
        (
            "a broken reference",
            &[("\"204\": { \"description\": \"Gone\"", "\"204\": { \"$ref\": \"#/responses/x\"")],
            &["broken-reference"],
        ),
        ("no success", &[("\"204\"", "\"400\"")], &["no-success-response"]),
        ("the colour", &[("#da3b01", "orange")], &["icon-colour"]),
        ("OpenAPI 3", &[("\"swagger\": \"2.0\"", "\"openapi\": \"3.0.1\"")], &["openapi-3"]),
        ("not OpenAPI", &[("\"swagger\"", "\"swager\"")], &["bad-definition"]),
        (
            "a body of GET",
            &[("[{ \"name\": \"id\"", "[{ \"name\": \"b\", \"in\": \"body\", \"schema\": {} }, { \"name\": \"id\"")],
            &["bad-body"],
        ),
        ("a blank", &[("\"GetTask\",", "\"Get Task\","), ("[\"GetTask\"]", "[\"Get Task\"]")], &["bad-operation-id"]),
        ("an unknown trigger", &[("\"x-ms-trigger\": \"single\"", "\"x-ms-trigger\": \"often\"")], &["bad-trigger"]),
        ("a short description", &[("Tasks of a team, and who does them.", "Tasks.")], &["description-length"]),
        ("a long summary", &[("Get a task\"", &long)], &["long-summary"]),
        ("no description", &[(", \"description\": \"Gets a task.\"", "")], &["missing-description"]),
        ("no title", &[("\"title\": \"Tasks\", ", "")], &["missing-title"]),
        (
            "no properties",
            &[("{ \"properties\": {\n", "{ \"propertys\": {\n")],
            &["undeclared-parameter", "no-properties"],
        ),
        (
            "no script",
            &[("\"iconBrandColor\"", "\"scriptOperations\": [\"GetTask\"], \"iconBrandColor\"")],
            &["no-script"],
        ),
        (
            "sent as text",
            &[("\"setheader\"", "\"setproperty\"")],
            &["missing-parameter", "missing-parameter", "missing-parameter", "not-evaluated"],
        ),
        ("two schemes", &[("\"X-Key\" }", "\"X-Key\" }, \"other\": { \"type\": \"basic\" }")], &["several-schemes"]),
        ("a misspelt property", &[("\"summary\": \"Unhook\"", "\"sumary\": \"Unhook\"")], &["unknown-property"]),
        (
            "a misspelt extension",
            &[("\"x-ms-summary\": \"Id\"", "\"x-ms-sumary\": \"Id\"")],
            &["missing-summary", "unknown-property"],
        ),
        ("a variable that is not required", &[("\"required\": true, \"x-ms-url", "\"x-ms-url")], &["bad-parameter"]),
        ("no encoding of an identifier", &[("\"x-ms-url-encoding\": \"single\", ", "")], &[]),
        (
            "no encoding of a path",
            &[
                ("/tasks/{id}", "/tasks/{filePath}"),
                ("\"name\": \"id\"", "\"name\": \"filePath\""),
                ("\"x-ms-url-encoding\": \"single\", ", ""),
            ],
            &["url-encoding"],
        ),
        (
            "no encoding of an address",
            &[("\"x-ms-url-encoding\": \"single\", ", "\"format\": \"email\", ")],
            &["url-encoding"],
        ),
        (
            "a default of another type",
            &[(
                "\"type\": \"string\", \"x-ms-summary\"",
                "\"type\": \"integer\", \"default\": \"1\", \"x-ms-summary\"",
            )],
            &["bad-default"],
        ),
        (
            "a default that is no choice",
            &[(
                "\"type\": \"string\", \"x-ms-summary\"",
                "\"type\": \"string\", \"enum\": [\"a\"], \"default\": \"b\", \"x-ms-summary\"",
            )],
            &["bad-default"],
        ),
        (
            "a choice twice",
            &[(
                "\"type\": \"string\", \"x-ms-summary\"",
                "\"type\": \"string\", \"enum\": [\"a\", \"a\"], \"x-ms-summary\"",
            )],
            &["bad-enum"],
        ),
        (
            "a choice of another type",
            &[("\"type\": \"string\", \"x-ms-summary\"", "\"type\": \"integer\", \"enum\": [\"1\"], \"x-ms-summary\"")],
            &["bad-enum"],
        ),
        (
            "a name for no choice",
            &[(
                "\"type\": \"string\", \"x-ms-summary\"",
                "\"type\": \"string\", \"enum\": [\"a\"], \"x-ms-enum-values\": [{ \"value\": \"b\", \"displayName\": \"B\" }], \"x-ms-summary\"",
            )],
            &["bad-enum"],
        ),
        (
            "an unknown type",
            &[("\"type\": \"string\", \"x-ms-summary\"", "\"type\": \"int\", \"x-ms-summary\"")],
            &["bad-schema"],
        ),
        (
            "an unknown format",
            &[(
                "\"type\": \"string\", \"x-ms-summary\"",
                "\"type\": \"string\", \"format\": \"int32\", \"x-ms-summary\"",
            )],
            &["unknown-format"],
        ),
        (
            "an unknown visibility",
            &[(
                "\"x-ms-visibility\": \"internal\", \"x-ms-notification-url\"",
                "\"x-ms-visibility\": \"hidden\", \"x-ms-notification-url\"",
            )],
            &["notification-url", "bad-visibility"],
        ),
        (
            "an optional constant",
            &[(
                "\"parameters\": [{ \"name\": \"id\"",
                "\"parameters\": [{ \"name\": \"v\", \"in\": \"query\", \"type\": \"string\", \"default\": \"1\", \"x-ms-visibility\": \"internal\" }, { \"name\": \"id\"",
            )],
            &["internal-optional"],
        ),
        ("a URL of a webhook that need not be there", &[("\"required\": [\"url\"], ", "")], &["notification-url"]),
        (
            "an array of nothing",
            &[(OK, "\"200\": { \"description\": \"OK\", \"schema\": { \"type\": \"array\" } }")],
            &["bad-schema"],
        ),
        (
            "required, and no property",
            &[("\"required\": [\"url\"]", "\"required\": [\"url\", \"ulr\"]")],
            &["bad-schema"],
        ),
        ("no status", &[("\"200\": {", "\"200\": { \"description\": \"OK\" }, \"2000\": {")], &["bad-response"]),
        (
            "beside a reference",
            &[
                (
                    OK,
                    "\"200\": { \"description\": \"OK\", \"schema\": { \"$ref\": \"#/definitions/t\", \"description\": \"d\" } }",
                ),
                (
                    "\"securityDefinitions\"",
                    "\"definitions\": { \"t\": { \"type\": \"string\" } }, \"securityDefinitions\"",
                ),
            ],
            &["beside-reference"],
        ),
        (
            "pages of another name",
            &[
                (
                    get,
                    "\"x-ms-pageable\": { \"nextLinkName\": \"nextlink\" }, \"operationId\": \"GetTask\", \"summary\": \"Get a task\"",
                ),
                (
                    OK,
                    "\"200\": { \"description\": \"OK\", \"schema\": { \"type\": \"object\", \"properties\": { \"nextLink\": { \"type\": \"string\" } } } }",
                ),
            ],
            &["no-next-link", "no-next-link"],
        ),
        ("an unknown security definition", &[("[{ \"key\": [] }]", "[{ \"keys\": [] }]")], &["bad-security"]),
        ("a key without a name", &[(", \"name\": \"X-Key\"", "")], &["bad-security"]),
        ("metadata of another name", &[("\"Privacy policy\"", "\"Privacy Policy\"")], &["bad-metadata"]),
        ("an unknown category", &[("\"Productivity\"", "\"Productivty\"")], &["bad-metadata"]),
        ("a base path without a slash", &[("\"/v1\"", "\"v1\"")], &["bad-host"]),
        (
            "an unknown section",
            &[(
                "\"x-ms-apimTemplate-operationName\"",
                "\"x-ms-apimTemplate-policySection\": \"Answer\", \"x-ms-apimTemplate-operationName\"",
            )],
            &["template-value"],
        ),
        (
            "Failure of another template",
            &[
                ("\"setheader\"", "\"setqueryparameter\""),
                (
                    "\"x-ms-apimTemplate-operationName\"",
                    "\"x-ms-apimTemplate-policySection\": \"Failure\", \"x-ms-apimTemplate-operationName\"",
                ),
            ],
            &["template-value"],
        ),
        (
            "an unknown action",
            &[(
                "\"x-ms-apimTemplate-operationName\"",
                "\"x-ms-apimTemplateParameter.existsAction\": \"replace\", \"x-ms-apimTemplate-operationName\"",
            )],
            &["template-value"],
        ),
        (
            "a gateway and a host",
            &[
                (set, host),
                ("Parameters('host')\", ", "Parameters('host')/v1\", "),
                (
                    "\"host\": { \"type\": \"string\" }",
                    "\"host\": { \"type\": \"string\" }, \"gateway\": { \"type\": \"gatewaySetting\" }",
                ),
            ],
            &["gateway-policy"],
        ),
        (
            "a parameter of no type",
            &[("\"host\": { \"type\": \"string\" }", "\"host\": { \"type\": \"text\" }")],
            &["bad-connection"],
        ),
        (
            "a name of a parameter",
            &[(
                "\"host\": { \"type\": \"string\" }",
                "\"host\": { \"type\": \"string\" }, \"a-b\": { \"type\": \"string\" }",
            )],
            &["bad-name"],
        ),
        ("too large", &[("Gets a task.", &huge)], &["too-large"]),
    ] {
        let found = codes(edits);
        if found != want {
            wrong.push(format!("{name}: {found:?}, expected {want:?}"));
        }
        shown.extend(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    shown.insert("bad-script"); // has a test of its own
    shown.extend(rules::SHOWN); // so have these
    let missing: Vec<_> = CONNECTOR_CODES.iter().map(|(code, _)| *code).filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

#[test]
fn scripts() {
    let script = "public class Script : ScriptBase { Task<HttpResponseMessage> ExecuteAsync() {} }";
    for (name, text, want) in [
        ("good", script.to_owned(), &[][..]),
        (
            "another class",
            script.replace("class Script", "class Scripts").replace("class Scripts", "class Code"),
            &["bad-script"],
        ),
        ("a client", script.replace("{}", "{ new HttpClient(); }"), &["bad-script"]),
        ("too large", " ".repeat((1 << 20) + 1), &["bad-script"]),
    ] {
        let found: Vec<_> = lines(&[], Some(&text)).into_iter().map(|one| one.0).collect();
        assert_eq!(found, want, "{name}");
    }
}

/// Bodies of as many schemas as the platform takes, and of one more.
#[test]
fn the_size_of_a_body() {
    for (count, want) in [(511, &[][..]), (512, &["too-large"])] {
        let properties: Vec<String> = (0..count).map(|at| format!("\"p{at}\": {{ \"type\": \"string\" }}")).collect();
        let schema = format!(
            "\"200\": {{ \"description\": \"OK\", \"schema\": {{ \"type\": \"object\", \"properties\": {{ {} }} }} }}",
            properties.join(", ")
        );
        assert_eq!(codes(&[(OK, &schema)]), want, "{count}");
    }
}
