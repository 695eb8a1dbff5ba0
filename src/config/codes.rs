//! The kinds of mistakes: every code that a report can show, and what it means.

/// Every code, sorted, with what it means.
pub const CODES: &[(&str, &str)] = &[
    ("after-forward-request", "A policy stands behind `forward-request`, which is the last one of its list."),
    ("ambiguous-match", "Two operations match the same requests, and neither is more specific than the other."),
    ("any-certificate", "A policy takes certificates that anybody can make (a warning)."),
    ("bad-address", "An address to listen on is not an IP address and a port."),
    ("bad-backend", "A backend has no URL, or keys that exclude each other."),
    ("bad-certificate", "A certificate of the gateway's own has no file, or keys that exclude each other."),
    (
        "bad-connection",
        "A connection has keys that exclude each other, or a source of tokens that makes none of its own.",
    ),
    ("bad-digest", "A subscription key is not written as the SHA-256 digest of a key."),
    ("bad-expression", "An expression cannot be read: its syntax, a function's name or the number of its arguments."),
    ("bad-file", "A file that the configuration names cannot be read, or holds something else."),
    ("bad-issuer", "A token issuer has no source of keys, several, or one that cannot be read."),
    ("bad-key", "A key that verifies tokens cannot be read, or is too weak."),
    ("bad-match", "The `match` of an operation is not a method and a path."),
    ("bad-name", "A name holds characters that cannot stand in it."),
    ("bad-parameter", "A parameter of a connection has a value that the API does not take."),
    ("bad-path", "A path into a JSON body cannot be read."),
    ("bad-policy", "A policy's keys exclude or need each other."),
    ("bad-range", "An address range is neither an address nor CIDR."),
    ("bad-subscription", "A subscription grants a product and a list of APIs."),
    ("bad-template", "A path, a path template or a host cannot be read."),
    (
        "bad-token-source",
        "A source of tokens for backends has keys that exclude or need each other, or a URL that is refused.",
    ),
    ("bad-url", "The URL of a backend cannot be called."),
    ("bad-user", "A user has no name that can be, or a password hash that is not accepted."),
    ("bad-value", "A value has the right type and cannot be: a duration, a size, a header's name, a date."),
    ("cache-before-check", "A cached answer is given without a policy that decides who may call (a warning)."),
    ("cache-shares-private", "What is answered to a caller with `Authorization` is given to others (a warning)."),
    ("cheap-hash", "A password's hash is cheaper than what is recommended, so that it is soon guessed (a warning)."),
    ("duplicate-api", "Two files describe APIs of the same name."),
    ("duplicate-key", "Two subscriptions have the same key."),
    ("duplicate-match", "Two operations of an API have the same method and template."),
    ("duplicate-operation", "Two operations of an API or of a connector have the same name."),
    ("duplicate-policy", "A policy that stands once in a list stands there again."),
    ("duplicate-subscription", "Two subscriptions have the same name."),
    ("encoding", "A file is not UTF-8 text."),
    ("expired-certificate", "The time of a certificate of the gateway's own is over (a warning)."),
    (
        "faulty-definition",
        "Something in the definition of an API is not as OpenAPI has it, and is not checked (a warning).",
    ),
    ("host-bits", "A network is not written by its first address (a warning)."),
    ("limit-memory", "A rate limit may take much memory for each key (a warning)."),
    ("limits-contradict", "A rate limit is never reached, because another one beside it is stricter (a warning)."),
    ("lowercase-method", "A method is written in lower case, and methods are case-sensitive (a warning)."),
    ("misplaced-base", "`base` stands where there is no broader scope to run."),
    ("misplaced-operations", "A policy is for some operations where there is nothing to choose from."),
    ("missing-file", "The folder has no gateway.toml."),
    ("missing-key", "A key that is needed is not there."),
    ("missing-parameter", "A connection lacks a parameter that its API needs, or a policy template one of its own."),
    ("missing-secret", "The environment variable or the file of a named value is not there."),
    ("nested-fragment", "A fragment includes a fragment."),
    ("nested-named-value", "The text of a named value uses another one."),
    ("no-connection", "An API asks its connections for something, and has none (a warning)."),
    ("no-definition", "A policy works with the definition of its API, which has none."),
    ("no-key-file", "The key file that gateway.toml names is not there (a warning)."),
    ("no-keys", "A subscription has no keys, so nobody can use it (a warning)."),
    (
        "no-operations",
        "An API has no operations, so every call is answered with 404 (a warning). A connector without any is refused.",
    ),
    ("no-token", "A policy asks for a verified token, and no policy before it verifies one (a warning)."),
    ("not-in-definition", "The definition of an API does not have one of its operations (a warning)."),
    ("old-revocation-list", "A revocation list is out of date (a warning)."),
    ("quota-in-memory", "A quota of an hour or more is forgotten when the process ends (a warning)."),
    ("secret-in-file", "A secret stands in the configuration, and not in a named value (a warning)."),
    ("shadowed-api", "An API is never reached: another one has the same hosts, path and version."),
    ("syntax", "A file is not TOML, or a connector's file not as JSON or YAML has it."),
    ("two-connections", "A call could use either of two connections."),
    ("two-open-products", "An API is in two products that need no key."),
    (
        "unchecked-variable",
        "A variable of a path has another name in the definition of its API, so that it is not checked (a warning).",
    ),
    ("unknown-api", "No file describes an API of this name."),
    ("unknown-backend", "No backend has this name."),
    ("unknown-certificate", "No certificate of the gateway's own has this name or thumbprint."),
    ("unknown-consumer", "No consumer has this name."),
    ("unknown-fragment", "No fragment has this name."),
    ("unknown-issuer", "No token issuer has this name."),
    ("unknown-key", "A table has a key that means nothing there."),
    ("unknown-named-value", "No named value has this name."),
    ("unknown-operation", "An API has no operation of this name; where a connector names it, a warning."),
    ("unknown-parameter", "An API asks its connections for no parameter of this name."),
    ("unknown-policy", "There is no policy of this name."),
    ("unknown-product", "No product has this name."),
    ("unknown-set", "An API has no set of connection parameters of this name."),
    ("unknown-subscription", "No subscription has this name."),
    ("unknown-token-source", "No source of tokens for backends has this name."),
    ("unknown-value", "A value is not one of the few that a key takes."),
    (
        "unknown-variable",
        "A template uses a variable that the operation's own template does not have; in a connector, a warning.",
    ),
    ("unpaired-cache", "Answers are looked up that nothing keeps, or kept and never looked up (a warning)."),
    ("unreached-rule", "A rule is never tried, because one before it holds for every request (a warning)."),
    ("unreadable", "The folder or a file in it cannot be read."),
    ("unused-fragment", "No policy includes a fragment (a warning)."),
    ("version-schemes", "APIs with the same path tell their versions apart in different ways."),
    ("wrong-section", "A policy stands in a section where it cannot do its work."),
    ("wrong-type", "A value has the wrong type: text for a number, a table for a list."),
];

/// What is told of connector packages only, by `sluicegate import` and `sluicegate lint`: code and meaning, in the order of the alphabet.
pub const CONNECTOR_CODES: &[(&str, &str)] = &[
    ("ambiguous-paths", "Two paths of a connector match the same requests."),
    (
        "bad-annotation",
        "The versions of an operation contradict each other (`OperationFamilyHasDuplicateRevisions`, `ApiAnnotationExtensionReplacementInfo…`).",
    ),
    ("bad-body", "An operation of a connector has a body where it can have none, or several."),
    ("bad-connection", "A connection parameter has no type, or not all that its type needs."),
    (
        "bad-default",
        "A default does not fit its type (`DefaultValueMustMatchType`), or is none of the values (a warning).",
    ),
    ("bad-definition", "A file is no OpenAPI definition."),
    (
        "bad-enum",
        "The values of a list, or their names, do not fit the type, stand twice or are missing (`InvalidEnumValue`, `ArrayDuplicateValue`, `DuplicateEnumValuesInExtension`).",
    ),
    ("bad-host", "A connector's host is none."),
    (
        "bad-metadata",
        "What certification publishes of a connector is missing or wrong (a warning; `ConnectorMetadataPropertiesMissing`, `InvalidConnectorCategory`).",
    ),
    ("bad-operation-id", "An `operationId` holds characters that cannot stand in it."),
    (
        "bad-parameter",
        "A parameter of a connector is not what OpenAPI 2.0 has in its place (`PathParameterMustBeRequired`, `BodyParameterSchemaRequired`).",
    ),
    ("bad-path", "A path of a connector is none that the platform takes."),
    ("bad-response", "A response of a connector has no status or no description."),
    (
        "bad-schema",
        "A schema of a connector contradicts OpenAPI 2.0 or itself (`ArrayHasNoItems`, `RequiredPropertyDefinitionMissing`, `JsonValueNotInEnum`).",
    ),
    ("bad-script", "The script of a connector is too large or lacks what every script has."),
    (
        "bad-security",
        "A security definition lacks what its type needs (`SecuritySchemePropertyRequired`), or one is used that is not there (a warning; `SecurityRequirementMustBeDefined`).",
    ),
    ("bad-trigger", "A trigger of a connector is neither `single` nor `batch`."),
    ("bad-visibility", "A visibility is neither `important`, `advanced` nor `internal`."),
    (
        "beside-reference",
        "Something stands beside a `$ref`, and says nothing (a warning; `AdditionalPropertyNotAllowedAdjacentToRef`).",
    ),
    ("broken-reference", "A `$ref` leads nowhere."),
    ("description-length", "The description of a connector is too short or too long (a warning)."),
    (
        "dynamic-reference",
        "What fills a list or a form in the designer is not there: a parameter, or a part of the answer (a warning; `OperationParameterNameNotFound`, `InvokedOperationShouldProduceProperty`).",
    ),
    ("gateway-policy", "A connector uses an on-premises gateway, and what does not work with it."),
    ("host-from-request", "The host that a connector calls comes from the request (a warning)."),
    ("icon-colour", "The colour of a connector's icon is missing, or refused."),
    ("internal-optional", "A default that nobody sees is never sent (a warning; `PropertyMustBeRequired`)."),
    ("internal-without-default", "A parameter that nobody sees is required and has no default."),
    ("long-name", "The name of a connector has more than 30 characters."),
    ("long-summary", "The summary of an operation has more than 80 characters (a warning)."),
    ("lost-base-path", "A policy of a connector takes the place of its base path (a warning)."),
    (
        "media-type",
        "A media type is none, or the platform sends no body in it (`MimeTypeNotValid`; a warning for `MimeTypeNotSupported`).",
    ),
    ("missing-description", "An operation of a connector has no description (a warning)."),
    ("missing-operation-id", "An operation of a connector has no `operationId`."),
    ("missing-summary", "An operation or a parameter of a connector has no summary."),
    ("missing-title", "A connector has no title."),
    ("no-https", "A connector does not call its API by `https` (a warning)."),
    ("no-next-link", "The second page of an operation is asked for without the platform (a warning)."),
    ("no-properties", "A connector has no `apiProperties.json`, or there is nothing in it."),
    ("no-response-schema", "An operation does not say what it answers (a warning; `SchemaDefinitionSetIncorrectly`)."),
    ("no-script", "A connector names operations for a script that is not there."),
    (
        "no-success-response",
        "An operation of a connector has no response for success, or `default` alone (a warning; `OperationShouldHaveSuccessfulResponse`).",
    ),
    ("not-evaluated", "An expression stands where the platform does not evaluate it (a warning)."),
    (
        "notification-content",
        "A webhook does not say what it sends (a warning; `OperationMustHaveNotificationContentExtension`), or not in a schema.",
    ),
    (
        "notification-url",
        "The URL of a webhook stands where the platform does not fill it in (`NotificationUrlNotInternal`, `NotificationUrlNotRequired`).",
    ),
    ("openapi-3", "A connector's definition is OpenAPI 3, which the platform does not take."),
    ("operation-id-style", "An `operationId` is no name in PascalCase (a warning; `OperationIdSanitized`)."),
    ("parameter-case", "A connection parameter is written in another case than it is declared in (a warning)."),
    ("path-parameter", "The variables of a path and its parameters do not agree."),
    ("reserved-name", "The name of a connector holds a word that is reserved, or ends with none (a warning)."),
    ("reserved-parameter", "A parameter of a connector has a name that the platform keeps for itself."),
    ("several-schemes", "A connector has several security definitions, of which one is used (a warning)."),
    ("summary-punctuation", "A summary ends with punctuation (a warning)."),
    ("template-value", "A policy template has a value that it does not take."),
    ("too-large", "A connector is larger than the platform takes."),
    ("unchecked-pattern", "A regular expression is one that the gateway cannot check (a warning)."),
    ("undeclared-input", "A policy reads a header or a query parameter that no operation declares (a warning)."),
    ("undeclared-parameter", "An expression of a connector reads a connection parameter that is not declared."),
    ("unknown-capability", "A connector names a capability that there is not (a warning)."),
    ("unknown-format", "A type does not have this format (a warning; `UnrecognizedTypeFormat`)."),
    ("unknown-function", "A policy template calls a function that it does not have (a warning)."),
    (
        "unknown-property",
        "A part of a definition has a property that is none (`AdditionalPropertyNotAllowed`, `ExtensionNameNotValid`).",
    ),
    ("unknown-template", "No policy template has this name."),
    (
        "url-encoding",
        "A parameter that may hold `/` and the like does not say how it is encoded, or one says so in the wrong place (a warning; `PathParameterMissingEncoding`).",
    ),
    ("webhook-location", "A webhook of a connector cannot be deleted."),
];

/// What a code means; empty for one that is not in the list.
pub fn meaning(code: &str) -> &'static str {
    let find = |codes: &[(&'static str, &'static str)]| {
        codes.binary_search_by(|(known, _)| (*known).cmp(code)).ok().map(|at| codes[at].1)
    };
    find(CODES).or_else(|| find(CONNECTOR_CODES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{CODES, CONNECTOR_CODES};
    use std::path::Path;

    fn sources(folder: &Path, out: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_code_is_listed_once_and_used() {
        for list in [CODES, CONNECTOR_CODES] {
            assert!(list.is_sorted_by(|a, b| a.0 < b.0), "sorted, none twice");
        }
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        for (code, meaning) in CODES.iter().chain(CONNECTOR_CODES) {
            assert!(meaning.ends_with('.'), "`{code}` has a sentence");
            assert!(text.matches(&format!("\"{code}\"")).count() > 1, "`{code}` is reported somewhere");
        }
        let starts =
            ["Diagnostic::error(", "Diagnostic::warning(", "Diagnostic::global(", ".code(", "code: ", "cx.warn("];
        for start in starts {
            for (at, _) in text.match_indices(start) {
                let rest = text[at + start.len()..].trim_start();
                // `warn` takes the field before the code.
                let rest =
                    if start == "cx.warn(" { rest.split_once(", ").map_or(rest, |(_, rest)| rest) } else { rest };
                let Some(code) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !code.is_empty();
                assert!(
                    !is_code || CODES.iter().chain(CONNECTOR_CODES).any(|(known, _)| *known == code),
                    "`{code}` is not in the list"
                );
            }
        }
    }
}
