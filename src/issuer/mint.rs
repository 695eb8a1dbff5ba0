//! The claims of a token: in the shape of Entra ID's v1 and v2 access tokens, or plain (RFC 9068).

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The tenant when none is named.
pub const DEFAULT_TENANT: &str = "00000000-0000-4000-8000-00000000d0d0";
/// The client when none is named.
pub const DEFAULT_CLIENT: &str = "00000000-0000-4000-8000-00000000c11e";
/// The user who signs in when none is named.
pub const DEFAULT_USER: &str = "ann@contoso.example";
/// How long a token lives: the middle of Entra ID's 60 to 90 minutes is no use to anyone who computes.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The shape of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// An access token as RFC 9068 has it: `iss`, `aud`, `sub`, `client_id`, `scope`.
    #[default]
    Plain,
    /// Entra ID's v1 access token: `appid`, `scp` or `roles`, `iss` of `sts.windows.net`.
    EntraV1,
    /// Entra ID's v2 access token: `azp`, `scp` or `roles`, a bare client id as `aud`.
    EntraV2,
}

/// How the client proved who it is, as `azpacr` and `appidacr` say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientProof {
    /// Not at all: a public client.
    Public,
    /// With a secret.
    #[default]
    Secret,
    /// With a signed assertion.
    Assertion,
}

/// Everything that a token says, before it is brought into a shape.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The shape.
    pub preset: Preset,
    /// The `iss`.
    pub issuer: String,
    /// The tenant's id.
    pub tenant: String,
    /// The client that asked.
    pub client: String,
    /// How it proved that.
    pub proof: ClientProof,
    /// Whom the token is for; of several, all.
    pub audiences: Vec<String>,
    /// Who signed in; nobody for a token of the application itself.
    pub user: Option<String>,
    /// What the user allowed the client.
    pub scopes: Vec<String>,
    /// The application's permissions, or the user's roles.
    pub roles: Vec<String>,
    /// How long the token lives.
    pub lifetime: Duration,
    /// Who acts for the subject (RFC 8693 §4.1).
    pub actor: Option<Value>,
}

impl Grant {
    /// A token of an application, with defaults for everything else.
    pub fn new(preset: Preset, issuer: String, tenant: String) -> Self {
        Self {
            preset,
            issuer,
            tenant,
            client: DEFAULT_CLIENT.to_owned(),
            proof: ClientProof::default(),
            audiences: Vec::new(),
            user: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            lifetime: DEFAULT_LIFETIME,
            actor: None,
        }
    }

    /// The claims at this time. `id` makes them unlike any others.
    pub fn claims(&self, now: SystemTime, id: &str) -> Map<String, Value> {
        let start = seconds(now);
        let end = start + i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let audience = match (self.audiences.as_slice(), self.preset) {
            // Entra ID names exactly one.
            ([one], _) | ([one, ..], Preset::EntraV1 | Preset::EntraV2) => json!(self.audience(one)),
            (several, _) => json!(several),
        };
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(self.issuer));
        put("aud", audience);
        put("iat", json!(start));
        put("nbf", json!(start));
        put("exp", json!(end));
        let object = derived_guid(&self.tenant, self.user.as_deref().unwrap_or(&self.client));
        match self.preset {
            Preset::Plain => {
                put("sub", json!(self.user.as_deref().unwrap_or(&self.client)));
                put("client_id", json!(self.client));
                put("jti", json!(id));
                if !self.scopes.is_empty() {
                    put("scope", json!(self.scopes.join(" ")));
                }
            }
            Preset::EntraV1 | Preset::EntraV2 => {
                let (client, proof, version) = match self.preset {
                    Preset::EntraV1 => ("appid", "appidacr", "1.0"),
                    _ => ("azp", "azpacr", "2.0"),
                };
                put(client, json!(self.client));
                put(proof, json!(self.proof.digit()));
                put("oid", json!(object));
                put("tid", json!(self.tenant));
                put("uti", json!(id));
                put("ver", json!(version));
                match &self.user {
                    Some(user) => {
                        // Another one for each application, so that they cannot compare notes.
                        put("sub", json!(pairwise(&object, &self.client)));
                        put("name", json!(display_name(user)));
                        put("scp", json!(self.scopes.join(" ")));
                        if self.preset == Preset::EntraV1 {
                            put("upn", json!(user));
                            put("unique_name", json!(user));
                        } else {
                            put("preferred_username", json!(user));
                        }
                    }
                    None => {
                        put("sub", json!(object));
                        put("idtyp", json!("app"));
                    }
                }
            }
        }
        if !self.roles.is_empty() {
            put("roles", json!(self.roles));
        }
        if let Some(actor) = &self.actor {
            put("act", actor.clone());
        }
        claims
    }

    /// Entra ID's v2 tokens name the API by its bare client id, v1 tokens by what was asked for.
    fn audience(&self, asked: &str) -> String {
        let bare = asked.strip_prefix("api://").filter(|rest| is_guid(rest));
        match bare {
            Some(id) if self.preset == Preset::EntraV2 => id.to_owned(),
            _ => asked.to_owned(),
        }
    }

    /// The token header's members beside `alg` and `kid`.
    pub fn header(&self, key: &str) -> Map<String, Value> {
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!(if self.preset == Preset::Plain { "at+jwt" } else { "JWT" }));
        if !key.is_empty() {
            header.insert("kid".to_owned(), json!(key));
            if self.preset != Preset::Plain {
                header.insert("x5t".to_owned(), json!(key));
            }
        }
        header
    }
}

impl ClientProof {
    fn digit(self) -> &'static str {
        match self {
            Self::Public => "0",
            Self::Secret => "1",
            Self::Assertion => "2",
        }
    }
}

/// The `iss` of a tenant's tokens under `base`: Entra ID's is another one for each version.
pub fn issuer_of(preset: Preset, base: &str, tenant: &str) -> String {
    match preset {
        Preset::Plain => base.to_owned(),
        Preset::EntraV1 => format!("{base}/{tenant}/"),
        Preset::EntraV2 => format!("{base}/{tenant}/v2.0"),
    }
}

/// Seconds since 1970 (RFC 7519 §2).
pub fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX / 2),
    }
}

/// Whether this is a GUID as Entra ID writes them.
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A GUID that is always the same for the same thing: of the form that RFC 9562 §5.8 leaves to applications.
pub fn derived_guid(space: &str, name: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{space}\0{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn pairwise(object: &str, client: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{object}\0{client}").as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

/// `ann@contoso.example` is shown as `Ann`.
pub fn display_name(user: &str) -> String {
    let name = user.split('@').next().unwrap_or_default();
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A token that is asked for piece by piece: what `sluicegate token mint` and the mint endpoint take.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MintRequest {
    /// The shape.
    pub preset: Preset,
    /// The tenant: a GUID, or a name that one is made of.
    pub tenant: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// Whom the token is for.
    pub audiences: Vec<String>,
    /// Who signed in.
    pub user: Option<String>,
    /// What the user allowed.
    pub scopes: Vec<String>,
    /// Application permissions, or the user's roles.
    pub roles: Vec<String>,
    /// Seconds that the token lives; negative for one that is over.
    pub lifetime: Option<i64>,
    /// The algorithm; one of the issuer's.
    pub algorithm: Option<String>,
    /// Members laid over the header; `null` takes one away.
    pub header: Map<String, Value>,
    /// Claims laid over the others; `null` takes one away.
    pub claims: Map<String, Value>,
}

impl MintRequest {
    /// The grant that is asked for, of an issuer at `base`.
    pub fn grant(&self, base: &str) -> Grant {
        let tenant = tenant_id(self.tenant.as_deref().unwrap_or(DEFAULT_TENANT), DEFAULT_TENANT);
        let mut grant = Grant::new(self.preset, issuer_of(self.preset, base, &tenant), tenant);
        if let Some(client) = &self.client {
            grant.client.clone_from(client);
        }
        grant.audiences.clone_from(&self.audiences);
        grant.roles.clone_from(&self.roles);
        grant.scopes.clone_from(&self.scopes);
        // Scopes are what a user allowed.
        grant.user = self.user.clone().or_else(|| (!self.scopes.is_empty()).then(|| DEFAULT_USER.to_owned()));
        grant.lifetime = Duration::ZERO;
        grant
    }

    /// The claims, with what is laid over them.
    pub fn claims(&self, grant: &Grant, now: SystemTime, id: &str) -> Map<String, Value> {
        let mut claims = grant.claims(now, id);
        let lifetime = self.lifetime.unwrap_or(i64::try_from(DEFAULT_LIFETIME.as_secs()).unwrap_or_default());
        let start = seconds(now);
        claims.insert("exp".to_owned(), json!(start.saturating_add(lifetime)));
        if lifetime <= 0 {
            // A token that is over was good once.
            let earlier = start.saturating_add(lifetime).saturating_sub(3600);
            claims.insert("iat".to_owned(), json!(earlier));
            claims.insert("nbf".to_owned(), json!(earlier));
        }
        if self.audiences.is_empty() {
            claims.remove("aud");
        }
        lay_over(&mut claims, &self.claims);
        claims
    }
}

/// Puts members over others; `null` takes one away.
pub fn lay_over(below: &mut Map<String, Value>, above: &Map<String, Value>) {
    for (name, value) in above {
        if value.is_null() {
            below.shift_remove(name);
        } else {
            below.insert(name.clone(), value.clone());
        }
    }
}

/// The id of a tenant by id or name. What stands for any tenant is `default`.
pub fn tenant_id(name: &str, default: &str) -> String {
    match name {
        "common" | "organizations" | "consumers" => default.to_owned(),
        id if is_guid(id) => id.to_ascii_lowercase(),
        name => derived_guid("tenant", &name.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_767_225_600);
    const API: &str = "11111111-2222-4333-8444-555555555555";

    fn grant(preset: Preset) -> Grant {
        let issuer = issuer_of(preset, "http://127.0.0.1:9095", DEFAULT_TENANT);
        Grant { audiences: vec![format!("api://{API}")], ..Grant::new(preset, issuer, DEFAULT_TENANT.to_owned()) }
    }

    #[test]
    fn shapes() {
        let delegated = |preset| Grant {
            user: Some("ben@contoso.example".to_owned()),
            scopes: vec!["access_as_user".to_owned(), "orders.read".to_owned()],
            ..grant(preset)
        };
        let application = |preset| Grant { roles: vec!["Orders.Read.All".to_owned()], ..grant(preset) };
        struct Case {
            name: &'static str,
            grant: Grant,
            want: Value,
            absent: &'static [&'static str],
        }
        for Case { name, grant, want, absent } in [
            Case {
                name: "v2, delegated",
                grant: delegated(Preset::EntraV2),
                want: json!({
                    "iss": format!("http://127.0.0.1:9095/{DEFAULT_TENANT}/v2.0"), "aud": API, "ver": "2.0",
                    "azp": DEFAULT_CLIENT, "azpacr": "1", "scp": "access_as_user orders.read", "tid": DEFAULT_TENANT,
                    "preferred_username": "ben@contoso.example", "name": "Ben", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 3600,
                }),
                absent: &["appid", "appidacr", "roles", "idtyp", "upn", "scope"],
            },
            Case {
                name: "v1, delegated",
                grant: delegated(Preset::EntraV1),
                want: json!({
                    "iss": format!("http://127.0.0.1:9095/{DEFAULT_TENANT}/"), "aud": format!("api://{API}"), "ver": "1.0",
                    "appid": DEFAULT_CLIENT, "appidacr": "1", "scp": "access_as_user orders.read", "upn": "ben@contoso.example",
                }),
                absent: &["azp", "azpacr", "roles", "idtyp", "preferred_username"],
            },
            Case {
                name: "v2, application",
                grant: application(Preset::EntraV2),
                want: json!({ "aud": API, "idtyp": "app", "roles": ["Orders.Read.All"], "azp": DEFAULT_CLIENT }),
                absent: &["scp", "name", "preferred_username"],
            },
            Case {
                name: "v1, application",
                grant: application(Preset::EntraV1),
                want: json!({ "aud": format!("api://{API}"), "idtyp": "app", "roles": ["Orders.Read.All"] }),
                absent: &["scp", "upn"],
            },
            Case {
                name: "plain",
                grant: delegated(Preset::Plain),
                want: json!({
                    "iss": "http://127.0.0.1:9095", "aud": format!("api://{API}"), "sub": "ben@contoso.example",
                    "client_id": DEFAULT_CLIENT, "scope": "access_as_user orders.read", "jti": "x",
                }),
                absent: &["scp", "ver", "tid", "oid"],
            },
        ] {
            let claims = grant.claims(UNIX_EPOCH + NOW, "x");
            for (claim, want) in want.as_object().unwrap() {
                assert_eq!(claims.get(claim), Some(want), "{name}: {claim}");
            }
            assert_eq!(absent.iter().find(|claim| claims.contains_key(**claim)), None, "{name}");
        }
        let (app, user) = (application(Preset::EntraV2), delegated(Preset::EntraV2));
        let (app, user) = (app.claims(UNIX_EPOCH, ""), user.claims(UNIX_EPOCH, ""));
        assert_eq!(app["sub"], app["oid"], "an application is one thing to everybody");
        assert_ne!(user["sub"], user["oid"], "a user is another one to each application");
        assert!(is_guid(user["oid"].as_str().unwrap()));
    }

    #[test]
    fn what_is_asked_for_lies_over_the_shape() {
        let json = json!({
            "preset": "entra-v2", "tenant": "contoso.onmicrosoft.com", "audiences": ["x"], "scopes": ["a"], "lifetime": -60,
            "claims": { "nbf": null, "tid": "other" },
        });
        let request: MintRequest = serde_json::from_value(json).unwrap();
        let claims = request.claims(&request.grant("http://issuer"), UNIX_EPOCH + NOW, "x");
        assert_eq!(claims["exp"], json!(NOW.as_secs() - 60));
        assert_eq!(claims["preferred_username"], json!(DEFAULT_USER));
        assert_eq!(claims["tid"], json!("other"));
        assert!(!claims.contains_key("nbf"));
        let tenant = tenant_id("Contoso.onmicrosoft.com", "");
        assert_eq!(claims["iss"], json!(format!("http://issuer/{tenant}/v2.0")));
        assert_eq!(tenant_id("common", "it"), "it");
    }
}
