//! A trace as text, for a terminal: what was is marked `-`, what is now `+`, what is sent `>`, and what comes back `<`.

use std::fmt::Write as _;
use std::time::Duration;

use super::body::Shown;
use super::change::{BodyChange, Change, Difference};
use super::json::timestamp;
use super::model::{Call, Callee, Data, Entry, Failure, Head, Note, Outcome, Step, Trace};
use super::places::{Excerpt, Places};

/// The traces there are, the newest first, one a line.
pub fn list<'t>(traces: impl IntoIterator<Item = &'t Trace>) -> String {
    let mut out = String::new();
    for trace in traces {
        let time = trace.time.map(timestamp).unwrap_or_default();
        let _ = writeln!(
            out,
            "{time}  {}  {}  {} {}  {}  {}",
            trace.id,
            trace.answer.status,
            trace.request.method,
            trace.request.url,
            operation(trace),
            took(trace.duration),
        );
    }
    if out.is_empty() {
        out.push_str("no request has been traced yet\n");
    }
    out
}

/// `API/operation` of a trace, or what is known of it.
pub(super) fn operation(trace: &Trace) -> String {
    match (&trace.matched.api, &trace.matched.operation) {
        (Some(api), Some(operation)) => format!("{api}/{operation}"),
        (Some(api), None) => format!("{api}/-"),
        _ => "-".to_owned(),
    }
}

/// A trace.
pub fn trace(trace: &Trace) -> String {
    let mut out = Out { text: String::new() };
    out.line(0, &headline(trace));
    for (name, value) in summary(trace) {
        out.line(1, &format!("{name:<11} {value}"));
    }
    out.text.push_str("\nthe request as it arrived\n");
    out.request("  ", &trace.request);
    let mut section = "";
    for entry in &trace.entries {
        if entry.section != section {
            section = entry.section;
            let _ = write!(out.text, "\n{section}\n");
        }
        out.entry(entry);
    }
    if trace.left_out > 0 {
        let _ = write!(out.text, "\n{}\n", left_out(trace.left_out));
    }
    out.text.push_str("\nthe answer to the caller\n");
    out.answer("  ", &trace.answer);
    if let Some(ended) = trace.ended {
        out.line(1, &format!("! {ended}"));
    }
    out.text
}

/// What is said first.
pub(super) fn headline(trace: &Trace) -> String {
    let Trace { request, answer, duration, .. } = trace;
    format!("{} {} -> {} in {}", request.method, request.url, status(answer.status), took(*duration))
}

pub(super) fn left_out(count: usize) -> String {
    format!("{count} more steps are left out, because a trace is bounded")
}

/// What is known of the whole exchange, by name.
pub(super) fn summary(trace: &Trace) -> Vec<(&'static str, String)> {
    let (matched, caller) = (&trace.matched, &trace.caller);
    let mut lines = vec![("id", trace.id.clone()), ("time", trace.time.map(timestamp).unwrap_or_default())];
    let who =
        [("subscription", &caller.subscription), ("consumer", &caller.consumer), ("connection", &caller.connection)];
    let who = who.into_iter().filter_map(|(name, value)| Some(format!(", {name} `{}`", value.as_ref()?)));
    lines.push(("caller", format!("{}{}", caller.address, who.collect::<String>())));
    let product = matched.product.as_ref().map(|name| format!(", product `{name}`")).unwrap_or_default();
    let what = match (&matched.api, &matched.operation) {
        (Some(api), Some(operation)) => {
            let template = matched.template.as_deref().unwrap_or_default();
            let values = matched.parameters.iter().map(|(name, value)| format!(", {name} = `{value}`"));
            format!("`{operation}` ({template}) of API `{api}`{product}{}", values.collect::<String>())
        }
        _ => format!(
            "none: {}",
            matched.missed.as_deref().unwrap_or("the request was refused before one was looked for")
        ),
    };
    lines.push(("operation", what));
    lines
}

/// What an entry is called.
pub(super) fn name(entry: &Entry) -> String {
    let Some(origin) = &entry.origin else { return entry.source.to_owned() };
    match &origin.id {
        Some(id) => format!("{} \"{id}\"", origin.path),
        None => origin.path.clone(),
    }
}

/// Where the policy was written, and at which scope.
pub(super) fn place(entry: &Entry) -> Option<String> {
    entry.origin.as_ref().map(|origin| format!("{} ({})", origin.place, origin.scope))
}

/// When an entry began and how long it took.
pub(super) fn times(entry: &Entry) -> String {
    match entry.elapsed {
        Some(elapsed) => format!("at {}, took {}", took(entry.at), took(elapsed)),
        None => format!("at {}, cut off", took(entry.at)),
    }
}

/// What a step came to in a few words, when there is something to say besides what changed.
pub(super) fn remark(entry: &Entry) -> Option<String> {
    match &entry.data {
        Data::Step(step) => step_remark(entry.source, step),
        Data::Again { number, .. } => Some(format!("lets the request pass again: the {} time", ordinal(*number))),
        Data::Call(call) => Some(call_remark(call)),
        Data::Note(note) => Some(note_remark(note)),
        Data::Failed(failure) => Some(failed(failure)),
    }
}

fn call_remark(call: &Call) -> String {
    let again = match call.sent {
        0 | 1 => String::new(),
        sent => format!(", written {sent} times: a kept connection was dead"),
    };
    match call.callee {
        Callee::Backend => format!("call {} of backend `{}`{again}", call.number, call.name),
        Callee::TokenSource { waited: Some(waited) } => {
            format!("asks `{}` for a token; the request waited {} for it", call.name, took(waited))
        }
        Callee::TokenSource { waited: None } => {
            format!("`{}` was asked for a token ahead of time, while no request waited", call.name)
        }
    }
}

/// Policies that do nothing but run others.
const CONTAINERS: [&str; 2] = ["choose", "include-fragment"];

fn step_remark(source: &str, step: &Step) -> Option<String> {
    let passes = match step.passed {
        None | Some(0) => String::new(),
        Some(1) => "let the request pass".to_owned(),
        Some(times) => format!("let the request pass {times} times"),
    };
    match &step.outcome {
        Outcome::CutOff => Some("was cut off".to_owned()),
        Outcome::Next if !passes.is_empty() => Some(passes),
        Outcome::Next if step.holds_others || !step.change.is_empty() => None,
        Outcome::Next if CONTAINERS.contains(&source) => Some("none of its policies ran".to_owned()),
        Outcome::Next => Some("nothing changed".to_owned()),
        Outcome::Answered(head) => Some(format!("answers the request itself: {}", status(head.status))),
        Outcome::Failed(failure) => Some(failed(failure)),
        Outcome::FailedInside => Some("an error passed through".to_owned()),
    }
}

fn note_remark(note: &Note) -> String {
    let by = note.by.as_ref().map(|by| format!("{by}: ")).unwrap_or_default();
    let severity = note.severity.map(|severity| format!("[{severity}] ")).unwrap_or_default();
    let metadata = note.metadata.iter().map(|(name, value)| format!(", {name}={value}")).collect::<String>();
    format!("{severity}{by}{}{metadata}", note.text)
}

/// An error in one line.
pub(super) fn failed(failure: &Failure) -> String {
    let status = failure.status.map(|status| format!(" ({status})")).unwrap_or_default();
    format!("error {}{status}: {}", failure.reason, failure.message)
}

/// `503 Service Unavailable`.
pub(super) fn status(code: u16) -> String {
    let reason = http::StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason());
    match (code, reason) {
        (499, _) => "499 (the client left)".to_owned(),
        (code, Some(reason)) => format!("{code} {reason}"),
        (code, None) => code.to_string(),
    }
}

/// A time span in milliseconds, to the microsecond.
pub(super) fn took(duration: Duration) -> String {
    format!("{}.{:03} ms", duration.as_millis(), duration.as_micros() % 1_000)
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// How much there is of a body, and how much of that is not shown.
pub(super) fn about(shown: &Shown) -> String {
    let bytes = |length: &u64| format!("{length} byte{}", if *length == 1 { "" } else { "s" });
    match shown {
        Shown::Empty => "no body".to_owned(),
        Shown::Text { length, cut, coding, .. } => {
            let coded = coding.as_ref().map(|coding| format!(" of {coding}, decoded here")).unwrap_or_default();
            let part = if *cut { ", of which the beginning" } else { "" };
            format!("body, {}{coded}{part}", bytes(length))
        }
        Shown::Hidden { length: Some(length), why } => format!("body, {}, not shown: {why}", bytes(length)),
        Shown::Hidden { length: None, why } => format!("body, not shown: {why}"),
    }
}

/// How two JSON bodies differ, in a few words.
pub(super) fn differ(places: &Places) -> String {
    let (before, after) = places.lengths;
    let count = places.list.len() + places.more;
    let what = match count {
        0 => "the same values, written differently".to_owned(),
        1 => "one place differs".to_owned(),
        count => format!("{count} places differ"),
    };
    let shown = if places.more > 0 { format!(", of which the first {}", places.list.len()) } else { String::new() };
    format!("JSON body, {before} -> {after} bytes, {what}{shown}")
}

/// The beginning of a text, and a sign where there is more.
pub(super) fn excerpt(excerpt: &Excerpt) -> String {
    format!("{}{}", excerpt.text, if excerpt.cut { " ..." } else { "" })
}

struct Out {
    text: String,
}

impl Out {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.text, "{:1$}{text}", "", depth * 2);
    }

    fn entry(&mut self, entry: &Entry) {
        let place = place(entry).map(|place| format!("  {place}")).unwrap_or_default();
        self.line(1, &format!("{}{place}  {}", name(entry), times(entry)));
        if let Some(remark) = remark(entry) {
            self.line(3, &remark);
        }
        match &entry.data {
            Data::Step(step) => {
                self.change(&step.change);
                if let Outcome::Answered(head) = &step.outcome {
                    self.answer("      < ", head);
                }
                if !step.back.is_empty() {
                    self.line(3, "on the way back:");
                    self.change(&step.back);
                }
            }
            Data::Again { change, .. } => self.change(change),
            Data::Call(call) => self.call(call),
            Data::Note(_) | Data::Failed(_) => {}
        }
    }

    fn call(&mut self, call: &Call) {
        if call.sent > 0 {
            self.request("      > ", &call.request);
        }
        if let Some(answer) = &call.answer {
            self.answer("      < ", answer);
        }
        if let Some(failure) = &call.failure {
            self.line(3, &format!("! {}", failed(failure)));
        }
    }

    fn request(&mut self, mark: &str, head: &Head) {
        let _ = writeln!(self.text, "{mark}{} {}", head.method, head.url);
        self.rest(mark, head);
    }

    fn answer(&mut self, mark: &str, head: &Head) {
        let _ = writeln!(self.text, "{mark}{}", status(head.status));
        self.rest(mark, head);
    }

    fn rest(&mut self, mark: &str, head: &Head) {
        for (name, value) in &head.headers {
            let _ = writeln!(self.text, "{mark}{name}: {value}");
        }
        if head.body != Shown::Empty {
            self.body(mark, &head.body);
        }
    }

    fn body(&mut self, mark: &str, shown: &Shown) {
        let _ = writeln!(self.text, "{mark}({})", about(shown));
        if let Shown::Text { text, .. } = shown {
            for line in text.lines() {
                let _ = writeln!(self.text, "{mark}  {line}");
            }
        }
    }

    fn change(&mut self, change: &Change) {
        if let Some((before, after)) = &change.method {
            self.line(3, &format!("- method {before}"));
            self.line(3, &format!("+ method {after}"));
        }
        if let Some((before, after)) = &change.url {
            self.line(3, &format!("- {before}"));
            self.line(3, &format!("+ {after}"));
        }
        if let Some((before, after)) = change.status {
            self.line(3, &format!("- {}", status(before)));
            self.line(3, &format!("+ {}", status(after)));
        }
        self.differences(&change.headers, |name, value| format!("{name}: {value}"));
        self.differences(&change.variables, |name, value| format!("variable {name} = {value}"));
        self.differences(&change.facts, |name, value| format!("{name}: {value}"));
        match change.body.as_deref() {
            Some(BodyChange::Whole(before, after)) => {
                self.body("      - ", before);
                self.body("      + ", after);
            }
            Some(BodyChange::Places(places)) => self.places(places),
            None => {}
        }
    }

    fn places(&mut self, places: &Places) {
        self.line(3, &format!("({})", differ(places)));
        for place in &places.list {
            for (mark, value) in [("-", &place.before), ("+", &place.after)] {
                let Some(value) = value else { continue };
                let text = format!("{}: {}", excerpt(&place.path), excerpt(value));
                for line in text.lines() {
                    self.line(3, &format!("{mark} {line}"));
                }
            }
        }
    }

    fn differences(&mut self, list: &[Difference], show: impl Fn(&str, &str) -> String) {
        for one in list {
            for (mark, values) in [("-", &one.before), ("+", &one.after)] {
                for value in values {
                    self.line(3, &format!("{mark} {}", show(&one.name, value)));
                }
            }
        }
    }
}
