//! `token mint`: a token with any claims, from a private key, a shared secret or a running issuer.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use super::Format;
use crate::cli::{exit, output};
use crate::clock::Clock;
use crate::config::Period;
use crate::identity::Algorithm;
use crate::issuer::mint::{MintRequest, Preset};
use crate::issuer::signing_key::SigningKey;
use crate::issuer::{ask, random_id};

/// Make a token, for development and tests.
///
/// The claims come from a preset, options and --claim, in this order: the last one counts. Any token can be made, also one that
/// the gateway must refuse: expired, for another audience, by another issuer.
///
/// With --issuer, a running `sluicegate issuer` signs, and its URL is in `iss`. With --key or --secret-file nothing is sent
/// anywhere, and `iss` of the Entra presets is Entra ID's own unless --iss says otherwise.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("signer").required(true).args(["key", "secret_file", "issuer"])),
    after_help = "Examples:
  sluicegate token mint --issuer http://127.0.0.1:9095 --preset entra-v2 --aud api://orders --scope access_as_user
  sluicegate token mint --issuer http://127.0.0.1:9095 --aud orders --lifetime=-5m       expired five minutes ago
  sluicegate token mint --key rsa.pem --alg PS256 --iss https://issuer.example --aud orders --claim level=3
  sluicegate token mint --secret-file hmac.txt --alg HS256 --iss me --aud orders --role admin
  curl localhost:8080/orders -H \"Authorization: Bearer $(sluicegate token mint --key rsa.pem --aud orders)\""
)]
pub struct Mint {
    /// A PEM file with the private key; the key file of `sluicegate issuer` is one.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A file with a shared secret in base64, as the gateway's configuration has it; for HS256, HS384 and HS512.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The URL of a running `sluicegate issuer`.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The shape of the token.
    #[arg(long, value_enum, default_value_t)]
    preset: Preset,
    /// The signature algorithm [default: the key's, or HS256 for a secret].
    #[arg(long = "alg", value_name = "ALG")]
    algorithm: Option<Algorithm>,
    /// The key id in the header [default: made from the key].
    #[arg(long)]
    kid: Option<String>,
    /// The issuer (`iss`).
    #[arg(long)]
    iss: Option<String>,
    /// The audience (`aud`); repeat it for several.
    #[arg(long = "aud", value_name = "AUD")]
    audiences: Vec<String>,
    /// The tenant, a GUID or a name, for the Entra presets.
    #[arg(long)]
    tenant: Option<String>,
    /// The application that asked: `azp`, `appid` or `client_id`.
    #[arg(long)]
    client: Option<String>,
    /// Who signed in [default: somebody, when there is a scope].
    #[arg(long)]
    user: Option<String>,
    /// A delegated permission (`scp`, or `scope` in a plain token); may be repeated.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// An application permission or role (`roles`); may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How long the token lives; `-5m` for one that is over since then.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime, allow_hyphen_values = true)]
    lifetime: i64,
    /// Any claim, as JSON or else as text; `NAME=null` takes a claim away. May be repeated.
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = member)]
    claims: Vec<(String, Value)>,
    /// Any member of the header, like a claim.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = member)]
    header: Vec<(String, Value)>,
    /// The form of what is printed: the token, or an object with token, header and claims.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Seconds; a minus sign is allowed.
fn lifetime(text: &str) -> Result<i64, String> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let seconds = Period::parse(rest)?.0.as_secs();
    Ok(sign * i64::try_from(seconds).map_err(|_| "the time is too long".to_owned())?)
}

fn member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value))))
}

/// A token, and what stands in it.
struct Minted {
    token: String,
    header: Value,
    claims: Value,
}

impl Mint {
    pub(super) fn run(self) -> u8 {
        let format = self.format;
        let minted = match &self.issuer {
            Some(url) => self.by_issuer(url),
            None => self.by_key(),
        };
        match minted {
            Ok(Minted { token, header, claims }) => {
                output::print(&match format {
                    Format::Text => format!("{token}\n"),
                    Format::Json => format!("{:#}\n", json!({ "token": token, "header": header, "claims": claims })),
                });
                exit::OK
            }
            Err(message) => {
                output::complain(&format!("error: {message}\n"));
                exit::FAILED
            }
        }
    }

    fn request(&self) -> MintRequest {
        let mut claims: Map<String, Value> = Map::new();
        claims.extend(self.iss.iter().map(|iss| ("iss".to_owned(), json!(iss))));
        claims.extend(self.claims.iter().cloned());
        let mut header: Map<String, Value> = Map::new();
        header.extend(self.kid.iter().map(|kid| ("kid".to_owned(), json!(kid))));
        header.extend(self.header.iter().cloned());
        MintRequest {
            preset: self.preset,
            tenant: self.tenant.clone(),
            client: self.client.clone(),
            audiences: self.audiences.clone(),
            user: self.user.clone(),
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
            lifetime: Some(self.lifetime),
            algorithm: self.algorithm.map(|algorithm| algorithm.name().to_owned()),
            header,
            claims,
        }
    }

    fn by_issuer(&self, url: &str) -> Result<Minted, String> {
        let answer = ask::mint(url, &self.request())?;
        let token = answer.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        let decoded = super::decode::Decoded::read(&token).map_err(|_| format!("`{url}` answered without a token"))?;
        Ok(Minted { token, header: Value::Object(decoded.header), claims: json!(decoded.claims) })
    }

    fn by_key(&self) -> Result<Minted, String> {
        let key = self.signing_key()?;
        let request = self.request();
        let mut grant = request.grant("");
        grant.issuer = match self.preset {
            Preset::Plain => String::new(),
            Preset::EntraV1 => format!("https://sts.windows.net/{}/", grant.tenant),
            Preset::EntraV2 => format!("https://login.microsoftonline.com/{}/v2.0", grant.tenant),
        };
        let mut claims = request.claims(&grant, Clock::system().wall(), &random_id());
        if claims.get("iss") == Some(&json!("")) {
            claims.shift_remove("iss");
        }
        let mut header = grant.header(key.id());
        crate::issuer::mint::lay_over(&mut header, &request.header);
        let token = key.sign(&header, &claims).map_err(|error| error.to_string())?;
        let decoded = super::decode::Decoded::read(&token)?;
        Ok(Minted { token, header: Value::Object(decoded.header), claims: Value::Object(claims) })
    }

    fn signing_key(&self) -> Result<SigningKey, String> {
        let path = self.key.as_ref().or(self.secret_file.as_ref()).ok_or("there is no key")?;
        let problem = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| problem(&error))?;
        if self.secret_file.is_some() {
            let text: String = text.split_ascii_whitespace().collect();
            let secret = STANDARD.decode(&text).map_err(|_| problem(&"the secret is not base64"))?;
            let algorithm = self.algorithm.unwrap_or(Algorithm::Hs256);
            return SigningKey::from_secret(&secret, algorithm).map_err(|error| problem(&error));
        }
        // Of several keys the first that can: a key file of the issuer has its newest first.
        let mut first = None;
        for section in text.split("-----BEGIN ").skip(1) {
            match SigningKey::all_from_pem(&format!("-----BEGIN {section}"), self.algorithm) {
                Ok(keys) => {
                    if let Some(key) = keys.into_iter().next() {
                        return Ok(key);
                    }
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.map_or_else(|| problem(&"there is no private key in PEM in it"), |error| problem(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_and_members() {
        assert_eq!(lifetime("1h30m"), Ok(5400));
        assert_eq!(lifetime("-5m"), Ok(-300));
        assert!(lifetime("soon").is_err() && lifetime("--1s").is_err());
        assert_eq!(member("level=3"), Ok(("level".to_owned(), json!(3))));
        assert_eq!(member("name=x=y"), Ok(("name".to_owned(), json!("x=y"))));
        assert_eq!(member("gone=null"), Ok(("gone".to_owned(), Value::Null)));
        assert!(member("x").is_err() && member("=1").is_err());
    }
}
