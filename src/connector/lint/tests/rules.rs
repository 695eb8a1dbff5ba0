//! Rules that came with what lists, policies, versions, webhooks and media types say of each other.

use super::{OK, codes};

/// The codes that this table shows.
pub(super) const SHOWN: [&str; 10] = [
    "bad-annotation",
    "dynamic-reference",
    "media-type",
    "no-response-schema",
    "notification-content",
    "operation-id-style",
    "unchecked-pattern",
    "undeclared-input",
    "unknown-capability",
    "unknown-variable",
];

/// Its name, what is replaced in the package, and the codes.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn what_parts_say_of_each_other() {
    let get = "\"operationId\": \"GetTask\"";
    let unhook = "\"operationId\": \"Unhook\"";
    let list_at = "\"type\": \"string\", \"x-ms-summary\": \"Id\"";
    let value = "@connectionParameters('host')";
    let set = "\"templateId\": \"setheader\", \"title\": \"t\", \"parameters\": {";
    let filled =
        |inner: &str| format!("\"type\": \"string\", \"x-ms-dynamic-values\": {{ {inner} }}, \"x-ms-summary\": \"Id\"");
    let answer = "\"200\": { \"description\": \"OK\", \"schema\": { \"type\": \"object\", \"properties\": { \"data\": { \"type\": \"object\", \"properties\": { \"all\": { \"type\": \"array\", \"items\": { \"type\": \"object\", \"properties\": { \"id\": { \"type\": \"string\" } } } } } } } } }".to_owned();
    let route = |path: &str| {
        format!(
            "\"templateId\": \"routerequesttoendpoint\", \"title\": \"t\", \"parameters\": {{ \"x-ms-apimTemplateParameter.newPath\": \"{path}\", "
        )
    };
    let annotated = |inner: &str| format!("\"x-ms-api-annotation\": {{ {inner} }}");
    let mut shown = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    let cases: &[Case<'_>] = &[
        // What fills lists.
        (
            "a list of an object",
            &[(
                list_at,
                &filled("\"operationId\": \"GetTask\", \"parameters\": { \"id\": \"1\" }, \"value-path\": \"id\""),
            )],
            &["dynamic-reference"],
        ),
        (
            "a parameter that the other one does not have",
            &[(list_at, &filled("\"operationId\": \"Unhook\", \"parameters\": { \"id\": \"1\", \"key\": \"1\" }"))],
            &["dynamic-reference"],
        ),
        (
            "a parameter that the operation itself does not have",
            &[(
                list_at,
                &filled("\"operationId\": \"Unhook\", \"parameters\": { \"id\": { \"parameter\": \"key\" } }"),
            )],
            &["dynamic-reference"],
        ),
        (
            "a parameter that the other one needs",
            &[(list_at, &filled("\"operationId\": \"Unhook\""))],
            &["dynamic-reference"],
        ),
        (
            "a list and its values",
            &[
                (
                    list_at,
                    &filled(
                        "\"operationId\": \"GetTask\", \"parameters\": { \"id\": \"1\" }, \"value-collection\": \"data/all\", \"value-path\": \"id\"",
                    ),
                ),
                (OK, &answer),
            ],
            &[],
        ),
        (
            "a list of another name",
            &[
                (
                    list_at,
                    &filled(
                        "\"operationId\": \"GetTask\", \"parameters\": { \"id\": \"1\" }, \"value-collection\": \"data/al\", \"value-path\": \"id\"",
                    ),
                ),
                (OK, &answer),
            ],
            &["dynamic-reference"],
        ),
        (
            "a value of another name",
            &[
                (
                    list_at,
                    &filled(
                        "\"operationId\": \"GetTask\", \"parameters\": { \"id\": \"1\" }, \"value-collection\": \"data/all\", \"value-path\": \"ID\"",
                    ),
                ),
                (OK, &answer),
            ],
            &["dynamic-reference"],
        ),
        (
            "a tree",
            &[(
                list_at,
                "\"type\": \"string\", \"x-ms-dynamic-tree\": { \"open\": { \"operationId\": \"Gone\" } }, \"x-ms-summary\": \"Id\"",
            )],
            &["unknown-operation"],
        ),
        // What policies read.
        ("a header that nobody sends", &[(value, "@headers('x-tenant')")], &["undeclared-input"]),
        ("a header that everybody sends", &[(value, "@headers('User-Agent')")], &[]),
        ("the header of the key", &[(value, "@headers('x-key')")], &[]),
        ("a query that nobody sends", &[(value, "@queryParameters('top')")], &["undeclared-input"]),
        ("a variable of no path", &[(set, &route("/v2/{ids}"))], &["unknown-variable"]),
        ("a variable of the path", &[(set, &route("/v2/{id}"))], &[]),
        ("braces of an expression", &[(set, &route("/v2/@{headers('accept')}"))], &[]),
        (
            "a misspelt list of operations",
            &[("x-ms-apimTemplate-operationName", "x-ms-apimTemplate-operationNames")],
            &["unknown-property"],
        ),
        (
            "a misspelt action",
            &[(
                "\"x-ms-apimTemplate-operationName\"",
                "\"x-ms-apimTemplateParameter.existAction\": \"skip\", \"x-ms-apimTemplate-operationName\"",
            )],
            &["unknown-property"],
        ),
        ("a misspelt template", &[("\"setheader\"", "\"setheaders\"")], &["unknown-template"]),
        // Versions.
        (
            "two of one revision",
            &[
                (get, &format!("{}, {get}", annotated("\"family\": \"F\", \"revision\": 1"))),
                (unhook, &format!("{}, {unhook}", annotated("\"family\": \"F\", \"revision\": 1"))),
            ],
            &["bad-annotation"],
        ),
        (
            "two in production",
            &[
                (get, &format!("{}, {get}", annotated("\"family\": \"F\", \"status\": \"Production\""))),
                (
                    unhook,
                    &format!(
                        "{}, {unhook}",
                        annotated("\"family\": \"F\", \"revision\": 1, \"status\": \"Production\"")
                    ),
                ),
            ],
            &["bad-annotation"],
        ),
        (
            "a revision that the name lacks",
            &[(get, &format!("{}, {get}", annotated("\"family\": \"F\", \"revision\": 2")))],
            &["bad-annotation"],
        ),
        (
            "replaced and in use",
            &[(
                get,
                &format!(
                    "{}, {get}",
                    annotated("\"replacement\": { \"api\": \"tasks\", \"operationId\": \"Unhook\" }")
                ),
            )],
            &["bad-annotation"],
        ),
        // Webhooks.
        (
            "a webhook that does not say what it sends",
            &[("\"x-ms-notification-content\": { \"schema\": { \"type\": \"object\" } }, ", "")],
            &["notification-content"],
        ),
        (
            "nothing that is sent",
            &[("{ \"schema\": { \"type\": \"object\" } }", "{ \"type\": \"object\" }")],
            &["notification-content"],
        ),
        (
            "no URL to call",
            &[(", \"x-ms-notification-url\": true", "")],
            &["notification-url", "internal-without-default"],
        ),
        (
            "two URLs to call",
            &[(
                "\"properties\": { \"url\": {",
                "\"properties\": { \"second\": { \"type\": \"string\", \"x-ms-visibility\": \"internal\", \"x-ms-notification-url\": true }, \"url\": {",
            )],
            &["notification-url", "notification-url"],
        ),
        // Answers and media types.
        ("nothing but default", &[("\"204\"", "\"default\"")], &["no-success-response"]),
        ("an answer without a schema", &[(OK, "\"200\": { \"description\": \"OK\" }")], &["no-response-schema"]),
        ("no media type", &[("\"swagger\"", "\"consumes\": [\"json\"], \"swagger\"")], &["media-type"]),
        (
            "media types of no body",
            &[("\"swagger\"", "\"consumes\": [\"application/xml\"], \"swagger\"")],
            &["media-type"],
        ),
        (
            "a media type and its parameter",
            &[("\"swagger\"", "\"consumes\": [\"application/json; odata=none\"], \"swagger\"")],
            &[],
        ),
        // Names and makers.
        (
            "a dash in a name",
            &[("\"GetTask\",", "\"get-task\","), ("[\"GetTask\"]", "[\"get-task\"]")],
            &["operation-id-style"],
        ),
        ("a version in a name", &[("\"GetTask\",", "\"GetTask_V2\","), ("[\"GetTask\"]", "[\"GetTask_V2\"]")], &[]),
        ("an unknown capability", &[("[\"actions\"]", "[\"action\"]")], &["unknown-capability"]),
        ("nobody makes it", &[("\"publisher\": \"Contoso\", ", "")], &["bad-metadata"]),
        ("nobody to ask", &[(", \"email\": \"help@contoso.com\"", "")], &["bad-metadata"]),
        (
            "a misspelt list of policies",
            &[("policyTemplateInstances", "policyTemplateInstance")],
            &["unknown-property"],
        ),
        (
            "a parameter twice",
            &[(
                "[{ \"name\": \"id\"",
                "[{ \"name\": \"id\", \"in\": \"path\", \"required\": true, \"type\": \"string\" }, { \"name\": \"id\"",
            )],
            &["bad-parameter"],
        ),
        // Regular expressions.
        (
            "a bracket that is open",
            &[(list_at, "\"type\": \"string\", \"pattern\": \"[a\", \"x-ms-summary\": \"Id\"")],
            &["bad-schema"],
        ),
        (
            "an expression of another dialect",
            &[(list_at, "\"type\": \"string\", \"pattern\": \"\\\\p{Print}\", \"x-ms-summary\": \"Id\"")],
            &["unchecked-pattern"],
        ),
    ];
    for (name, edits, want) in cases {
        let found = codes(edits);
        if found != *want {
            wrong.push(format!("{name}: {found:?}, expected {want:?}"));
        }
        shown.extend(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = SHOWN.iter().filter(|code| !shown.contains(*code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

/// What is wrong with a script is told where it can be seen.
#[test]
fn lines_of_scripts() {
    let script = "// Code.\npublic class Code : Base\n{\n    if (this.Context.OperationId == \"GetTasks\")\n    return new HttpClient();\n}\n";
    let edits = [("\"host\": { \"type\": \"string\" }", "\"host\": { \"type\": \"gatewaySetting\" }")];
    let found = super::lines(&edits, Some(script));
    let script: Vec<_> = found.iter().filter(|one| one.1.ends_with("script.csx")).map(|one| (one.0, one.2)).collect();
    let want = [("bad-script", 2), ("bad-script", 2), ("bad-script", 2), ("unknown-operation", 4), ("bad-script", 5)];
    assert_eq!(script, want);
    let gateway: Vec<_> =
        found.iter().filter(|one| one.0 == "gateway-policy").map(|one| (one.1.as_str(), one.2)).collect();
    assert_eq!(gateway, [("apiProperties.json", 2)]);
}
