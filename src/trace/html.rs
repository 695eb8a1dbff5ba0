//! A trace as a page for a browser: one file that needs nothing else.

use std::fmt::Write as _;

use super::body::Shown;
use super::change::{Change, Difference};
use super::json::timestamp;
use super::model::{Call, Data, Entry, Head, Outcome, Trace};
use super::text;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--was:#b0002018;--now:#0a7d2818;--dim:#888}
body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.25rem;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .7rem .25rem 0;border-top:1px solid var(--line)}
td.url{overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-radius:6px;margin:.35rem 0;padding:.3rem .7rem}summary{cursor:pointer}
summary .place,summary .time{color:var(--dim);font-size:.87em;margin-left:.8rem}
.none summary{color:var(--dim)}.bad{border-color:#b00020}.bad summary b{color:#b00020}
pre{margin:.2rem 0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.4 ui-monospace,monospace}
.was{background:var(--was)}.now{background:var(--now)}p{margin:.3rem 0}a{color:inherit}
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

/// The traces there are, the newest first.
pub fn list<'t>(traces: impl IntoIterator<Item = &'t Trace>) -> String {
    let mut rows = String::new();
    for trace in traces {
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"/traces/{id}\">{}</a></td><td>{}</td><td>{}</td><td class=\"url\">{}</td><td>{}</td><td>{}</td></tr>",
            trace.time.map(timestamp).unwrap_or_default(),
            trace.answer.status,
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
    let headline = text::headline(trace);
    let _ = writeln!(out, "<p><a href=\"/traces\">All traces</a></p>\n<h1>{}</h1>\n<dl>", Escaped(&headline));
    for (name, value) in text::summary(trace) {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", Escaped(&value));
    }
    let id = Escaped(&trace.id);
    let _ = writeln!(
        out,
        "<dt>as</dt><dd><a href=\"/traces/{id}.json\">JSON</a>, <a href=\"/traces/{id}.txt\">text</a></dd></dl>"
    );
    out.push_str("<h2>The request as it arrived</h2>\n");
    message(&mut out, "", &request(&trace.request), &trace.request);
    let mut section = "";
    for one in &trace.entries {
        if one.section != section {
            section = one.section;
            let _ = writeln!(out, "<h2>{section}</h2>");
        }
        entry(&mut out, one);
    }
    if trace.left_out > 0 {
        let _ = writeln!(out, "<p>{}</p>", text::left_out(trace.left_out));
    }
    out.push_str("<h2>The answer to the caller</h2>\n");
    message(&mut out, "", &text::status(trace.answer.status), &trace.answer);
    if let Some(ended) = trace.ended {
        let _ = writeln!(out, "<p>{ended}</p>");
    }
    whole(&headline, &out)
}

fn request(head: &Head) -> String {
    format!("{} {}", head.method, head.url)
}

fn entry(out: &mut String, entry: &Entry) {
    let (is_open, class) = match &entry.data {
        Data::Failed(_) => (true, "bad"),
        Data::Call(call) => (true, if call.answer.is_none() { "bad" } else { "" }),
        Data::Note(_) => (true, ""),
        Data::Again { .. } => (true, ""),
        Data::Step(step) => match &step.outcome {
            Outcome::Failed(_) | Outcome::CutOff => (true, "bad"),
            Outcome::Answered(_) => (true, ""),
            Outcome::Next | Outcome::FailedInside => {
                let changes = !step.change.is_empty() || !step.back.is_empty();
                (changes, if changes || step.passed.is_some() || step.holds_others { "" } else { "none" })
            }
        },
    };
    let open = if is_open { " open" } else { "" };
    let _ = write!(out, "<details{open} class=\"{class}\"><summary><b>{}</b>", Escaped(&text::name(entry)));
    if let Some(place) = text::place(entry) {
        let _ = write!(out, "<span class=\"place\">{}</span>", Escaped(&place));
    }
    let _ = writeln!(out, "<span class=\"time\">{}</span></summary>", text::times(entry));
    if let Some(remark) = text::remark(entry) {
        let _ = writeln!(out, "<p>{}</p>", Escaped(&remark));
    }
    match &entry.data {
        Data::Step(step) => {
            change(out, &step.change);
            if let Outcome::Answered(head) = &step.outcome {
                message(out, "now", &text::status(head.status), head);
            }
            if !step.back.is_empty() {
                out.push_str("<p>On the way back:</p>\n");
                change(out, &step.back);
            }
        }
        Data::Again { change: again, .. } => change(out, again),
        Data::Call(made) => call(out, made),
        Data::Note(_) | Data::Failed(_) => {}
    }
    out.push_str("</details>\n");
}

fn call(out: &mut String, call: &Call) {
    if call.sent > 0 {
        message(out, "", &request(&call.request), &call.request);
    }
    if let Some(answer) = &call.answer {
        message(out, "", &text::status(answer.status), answer);
    }
    if let Some(failure) = &call.failure {
        let _ = writeln!(out, "<p>{}</p>", Escaped(&text::failed(failure)));
    }
}

fn message(out: &mut String, class: &str, first: &str, head: &Head) {
    let mut text = first.to_owned();
    for (name, value) in &head.headers {
        let _ = write!(text, "\n{name}: {value}");
    }
    pre(out, class, &text);
    if head.body != Shown::Empty {
        body(out, class, &head.body);
    }
}

fn body(out: &mut String, class: &str, shown: &Shown) {
    let _ = writeln!(out, "<p>{}</p>", Escaped(&text::about(shown)));
    if let Shown::Text { text, .. } = shown {
        pre(out, class, text);
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
    if let Some((before, after)) = &change.body {
        body(out, "was", before);
        body(out, "now", after);
    }
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
