//! `token verify`: what it says of good and bad tokens, how it ends, and that it never shows a token.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::Value as Json;

use super::support::{Folder, program};

/// Base64 of 32 bytes.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

const GATEWAY: &str = r#"
[backends.erp]
url = "http://127.0.0.1:9"
[products.partners]
apis = ["orders"]
[[products.partners.inbound]]
policy = "validate-jwt"
id = "partners only"
audiences = ["api://orders"]
accepted-issuers = ["https://issuer.example"]
keys = [{ secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" }]
required-claims = [{ name = "roles", values = ["partner"] }]
[products.early]
apis = ["orders"]
[[products.early.inbound]]
policy = "require-role"
roles = ["partner"]
"#;

const ORDERS: &str = r#"
[api]
name = "orders"
path = "/orders"
backend = "erp"
subscription-required = false

[[inbound]]
policy = "validate-jwt"
audiences = ["api://orders"]
accepted-issuers = ["https://issuer.example"]
keys = [{ id = "k", secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" }]

[[operation]]
name = "List"
match = "GET /"

[[operation]]
name = "Get"
match = "GET /{id}"

[[operation]]
name = "Put"
match = "PUT /{id}"
[[operation.inbound]]
policy = "require-scope"
scopes = ["orders.write"]

[[operation]]
name = "Ruled"
match = "GET /ruled"
[[operation.inbound]]
policy = "authorize"
[[operation.inbound.rules]]
action = "allow"
when = "@equals(claims('sub'), path())"

[[operation]]
name = "Audit"
match = "GET /audit"
[[operation.inbound]]
policy = "choose"
[[operation.inbound.when]]
condition = "@equals(headers('x-deep'), 'yes')"
[[operation.inbound.when.policies]]
policy = "validate-jwt"
query-parameter = "deep"
audiences = ["api://audit"]
keys = [{ secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" }]
failed-validation-status = 403
"#;

const OPEN: &str =
    "[api]\nname = \"open\"\npath = \"/open\"\nbackend = \"erp\"\n[[operation]]\nname = \"Any\"\nmatch = \"* /*\"\n";

fn folder() -> Folder {
    let folder = Folder::new(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS), ("open.toml", OPEN)]);
    folder.write("secret.txt", SECRET);
    folder
}

fn mint(folder: &Folder, arguments: &[&str]) -> String {
    let mut command = program();
    command.args(["token", "mint", "--secret-file"]).arg(folder.path().join("secret.txt"));
    command.args(["--iss", "https://issuer.example", "--kid", "k"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Verifies with the token on standard input.
#[track_caller]
fn verify(folder: &Folder, token: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = program();
    command.args(["token", "verify"]).arg(folder.path()).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    for part in token.trim().split('.').filter(|part| part.len() > 8) {
        assert!(!text.contains(part), "a part of the token is shown: {text}");
    }
    (status.code(), text)
}

#[test]
fn every_way_to_end_is_told_apart() {
    let folder = folder();
    let good = ["--aud", "api://orders", "--scope", "orders.write"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    struct Case {
        name: &'static str,
        mint: Vec<&'static str>,
        arguments: &'static [&'static str],
        code: i32,
        last: &'static str,
    }
    for Case { name, mint: arguments, arguments: verified, code, last } in [
        Case { name: "good", mint: with(&[]), arguments: &["--operation", "Get"], code: 0, last: "accepted" },
        Case {
            name: "rules that read the request",
            mint: with(&[]),
            arguments: &["--operation", "Ruled"],
            code: 0,
            last: "accepted, as far as authorize (orders.toml:33) lets the request pass",
        },
        Case {
            name: "another audience",
            mint: vec!["--aud", "api://invoices"],
            arguments: &["--operation", "Get"],
            code: 4,
            last: "refused by validate-jwt (orders.toml:9), 401 TokenAudienceNotAllowed: audience `api://invoices` is not \
                   allowed, expected one of `api://orders`",
        },
        Case {
            name: "a scope is missing",
            mint: vec!["--aud", "api://orders", "--scope", "orders.read"],
            arguments: &["--operation", "Put"],
            code: 4,
            last: "refused by require-scope (orders.toml:26), 403 InsufficientScope: The token lacks the scope `orders.write`",
        },
        Case {
            name: "only some requests",
            mint: with(&[]),
            arguments: &["--operation", "Audit"],
            code: 4,
            last: "depends on the request, refused by validate-jwt (orders.toml:46), 403 TokenAudienceNotAllowed: audience \
                   `api://orders` is not allowed, expected one of `api://audit`",
        },
        Case {
            name: "with a product",
            mint: with(&["--role", "partner"]),
            arguments: &["--operation", "Get", "--product", "partners"],
            code: 0,
            last: "accepted",
        },
        Case {
            name: "with a product that asks for more",
            mint: with(&[]),
            arguments: &["--operation", "Get", "--product", "partners"],
            code: 4,
            last: "refused by validate-jwt (gateway.toml:7), 401 TokenClaimNotFound: JWT token is missing the following claims: \
                   roles",
        },
        Case {
            name: "a role before any token is verified",
            mint: with(&["--role", "partner"]),
            arguments: &["--operation", "Get", "--product", "early"],
            code: 4,
            last: "refused by require-role (gateway.toml:16), 401 TokenNotPresent: no policy before this one verifies the token",
        },
        Case {
            name: "all operations",
            mint: with(&["--role", "partner"]),
            arguments: &["--product", "partners"],
            code: 4,
            last: "orders: Audit, with product partners: depends on the request, refused by validate-jwt (orders.toml:46), \
                   403 TokenAudienceNotAllowed: audience `api://orders` is not allowed, expected one of `api://audit`",
        },
        Case {
            name: "later",
            mint: with(&[]),
            arguments: &["--operation", "Get", "--at", "2099-01-01T00:00:00Z"],
            code: 4,
            last: "refused by validate-jwt (orders.toml:9), 401 TokenExpired: ",
        },
        Case {
            name: "an unknown API",
            mint: with(&[]),
            arguments: &["--api", "order"],
            code: 2,
            last: "  hint: did you mean `orders`?",
        },
        Case {
            name: "an unknown operation",
            mint: with(&[]),
            arguments: &["--operation", "Delete"],
            code: 2,
            last: "  hint: one of List, Get, Put, Ruled, Audit",
        },
        Case {
            name: "an API that looks at no token",
            mint: with(&[]),
            arguments: &["--api", "open"],
            code: 2,
            last: "error: no policy of `open` looks at tokens",
        },
        Case {
            name: "no time",
            mint: with(&[]),
            arguments: &["--at", "noon"],
            code: 2,
            last: "For more information, try '--help'.",
        },
    ] {
        let api: &[&str] = if verified.contains(&"--api") { &[] } else { &["--api", "orders"] };
        let (found, text) = verify(&folder, &mint(&folder, &arguments), &[api, verified].concat());
        assert_eq!(found, Some(code), "{name}: {text}");
        let ending = text.lines().last().unwrap_or_default();
        assert!(ending == last || last.ends_with(": ") && ending.starts_with(last), "{name}: {text}");
    }
}

#[test]
fn a_report_for_scripts_says_all_that_is_wrong() {
    let folder = folder();
    let token = mint(&folder, &["--aud", "orders", "--lifetime=-1m", "--claim", "iss=https://other.example"]);
    let (code, text) = verify(&folder, &token, &["--api", "orders", "--operation", "List", "--format", "json"]);
    let report: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["verdict"]), (Some(4), &"refused".into()));
    let policy = &report["results"][0]["policies"][0];
    assert_eq!(policy["tokenFrom"], "header `authorization` after `Bearer`");
    let checks = policy["checks"].as_array().unwrap();
    let failed: Vec<&str> = checks
        .iter()
        .filter(|check| check["standing"] == "failed")
        .map(|check| check["check"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["issuer", "expiration", "audience"]);
    let audience = checks.iter().find(|check| check["check"] == "audience").unwrap();
    assert_eq!((&audience["found"], &audience["expected"]), (&"`orders`".into(), &"`api://orders`".into()));
    assert_eq!(policy["answer"]["reason"], "TokenIssuerNotAllowed");
    assert!(report["hints"][0].as_str().unwrap().starts_with("the audience differs in `api://` alone"));
}

#[test]
fn what_is_no_token_and_what_is_no_folder() {
    let folder = folder();
    for (name, token, code, last) in [
        ("nothing", "", 1, "  hint: give it on standard input, as in `printf %s \"$TOKEN\" | sluicegate token decode`"),
        (
            "no token",
            "opaque",
            4,
            "refused by validate-jwt (orders.toml:9), 401 JwtInvalid: the token is malformed: it does not have three parts \
             separated by dots",
        ),
    ] {
        let (found, text) = verify(&folder, token, &["--api", "orders", "--operation", "List"]);
        assert_eq!((found, text.lines().last().unwrap()), (Some(code), last), "{name}");
    }
    folder.write("orders.toml", "[api]\nnam = \"orders\"\n");
    let (code, text) = verify(&folder, "a.b.c", &[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("did you mean `name`"), "{text}");
}

#[test]
fn without_keys_it_cannot_be_said() {
    let folder = folder();
    // Nobody listens at the discard port.
    folder.write(
        "orders.toml",
        &ORDERS.replace("accepted-issuers = [\"https://issuer.example\"]", "").replacen(
            "keys = [{ id = \"k\", secret = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\" }]",
            "openid-config = [\"http://127.0.0.1:9/.well-known/openid-configuration\"]",
            1,
        ),
    );
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/rsa-a.pem");
    let mint = |arguments: &[&str]| {
        let output = program().args(["token", "mint", "--key", key]).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let good = mint(&["--iss", "http://127.0.0.1:9", "--aud", "api://orders"]);
    let late = mint(&["--iss", "http://127.0.0.1:9", "--aud", "api://orders", "--lifetime=-1h"]);
    let get = ["--api", "orders", "--operation", "Get"];
    let (code, text) = verify(&folder, &good, &get);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.lines().last().unwrap().starts_with("unknown: no verification keys are available: "), "{text}");
    let (code, text) = verify(&folder, &good, &[&get[..], &["--offline"]].concat());
    assert_eq!((code, text.lines().last().unwrap()), (Some(1), "unknown: no verification keys are available"));
    let (code, text) = verify(&folder, &late, &[&get[..], &["--offline"]].concat());
    assert_eq!(code, Some(4), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("refused by validate-jwt (orders.toml:9), 401: expiration is "), "{text}");
}
