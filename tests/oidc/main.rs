//! Tokens of real providers: a certified OpenID provider (npm's `oidc-provider`) and `sluicegate issuer`, both over real HTTP.
//!
//! The two run the same tables. `tests/run` installs Node.js and the provider; by hand it is `npm ci --prefix tests/oidc`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod matrix;
mod provider;
mod rotation;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use std::time::Duration;

use serde_json::Value;
use sluicegate::clock::Clock;

use provider::Provider;
use support::backend::Backend;
use support::gateway::Gateway;
use support::wire::Message;

/// A clock that stands at the time of the providers until a test moves it.
fn clock() -> Clock {
    let clock = Clock::manual();
    let now = Clock::system().wall().duration_since(clock.wall()).expect("a system clock that shows 2026 or later");
    clock.advance(now + Duration::from_secs(1));
    clock
}

/// A provider, and a gateway that accepts its tokens in front of a backend.
struct Setup {
    provider: Provider,
    gateway: Gateway,
    backend: Backend,
}

/// What became of a request.
#[derive(Debug, PartialEq)]
struct Found {
    status: u16,
    /// Why it was refused, as on-error sees it; empty when it was not.
    reason: String,
    /// What follows the realm in `WWW-Authenticate`.
    challenge: String,
    /// The message of the answer's body.
    message: String,
}

impl Setup {
    fn new(provider: Provider, clock: Clock) -> Self {
        let backend = Backend::start();
        let gateway = format!(
            "[backends.upstream]\nurl = \"http://{}\"\n[issuers.idp]\nopenid-config = \"{}\"\n",
            backend.address, provider.discovery
        );
        let api = include_str!("api.toml");
        let files = [("gateway.toml", gateway.as_str()), ("orders.toml", api)];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec();
        let started = Gateway::start_at(clock, files, None);
        let gateway = started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics));
        Self { provider, gateway, backend }
    }

    /// Asks with these fields.
    #[track_caller]
    fn ask(&self, path: &str, fields: Vec<(String, String)>) -> Found {
        let request = Message { first_line: format!("GET /orders{path}"), fields, body: Vec::new() };
        let answer = self.gateway.send(&request).unwrap();
        let status = answer.first_line.split(' ').nth(1).unwrap().parse().unwrap();
        let reached = !self.backend.take().is_empty();
        assert_eq!(reached, status == 200, "whoever is refused does not reach the backend, and everybody else does");
        let challenge = answer.field("www-authenticate").unwrap_or_default();
        let challenge = challenge.strip_prefix("Bearer realm=\"http://gateway.test/orders\"").unwrap_or(challenge);
        let message = if status == 200 {
            String::new()
        } else {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["statusCode"], status);
            body["message"].as_str().unwrap().to_owned()
        };
        let reason = answer.field("x-reason").unwrap_or_default().to_owned();
        Found { status, reason, challenge: challenge.trim_start_matches(", ").to_owned(), message }
    }

    /// `ok`, or the reason of the refusal.
    #[track_caller]
    fn call(&self, token: &str) -> String {
        let found = self.ask("/", vec![("authorization".to_owned(), format!("Bearer {token}"))]);
        if found.status == 200 { "ok".to_owned() } else { found.reason }
    }
}
