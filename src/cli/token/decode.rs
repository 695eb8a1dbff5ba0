//! `token decode`: what a token says, without any judgement of whether it is true.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Format, input};
use crate::cli::{exit, output};
use crate::clock::Clock;

/// Microsoft Graph, whose tokens nobody else can verify.
const GRAPH: [&str; 3] =
    ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"];
/// Claims that are times (RFC 7519 §4.1, OpenID Connect Core 1.0 §2).
const TIMES: [&str; 5] = ["iat", "nbf", "exp", "auth_time", "updated_at"];
/// A token of a longer life cannot be called back for too long.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Show the header and the claims of a token, without verifying it.
///
/// The token is read from standard input, so that it does not land in the shell's history. A header's name, `Bearer`, quotes
/// and line breaks around it are taken off. Nothing is sent anywhere. Exits with 1 for text that is no token.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pbpaste | sluicegate token decode
  printf %s \"$TOKEN\" | sluicegate token decode --format json | jq .claims.scp")]
pub struct Decode {
    /// The token; standard input when it is missing or `-`.
    token: Option<String>,
    /// The form of what is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Decode {
    pub(super) fn run(&self) -> u8 {
        let decoded = input::token(self.token.as_deref()).and_then(|token| Decoded::read(&token));
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(message) => {
                output::complain(&format!("error: {message}\n"));
                return exit::FAILED;
            }
        };
        let now = Clock::system().wall();
        output::print(&match self.format {
            Format::Text => decoded.text(now),
            Format::Json => format!("{:#}\n", decoded.json(now)),
        });
        exit::OK
    }
}

/// A token, taken apart.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) header: Map<String, Value>,
    /// The claims; none when they are encrypted.
    pub(super) claims: Option<Map<String, Value>>,
    signature: usize,
}

impl Decoded {
    pub(super) fn read(token: &str) -> Result<Self, String> {
        let parts: Vec<&str> = token.split('.').collect();
        if parts.len() != 3 && parts.len() != 5 {
            let hint = if parts.len() == 1 { "; an opaque token says nothing to anyone but its issuer" } else { "" };
            return Err(format!("a token has three parts separated by dots, and this has {}{hint}", parts.len()));
        }
        let object = |part: &str, what: &str| -> Result<Map<String, Value>, String> {
            // Padding is not allowed here (RFC 7515 §2), which `Verifier`s say and readers need not mind.
            let bytes = URL_SAFE_NO_PAD
                .decode(part.trim_end_matches('='))
                .map_err(|_| format!("the {what} is not base64url"))?;
            serde_json::from_slice(&bytes).map_err(|_| format!("the {what} is not a JSON object"))
        };
        let header = object(parts[0], "header")?;
        let claims = if parts.len() == 3 { Some(object(parts[1], "payload")?) } else { None };
        let signature = if parts.len() == 3 { parts[2].trim_end_matches('=').len() * 3 / 4 } else { 0 };
        Ok(Self { header, claims, signature })
    }

    /// What somebody who debugs should know.
    pub(super) fn warnings(&self, now: SystemTime) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |text: String| warnings.push(text);
        let algorithm = self.header.get("alg").and_then(Value::as_str);
        match algorithm {
            None => warn("there is no `alg`, so no verifier takes it".to_owned()),
            Some(none) if none.eq_ignore_ascii_case("none") => {
                warn("it is not signed (`alg` is `none`): anybody can have written it".to_owned());
            }
            Some(name) if name.starts_with("HS") => {
                warn(format!("{} is made with a shared secret: whoever can verify it can make one", clean(name)));
            }
            Some(_) => {}
        }
        for name in ["jku", "jwk", "x5u", "x5c"].iter().filter(|name| self.header.contains_key(**name)) {
            warn(format!("the header names its own key (`{name}`), which no verifier should follow"));
        }
        if self.header.contains_key("crit") {
            warn("the header demands extensions (`crit`), which the gateway refuses".to_owned());
        }
        let Some(claims) = &self.claims else {
            warn("it is encrypted (five parts): only its recipient can read it, and the gateway refuses it".to_owned());
            return warnings;
        };
        if self.header.contains_key("nonce") || audiences(claims).any(|audience| GRAPH.contains(&audience)) {
            warn(
                "it is for Microsoft Graph, and cannot be verified by anyone else: ask for a scope of your own API \
                 (`api://…/access_as_user`)"
                    .to_owned(),
            );
        }
        let time = |name: &str| claims.get(name).and_then(Value::as_f64).and_then(time);
        match (claims.get("exp"), time("exp")) {
            (None, _) => warn("there is no `exp`: it never ends, and the gateway refuses it by default".to_owned()),
            (Some(_), None) => warn("`exp` is not a number of seconds since 1970".to_owned()),
            (Some(_), Some(end)) if end <= now => warn(format!("it expired {}", distance(end, now))),
            (Some(_), Some(end)) => {
                let begin = time("iat").or_else(|| time("nbf"));
                if let Some(Ok(life)) =
                    begin.map(|begin| end.duration_since(begin)).filter(|it| it.as_ref().is_ok_and(|life| *life > LONG))
                {
                    warn(format!(
                        "it lives for {}, which is long for something that cannot be called back",
                        length(life)
                    ));
                }
            }
        }
        if let Some(begin) = time("nbf").filter(|begin| *begin > now) {
            warn(format!("it is valid only from {} on, {}", date(begin), distance(begin, now)));
        }
        if audiences(claims).next().is_none() {
            warn("there is no `aud`: it does not say for which API it is".to_owned());
        }
        if claims.get("iss").is_none() {
            warn("there is no `iss`: it does not say who issued it".to_owned());
        }
        if claims.contains_key("nonce") && !claims.contains_key("scp") && !claims.contains_key("scope") {
            warn(
                "it looks like an id token: it is for the application that signed somebody in, not for an API"
                    .to_owned(),
            );
        }
        warnings
    }

    fn json(&self, now: SystemTime) -> Value {
        json!({
            "verified": false,
            "header": self.header,
            "claims": self.claims,
            "signatureBytes": self.signature,
            "times": self.times().map(|(name, time)| (name.to_owned(), json!(date(time)))).collect::<Map<_, _>>(),
            "warnings": self.warnings(now),
        })
    }

    fn times(&self) -> impl Iterator<Item = (&'static str, SystemTime)> {
        TIMES.into_iter().filter_map(|name| Some((name, time(self.claims.as_ref()?.get(name)?.as_f64()?)?)))
    }

    fn text(&self, now: SystemTime) -> String {
        let mut out = String::from("Not verified: this is what the token says, true or not.\n\nheader\n");
        members(&mut out, &self.header, now, false);
        out.push_str("\nclaims\n");
        match &self.claims {
            Some(claims) => members(&mut out, claims, now, true),
            None => out.push_str("  encrypted\n"),
        }
        let _ = writeln!(out, "\nsignature\n  {} bytes, not verified", self.signature);
        let warnings = self.warnings(now);
        if !warnings.is_empty() {
            out.push_str("\nwarnings\n");
            for warning in warnings {
                let _ = writeln!(out, "  {warning}");
            }
        }
        out
    }
}

fn members(out: &mut String, members: &Map<String, Value>, now: SystemTime, with_times: bool) {
    let width = members.keys().map(|name| name.chars().count()).max().unwrap_or_default().min(24);
    for (name, value) in members {
        let shown = match value {
            Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        };
        let when = value.as_f64().filter(|_| with_times && TIMES.contains(&name.as_str())).and_then(time);
        let when = when.map(|when| format!("  {}, {}", date(when), distance(when, now))).unwrap_or_default();
        let _ = writeln!(out, "  {:width$}  {shown}{when}", clean(name));
    }
}

/// A text of others for a terminal: nothing that moves the cursor or turns the direction of writing.
pub(super) fn clean(text: &str) -> String {
    let risky = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::new(), |mut out, c| {
        if risky(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}

fn audiences(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let one = claims.get("aud").and_then(Value::as_str);
    let several = claims.get("aud").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    one.into_iter().chain(several.iter().filter_map(Value::as_str))
}

/// RFC 7519 §2: seconds since 1970, not necessarily whole.
fn time(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

pub(super) fn date(time: SystemTime) -> String {
    let second = |time: jiff::Timestamp| jiff::Timestamp::from_second(time.as_second()).unwrap_or(time);
    jiff::Timestamp::try_from(time).map_or_else(|_| "a date out of range".to_owned(), |time| second(time).to_string())
}

/// `in 5 minutes`, `3 days ago`.
fn distance(time: SystemTime, now: SystemTime) -> String {
    match time.duration_since(now) {
        Ok(ahead) if ahead.as_secs() > 0 => format!("in {}", length(ahead)),
        Ok(_) => "now".to_owned(),
        Err(behind) => format!("{} ago", length(behind.duration())),
    }
}

/// The largest unit that gives at least two, or one of the smallest.
fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        172_800.. => (seconds / 86_400, "day"),
        7_200.. => (seconds / 3_600, "hour"),
        120.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn token(header: &Value, claims: &Value) -> Decoded {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        Decoded::read(&format!("{}.{}.{}", part(header), part(claims), "c2lnbmVk")).unwrap()
    }

    #[test]
    fn shown_with_times() {
        let claims = json!({ "iss": "https://i", "aud": "orders", "iat": NOW - 60, "exp": NOW + 3540, "x": "a\u{1b}[2J\u{202e}" });
        let want = "\
Not verified: this is what the token says, true or not.

header
  alg  RS256

claims
  iss  https://i
  aud  orders
  iat  1767225540  2025-12-31T23:59:00Z, 60 seconds ago
  exp  1767229140  2026-01-01T00:59:00Z, in 59 minutes
  x    a\\u{1b}[2J\\u{202e}

signature
  6 bytes, not verified
";
        let decoded = token(&json!({ "alg": "RS256" }), &claims);
        assert_eq!(decoded.text(now()), want);
        let json = decoded.json(now());
        assert_eq!((&json["verified"], &json["times"]["exp"]), (&json!(false), &json!("2026-01-01T00:59:00Z")));
        assert_eq!(json["claims"], claims);
    }

    #[test]
    fn warnings() {
        struct Case {
            header: Value,
            claims: Value,
            want: &'static [&'static str],
        }
        let rs = || json!({ "alg": "RS256", "kid": "a" });
        for Case { header, claims, want } in [
            Case { header: rs(), claims: json!({ "iss": "i", "aud": "a", "exp": NOW + 1 }), want: &[] },
            Case {
                header: json!({ "alg": "None" }),
                claims: json!({ "iss": "i", "aud": "a", "exp": NOW + 1 }),
                want: &["it is not signed"],
            },
            Case {
                header: json!({ "alg": "HS256", "jku": "http://x" }),
                claims: json!({ "iss": "i", "aud": "a", "exp": NOW + 1 }),
                want: &["HS256 is made with a shared secret", "the header names its own key (`jku`)"],
            },
            Case {
                header: rs(),
                claims: json!({}),
                want: &["there is no `exp`", "there is no `aud`", "there is no `iss`"],
            },
            Case { header: rs(), claims: json!({ "iss": "i", "aud": ["a"], "exp": NOW }), want: &["it expired now"] },
            Case {
                header: rs(),
                claims: json!({ "iss": "i", "aud": ["a"], "exp": NOW - 7200 }),
                want: &["it expired 2 hours ago"],
            },
            Case {
                header: rs(),
                claims: json!({ "iss": "i", "aud": "a", "exp": "soon" }),
                want: &["`exp` is not a number"],
            },
            Case {
                header: rs(),
                claims: json!({ "iss": "i", "aud": "a", "exp": NOW + 90, "nbf": NOW + 60 }),
                want: &["it is valid only from 2026-01-01T00:01:00Z on, in 60 seconds"],
            },
            Case {
                header: rs(),
                claims: json!({ "iss": "i", "aud": "a", "iat": NOW, "exp": NOW + 30 * 86_400 }),
                want: &["it lives for 30 days"],
            },
            Case {
                header: rs(),
                claims: json!({ "iss": "i", "aud": GRAPH[0], "exp": NOW + 1 }),
                want: &["it is for Microsoft Graph"],
            },
            Case {
                header: rs(),
                claims: json!({ "iss": "i", "aud": "app", "exp": NOW + 1, "nonce": "n" }),
                want: &["it looks like an id token"],
            },
        ] {
            let found = token(&header, &claims).warnings(now());
            assert_eq!(found.len(), want.len(), "{header} {claims}: {found:?}");
            for (found, want) in found.iter().zip(want) {
                assert!(found.starts_with(want), "{header} {claims}: {found}");
            }
        }
        let encrypted =
            Decoded::read(&format!("{}.k.i.c.t", URL_SAFE_NO_PAD.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)));
        assert!(encrypted.unwrap().warnings(now())[0].starts_with("it is encrypted"));
    }

    #[test]
    fn what_is_no_token_is_told_apart() {
        for (text, want) in [
            ("abc", "three parts separated by dots, and this has 1; an opaque token"),
            ("a.b", "and this has 2"),
            ("!.e30.x", "the header is not base64url"),
            ("e30.W10.x", "the payload is not a JSON object"),
        ] {
            let found = Decoded::read(text).unwrap_err();
            assert!(found.contains(want), "{text}: {found}");
        }
    }
}
