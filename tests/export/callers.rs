//! What an export says of callers: keys, passwords and tokens, wherever the policy that asks for them stands.

use serde_json::{Value, json};
use sluicegate::connector::export::{Exported, export};
use sluicegate::connector::package::{DEFINITION_FILE, PROPERTIES_FILE};

use super::{gateway, paconn, swagger_parser, text};

const BACKEND: &str = "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n";
const API: &str = "[api]\nname = \"orders\"\npath = \"/orders\"\nbackend = \"erp\"\n";
const LIST: &str = "\n[[operation]]\nname = \"List\"\nmatch = \"GET /\"\n";
const ONE: &str = "\n[[operation]]\nname = \"One\"\nmatch = \"GET /{id}\"\n";
/// A key of the API's own.
const KEY: &str = "\n[[inbound]]\npolicy = \"api-key\"\nheader = \"x-key\"\n";
const ENTRA: &str = "\n[[inbound]]\npolicy = \"validate-azure-ad-token\"\ntenant-id = \"contoso.com\"\naudiences = [\"api://orders\"]\n";
const OTHER: &str = "\n[[inbound]]\npolicy = \"validate-jwt\"\nissuer = \"idp\"\naudiences = [\"orders\"]\n\n\
    [[inbound.required-claims]]\nname = \"scope\"\nvalues = [\"read\"]\n";
const IDP: &str =
    "\n[issuers.idp]\nopenid-config = \"https://id.contoso.com/realms/staff/.well-known/openid-configuration\"\n";

struct Case {
    name: &'static str,
    gateway: Vec<&'static str>,
    api: Vec<&'static str>,
    /// The security definition: its kind, and the name of its key, or where people sign in.
    scheme: Option<(&'static str, &'static str)>,
    /// The names of the connection's parameters.
    parameters: &'static [&'static str],
    /// The policies of the package, by the template and the name of what they set.
    policies: &'static [(&'static str, &'static str)],
    /// Parts of the notes, all of them in this order.
    notes: &'static [&'static str],
}

impl Default for Case {
    fn default() -> Self {
        let (gateway, api) = (vec![BACKEND], vec![API, LIST]);
        Self { name: "", gateway, api, scheme: None, parameters: &[], policies: &[], notes: &[] }
    }
}

fn exported(case: &Case) -> Exported {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gateway.toml"), case.gateway.concat()).unwrap();
    std::fs::write(folder.path().join("orders.toml"), case.api.concat()).unwrap();
    export(folder.path(), "orders", &gateway()).unwrap_or_else(|why| panic!("{}: {why}", case.name))
}

fn scheme(definition: &Value) -> Option<(&str, &str)> {
    let schemes = definition.get("securityDefinitions")?.as_object()?;
    assert_eq!(schemes.len(), 1, "a connection uses one: {schemes:?}");
    let scheme = schemes.values().next()?;
    let name = scheme.get("name").or(scheme.get("authorizationUrl"));
    Some((scheme["in"].as_str().or(scheme["type"].as_str())?, name.and_then(Value::as_str).unwrap_or_default()))
}

const FIELDS: &str = "flows see no fields in the answers of `List`";
const IS_KEYCLOAK: &str = "https://id.contoso.com/realms/staff/protocol/openid-connect/auth";

fn cases() -> Vec<Case> {
    let api_key: &[&str] = &["api_key"];
    let entra: &[&str] = &["token", "token:TenantId"];
    vec![
        Case { name: "nothing", notes: &["the API asks callers for nothing", FIELDS], ..Case::default() },
        Case {
            name: "a policy of the API",
            api: vec![API, KEY, LIST],
            scheme: Some(("header", "x-key")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a global policy",
            gateway: vec![BACKEND, KEY],
            scheme: Some(("header", "x-key")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a global policy that the API does not inherit",
            gateway: vec![BACKEND, KEY],
            api: vec![API, "inherit = false\n", LIST],
            notes: &["the API asks callers for nothing", FIELDS],
            ..Case::default()
        },
        Case {
            name: "base in spite of that",
            gateway: vec![BACKEND, KEY],
            api: vec![API, "inherit = false\n\n[[inbound]]\npolicy = \"base\"\n", LIST],
            scheme: Some(("header", "x-key")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a policy of an operation",
            api: vec![API, LIST, "\n[[operation.inbound]]\npolicy = \"api-key\"\n"],
            scheme: Some(("header", "Ocp-Apim-Subscription-Key")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a policy for certain operations",
            api: vec![API, "\n[[inbound]]\npolicy = \"api-key\"\noperations = [\"Other\"]\n", LIST],
            notes: &["the API asks callers for nothing", FIELDS],
            ..Case::default()
        },
        Case {
            name: "a fragment",
            gateway: vec![
                BACKEND,
                "\n[[fragments.keys.policies]]\npolicy = \"check-header\"\nname = \"x-functions-key\"\nvalues = [\"s3cret\"]\n",
            ],
            api: vec![API, "\n[[inbound]]\npolicy = \"include-fragment\"\nfragment = \"keys\"\n", LIST],
            scheme: Some(("header", "x-functions-key")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a branch, besides what is always asked for",
            api: vec![
                API,
                ENTRA,
                "\n[[inbound]]\npolicy = \"choose\"\n\n[[inbound.when]]\ncondition = \"@equals(headers('x'), 'y')\"\n\n\
                 [[inbound.when.policies]]\npolicy = \"api-key\"\n",
                LIST,
            ],
            scheme: Some(("oauth2", "https://login.microsoftonline.com/contoso.com/oauth2/authorize")),
            parameters: entra,
            notes: &[
                "`choose` (orders.toml:12) looks at the header `x`, which the connector does not send",
                "some callers show a key in the header `Ocp-Apim-Subscription-Key` (orders.toml:18, where `@equals(headers('x'), 'y')`): connections show a token of Microsoft Entra ID (`contoso.com`) instead",
                FIELDS,
                "`clientId`",
            ],
            ..Case::default()
        },
        Case {
            name: "a branch for what the operation takes",
            api: vec![
                API,
                "\n[[inbound]]\npolicy = \"choose\"\n\n[[inbound.when]]\ncondition = \"@equals(queryParameters('kind'), headers('X-Plan'))\"\n\n\
                 [[inbound.when.policies]]\npolicy = \"set-variable\"\nname = \"v\"\nvalue = \"1\"\n",
                "\n[[operation]]\nname = \"List\"\nmatch = \"GET /?kind={kind}\"\nparameters = [{ name = \"x-plan\", in = \"header\" }]\n",
            ],
            notes: &["the API asks callers for nothing", FIELDS],
            ..Case::default()
        },
        Case {
            name: "nothing but branches",
            api: vec![
                API,
                "\n[[inbound]]\npolicy = \"choose\"\n\n[[inbound.when]]\ncondition = \"@equals(headers('x'), 'y')\"\n\n\
                 [[inbound.when.policies]]\npolicy = \"api-key\"\n\n[[inbound.otherwise]]\npolicy = \"validate-azure-ad-token\"\n\
                 tenant-id = \"contoso.com\"\naudiences = [\"api://orders\"]\n",
                LIST,
            ],
            scheme: Some(("oauth2", "https://login.microsoftonline.com/contoso.com/oauth2/authorize")),
            parameters: entra,
            notes: &[
                "`choose` (orders.toml:7) looks at the header `x`",
                "some callers show a key in the header",
                FIELDS,
                "`clientId`",
            ],
            ..Case::default()
        },
        Case {
            name: "a product",
            gateway: vec![BACKEND, "\n[products.gold]\napis = [\"orders\"]\n"],
            scheme: Some(("header", "Ocp-Apim-Subscription-Key")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a product and another header",
            gateway: vec![BACKEND, "\n[products.gold]\napis = [\"orders\"]\n"],
            api: vec![API, "key-header = \"x-sub\"\nkey-query = \"sub\"\n", LIST],
            scheme: Some(("header", "x-sub")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "an open product beside one with keys",
            gateway: vec![
                BACKEND,
                "\n[products.gold]\napis = [\"orders\"]\n\n[products.open]\napis = [\"orders\"]\nsubscription-required = false\n",
            ],
            notes: &["the API asks callers for nothing", FIELDS],
            ..Case::default()
        },
        Case {
            name: "a key in the query",
            api: vec![API, "\n[[inbound]]\npolicy = \"api-key\"\nsources = [\"query\"]\nquery = \"code\"\n", LIST],
            scheme: Some(("query", "code")),
            parameters: api_key,
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a key as a password",
            api: vec![API, "\n[[inbound]]\npolicy = \"api-key\"\nsources = [\"basic\"]\n", LIST],
            scheme: Some(("basic", "")),
            parameters: &["password", "username"],
            notes: &[FIELDS],
            ..Case::default()
        },
        Case {
            name: "a key in a cookie",
            api: vec![API, "\n[[inbound]]\npolicy = \"api-key\"\nsources = [\"cookie\"]\ncookie = \"key\"\n", LIST],
            notes: &[
                "`api-key` (orders.toml:7) looks for the key where a connection cannot put it",
                "the API asks callers for nothing",
                FIELDS,
            ],
            ..Case::default()
        },
        Case {
            name: "a product and a token",
            gateway: vec![BACKEND, "\n[products.gold]\napis = [\"orders\"]\n"],
            api: vec![API, ENTRA, LIST],
            scheme: Some(("oauth2", "https://login.microsoftonline.com/contoso.com/oauth2/authorize")),
            parameters: &["api_key", "token", "token:TenantId"],
            policies: &[("setheader", "Ocp-Apim-Subscription-Key")],
            notes: &["connections ask for all of it", FIELDS, "`clientId`"],
        },
        Case {
            name: "two keys",
            gateway: vec![BACKEND, KEY],
            api: vec![API, "\n[[inbound]]\npolicy = \"api-key\"\nsources = [\"query\"]\nquery = \"code\"\n", LIST],
            scheme: Some(("header", "x-key")),
            parameters: &["api_key", "api_key_2"],
            policies: &[("setqueryparameter", "code")],
            notes: &["connections ask for all of it", FIELDS],
        },
        Case {
            name: "another issuer whose URLs are known",
            gateway: vec![BACKEND, IDP],
            api: vec![API, OTHER, LIST],
            scheme: Some(("oauth2", IS_KEYCLOAK)),
            parameters: &["token"],
            notes: &[
                "tokens come from `https://id.contoso.com/realms/staff`, which is not Microsoft Entra ID",
                FIELDS,
                "`clientId`",
            ],
            ..Case::default()
        },
        Case {
            name: "an issuer that is known by its keys only",
            api: vec![
                API,
                "\n[[inbound]]\npolicy = \"validate-jwt\"\naudiences = [\"orders\"]\n\n[[inbound.keys]]\nsecret = \"c2VjcmV0\"\n",
                LIST,
            ],
            scheme: Some(("oauth2", "https://fill-in.invalid/authorization-url")),
            parameters: &["token"],
            notes: &[
                "tokens come from an issuer that is known by its keys only",
                FIELDS,
                "`clientId`",
                "fill-in.invalid",
            ],
            ..Case::default()
        },
        Case {
            name: "several issuers, one of them Entra ID",
            gateway: vec![BACKEND, IDP, "\n[issuers.staff.entra]\ntenant-id = \"contoso.com\"\n"],
            api: vec![
                API,
                "\n[[inbound]]\npolicy = \"validate-jwt\"\nissuers = [\"idp\", \"staff\"]\naudiences = [\"orders\"]\n",
                LIST,
            ],
            scheme: Some(("oauth2", "https://login.microsoftonline.com/contoso.com/oauth2/authorize")),
            parameters: entra,
            notes: &[
                "the tokens of several issuers are accepted (orders.toml:7): connections bring a token of Microsoft Entra ID (`contoso.com`), and not a token of `https://id.contoso.com/realms/staff`",
                FIELDS,
                "`clientId`",
            ],
            ..Case::default()
        },
        Case {
            name: "an operation that asks for something else",
            api: vec![
                API,
                LIST,
                "\n[[operation.inbound]]\npolicy = \"basic-auth\"\nhtpasswd-file = \"users\"\n",
                ONE,
                "\n[[operation.inbound]]\npolicy = \"validate-azure-ad-token\"\ntenant-id = \"contoso.com\"\naudiences = [\"api://orders\"]\n",
            ],
            scheme: Some(("oauth2", "https://login.microsoftonline.com/contoso.com/oauth2/authorize")),
            parameters: entra,
            notes: &[
                "`List` ask for a user name and a password (orders.toml:11), and connections show a token of Microsoft Entra ID (`contoso.com`): those calls are refused",
                "flows see no fields in the answers of `List`, `One`",
                "`clientId`",
            ],
            ..Case::default()
        },
        Case {
            name: "a certificate in the handshake",
            gateway: vec![BACKEND, "\n[server.client-certificates]\nmode = \"required\"\nca-files = [\"ca.pem\"]\n"],
            notes: &[
                "the gateway's listener requires a certificate (gateway.toml:5), and a connection shows none",
                "the API asks callers for nothing",
                FIELDS,
            ],
            ..Case::default()
        },
        Case {
            name: "what connections do not show",
            api: vec![
                API,
                "\n[[inbound]]\npolicy = \"check-header\"\nname = \"x-azure-fdid\"\n\n[[inbound]]\npolicy = \"check-header\"\nname = \"user-agent\"\n\n\
                 [[inbound]]\npolicy = \"validate-client-certificate\"\n\n[[inbound]]\npolicy = \"ip-filter\"\n",
                LIST,
            ],
            notes: &[
                "`check-header` (orders.toml:7) asks for `x-azure-fdid`, which the connector does not send",
                "`ip-filter` (orders.toml:18) has to let in the addresses",
                "`validate-client-certificate` (orders.toml:15) asks for a certificate",
                "the API asks callers for nothing",
                FIELDS,
            ],
            ..Case::default()
        },
    ]
}

#[test]
fn callers_show_what_policies_ask_for() {
    let out = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        let name = case.name;
        let mut made = exported(case);
        assert_eq!(scheme(&made.definition), case.scheme, "{name}");
        let properties = &made.properties["properties"];
        let mut parameters: Vec<&String> = properties["connectionParameters"].as_object().unwrap().keys().collect();
        parameters.sort();
        assert_eq!(parameters, case.parameters, "{name}");
        let policies = properties["policyTemplateInstances"].as_array().into_iter().flatten();
        let policies: Vec<_> = policies
            .map(|one| {
                let set = one["parameters"]["x-ms-apimTemplateParameter.name"].as_str().unwrap();
                (one["templateId"].as_str().unwrap(), set)
            })
            .collect();
        assert_eq!(policies, case.policies, "{name}");
        made.notes.extend(made.to_fill_in());
        assert_eq!(made.notes.len(), case.notes.len(), "{name}: {:#?}", made.notes);
        for (note, part) in made.notes.iter().zip(case.notes) {
            assert!(note.contains(part), "{name}: {note}");
        }
        assert!(!format!("{}{}", made.definition, made.properties).contains("s3cret"), "{name}");
        let folder = out.path().join(number.to_string());
        made.write("orders", &folder, false).unwrap();
        folders.push(folder);
    }
    let definitions: Vec<String> = folders.iter().map(|folder| text(&folder.join(DEFINITION_FILE))).collect();
    for line in swagger_parser(&definitions) {
        assert!(line.starts_with("ok "), "{line}");
    }
    let folders: Vec<String> = folders.iter().map(|folder| text(folder)).collect();
    for (sent, case) in paconn(&folders).iter().zip(cases()) {
        assert!(sent["error"].is_null(), "{}: {PROPERTIES_FILE}: {}", case.name, sent["error"]);
    }
}

#[test]
fn settings_of_tokens() {
    let find = |name: &str| cases().into_iter().find(|case| case.name == name).unwrap();
    let settings = |case: &str| {
        exported(&find(case))
            .properties
            .pointer("/properties/connectionParameters/token/oAuthSettings")
            .unwrap()
            .clone()
    };
    let entra = settings("a product and a token");
    assert_eq!(entra["identityProvider"], "aad");
    let want = json!({
        "loginUri": { "value": "https://login.microsoftonline.com" },
        "tenantId": { "value": "contoso.com" },
        "resourceUri": { "value": "api://orders" },
        "enableOnbehalfOfLogin": { "value": "false" },
    });
    assert_eq!(entra["customParameters"], want);
    let other = settings("another issuer whose URLs are known");
    assert_eq!(other["identityProvider"], "oauth2");
    assert_eq!(other["scopes"], json!(["read"]));
    let token = "https://id.contoso.com/realms/staff/protocol/openid-connect/token";
    let want = json!({
        "authorizationUrl": { "value": IS_KEYCLOAK },
        "tokenUrl": { "value": token },
        "refreshUrl": { "value": token },
    });
    assert_eq!(other["customParameters"], want);
}

#[test]
fn the_key_beside_a_token_is_sent_by_a_policy() {
    let case = cases().into_iter().find(|case| case.name == "a product and a token").unwrap();
    let made = exported(&case);
    let policy = &made.properties["properties"]["policyTemplateInstances"][0]["parameters"];
    assert_eq!(policy["x-ms-apimTemplateParameter.value"], "@connectionParameters('api_key','')");
    assert_eq!(policy["x-ms-apimTemplate-policySection"], "Request");
}
