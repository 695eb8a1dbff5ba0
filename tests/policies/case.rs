//! One golden file: read, run, and written again with what happened.

use std::fmt::Write as _;
use std::io::Read as _;

use flate2::read::GzDecoder;
use sluicegate::config::Period;

use crate::support::backend::Backend;
use crate::support::certificates::Everybody;
use crate::support::gateway::{Gateway, Started};
use crate::support::wire::Message;

/// The configuration of a case that gives none.
const GATEWAY_TOML: &str = "[backends.upstream]\nurl = \"{{backend}}\"\n";

/// Headers that the gateway gives every request: tested elsewhere, and different in every run.
const NOISE_UPSTREAM: [&str; 7] = [
    "forwarded",
    "traceparent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-request-id",
];
/// Headers that the gateway gives every response.
const NOISE_DOWNSTREAM: [&str; 2] = ["date", "x-request-id"];

/// A section as written.
struct Section<'a> {
    /// The line that begins it, without the dashes.
    title: &'a str,
    text: &'a str,
}

impl<'a> Section<'a> {
    fn kind(&self) -> &'a str {
        self.title.split(':').next().unwrap_or_default().trim()
    }

    fn argument(&self) -> Result<&'a str, String> {
        let (_, argument) = self.title.split_once(": ").ok_or_else(|| format!("`{}` needs an argument", self.title))?;
        Ok(argument.trim())
    }

    fn body(&self) -> &'a str {
        self.text.trim_end_matches('\n')
    }
}

/// Splits a file into what comes before the first section, and the sections.
fn split(file: &str) -> (&str, Vec<Section<'_>>) {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(file.match_indices('\n').map(|(at, _)| at + 1))
        .filter(|at| file[*at..].starts_with("--- "))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    let sections = starts.iter().zip(ends).map(|(start, end)| {
        let whole = &file[*start + 4..end];
        let (title, text) = whole.split_once('\n').unwrap_or((whole, ""));
        Section { title, text }
    });
    (&file[..starts.first().copied().unwrap_or(file.len())], sections.collect())
}

/// The names in a golden file of what differs from run to run.
struct Names {
    pairs: Vec<(String, String)>,
}

impl Names {
    fn new(backends: &[Backend; 2]) -> Self {
        let [first, second] = backends.each_ref().map(|backend| backend.address.to_string());
        let mut pairs = vec![
            ("{{backend}}".to_owned(), format!("http://{first}")),
            ("{{backend-2}}".to_owned(), format!("http://{second}")),
            ("{{backend-host}}".to_owned(), first),
            ("{{backend-2-host}}".to_owned(), second),
        ];
        pairs.extend(Everybody::get().names());
        Self { pairs }
    }

    fn resolve(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    fn hide(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }
}

/// Runs a case and answers the file as it should be.
pub(crate) fn run(file: &str) -> Result<String, String> {
    let backends = [Backend::start(), Backend::start()];
    let names = Names::new(&backends);
    let (preamble, sections) = split(file);
    let mut out = preamble.to_owned();
    let started = start(&sections, &names)?;
    let mut described = false;
    // The id of the last request.
    let mut last = String::new();
    for section in &sections {
        let kind = section.kind();
        if !matches!(kind, "config" | "file") && !described {
            describe(&started, &names, &mut out);
            described = true;
        }
        match kind {
            "diagnostics" | "upstream" | "response" => continue,
            "config" | "file" | "request" | "advance" | "trace" => {}
            other => return Err(format!("there is no section `{other}`")),
        }
        if kind == "trace" {
            let trace = gateway(&started)?.trace(&last);
            let text = names.hide(&sluicegate::trace::text(&trace));
            let _ = write!(out, "--- trace\n{}\n\n", quiet(&text));
            continue;
        }
        let text = if section.body().is_empty() { String::new() } else { format!("{}\n", section.body()) };
        let _ = write!(out, "--- {}\n{text}\n", section.title.trim_end());
        if kind == "advance" {
            let wait = Period::parse(section.argument()?)?;
            gateway(&started)?.clock.advance(wait.0);
        } else if kind == "request" {
            last = exchange(gateway(&started)?, section, &backends, &names, &mut out)?;
        }
    }
    if !described {
        describe(&started, &names, &mut out);
    }
    Ok(format!("{}\n", out.trim_end()))
}

fn gateway(started: &Started) -> Result<&Gateway, String> {
    started.gateway.as_ref().ok_or_else(|| format!("the configuration has errors:\n{}", started.diagnostics))
}

fn start(sections: &[Section<'_>], names: &Names) -> Result<Started, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for section in sections {
        let text = || names.resolve(section.body()) + "\n";
        match section.kind() {
            "config" => files.push((section.argument()?.to_owned(), text())),
            "file" => std::fs::write(folder.path().join(section.argument()?), text()).unwrap(),
            _ => {}
        }
    }
    if !files.iter().any(|(name, _)| name == "gateway.toml") {
        files.push(("gateway.toml".to_owned(), names.resolve(GATEWAY_TOML)));
    }
    files.sort();
    Ok(Gateway::start(files, Some(folder.path())))
}

fn describe(started: &Started, names: &Names, out: &mut String) {
    if !started.diagnostics.is_empty() {
        let _ = write!(out, "--- diagnostics\n{}\n\n", names.hide(started.diagnostics.trim_end()));
    }
}

fn exchange(
    gateway: &Gateway,
    section: &Section<'_>,
    backends: &[Backend; 2],
    names: &Names,
    out: &mut String,
) -> Result<String, String> {
    let request = request(&names.resolve(section.body()))?;
    let response = gateway.send(&request);
    let id = response.as_ref().and_then(|response| response.field("x-request-id")).unwrap_or_default().to_owned();
    let received: Vec<(usize, Message)> = (0..)
        .zip(backends)
        .flat_map(|(number, backend)| backend.take().into_iter().map(move |it| (number, it)))
        .collect();
    if received.is_empty() {
        out.push_str("--- upstream\nnone\n\n");
    }
    for (number, mut message) in received {
        let own = message.field("host") == Some(&*backends[number].address.to_string());
        message.first_line = message.first_line.trim_end_matches(" HTTP/1.1").to_owned();
        let id = message.field("x-request-id").unwrap_or_default().to_owned();
        message.fields.retain(|(name, value)| {
            // The first backend's own host goes without saying.
            let usual_host = name == "host" && own && number == 0;
            // The gateway's own requests say which version it is.
            let own_agent = name == "user-agent" && value.starts_with("sluicegate/");
            !usual_host && !own_agent && !name.starts_with("x-test-") && !NOISE_UPSTREAM.contains(&name.as_str())
        });
        let _ = write!(out, "--- upstream\n{}\n\n", without_id(names.hide(&render(&message)), &id));
    }
    let text = match response {
        None => "the connection was closed".to_owned(),
        Some(mut message) => {
            message.first_line = message.first_line.trim_start_matches("HTTP/1.1 ").to_owned();
            let id = message.field("x-request-id").unwrap_or_default().to_owned();
            message.fields.retain(|(name, _)| !NOISE_DOWNSTREAM.contains(&name.as_str()));
            without_id(names.hide(&render(&message)), &id)
        }
    };
    let _ = write!(out, "--- response\n{text}\n\n");
    Ok(id)
}

/// A trace without what differs from run to run, and without what every message has.
fn quiet(trace: &str) -> String {
    let id = trace.lines().find_map(|line| line.strip_prefix("  id          ")).unwrap_or_default();
    let is_noise = |line: &&str| {
        let name = line.trim_start_matches([' ', '<', '>']).split_once(": ").map_or("", |(name, _)| name);
        NOISE_UPSTREAM.contains(&name) || NOISE_DOWNSTREAM.contains(&name) || name.starts_with("x-test-")
    };
    let lines: Vec<&str> = trace.trim_end().lines().filter(|line| !is_noise(line)).collect();
    without_id(lines.join("\n"), id)
}

/// A message whose request id is another one each time.
fn without_id(text: String, id: &str) -> String {
    if id.is_empty() { text } else { text.replace(id, "{{request-id}}") }
}

fn request(text: &str) -> Result<Message, String> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first_line =
        lines.next().filter(|line| line.contains(' ')).ok_or("a request begins with a method and a target")?;
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is not a header"))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok(Message { first_line: first_line.to_owned(), fields: fields.collect::<Result<_, String>>()?, body: body.into() })
}

/// The first line, the headers sorted by name, an empty line, and the body where there is one.
fn render(message: &Message) -> String {
    let mut text = message.first_line.trim_end().to_owned();
    let mut fields = message.fields.clone();
    // Stable: lines of one name keep their order.
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, value) in &fields {
        let _ = write!(text, "\n{}", format!("{name}: {value}").trim_end());
    }
    if !message.body.is_empty() {
        let mut plain = Vec::new();
        let body = match message.field("content-encoding") {
            Some("gzip") if GzDecoder::new(&*message.body).read_to_end(&mut plain).is_ok() => &plain,
            _ => &message.body,
        };
        let body = match std::str::from_utf8(body) {
            Ok(body) => body.to_owned(),
            Err(_) => body.escape_ascii().to_string(),
        };
        let _ = write!(text, "\n\n{}", body.trim_end_matches('\n'));
    }
    text
}

/// The lines around the first difference.
pub(crate) fn difference(written: &str, happened: &str) -> String {
    let (written, happened): (Vec<_>, Vec<_>) = (written.lines().collect(), happened.lines().collect());
    let same = written.iter().zip(&happened).take_while(|(a, b)| a == b).count();
    let title = written[..same].iter().rposition(|line| line.starts_with("--- ")).unwrap_or(0);
    let mut text = String::new();
    for line in &written[title..same] {
        let _ = writeln!(text, "  {line}");
    }
    for (mark, lines) in [('-', &written), ('+', &happened)] {
        for line in lines.iter().skip(same).take(12) {
            let _ = writeln!(text, "{mark} {line}");
        }
    }
    text
}
