//! Requests for tokens in a trace: what went over the wire, without a secret.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::{Map, Value as Json};

use super::body::Shown;
use super::mask::Learned;
use super::model::{Call, Callee, Data, Failure, Head};
use super::recorder::{Record, Recorder};
use crate::body::Body;
use crate::credential::Asked;
use crate::pipeline::{Exchange, Origin};
use crate::telemetry::Redactor;
use crate::telemetry::redact::MASK;

/// What an answer with a token may say besides the token (RFC 6749 §5.1, RFC 8693 §2.2.1, and what Azure adds). All other text in it
/// may be a token of some kind.
const PLAIN: [&str; 11] = [
    "token_type",
    "expires_in",
    "ext_expires_in",
    "expires_on",
    "not_before",
    "refresh_in",
    "refresh_token_expires_in",
    "issued_token_type",
    "scope",
    "resource",
    "client_id",
];

impl Recorder {
    /// A token was asked for: while this request waited so long, or before, when it did not wait.
    pub(crate) fn asked(&self, exchange: &Exchange, origin: &Arc<Origin>, asked: &Asked, waited: Option<Duration>) {
        let redactor = &self.tracing.redactor;
        let mut record = self.record.lock();
        let watched = &asked.watched;
        let sent = !watched.url.is_empty();
        let mut request = record.head(redactor, &watched.headers, &Body::from(watched.body.clone()));
        request.method = watched.method.to_string();
        request.url = record.learned.url(redactor, &watched.url);
        let answer = watched.answer.as_ref().map(|answer| answer_of(&mut record, redactor, answer));
        let failure = asked.error.as_ref().map(|message| Failure {
            reason: "TokenUnavailable",
            status: None,
            message: message.clone(),
        });
        let call = Call {
            callee: Callee::TokenSource { waited },
            name: asked.source.to_string(),
            number: 1,
            sent: sent.into(),
            request,
            answer,
            failure,
        };
        record.weight(call.request.weight() + call.answer.as_ref().map_or(0, Head::weight));
        let entry = record.add(exchange, origin.policy, origin, Data::Call(Box::new(call)));
        if let Some(entry) = entry.and_then(|entry| record.entries.get_mut(entry)) {
            // One that was under way before the request came began with it, as far as the request goes.
            entry.at = asked.began.since(exchange.started);
            entry.elapsed = Some(asked.took);
        }
    }
}

fn answer_of(record: &mut Record, redactor: &Redactor, answer: &Response<Bytes>) -> Head {
    let (bytes, headers) = (answer.body(), answer.headers());
    let mut head = record.head(redactor, headers, &Body::Empty);
    head.status = answer.status().as_u16();
    head.body = if answer.status().is_success() {
        token(bytes, redactor, &mut record.learned)
    } else {
        Shown::of(bytes, headers, redactor, &mut record.learned)
    };
    head
}

/// The body of an answer with a token: the names of its members, and the values of those that are no secrets.
fn token(bytes: &Bytes, redactor: &Redactor, learned: &mut Learned) -> Shown {
    let Ok(members) = serde_json::from_slice::<Map<String, Json>>(bytes) else {
        return match bytes.len() {
            0 => Shown::Empty,
            length => Shown::Hidden { length: Some(length as u64), why: "no JSON, which may hold a token" },
        };
    };
    let shown: Map<String, Json> = members
        .into_iter()
        .map(|(name, value)| match value {
            value if PLAIN.contains(&name.as_str()) => (name, value),
            Json::Null | Json::Bool(_) | Json::Number(_) => (name, value),
            value => {
                if let Json::String(secret) = &value {
                    learned.learn(secret);
                }
                (name, MASK.into())
            }
        })
        .collect();
    let shown = Json::from(shown).to_string();
    match Shown::of(shown.as_bytes(), &HeaderMap::new(), redactor, learned) {
        Shown::Text { text, cut, coding, .. } => Shown::Text { text, length: bytes.len() as u64, cut, coding },
        other => other,
    }
}
