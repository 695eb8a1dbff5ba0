//! A package without faults, broken as makers break theirs: what is told, and where.

use super::super::lint;
use crate::config::source::Sources;
use crate::config::{Diagnostic, Diagnostics};
use crate::connector::package;

const DEFINITION: &str = r##"{
  "swagger": "2.0",
  "info": {
    "title": "Boards",
    "description": "Boards of a team, their cards, and who moved them.",
    "version": "1.0"
  },
  "host": "api.contoso.com",
  "basePath": "/v1",
  "schemes": ["https"],
  "paths": {
    "/boards": {
      "get": {
        "operationId": "ListBoards", "summary": "List boards", "description": "Lists the boards.",
        "x-ms-pageable": { "nextLinkName": "nextLink" },
        "x-ms-api-annotation": { "family": "ListBoards", "revision": 1 },
        "parameters": [],
        "responses": { "200": { "description": "OK", "schema": { "$ref": "#/definitions/Boards" } } }
      }
    },
    "/boards/{board}/cards": {
      "get": {
        "operationId": "ListCards", "summary": "List cards", "description": "Lists the cards of a board.",
        "x-ms-api-annotation": { "family": "ListCards", "revision": 1 },
        "parameters": [
          {
            "name": "board", "in": "path", "required": true, "type": "string", "x-ms-url-encoding": "single",
            "x-ms-summary": "Board",
            "x-ms-dynamic-values": {
              "operationId": "ListBoards",
              "value-collection": "boards",
              "value-path": "id",
              "value-title": "name"
            }
          },
          {
            "name": "card", "in": "query", "type": "string", "x-ms-summary": "Card",
            "x-ms-dynamic-list": {
              "operationId": "ListCards",
              "itemsPath": "cards",
              "itemValuePath": "id",
              "parameters": {
                "board": { "parameterReference": "board" }
              }
            }
          }
        ],
        "responses": {
          "200": { "description": "OK", "schema": { "$ref": "#/definitions/Cards" } }
        }
      }
    },
    "/hooks": {
      "x-ms-notification-content": { "description": "A card", "schema": { "$ref": "#/definitions/Item" } },
      "post": {
        "operationId": "WhenMoved", "summary": "When a card moves", "description": "Tells of cards.",
        "x-ms-trigger": "single",
        "parameters": [{
          "name": "hook", "in": "body", "required": true,
          "schema": { "type": "object", "required": ["url"], "properties": {
            "url": { "type": "string", "x-ms-visibility": "internal", "x-ms-notification-url": true }
          } }
        }],
        "responses": {
          "201": { "description": "Made", "headers": { "Location": { "type": "string" } } }
        }
      }
    },
    "/hooks/{id}": {
      "delete": {
        "operationId": "Forget", "summary": "Forget", "description": "Ends it.", "x-ms-visibility": "internal",
        "parameters": [
          { "name": "id", "in": "path", "required": true, "type": "integer", "x-ms-summary": "Id" }
        ],
        "responses": { "204": { "description": "Gone" } }
      }
    }
  },
  "definitions": {
    "Boards": { "type": "object", "properties": {
      "boards": { "type": "array", "items": { "$ref": "#/definitions/Item" } },
      "nextLink": { "type": "string" }
    } },
    "Cards": { "type": "object", "properties": {
      "cards": { "type": "array", "items": { "$ref": "#/definitions/Item" } }
    } },
    "Item": { "type": "object", "properties": {
      "id": { "type": "string" },
      "name": { "type": "string", "pattern": "^[\\w-.]+$" }
    } }
  },
  "securityDefinitions": { "key": { "type": "apiKey", "in": "header", "name": "X-Key" } },
  "security": [{ "key": [] }],
  "x-ms-connector-metadata": [
    { "propertyName": "Website", "propertyValue": "https://contoso.com" },
    { "propertyName": "Privacy policy", "propertyValue": "https://contoso.com/privacy" },
    { "propertyName": "Categories", "propertyValue": "Productivity" }
  ]
}"##;

const PROPERTIES: &str = r##"{
  "properties": {
    "connectionParameters": {
      "api_key": { "type": "securestring" },
      "site": { "type": "string" }
    },
    "iconBrandColor": "#da3b01",
    "capabilities": [],
    "publisher": "Contoso",
    "stackOwner": "Contoso",
    "policyTemplateInstances": [
      {
        "templateId": "dynamichosturl", "title": "Site",
        "parameters": {
          "x-ms-apimTemplateParameter.urlTemplate": "https://@connectionParameters('site').contoso.com/v1"
        }
      },
      {
        "templateId": "setheader", "title": "Card",
        "parameters": {
          "x-ms-apimTemplateParameter.name": "X-Card",
          "x-ms-apimTemplateParameter.value": "@queryParameters('card')",
          "x-ms-apimTemplateParameter.existsAction": "override",
          "x-ms-apimTemplate-policySection": "Request",
          "x-ms-apimTemplate-operationName": ["ListCards"]
        }
      },
      {
        "templateId": "routerequesttoendpoint", "title": "Cards",
        "parameters": {
          "x-ms-apimTemplateParameter.newPath": "/cards/{board}",
          "x-ms-apimTemplate-operationName": ["ListCards"]
        }
      },
      {
        "templateId": "updatenextlink", "title": "Pages",
        "parameters": {
          "x-ms-apimTemplateParameter.nextLinkPropertyName": "nextLink",
          "x-ms-apimTemplate-operationName": ["ListBoards"]
        }
      }
    ]
  }
}"##;

/// What is told of the package after one replacement: severity and code, and the line that is shown.
fn told(from: &str, to: &str) -> Vec<(String, String)> {
    let found = DEFINITION.matches(from).count() + PROPERTIES.matches(from).count();
    assert_eq!(found, 1, "`{from}` stands in one of the files, once");
    let folder = tempfile::tempdir().unwrap();
    let replaced = |text: &str| text.replacen(from, to, 1);
    std::fs::write(folder.path().join(package::DEFINITION_FILE), replaced(DEFINITION)).unwrap();
    std::fs::write(folder.path().join(package::PROPERTIES_FILE), replaced(PROPERTIES)).unwrap();
    let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    for place in package::find(folder.path()).unwrap() {
        lint(&place, &mut sources, &mut diagnostics);
    }
    diagnostics.sort();
    let place = |one: &Diagnostic| {
        let location = one.location.as_ref().unwrap();
        let file = sources.file(location.file);
        file.line(file.position(location.span.start).0).to_owned()
    };
    diagnostics.0.iter().map(|one| (format!("{}[{}]", one.severity.as_str(), one.code), place(one))).collect()
}

#[test]
fn a_package_without_faults() {
    assert_eq!(told("\"Boards of a team", "\"Boards of a team"), []);
}

#[test]
fn what_makers_break_is_told_at_its_line() {
    struct Case {
        name: &'static str,
        from: &'static str,
        to: &'static str,
        /// Severity and code, and what stands in the line that is shown.
        want: &'static [(&'static str, &'static str)],
    }
    let mut wrong = Vec::new();
    for Case { name, from, to, want } in [
        Case {
            name: "a policy for an operation that is misspelt",
            from: "operationName\": [\"ListBoards\"]",
            to: "operationName\": [\"ListBoard\"]",
            want: &[("warning[no-next-link]", "x-ms-pageable"), ("warning[unknown-operation]", "[\"ListBoard\"]")],
        },
        Case {
            name: "a connection parameter in another case",
            from: "Parameters('site')",
            to: "Parameters('Site')",
            want: &[("warning[parameter-case]", "urlTemplate")],
        },
        Case {
            name: "a connection parameter that is not declared",
            from: "Parameters('site')",
            to: "Parameters('tenant')",
            want: &[("error[undeclared-parameter]", "urlTemplate")],
        },
        Case {
            name: "a host without the base path",
            from: ".contoso.com/v1\"",
            to: ".contoso.com\"",
            want: &[("warning[lost-base-path]", "urlTemplate")],
        },
        Case {
            name: "a comma too many",
            from: "\"stackOwner\": \"Contoso\",",
            to: "\"stackOwner\": \"Contoso\",,",
            want: &[("warning[syntax]", "\"Contoso\",,")],
        },
        Case {
            name: "a parameter of a template that it does not have",
            from: "Parameter.existsAction",
            to: "Parameter.existAction",
            want: &[("warning[unknown-property]", "existAction")],
        },
        Case {
            name: "a query parameter that is not declared",
            from: "@queryParameters('card')",
            to: "@queryParameters('crad')",
            want: &[("warning[undeclared-input]", "Parameter.value\"")],
        },
        Case {
            name: "a header that is not declared",
            from: "@queryParameters('card')",
            to: "@headers('X-Trace')",
            want: &[("warning[undeclared-input]", "Parameter.value\"")],
        },
        Case {
            name: "a variable that the path does not have",
            from: "/cards/{board}\"",
            to: "/cards/{boards}\"",
            want: &[("warning[undeclared-input]", "newPath")],
        },
        Case {
            name: "the parameter of a list that is misspelt",
            from: "\"board\": { \"parameterReference\": \"board\" }",
            to: "\"bord\": { \"parameterReference\": \"board\" }",
            want: &[
                ("warning[dynamic-values]", "\"operationId\": \"ListCards\""),
                ("warning[dynamic-values]", "parameterReference"),
            ],
        },
        Case {
            name: "the source of a parameter of a list that is misspelt",
            from: "\"parameterReference\": \"board\"",
            to: "\"parameterReference\": \"bord\"",
            want: &[("warning[dynamic-values]", "parameterReference")],
        },
        Case {
            name: "a list at another place of the answer",
            from: "\"value-collection\": \"boards\"",
            to: "\"value-collection\": \"Boards\"",
            want: &[("warning[dynamic-values]", "value-collection")],
        },
        Case {
            name: "items without what is shown of them",
            from: "\"value-title\": \"name\"",
            to: "\"value-title\": \"title\"",
            want: &[("warning[dynamic-values]", "value-title")],
        },
        Case {
            name: "a list that calls nothing",
            from: "\"operationId\": \"ListBoards\",\n              \"value",
            to: "\"value",
            want: &[("warning[dynamic-values]", "x-ms-dynamic-values")],
        },
        Case {
            name: "a list of an operation that was renamed",
            from: "\"operationId\": \"ListBoards\",\n              \"value",
            to: "\"operationId\": \"GetBoards\",\n              \"value",
            want: &[("warning[unknown-operation]", "\"GetBoards\"")],
        },
        Case {
            name: "pages by another name",
            from: "\"nextLinkName\": \"nextLink\"",
            to: "\"nextLinkName\": \"next\"",
            want: &[("warning[no-next-link]", "x-ms-pageable"), ("warning[no-next-link]", "x-ms-pageable")],
        },
        Case {
            name: "a webhook that cannot be deleted",
            from: ", \"headers\": { \"Location\": { \"type\": \"string\" } }",
            to: "",
            want: &[("warning[webhook-location]", "\"201\"")],
        },
        Case {
            name: "a webhook that does not say what it sends",
            from: "\"x-ms-notification-content\": { \"description\": \"A card\", \"schema\": { \"$ref\": \"#/definitions/Item\" } },\n",
            to: "",
            want: &[("warning[webhook-content]", "\"post\"")],
        },
        Case {
            name: "what a webhook sends, without a schema",
            from: ", \"schema\": { \"$ref\": \"#/definitions/Item\" } },\n      \"post\"",
            to: " },\n      \"post\"",
            want: &[("warning[webhook-content]", "x-ms-notification-content")],
        },
        Case {
            name: "an answer without a schema",
            from: "\"description\": \"OK\", \"schema\": { \"$ref\": \"#/definitions/Cards\" }",
            to: "\"description\": \"OK\"",
            want: &[("warning[missing-schema]", "\"description\": \"OK\"")],
        },
        Case {
            name: "no answer but the default one",
            from: "\"200\": { \"description\": \"OK\", \"schema\": { \"$ref\": \"#/definitions/Cards\" } }",
            to: "\"default\": { \"description\": \"OK\", \"schema\": { \"$ref\": \"#/definitions/Cards\" } }",
            want: &[("warning[missing-schema]", "\"description\": \"OK\"")],
        },
        Case {
            name: "two revisions of one number",
            from: "\"family\": \"ListCards\"",
            to: "\"family\": \"ListBoards\"",
            want: &[("warning[operation-family]", "\"family\": \"List")],
        },
        Case {
            name: "a revision that is none",
            from: "\"family\": \"ListCards\", \"revision\": 1",
            to: "\"family\": \"ListCards\", \"revision\": \"one\"",
            want: &[("warning[operation-family]", "\"family\": \"List")],
        },
        Case {
            name: "a variable that may hold a slash",
            from: ", \"x-ms-url-encoding\": \"single\"",
            to: "",
            want: &[("warning[url-encoding]", "\"name\": \"board\"")],
        },
        Case {
            name: "a pattern that nothing reads",
            from: "^[\\\\w-.]+$",
            to: "^([\\\\w.]+$",
            want: &[("error[bad-schema]", "\"pattern\"")],
        },
        Case {
            name: "nobody publishes it",
            from: "\"publisher\": \"Contoso\",",
            to: "",
            want: &[("warning[bad-metadata]", "\"properties\": {")],
        },
        Case {
            name: "capabilities of another type",
            from: "\"capabilities\": []",
            to: "\"capabilities\": \"actions\"",
            want: &[("error[wrong-type]", "\"capabilities\"")],
        },
        Case {
            name: "a name that is too long",
            from: "\"title\": \"Boards\"",
            to: "\"title\": \"Boards of the whole organisation\"",
            want: &[("error[long-name]", "\"title\"")],
        },
        Case {
            name: "paths that one request fits",
            from: "\"/hooks/{id}\": {",
            to: "\"/boards/{id}/cards\": { \"get\": { \"operationId\": \"Other\", \"summary\": \"Other\", \"description\": \"Other.\", \"parameters\": [{ \"name\": \"id\", \"in\": \"path\", \"required\": true, \"type\": \"integer\", \"x-ms-summary\": \"Id\" }], \"responses\": { \"204\": { \"description\": \"x\" } } } },\n    \"/hooks/{id}\": {",
            want: &[("error[ambiguous-paths]", "\"operationId\": \"Other\"")],
        },
    ] {
        let found = told(from, to);
        let fits =
            |((code, line), (wanted, part)): (&(String, String), &(&str, &str))| code == wanted && line.contains(part);
        if found.len() != want.len() || !found.iter().zip(want).all(fits) {
            wrong.push(format!("{name}: {found:#?}, expected {want:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
