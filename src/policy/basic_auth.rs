//! Requires a user name and a password, and says who calls by them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period};
use crate::gateway::caller;
use crate::identity::basic::{Begun, Credentials, HashError, Malformed, Pending, Refused, UserError, Users};
use crate::identity::basic::{Settings, Verifier};
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Step};

/// Requires `Authorization: Basic` with a user name and a password ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)), and
/// makes the user known to what follows as `@consumer()`. (Azure API Management has no policy for it.)
///
/// Passwords are kept as hashes, bcrypt or argon2id; `htpasswd -nB -C 12 ada` makes one. Checking a password takes milliseconds
/// on purpose, which is why it happens apart from the threads that serve requests: a few at a time, with a short queue and then
/// `503` with `Retry-After`. Credentials that were found right are remembered for a while, until the next reload at the
/// latest. An address with too many wrong passwords is answered `429` for a while without a look at the next one, and whoever is
/// remembered is let in all the same.
///
/// Without credentials, or with wrong ones, the answer is `401` with a challenge. It does not tell whether the user exists;
/// the log says which check failed, and never holds a password.
///
/// ```toml
/// [[inbound]]
/// policy = "basic-auth"
/// realm  = "Contoso orders"
///
/// [inbound.users]
/// ada = "$2y$12$QLrN9Ao/2FkLpxsFJryL8u3z7st3OLzAW7zXjc6ofdoIMjQ3lQmgS"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BasicAuth {
    /// A file as Apache's `htpasswd -B` writes it, `name:hash` on each line, relative to the configuration folder. It is read
    /// again whenever it changes. Lines with another kind of hash (MD5, SHA-1, crypt, plain text) are mistakes.
    htpasswd_file: Option<At<String>>,
    /// Users by name, each with the hash of a password; `"{{named-value}}"` keeps the hash out of the file. Either these or
    /// `htpasswd-file`, or both.
    users: Option<BTreeMap<String, At<String>>>,
    /// What the challenge says that the password is for; people see it in their browser's dialogue. Default: the API's URL.
    realm: Option<At<String>>,
    /// Whether the credentials are taken off the request, so that the backend does not see them. Default `true`.
    strip: Option<bool>,
    /// How long credentials that were checked are remembered, right or wrong; `0s` is not at all, and costs a check for each
    /// request. Default `1m`.
    cache: Option<Period>,
    /// Wrong passwords that one address (of IPv6, one /64) may send within `failure-period`; then `429`. Default 20.
    max_failures: Option<NonZeroU32>,
    /// The time over which wrong passwords are counted. Default `1m`.
    failure_period: Option<At<Period>>,
}

impl Policy for BasicAuth {
    const NAME: &'static str = "basic-auth";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let mut users = Users::default();
        let mut failed = false;
        for (name, hash) in self.users.iter().flatten() {
            let added = users.add(name, hash.value.trim());
            failed |= cx.note(added.map_err(|error| wrong(hash, &error, None))).is_err();
        }
        if let Some(path) = &self.htpasswd_file {
            let text = cx.world.read_file(path).map_err(|message| CompileError::at(path, message).code("bad-file"))?;
            let text = String::from_utf8(text)
                .map_err(|_| CompileError::at(path, format!("`{}` is not UTF-8 text", path.value)).code("bad-file"))?;
            for (line, error) in users.add_file(&text) {
                failed |= cx.note::<()>(Err(wrong(path, &error, Some(line)))).is_err();
            }
        }
        if failed {
            return Err(CompileError::reported());
        }
        if users.is_empty() {
            return Err(match &self.htpasswd_file {
                Some(path) => CompileError::at(path, format!("there are no users in `{}`", path.value)),
                None => CompileError::whole("there are no users, so nobody could be let in")
                    .hint("`htpasswd-file = \"users.htpasswd\"`, or `users`"),
            });
        }
        let cheap: Vec<&str> = users.cheap().collect();
        if let Some(first) = cheap.first() {
            let message = format!(
                "{} of {} passwords have a bcrypt hash of a cost below 10, which is soon guessed: `{first}` …",
                cheap.len(),
                users.len()
            );
            let hint = "`htpasswd -B -C 12` makes better ones";
            match (&self.htpasswd_file, self.users.as_ref().and_then(|users| users.get(*first))) {
                (_, Some(hash)) => cx.warn(hash, "cheap-hash", message, hint),
                (Some(path), None) => cx.warn(path, "cheap-hash", message, hint),
                (None, None) => {}
            }
        }
        let realm = self.realm.as_ref().map(|realm| challenge(realm).ok_or_else(|| unfit(realm))).transpose()?;
        let period = match &self.failure_period {
            Some(period) if period.value.0.is_zero() => {
                return Err(CompileError::at(period, "within no time no failure would count"));
            }
            period => period.as_ref().map_or(Duration::from_secs(60), |period| period.value.0),
        };
        let settings = Settings {
            cache: self.cache.map_or(Duration::from_secs(60), |period| period.0),
            failures: self.max_failures.unwrap_or(const { NonZeroU32::new(20).unwrap() }),
            period,
        };
        let shared = &cx.world.shared;
        let verifier = Verifier::new(users, settings, shared.clock.clone(), shared.hashing.clone());
        Ok(Step::asynchronous(Compiled { verifier, realm, strip: self.strip.unwrap_or(true) }))
    }
}

fn unfit(realm: &At<String>) -> CompileError {
    CompileError::at(realm, "a realm cannot hold control characters").hint("RFC 9110 §11.5")
}

/// A user who cannot be added, at the hash or at the file.
fn wrong(place: &At<String>, error: &UserError, line: Option<usize>) -> CompileError {
    let message = match line {
        Some(line) => format!("`{}` line {line}: {error}", place.value),
        None => error.to_string(),
    };
    let hint = match error {
        UserError::Hash { source: HashError::Costly { .. }, .. } => {
            "bcrypt with a cost of at most 14, argon2id with at most 256 MiB"
        }
        UserError::Hash { .. } => {
            "bcrypt (`$2y$…`, as `htpasswd -nB -C 12 NAME` prints it) or argon2id (`$argon2id$…`)"
        }
        UserError::Line => "`name:hash` on each line; `#` begins a comment",
        UserError::Name | UserError::Twice(_) => "each user has a name of its own",
    };
    CompileError::at(place, message).code("bad-user").hint(hint)
}

/// RFC 7617 §2 and §2.1.
fn challenge(realm: &str) -> Option<HeaderValue> {
    let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"")).ok()
}

// === impl ApplyAsync: a password that was not seen lately is checked on another thread ===

struct Compiled {
    verifier: Verifier,
    realm: Option<HeaderValue>,
    strip: bool,
}

/// How far a request came without waiting.
enum Looked {
    Ended(Result<Flow, Fault>),
    Waits(Pending),
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        match call.with(|cx| self.look(cx)) {
            Looked::Ended(flow) => Box::pin(std::future::ready(flow)),
            Looked::Waits(pending) => Box::pin(async move {
                let verdict = pending.done().await;
                call.with(|cx| self.end(cx, verdict))
            }),
        }
    }
}

impl Compiled {
    fn look(&self, cx: &mut Context<'_>) -> Looked {
        match Credentials::parse(cx.message.headers()) {
            Ok(Some(credentials)) => match self.verifier.begin(credentials, cx.exchange.client_ip) {
                Begun::Known(verdict) => Looked::Ended(self.end(cx, verdict)),
                Begun::Waits(pending) => Looked::Waits(pending),
            },
            Ok(None) => {
                // What stands there may be a secret, scheme or not.
                let found = match cx.message.headers().contains_key(AUTHORIZATION) {
                    true => "`Authorization` is of another scheme than `Basic`",
                    false => "there is no `Authorization`",
                };
                let cause = Some(found.to_owned());
                Looked::Ended(Err(self.refuse(cx, "BasicCredentialsNotPresent", MISSING, cause)))
            }
            Err(malformed) => Looked::Ended(Err(self.malformed(cx, malformed))),
        }
    }

    fn end(&self, cx: &mut Context<'_>, verdict: Result<std::sync::Arc<str>, Refused>) -> Result<Flow, Fault> {
        match verdict {
            Ok(user) => {
                cx.state.consumer = Some(user);
                if self.strip {
                    cx.message.headers_mut().remove(AUTHORIZATION);
                }
                Ok(Flow::Next)
            }
            Err(refused) => Err(self.refused(cx, refused)),
        }
    }

    #[cold]
    fn refused(&self, cx: &Context<'_>, refused: Refused) -> Fault {
        let metrics = &cx.exchange.gateway.metrics;
        let wait = |seconds: u64| HeaderValue::from(seconds);
        match refused {
            Refused::UnknownUser | Refused::WrongPassword => {
                self.refuse(cx, "BasicCredentialsInvalid", INVALID, Some(refused.to_string()))
            }
            Refused::TooManyFailures { seconds } => {
                metrics.auth_failure("BasicTooManyFailures");
                let message = format!("Too many failed attempts. Try again in {seconds} seconds.");
                Fault::client(StatusCode::TOO_MANY_REQUESTS, "BasicTooManyFailures", message)
                    .header(RETRY_AFTER, wait(seconds))
                    .cause(refused)
            }
            Refused::Busy => {
                metrics.auth_failure("BasicChecksBusy");
                let mut fault = Fault::internal("BasicChecksBusy", "too many passwords wait to be checked")
                    .public("The gateway is checking too many passwords. Try again in 1 seconds.")
                    .header(RETRY_AFTER, wait(1));
                fault.status = StatusCode::SERVICE_UNAVAILABLE;
                fault
            }
        }
    }

    #[cold]
    fn malformed(&self, cx: &Context<'_>, malformed: Malformed) -> Fault {
        self.refuse(cx, "BasicCredentialsMalformed", INVALID, Some(malformed.to_string()))
    }

    #[cold]
    fn refuse(&self, cx: &Context<'_>, reason: &'static str, message: &'static str, cause: Option<String>) -> Fault {
        cx.exchange.gateway.metrics.auth_failure(reason);
        let api = cx.exchange.operation.as_ref().map(|operation| &operation.api);
        let realm = || challenge(&api.map(|api| caller::realm(cx.exchange, api)).unwrap_or_default());
        let fault = Fault::client(StatusCode::UNAUTHORIZED, reason, message);
        let fault = match cause {
            Some(cause) => fault.cause(cause),
            None => fault,
        };
        match self.realm.clone().or_else(realm) {
            Some(challenge) => fault.header(WWW_AUTHENTICATE, challenge),
            None => fault,
        }
    }
}

const MISSING: &str = "Access denied due to missing credentials. Make sure to send a user name and a password.";
const INVALID: &str = "Access denied due to invalid credentials. Make sure that user name and password are right.";
