//! A trace as a page for a browser: one file that needs nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use super::body::Shown;
use super::change::{BodyChange, Change, Difference};
use super::json::timestamp;
use super::model::{Call, Callee, Data, Entry, Head, Outcome, Trace};
use super::places::{Excerpt, Places};
use super::text;
use crate::json::{Index, Kind, Value};

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--dim:#767676;--was:#d1242f22;--now:#1a7f3722;--good:#1a7f37;--warn:#9a6700;--bad:#cf222e;--bar:#0969da}
@media(prefers-color-scheme:dark){:root{--dim:#9a9a9a;--good:#3fb950;--warn:#d29922;--bad:#f85149;--bar:#4493f8}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:1.2rem auto 4rem;padding:0 1.2rem}
a{color:inherit}nav{color:var(--dim);font-size:.9em}nav a{margin-right:1rem}
h1{font-size:1.2rem;overflow-wrap:anywhere;margin:.7rem 0 .8rem}h2{font-size:1rem;margin:1.8rem 0 .5rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}
.status{color:#fff;border-radius:5px;padding:.1rem .5rem;margin-right:.5rem;font-size:.85em;white-space:nowrap;background:var(--good)}
.status.s3{background:var(--bar)}.status.s4{background:var(--warn)}.status.s5{background:var(--bad)}
@media(prefers-color-scheme:dark){.status{color:#111}}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-top:1px solid var(--line)}
th{color:var(--dim);font-weight:normal;font-size:.9em;border-top:0}td.url,td.value{overflow-wrap:anywhere}td.time{white-space:nowrap}tr:hover td{background:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
details,.message{border:1px solid var(--line);border-radius:7px;margin:.4rem 0;padding:.35rem .8rem}details.step{background:none}
summary{cursor:pointer;display:grid;grid-template-columns:minmax(0,1fr) max-content;gap:0 1rem;align-items:baseline;list-style:none}
summary::-webkit-details-marker{display:none}summary b::before{content:\"\\25B8\";color:var(--dim);font-weight:normal;margin-right:.45rem;display:inline-block}
details[open]>summary b::before{transform:rotate(90deg)}details[open]>summary{margin-bottom:.4rem}
summary b{overflow-wrap:anywhere}summary .place,summary .time,summary .remark{color:var(--dim);font-size:.87em}summary .place{margin-left:.7rem}summary .time{text-align:right;white-space:nowrap}
summary .remark{grid-column:1/-1;margin-left:1.2rem;overflow-wrap:anywhere}summary .line{grid-column:1/-1;height:3px;margin-top:.25rem;background:var(--soft);border-radius:2px;position:relative}
summary .line i{position:absolute;top:0;height:3px;min-width:3px;border-radius:2px;background:var(--bar)}
.none summary b{color:var(--dim);font-weight:normal}.bad{border-color:var(--bad)}.bad>summary b,.bad>summary .remark{color:var(--bad)}.bad>summary .line i{background:var(--bad)}
pre{margin:.2rem 0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre.body{max-height:26rem;overflow:auto;border-left:3px solid var(--line);padding-left:.7rem}pre b{font-weight:600}pre span{color:var(--dim)}
.was{background:var(--was)}.now{background:var(--now)}pre.was::before,td.was:not(:empty)::before{content:\"- \"}pre.now::before,td.now:not(:empty)::before{content:\"+ \"}
td.path,td.was,td.now{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere;white-space:pre-wrap;padding:.2rem .6rem .2rem .3rem}
p{margin:.3rem 0}p.about{color:var(--dim);font-size:.87em}.arrow{color:var(--dim);margin:.5rem 0 0;font-size:.87em}
";

/// Text in a page.
struct Escaped<'t>(&'t str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        for character in self.0.chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>\n{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        Escaped(title)
    )
}

/// A status in its colour.
fn badge(status: u16) -> String {
    format!("<span class=\"status s{}\">{}</span>", status / 100, Escaped(&text::status(status)))
}

/// The traces there are, the newest first.
pub fn list<'t>(traces: impl IntoIterator<Item = &'t Trace>) -> String {
    let mut rows = String::new();
    for trace in traces {
        let _ = writeln!(
            rows,
            "<tr><td class=\"time\"><a href=\"/traces/{id}\">{}</a></td><td>{}</td><td>{}</td><td class=\"url\">{}</td><td>{}</td>\
             <td class=\"time\">{}</td></tr>",
            trace.time.map(timestamp).unwrap_or_default(),
            badge(trace.answer.status),
            Escaped(&trace.request.method),
            Escaped(&trace.request.url),
            Escaped(&text::operation(trace)),
            text::took(trace.duration),
            id = Escaped(&trace.id),
        );
    }
    let body = if rows.is_empty() {
        "<h1>Traces</h1>\n<p>No request has been traced yet.</p>\n".to_owned()
    } else {
        format!(
            "<h1>Traces</h1>\n<table><tr><th>Time</th><th>Status</th><th>Method</th><th>URL</th><th>Operation</th><th>Took</th></tr>\n{rows}</table>\n"
        )
    };
    whole("Traces", &body)
}

/// A trace.
pub fn page(trace: &Trace) -> String {
    let mut out = String::new();
    let id = Escaped(&trace.id);
    let _ = writeln!(
        out,
        "<nav><a href=\"/traces\">All traces</a><a href=\"/traces/{id}.json\">JSON</a><a href=\"/traces/{id}.txt\">text</a></nav>\n\
         <h1>{}{} {}</h1>\n<dl>",
        badge(trace.answer.status),
        Escaped(&trace.request.method),
        Escaped(&trace.request.url),
    );
    for (name, value) in text::summary(trace) {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", Escaped(&value));
    }
    let _ = writeln!(out, "<dt>took</dt><dd>{}</dd></dl>", text::took(trace.duration));
    out.push_str("<h2>The request as it arrived</h2>\n<div class=\"message\">\n");
    message(&mut out, "", &request(&trace.request), &trace.request);
    out.push_str("</div>\n");
    let mut section = "";
    for one in &trace.entries {
        if one.section != section {
            section = one.section;
            let _ = writeln!(out, "<h2>{section}</h2>");
        }
        entry(&mut out, one, trace.duration);
    }
    if trace.left_out > 0 {
        let _ = writeln!(out, "<p>{}</p>", text::left_out(trace.left_out));
    }
    out.push_str("<h2>The answer to the caller</h2>\n<div class=\"message\">\n");
    message(&mut out, "", &text::status(trace.answer.status), &trace.answer);
    out.push_str("</div>\n");
    if let Some(ended) = trace.ended {
        let _ = writeln!(out, "<p>{ended}</p>");
    }
    whole(&text::headline(trace), &out)
}

fn request(head: &Head) -> String {
    format!("{} {}", head.method, head.url)
}

/// Whether an entry is shown in full, and what it looks like.
fn look(entry: &Entry) -> (bool, &'static str) {
    match &entry.data {
        Data::Failed(_) => (true, "bad"),
        Data::Call(call) if call.answer.is_none() || call.failure.is_some() => (true, "bad"),
        // The last call of a token source is rarely the question.
        Data::Call(call) => (matches!(call.callee, Callee::Backend), ""),
        Data::Note(_) => (false, ""),
        Data::Again { .. } => (true, ""),
        Data::Step(step) => match &step.outcome {
            Outcome::Failed(_) | Outcome::CutOff => (true, "bad"),
            Outcome::Answered(_) => (true, ""),
            Outcome::Next | Outcome::FailedInside => {
                let changes = !step.change.is_empty() || !step.back.is_empty();
                (changes, if changes || step.passed.is_some() || step.holds_others { "" } else { "none" })
            }
        },
    }
}

fn entry(out: &mut String, entry: &Entry, whole: Duration) {
    let (is_open, class) = look(entry);
    let open = if is_open { " open" } else { "" };
    let _ = write!(out, "<details{open} class=\"{class}\"><summary><span><b>{}</b>", Escaped(&text::name(entry)));
    if let Some(place) = text::place(entry) {
        let _ = write!(out, "<span class=\"place\">{}</span>", Escaped(&place));
    }
    let _ = write!(out, "</span><span class=\"time\">{}</span>", text::times(entry));
    if let Some(remark) = text::remark(entry) {
        let _ = write!(out, "<span class=\"remark\">{}</span>", Escaped(&remark));
    }
    let _ = writeln!(out, "{}</summary>", line(entry, whole));
    match &entry.data {
        Data::Step(step) => {
            change(out, &step.change);
            if let Outcome::Answered(head) = &step.outcome {
                message(out, "now", &text::status(head.status), head);
            }
            if !step.back.is_empty() {
                out.push_str("<p class=\"arrow\">on the way back</p>\n");
                change(out, &step.back);
            }
        }
        Data::Again { change: again, .. } => change(out, again),
        Data::Call(made) => call(out, made),
        Data::Note(_) | Data::Failed(_) => {}
    }
    out.push_str("</details>\n");
}

/// When an entry ran, as a part of the whole time.
fn line(entry: &Entry, whole: Duration) -> String {
    let percent = |part: Duration| (100.0 * part.as_secs_f64() / whole.as_secs_f64()).clamp(0.0, 100.0);
    if whole.is_zero() {
        return String::new();
    }
    let end = entry.elapsed.map_or(whole, |elapsed| entry.at + elapsed);
    let (from, to) = (percent(entry.at), percent(end));
    format!("<span class=\"line\"><i style=\"left:{from:.2}%;width:{:.2}%\"></i></span>", to - from)
}

fn call(out: &mut String, call: &Call) {
    if call.sent > 0 {
        out.push_str("<p class=\"arrow\">sent</p>\n");
        message(out, "", &request(&call.request), &call.request);
    }
    if let Some(answer) = &call.answer {
        out.push_str("<p class=\"arrow\">came back</p>\n");
        message(out, "", &text::status(answer.status), answer);
    }
    if let Some(failure) = &call.failure {
        let _ = writeln!(out, "<p>{}</p>", Escaped(&text::failed(failure)));
    }
}

fn message(out: &mut String, class: &str, first: &str, head: &Head) {
    // A line break at the beginning would be left out by a browser.
    let _ = write!(out, "<pre class=\"{class}\">\n<b>{}</b>", Escaped(first));
    for (name, value) in &head.headers {
        let _ = write!(out, "\n<span>{}:</span> {}", Escaped(name), Escaped(value));
    }
    out.push_str("</pre>\n");
    if head.body != Shown::Empty {
        body(out, class, &head.body);
    }
}

fn body(out: &mut String, class: &str, shown: &Shown) {
    let Shown::Text { text, .. } = shown else {
        let _ = writeln!(out, "<p class=\"about\">{}</p>", Escaped(&text::about(shown)));
        return;
    };
    let indented = indented(text);
    let how = if indented.is_some() { ", indented for reading" } else { "" };
    let _ = writeln!(out, "<p class=\"about\">{}{how}</p>", Escaped(&text::about(shown)));
    pre(out, &format!("body {class}"), indented.as_deref().unwrap_or(text));
}

/// JSON with each member on a line of its own, and its values as they were written. None when it is none, or short, or has lines already.
fn indented(text: &str) -> Option<String> {
    const SHORT: usize = 80;
    // A name that is written with escapes would be another text than the one that the secrets were taken out of.
    if text.len() <= SHORT || text.trim_end().contains('\n') || text.contains("\\u") {
        return None;
    }
    let index = Index::parse(text.as_bytes()).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    indent(index.root(), 0, &mut out);
    Some(out)
}

fn indent(value: Value<'_>, depth: usize, out: &mut String) {
    let start = |out: &mut String, first: bool, depth: usize| {
        let _ = write!(out, "{}\n{:2$}", if first { "" } else { "," }, "", depth * 2);
    };
    let is_short = |value: Value<'_>| value.raw().len() <= 60;
    match value.kind() {
        Kind::Object if !is_short(value) => {
            out.push('{');
            for (number, (name, value)) in value.members().enumerate() {
                start(out, number == 0, depth + 1);
                let _ = write!(out, "{}: ", serde_json::Value::from(name.as_ref()));
                indent(value, depth + 1, out);
            }
            let _ = write!(out, "\n{:1$}}}", "", depth * 2);
        }
        Kind::Array if !is_short(value) => {
            out.push('[');
            for (number, value) in value.items().enumerate() {
                start(out, number == 0, depth + 1);
                indent(value, depth + 1, out);
            }
            let _ = write!(out, "\n{:1$}]", "", depth * 2);
        }
        _ => out.push_str(value.raw()),
    }
}

fn pre(out: &mut String, class: &str, text: &str) {
    // A line break at the beginning would be left out by a browser.
    let _ = writeln!(out, "<pre class=\"{class}\">\n{}</pre>", Escaped(text));
}

fn change(out: &mut String, change: &Change) {
    let pair = |(before, after): &(String, String)| (before.clone(), after.clone());
    let status = change.status.map(|(before, after)| (text::status(before), text::status(after)));
    for (before, after) in change.method.iter().map(pair).chain(change.url.iter().map(pair)).chain(status) {
        pre(out, "was", &before);
        pre(out, "now", &after);
    }
    for (list, joint) in [(&change.headers, ": "), (&change.variables, " = "), (&change.facts, ": ")] {
        differences(out, list, joint);
    }
    match change.body.as_deref() {
        Some(BodyChange::Whole(before, after)) => {
            body(out, "was", before);
            body(out, "now", after);
        }
        Some(BodyChange::Places(found)) => places(out, found),
        None => {}
    }
}

fn places(out: &mut String, places: &Places) {
    let _ = writeln!(out, "<p class=\"about\">{}</p>", Escaped(&text::differ(places)));
    if places.list.is_empty() {
        return;
    }
    out.push_str("<table><tr><th>Place</th><th>Before</th><th>After</th></tr>\n");
    for place in &places.list {
        let value = |excerpt: &Option<Excerpt>| excerpt.as_ref().map(text::excerpt).unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr><td class=\"path\">{}</td><td class=\"was\">{}</td><td class=\"now\">{}</td></tr>",
            Escaped(&text::excerpt(&place.path)),
            Escaped(&value(&place.before)),
            Escaped(&value(&place.after)),
        );
    }
    out.push_str("</table>\n");
}

fn differences(out: &mut String, list: &[Difference], joint: &str) {
    for one in list {
        for (class, values) in [("was", &one.before), ("now", &one.after)] {
            for value in values {
                pre(out, class, &format!("{}{joint}{value}", one.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn json_is_indented_as_it_was_written() {
        let long = "x".repeat(70);
        let text = format!(r#"{{"a":1.10,"b":[ 1,2 ],"c":{{"d":"{long}","e":[]}}}}"#);
        let want = format!(
            "{{\n  \"a\": 1.10,\n  \"b\": [ 1,2 ],\n  \"c\": {{\n    \"d\": \"{long}\",\n    \"e\": []\n  }}\n}}"
        );
        assert_eq!(indented(&text).as_deref(), Some(want.as_str()));
        for left in [
            "{\"a\":1}".to_owned(),
            format!("{{\n{long}{long}"),
            format!("{{\"cut\":\"{long}{long}"),
            format!(r#"{{"\u0061":"{long}"}}"#),
        ] {
            assert_eq!(indented(&left), None, "{left}");
        }
    }
}
