//! Trouble on demand: an endpoint that is down, slow, endless, redirecting or talking nonsense.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use super::reply::Reply;
use super::route::Route;
use crate::server::simple::Hangup;

/// Faults at one time.
const MAX_FAULTS: usize = 64;
/// The longest wait.
const MAX_SECONDS: f64 = 600.0;

/// What goes wrong where; see `POST /-/faults`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Fault {
    endpoint: Endpoint,
    kind: Kind,
    /// How long `slow` takes.
    #[serde(default = "half_a_minute")]
    seconds: f64,
    /// The status of `status`.
    #[serde(default = "unavailable")]
    status: u16,
    /// How often; without it, until it is cleared.
    times: Option<u64>,
}

fn half_a_minute() -> f64 {
    30.0
}

fn unavailable() -> u16 {
    503
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Endpoint {
    All,
    Discovery,
    Keys,
    Token,
    Authorize,
    Identity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// The connection is closed without an answer.
    Down,
    /// The answer comes after `seconds`.
    Slow,
    /// An error status.
    Status,
    /// A body without end.
    Huge,
    /// To a place that would answer.
    Redirect,
    /// A page for people, with status 200.
    Html,
    /// JSON that is something else.
    Wrong,
    /// A key set without keys.
    Empty,
}

/// The faults in force, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) -> Result<(), &'static str> {
        let mut faults = self.0.lock();
        if faults.len() >= MAX_FAULTS {
            return Err("there are 64 faults already");
        }
        if !(0.0..=MAX_SECONDS).contains(&fault.seconds) {
            return Err("`seconds` is 0 to 600");
        }
        if fault.times == Some(0) {
            return Err("`times` is at least 1");
        }
        if !(200..=599).contains(&fault.status) {
            return Err("`status` is 200 to 599");
        }
        faults.push(fault);
        Ok(())
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// What a request meets in place of its answer; nothing when all is well, at once or after a wait.
    pub(super) async fn meet(&self, route: Option<&Route>) -> Option<Result<Reply, Hangup>> {
        let fault = self.next(route?)?;
        Some(match fault.kind {
            Kind::Down => Err(Hangup),
            Kind::Slow => {
                tokio::time::sleep(Duration::try_from_secs_f64(fault.seconds).unwrap_or_default()).await;
                return None;
            }
            Kind::Status => Ok(Reply::error(fault.status, "temporarily_unavailable", "a fault that was asked for")),
            Kind::Huge => Ok(Reply::endless()),
            Kind::Redirect => Ok(Reply::redirect("/jwks")),
            Kind::Html => Ok(Reply::new(200, "text/html", "<!doctype html><title>Sign in</title><p>Please sign in.")),
            Kind::Wrong => Ok(Reply::new(200, "application/json", "{\"error\":\"not what was asked for\"}")),
            Kind::Empty => Ok(Reply::new(200, "application/json", "{\"keys\":[]}")),
        })
    }

    fn next(&self, route: &Route) -> Option<Fault> {
        let endpoint = match route {
            Route::Discovery(_) => Endpoint::Discovery,
            Route::Keys => Endpoint::Keys,
            Route::Token(_) => Endpoint::Token,
            Route::Authorize(_) => Endpoint::Authorize,
            Route::Metadata | Route::AppService => Endpoint::Identity,
            // What ends trouble must not be in trouble.
            Route::Index | Route::UserInfo | Route::Rotate | Route::Mint | Route::Faults => return None,
        };
        let mut faults = self.0.lock();
        let at = faults.iter().position(|fault| fault.endpoint == endpoint || fault.endpoint == Endpoint::All)?;
        let fault = faults[at].clone();
        if let Some(left) = &mut faults[at].times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                faults.remove(at);
            }
        }
        Some(fault)
    }
}
