//! A trace as JSON, in the shape of Azure API Management's, with what it does not tell beside it.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

use super::body::Shown;
use super::change::{BodyChange, Change, Difference};
use super::model::{Call, Callee, Data, Entry, Failure, Head, Note, Outcome, Step, Trace};
use super::places::{Excerpt, Places};
use super::text;

/// The traces there are, the newest first.
pub fn list<'t>(traces: impl IntoIterator<Item = &'t Trace>) -> Json {
    let all = traces.into_iter().map(|trace| {
        json!({
            "traceId": trace.id,
            "time": trace.time.map(timestamp),
            "method": trace.request.method,
            "url": trace.request.url,
            "api": trace.matched.api,
            "operation": trace.matched.operation,
            "status": trace.answer.status,
            "elapsed": span(trace.duration),
        })
    });
    json!({ "traces": all.collect::<Vec<Json>>() })
}

/// A trace.
///
/// `traceEntries` has the sections and the entries (`source`, `timestamp`, `elapsed`, `data`) of Azure API Management's traces:
/// `elapsed` is the time since the beginning of the request.
pub fn trace(trace: &Trace) -> Json {
    let section = |name: &str| -> Vec<Json> {
        trace.entries.iter().filter(|one| one.section == name).map(|one| entry(trace, one)).collect()
    };
    let mut inbound = vec![arrived(trace), matched(trace)];
    inbound.extend(section("inbound"));
    let mut outbound = section("outbound");
    outbound.push(json!({
        "source": "transfer-response",
        "timestamp": at(trace, trace.duration),
        "elapsed": span(trace.duration),
        "data": without_nulls(json!({
            "response": answer(&trace.answer),
            "message": trace.ended.unwrap_or("Response has been sent to the caller in full."),
        })),
    }));
    without_nulls(json!({
        "traceId": trace.id,
        "time": trace.time.map(timestamp),
        "duration": span(trace.duration),
        "status": trace.answer.status,
        "leftOut": (trace.left_out > 0).then_some(trace.left_out),
        "traceEntries": {
            "inbound": inbound,
            "backend": section("backend"),
            "outbound": outbound,
            "on-error": section("on-error"),
        },
    }))
}

fn arrived(trace: &Trace) -> Json {
    json!({
        "source": "api-inspector",
        "timestamp": at(trace, Duration::ZERO),
        "elapsed": span(Duration::ZERO),
        "data": { "request": request(&trace.request) },
    })
}

fn matched(trace: &Trace) -> Json {
    let (matched, caller) = (&trace.matched, &trace.caller);
    let parameters: Map<String, Json> =
        matched.parameters.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let parameters = (!parameters.is_empty()).then_some(parameters);
    json!({
        "source": "api-inspector",
        "timestamp": at(trace, Duration::ZERO),
        "elapsed": span(Duration::ZERO),
        "data": { "configuration": without_nulls(json!({
            "api": matched.api,
            "operation": matched.operation,
            "match": matched.template,
            "parameters": parameters,
            "notMatched": matched.missed,
            "product": matched.product,
            "caller": without_nulls(json!({
                "address": caller.address,
                "subscription": caller.subscription,
                "consumer": caller.consumer,
                "connection": caller.connection,
            })),
        }))},
    })
}

fn entry(trace: &Trace, entry: &Entry) -> Json {
    let mut data = match &entry.data {
        Data::Step(step) => step_data(step),
        Data::Again { number, change } => {
            let mut data = changes(change);
            data.insert("pass".to_owned(), (*number).into());
            data
        }
        Data::Call(call) => call_data(call),
        Data::Note(note) => note_data(note),
        Data::Failed(failure) => [("error".to_owned(), failed(failure))].into_iter().collect(),
    };
    if let Some(origin) = &entry.origin {
        data.insert(
            "policy".to_owned(),
            without_nulls(json!({
                "path": origin.path,
                "id": origin.id,
                "scope": origin.scope,
                "place": origin.place,
            })),
        );
    }
    data.insert("took".to_owned(), entry.elapsed.map_or(Json::Null, |elapsed| span(elapsed).into()));
    json!({
        "source": entry.source,
        "timestamp": at(trace, entry.at),
        "elapsed": span(entry.at),
        "data": without_nulls(data.into()),
    })
}

fn step_data(step: &Step) -> Map<String, Json> {
    let mut data = changes(&step.change);
    if let Some(passed) = step.passed {
        data.insert("passes".to_owned(), passed.into());
    }
    if !step.back.is_empty() {
        data.insert("answerChanged".to_owned(), changes(&step.back).into());
    }
    match &step.outcome {
        Outcome::CutOff => drop(data.insert("cutOff".to_owned(), true.into())),
        Outcome::Next => {
            let nothing = step.change.is_empty() && step.back.is_empty() && !step.holds_others;
            if nothing && step.passed.is_none() {
                data.insert("message".to_owned(), "nothing changed".into());
            }
        }
        Outcome::Answered(head) => drop(data.insert("response".to_owned(), answer(head))),
        Outcome::Failed(failure) => drop(data.insert("error".to_owned(), failed(failure))),
        Outcome::FailedInside => drop(data.insert("message".to_owned(), "an error passed through".into())),
    }
    data
}

fn call_data(call: &Call) -> Map<String, Json> {
    let sent = call.sent > 0;
    let (backend, source, waited) = match call.callee {
        Callee::Backend => (Some(&call.name), None, None),
        Callee::TokenSource { waited } => (None, Some(&call.name), waited),
    };
    let message = match (sent, source) {
        (false, _) => "The request was not sent.",
        (true, None) => "Request is being forwarded to the backend service.",
        (true, Some(_)) => "A token is asked for.",
    };
    let data = json!({
        "message": message,
        "backend": backend,
        "tokenSource": source,
        "waited": waited.map(span),
        "call": backend.map(|_| call.number),
        "sent": (call.sent > 1).then_some(call.sent),
        "request": sent.then(|| request(&call.request)),
        "response": call.answer.as_ref().map(answer),
        "error": call.failure.as_ref().map(failed),
        "cutOff": (call.answer.is_none() && call.failure.is_none()).then_some(true),
    });
    match data {
        Json::Object(data) => data,
        _ => Map::new(),
    }
}

fn note_data(note: &Note) -> Map<String, Json> {
    let mut data = Map::new();
    let mut add = |name: &str, value: Option<Json>| data.extend(value.map(|value| (name.to_owned(), value)));
    add("message", Some(note.text.as_str().into()));
    add("severity", note.severity.map(Into::into));
    add("source", note.by.as_deref().map(Into::into));
    if !note.metadata.is_empty() {
        let metadata: Map<String, Json> =
            note.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        add("metadata", Some(metadata.into()));
    }
    data
}

fn failed(failure: &Failure) -> Json {
    without_nulls(json!({ "reason": failure.reason, "status": failure.status, "message": failure.message }))
}

fn request(head: &Head) -> Json {
    without_nulls(json!({
        "method": head.method,
        "url": head.url,
        "headers": headers(&head.headers),
        "body": body(&head.body),
    }))
}

fn answer(head: &Head) -> Json {
    let status = http::StatusCode::from_u16(head.status).ok();
    let reason = status.and_then(|status| status.canonical_reason());
    without_nulls(json!({
        "status": without_nulls(json!({ "code": head.status, "reason": reason })),
        "headers": headers(&head.headers),
        "body": body(&head.body),
    }))
}

fn headers(list: &[(String, String)]) -> Vec<Json> {
    list.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn body(shown: &Shown) -> Json {
    match shown {
        Shown::Empty => Json::Null,
        Shown::Text { text, length, cut, coding } => without_nulls(json!({
            "text": text,
            "length": length,
            "cut": cut.then_some(true),
            "decodedFrom": coding,
        })),
        Shown::Hidden { length, why } => without_nulls(json!({ "length": length, "notShown": why })),
    }
}

fn changes(change: &Change) -> Map<String, Json> {
    let mut data = Map::new();
    let mut add = |name: &str, before: Json, after: Json| {
        data.insert(name.to_owned(), json!({ "before": before, "after": after }));
    };
    if let Some((before, after)) = &change.method {
        add("method", before.as_str().into(), after.as_str().into());
    }
    if let Some((before, after)) = &change.url {
        add("url", before.as_str().into(), after.as_str().into());
    }
    if let Some((before, after)) = change.status {
        add("status", before.into(), after.into());
    }
    match change.body.as_deref() {
        Some(BodyChange::Whole(before, after)) => add("body", body(before), body(after)),
        Some(BodyChange::Places(found)) => drop(data.insert("body".to_owned(), places(found))),
        None => {}
    }
    for (name, list) in [("headers", &change.headers), ("variables", &change.variables), ("facts", &change.facts)] {
        if !list.is_empty() {
            data.insert(name.to_owned(), list.iter().map(difference).collect());
        }
    }
    data
}

/// Where two JSON bodies differ. The values are JSON in text, for one may be cut.
fn places(places: &Places) -> Json {
    let value = |excerpt: &Excerpt| without_nulls(json!({ "json": excerpt.text, "cut": excerpt.cut.then_some(true) }));
    let list = places.list.iter().map(|place| {
        without_nulls(json!({
            "path": text::excerpt(&place.path),
            "before": place.before.as_ref().map(value),
            "after": place.after.as_ref().map(value),
        }))
    });
    without_nulls(json!({
        "lengthBefore": places.lengths.0,
        "lengthAfter": places.lengths.1,
        "changes": list.collect::<Vec<Json>>(),
        "leftOut": (places.more > 0).then_some(places.more),
    }))
}

fn difference(one: &Difference) -> Json {
    let side = |values: &[String]| match values {
        [] => Json::Null,
        [one] => one.as_str().into(),
        several => several.into(),
    };
    without_nulls(json!({ "name": one.name, "before": side(&one.before), "after": side(&one.after) }))
}

/// An object without the members that say nothing.
fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(members) => {
            members.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn at(trace: &Trace, offset: Duration) -> Option<String> {
    trace.time.and_then(|time| time.checked_add(offset)).map(timestamp)
}

/// A time to the microsecond.
pub(super) fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

/// A time span as .NET writes it: `00:00:00.0725926`.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:07}", duration.subsec_nanos() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_in_azure() {
        for (nanos, want) in
            [(0, "00:00:00.0000000"), (72_592_600, "00:00:00.0725926"), (3_661_000_000_100, "01:01:01.0000001")]
        {
            assert_eq!(span(Duration::from_nanos(nanos)), want);
        }
    }
}
