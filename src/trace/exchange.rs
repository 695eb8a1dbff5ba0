//! The trace of an exchange that has ended, made of its notes and its facts.

use super::mask::Scrubber;
use super::model::{Caller, Data, Matched, Trace};
use super::recorder::{Record, Recorder, Whose};
use crate::body::{BodyError, End};
use crate::pipeline::{Exchange, State};

impl Recorder {
    /// Keeps the trace of an exchange that has ended. `state` is that of the exchange.
    pub(crate) fn finish(&self, exchange: &Exchange, state: &State, end: &End<'_>) {
        let tracing = &self.tracing;
        let mut record = std::mem::take(&mut *self.record.lock());
        for (whose, body) in std::mem::take(&mut record.passing) {
            let shown = body.shown(&tracing.redactor, &mut record.learned);
            match whose {
                Whose::Request => record.request.body = shown,
                Whose::Answer => record.answer.body = shown,
                Whose::Call(entry) => {
                    if let Some(Data::Call(call)) = record.entries.get_mut(entry).map(|entry| &mut entry.data)
                        && let Some(answer) = &mut call.answer
                    {
                        answer.body = shown;
                    }
                }
            }
        }
        let Record { mut request, entries, left_out, mut answer, missed, learned, .. } = record;
        request.url = format!("{}://{}{}", exchange.scheme(), exchange.authority(), request.url);
        answer.status = state.status.as_u16();
        let mut trace = Trace {
            id: exchange.request_id.to_str().unwrap_or_default().to_owned(),
            time: Some(exchange.time),
            duration: exchange.gateway.clock.now().since(exchange.started),
            request,
            matched: matched(exchange, state, missed),
            caller: caller(exchange, state),
            entries,
            left_out,
            answer,
            ended: ended(end, exchange),
            size: 0,
        };
        trace.scrub(&Scrubber::new(&tracing.secrets, learned.all()));
        tracing.traces.push(trace, tracing.keep);
    }
}

fn matched(exchange: &Exchange, state: &State, missed: Option<String>) -> Matched {
    let operation = exchange.operation.as_ref();
    let api = operation.map(|operation| &operation.api).or(state.missed.as_ref());
    let template = operation.map(|operation| {
        let method = operation.method.as_ref().map_or("*", http::Method::as_str);
        format!("{method} {}", operation.template.as_str())
    });
    Matched {
        api: api.map(|api| api.name.to_string()),
        operation: operation.map(|operation| operation.name.to_string()),
        template,
        product: state.product.as_ref().map(|product| product.name.to_string()),
        missed,
    }
}

fn caller(exchange: &Exchange, state: &State) -> Caller {
    let subscription = state.subscription.as_ref().map(|subscription| &*subscription.id);
    let connection = exchange.operation.as_ref().and_then(|operation| operation.api.connections.of(subscription));
    Caller {
        address: exchange.client_ip.to_string(),
        subscription: subscription.map(str::to_owned),
        consumer: state.consumer().map(str::to_owned),
        connection: connection.map(|connection| connection.name.to_string()),
    }
}

/// How the answer ended, when not as it should.
fn ended(end: &End<'_>, exchange: &Exchange) -> Option<&'static str> {
    match end.error {
        Some(BodyError::Late) => Some("the body of the answer was not at its end in time, and was cut off"),
        Some(_) => Some("the body of the answer broke off"),
        None if !end.complete && exchange.method != http::Method::HEAD => {
            Some("the client left before the end of the answer")
        }
        None => None,
    }
}
