//! Tokens of Entra ID: tenants, versions, audiences, applications and permissions, from an issuer that is shaped like it.

use serde_json::{Value, json};

use crate::issuer::{Answer, CONTOSO, Issuer, Signer};
use crate::{NOW, Setup};

const FABRIKAM: &str = "bbbbbbbb-0000-1111-2222-bbbbbbbbbbbb";
const API: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "66666666-7777-8888-9999-000000000000";

/// A gateway that checks with these keys of the policy.
fn setup(policy: &str) -> Setup {
    let issuer = Issuer::start(Answer::Keys(vec![Signer::a().jwk()]));
    let policy = format!("policy = \"validate-azure-ad-token\"\nauthority = \"{}\"\n{policy}", issuer.name());
    Setup::with(issuer, "", &policy, 2)
}

/// A token for a person, of version 2.
fn delegated(setup: &Setup) -> Value {
    json!({
        "iss": setup.issuer.of_tenant(CONTOSO, 2), "tid": CONTOSO, "ver": "2.0", "aud": API, "azp": CLIENT,
        "scp": "access_as_user openid", "oid": "ann", "exp": NOW + 3_600, "nbf": NOW,
    })
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

struct Case {
    name: &'static str,
    changes: Value,
    want: &'static str,
}

#[track_caller]
fn check(policy: &str, cases: Vec<Case>) {
    let setup = setup(policy);
    for Case { name, changes, want } in cases {
        let token = Signer::a().sign(&with(delegated(&setup), &changes));
        assert_eq!(setup.call(&token), want, "{policy}: {name}");
    }
}

fn of(setup_issuer: &str, tenant: &str) -> Value {
    json!({ "iss": setup_issuer.replace("TENANT", tenant), "tid": tenant })
}

#[test]
fn one_tenant_by_id_or_by_domain() {
    for tenant in [CONTOSO, "contoso.test"] {
        let setup = setup(&format!("tenant-id = \"{tenant}\"\naudiences = [\"{API}\"]"));
        let v2 = setup.issuer.of_tenant("TENANT", 2);
        let v1 = setup.issuer.of_tenant("TENANT", 1);
        for (name, changes, want) in [
            ("version 2", json!({}), "ok"),
            ("version 1", with(of(&v1, CONTOSO), &json!({ "aud": format!("api://{API}"), "ver": "1.0" })), "ok"),
            ("another tenant", of(&v2, FABRIKAM), "TokenIssuerNotAllowed"),
            ("another tenant, version 1", of(&v1, FABRIKAM), "TokenIssuerNotAllowed"),
            ("another issuer", json!({ "iss": "https://login.example" }), "TokenIssuerNotAllowed"),
            ("no issuer", json!({ "iss": null }), "TokenIssuerNotAllowed"),
            ("another API", json!({ "aud": CLIENT }), "TokenAudienceNotAllowed"),
            ("the graph", json!({ "aud": "https://graph.microsoft.com" }), "TokenAudienceNotAllowed"),
            ("expired", json!({ "exp": NOW }), "TokenExpired"),
            ("not yet", json!({ "nbf": NOW + 1 }), "JwtInvalid"),
        ] {
            let token = Signer::a().sign(&with(delegated(&setup), &changes));
            assert_eq!(setup.call(&token), want, "{tenant}: {name}");
        }
    }
}

#[test]
fn several_tenants_and_every_tenant() {
    let rest = format!("audiences = [\"{API}\"]");
    for (policy, fabrikam) in [
        (format!("tenants = [\"{CONTOSO}\", \"{FABRIKAM}\"]\n{rest}"), "ok"),
        (format!("tenant-id = \"common\"\ntenants = [\"{CONTOSO}\"]\n{rest}"), "TokenIssuerNotAllowed"),
        (format!("tenant-id = \"organizations\"\nany-tenant = true\n{rest}"), "ok"),
    ] {
        let setup = setup(&policy);
        let issuers = [1, 2].map(|version| setup.issuer.of_tenant("TENANT", version));
        for issuer in &issuers {
            for (name, changes, want) in [
                ("contoso", of(issuer, CONTOSO), "ok"),
                ("fabrikam", of(issuer, FABRIKAM), fabrikam),
                // What a tenant's own key set would sign for anybody: the issuer must be the token's own tenant's.
                (
                    "another tenant's issuer",
                    with(of(issuer, FABRIKAM), &json!({ "tid": CONTOSO })),
                    "TokenIssuerNotAllowed",
                ),
                ("the template", of(issuer, "{tenantid}"), "TokenIssuerNotAllowed"),
                (
                    "no tenant",
                    json!({ "iss": issuer.replace("TENANT", CONTOSO), "tid": null }),
                    "TokenIssuerNotAllowed",
                ),
            ] {
                let token = Signer::a().sign(&with(delegated(&setup), &changes));
                assert_eq!(setup.call(&token), want, "{policy}: {issuer}: {name}");
            }
        }
    }
}

#[test]
fn a_key_of_one_tenant_signs_for_no_other() {
    let mut key = Signer::a().jwk();
    key["issuer"] = json!(format!("https://login.microsoftonline.com/{FABRIKAM}/v2.0"));
    let issuer = Issuer::start(Answer::Keys(vec![key]));
    let policy = format!(
        "policy = \"validate-azure-ad-token\"\nauthority = \"{}\"\nany-tenant = true\naudiences = [\"{API}\"]",
        issuer.name()
    );
    let setup = Setup::with(issuer, "", &policy, 2);
    let template = setup.issuer.of_tenant("TENANT", 2);
    for (tenant, want) in [(FABRIKAM, "ok"), (CONTOSO, "TokenIssuerNotAllowed")] {
        let token = Signer::a().sign(&with(delegated(&setup), &of(&template, tenant)));
        assert_eq!(setup.call(&token), want, "{tenant}");
    }
}

#[test]
fn one_version_only() {
    let issuer = Issuer::start(Answer::Keys(vec![Signer::a().jwk()]));
    let table = format!(
        "[issuers.contoso.entra]\ntenant-id = \"{CONTOSO}\"\nversions = [\"2.0\"]\nauthority = \"{}\"",
        issuer.name()
    );
    let policy = format!("policy = \"validate-jwt\"\nissuer = \"contoso\"\naudiences = [\"{API}\"]");
    let setup = Setup::with(issuer, &table, &policy, 1);
    let claims = delegated(&setup);
    let first = with(claims.clone(), &json!({ "iss": setup.issuer.of_tenant(CONTOSO, 1) }));
    let uri = with(claims.clone(), &json!({ "aud": format!("api://{API}") }));
    for (name, claims, want) in
        [("version 2", claims, "ok"), ("version 1", first, "TokenIssuerNotAllowed"), ("the URI", uri, "ok")]
    {
        assert_eq!(setup.call(&Signer::a().sign(&claims)), want, "{name}");
    }
}

#[test]
fn applications_and_permissions() {
    let tenant = format!("tenant-id = \"{CONTOSO}\"\nbackend-application-ids = [\"{API}\"]");
    check(
        &format!("{tenant}\nclient-application-ids = [\"{CLIENT}\"]"),
        vec![
            Case { name: "version 2", changes: json!({}), want: "ok" },
            Case { name: "version 1", changes: json!({ "azp": null, "appid": CLIENT }), want: "ok" },
            Case { name: "another", changes: json!({ "azp": API }), want: "TokenClaimValueNotAllowed" },
            Case {
                name: "another, version 1",
                changes: json!({ "azp": null, "appid": API }),
                want: "TokenClaimValueNotAllowed",
            },
            // The claim of the other version says nothing.
            Case {
                name: "a second opinion",
                changes: json!({ "azp": API, "appid": CLIENT }),
                want: "TokenClaimValueNotAllowed",
            },
            Case { name: "none", changes: json!({ "azp": null }), want: "TokenClaimNotFound" },
            Case { name: "the bare URI", changes: json!({ "aud": format!("api://{API}") }), want: "ok" },
        ],
    );
    check(
        &format!("{tenant}\nscopes = [\"access_as_user\"]\nroles = [\"Orders.Read.All\"]"),
        vec![
            Case { name: "delegated", changes: json!({}), want: "ok" },
            Case { name: "application", changes: json!({ "scp": null, "roles": ["Orders.Read.All"] }), want: "ok" },
            Case {
                name: "another scope",
                changes: json!({ "scp": "access_as_user_too" }),
                want: "TokenClaimValueNotAllowed",
            },
            Case {
                name: "another role",
                changes: json!({ "scp": null, "roles": ["Orders.Read"] }),
                want: "TokenClaimValueNotAllowed",
            },
            Case { name: "neither", changes: json!({ "scp": null }), want: "TokenClaimValueNotAllowed" },
        ],
    );
}

#[test]
fn a_missing_scope_is_named_in_the_challenge() {
    let setup =
        setup(&format!("tenant-id = \"{CONTOSO}\"\naudiences = [\"{API}\"]\nscopes = [\"access_as_user\", \"admin\"]"));
    let token = Signer::a().sign(&with(delegated(&setup), &json!({ "scp": "User.Read" })));
    let want = "Bearer realm=\"http://gateway.test/orders\", error=\"insufficient_scope\", \
                error_description=\"A required scope is missing\", scope=\"access_as_user admin\"";
    assert_eq!(setup.response(&token).field("www-authenticate"), Some(want));
}
