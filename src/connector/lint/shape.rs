//! Properties that no part of a definition has: misspelt, or of OpenAPI 3.
//!
//! The validator of the platform refuses them (`AdditionalPropertyNotAllowed`, `ExtensionNameNotValid`, `SwaggerKeywordNotSupported`; see
//! its [rules](https://learn.microsoft.com/connectors/custom-connectors/certification-swagger-validator-rules)); the lists are those of
//! the published [schema](https://github.com/microsoft/PowerPlatformConnectors/blob/dev/schemas/apiDefinition.swagger.schema.json).

use super::super::definition::VALUE_WORDS;
use super::super::tree::Node;
use super::{Hint as _, Linter};
use crate::config::diagnostic::closest;

/// A part of a definition.
pub(super) struct Part {
    /// What it is called in a message.
    name: &'static str,
    properties: &'static [&'static str],
    /// What it says of its values.
    values: &'static [&'static str],
}

pub(super) const ROOT: Part = Part {
    name: "a definition",
    properties: &[
        "swagger",
        "info",
        "host",
        "basePath",
        "schemes",
        "consumes",
        "produces",
        "paths",
        "definitions",
        "parameters",
        "responses",
        "security",
        "securityDefinitions",
        "tags",
        "externalDocs",
    ],
    values: &[],
};
pub(super) const INFO: Part = Part {
    name: "`info`",
    properties: &["title", "version", "description", "termsOfService", "contact", "license"],
    values: &[],
};
pub(super) const PATH: Part = Part {
    name: "a path",
    properties: &["$ref", "get", "put", "post", "delete", "options", "head", "patch", "parameters"],
    values: &[],
};
pub(super) const OPERATION: Part = Part {
    name: "an operation",
    properties: &[
        "tags",
        "summary",
        "description",
        "externalDocs",
        "operationId",
        "consumes",
        "produces",
        "parameters",
        "responses",
        "schemes",
        "deprecated",
        "security",
    ],
    values: &[],
};
pub(super) const BODY: Part =
    Part { name: "the body parameter", properties: &["name", "in", "description", "required", "schema"], values: &[] };
pub(super) const PARAMETER: Part = Part {
    name: "a parameter",
    properties: &[
        "name",
        "in",
        "description",
        "required",
        "allowEmptyValue",
        "collectionFormat",
        // Told in words of its own.
        "schema",
    ],
    values: &VALUE_WORDS,
};
pub(super) const RESPONSE: Part =
    Part { name: "a response", properties: &["$ref", "description", "schema", "headers", "examples"], values: &[] };
pub(super) const SCHEMA: Part = Part {
    name: "a schema",
    properties: &[
        "title",
        "description",
        "maxProperties",
        "minProperties",
        "required",
        "additionalProperties",
        "allOf",
        "properties",
        "discriminator",
        "readOnly",
        "xml",
        "externalDocs",
        "example",
    ],
    values: &VALUE_WORDS,
};

/// Extensions of the platform. Others are no mistake, unless they are almost one of these.
const EXTENSIONS: &[&str] = &[
    "x-ms-api-annotation",
    "x-ms-capabilities",
    "x-ms-client-flatten",
    "x-ms-connector-metadata",
    "x-ms-date-format",
    "x-ms-dynamic-list",
    "x-ms-dynamic-properties",
    "x-ms-dynamic-schema",
    "x-ms-dynamic-tree",
    "x-ms-dynamic-values",
    "x-ms-editor",
    "x-ms-editor-options",
    "x-ms-enum",
    "x-ms-enum-values",
    "x-ms-media-kind",
    "x-ms-no-generic-test",
    "x-ms-notification",
    "x-ms-notification-content",
    "x-ms-notification-url",
    "x-ms-openai-data",
    "x-ms-openai-manifest",
    "x-ms-operation-context",
    "x-ms-pageable",
    "x-ms-permission",
    "x-ms-property-name-alias",
    "x-ms-require-user-confirmation",
    "x-ms-safe-operation",
    "x-ms-summary",
    "x-ms-test-value",
    "x-ms-trigger",
    "x-ms-trigger-hint",
    "x-ms-trigger-metadata",
    "x-ms-trigger-value",
    "x-ms-url-encoding",
    "x-ms-visibility",
];

/// What OpenAPI 3 has, and 2.0 has not.
const LATER: &[&str] = &[
    "anyOf",
    "callbacks",
    "components",
    "content",
    "explode",
    "links",
    "nullable",
    "oneOf",
    "openapi",
    "requestBody",
    "servers",
    "style",
    "trace",
    "writeOnly",
];

impl Linter<'_, '_> {
    /// Tells of properties that a part does not have.
    pub(super) fn shape(&mut self, node: &Node, part: &Part) {
        for member in node.members() {
            let name = &*member.name;
            if part.properties.contains(&name) || part.values.contains(&name) {
                continue;
            }
            if name.starts_with("x-") {
                self.extension(name, &member.at);
                continue;
            }
            let found = self.error("unknown-property", &member.at, format!("{} has no property `{name}`", part.name));
            if LATER.contains(&name) {
                found.with("it is one of OpenAPI 3");
            } else if let Some(other) = closest(name, part.properties.iter().chain(part.values).copied()) {
                found.with(format!("did you mean `{other}`?"));
            } else {
                found.with("what is your own begins with `x-`");
            }
        }
    }

    fn extension(&mut self, name: &str, at: &std::ops::Range<usize>) {
        if EXTENSIONS.contains(&name) || !name.starts_with("x-m") {
            return;
        }
        if let Some(other) = closest(name, EXTENSIONS.iter().copied()) {
            self.warning("unknown-property", at, format!("no extension is called `{name}`"))
                .with(format!("did you mean `{other}`?"));
        }
    }
}
