//! `routes`: every operation with its public URL, its backend and the policies that apply to it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::form::Format;
use super::{exit, output};
use crate::compile::Loaded;
use crate::config::folder::{self, ApiDocument};
use crate::config::named::Offline;
use crate::config::spec::VersionScheme;
use crate::config::{Diagnostics, render};
use crate::gateway::{Gateway, Operation};
use crate::pipeline::{Origin, Pipeline};
use crate::policy::Section;

/// The width that the table's lines are broken at.
const WIDTH: usize = 120;

/// List every operation with its URL, its backend and its policies.
///
/// Policies are shown in the order they run, each with the scope it was written at. Policies of a product run only for calls with
/// a key of the product; where they change something, a second line shows it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate routes policies
  sluicegate routes policies --format json | jq '.[] | select(.api == \"orders\") | .url'")]
pub struct Routes {
    /// The folder that holds gateway.toml.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    /// The form of the table.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Routes {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        let loaded = match output::load_offline(&self.folder) {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        let Some(gateway) = &loaded.gateway else {
            output::complain(&render::text(&loaded.diagnostics, &loaded.sources));
            return exit::CONFIGURATION;
        };
        let rows = rows(&loaded, gateway);
        output::print(&match self.format {
            Format::Text => text(&rows),
            Format::Json => format!("{:#}\n", rows.iter().map(Row::json).collect::<Value>()),
        });
        exit::OK
    }
}

/// One URL of one operation.
struct Row<'g> {
    method: &'g str,
    url: String,
    operation: &'g Operation,
}

/// The operations, sorted by URL.
fn rows<'g>(loaded: &Loaded, gateway: &'g Gateway) -> Vec<Row<'g>> {
    // Hosts and versions stand in the document; of what runs, only the router knows them.
    let document = folder::parse(&loaded.sources, None, &Offline, &mut Diagnostics::default());
    let scheme = if loaded.process.tls.is_some() { "https" } else { "http" };
    let listen = loaded.process.server.listen.first();
    let port = listen.map_or(0, std::net::SocketAddr::port);
    let own_host = match listen {
        Some(address) if !address.ip().is_unspecified() => address.to_string(),
        _ => format!("localhost:{port}"),
    };
    let mut rows = Vec::new();
    for operation in &gateway.operations {
        let api = document.apis.iter().find(|api| *api.spec.name.value == *operation.api.name);
        let hosts = api.map_or(&[][..], |api| &api.spec.hosts[..]);
        let own = hosts.is_empty().then(|| own_host.clone());
        for host in own.into_iter().chain(hosts.iter().map(|host| format!("{}:{port}", host.value))) {
            rows.push(Row {
                method: operation.method.as_ref().map_or("*", http::Method::as_str),
                url: format!("{scheme}://{host}{}", path(operation, api)),
                operation,
            });
        }
    }
    rows.sort_by(|a, b| (&a.url, a.method).cmp(&(&b.url, b.method)));
    rows
}

/// Base path, version and template.
pub(super) fn path(operation: &Operation, api: Option<&ApiDocument<'_>>) -> String {
    let base = operation.api.path.trim_end_matches('/');
    let template = operation.template.as_str();
    let template = if template == "/" && !base.is_empty() { "" } else { template };
    let version = api.and_then(|api| api.spec.version.as_ref());
    let Some((version, value)) = version.and_then(|version| Some((version, version.value.as_deref()?))) else {
        return format!("{base}{template}");
    };
    let name = version.name.as_ref().map_or("api-version", |name| name.as_str());
    match version.scheme {
        VersionScheme::Path => format!("{base}/{value}{template}"),
        VersionScheme::Query => {
            let mark = if template.contains('?') { '&' } else { '?' };
            format!("{base}{template}{mark}{name}={value}")
        }
        VersionScheme::Header => format!("{base}{template} [{name}: {value}]"),
    }
}

impl Row<'_> {
    fn backend(&self) -> &str {
        self.operation.backend.as_ref().map_or("-", |backend| &backend.name)
    }

    fn json(&self) -> Value {
        let operation = self.operation;
        json!({
            "method": self.method,
            "url": self.url,
            "api": &*operation.api.name,
            "operation": &*operation.name,
            "backend": operation.backend.as_ref().map(|backend| &*backend.name),
            "subscriptionRequired": operation.api.subscription_required,
            "policies": outline(&operation.pipeline),
            "products": operation.product_pipelines.iter()
                .map(|(name, pipeline)| json!({ "product": &**name, "policies": outline(pipeline) }))
                .collect::<Vec<_>>(),
        })
    }
}

fn outline(pipeline: &Pipeline) -> Value {
    let step = |origin: &Arc<Origin>| json!({ "policy": origin.policy, "scope": origin.scope, "id": origin.id, "place": origin.place });
    let sections = Section::ALL.iter().zip(&pipeline.outline);
    sections
        .map(|(section, steps)| (section.as_str().to_owned(), steps.iter().map(step).collect::<Value>()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// `inbound: cors (global) → rewrite-uri (operation)`, one string for each step so that lines can be broken between them.
fn steps(pipeline: &Pipeline) -> Vec<String> {
    let mut words = Vec::new();
    for (section, origins) in Section::ALL.iter().zip(&pipeline.outline) {
        for (index, origin) in origins.iter().enumerate() {
            let lead = match (index, words.is_empty()) {
                (0, true) => format!("{}: ", section.as_str()),
                (0, false) => format!("| {}: ", section.as_str()),
                _ => "→ ".to_owned(),
            };
            words.push(format!("{lead}{} ({})", origin.policy, origin.scope));
        }
    }
    words
}

fn text(rows: &[Row<'_>]) -> String {
    let width = |of: fn(&Row<'_>) -> usize, title: &str| rows.iter().map(of).max().unwrap_or(0).max(title.len());
    let methods = width(|row| row.method.len(), "METHOD");
    let urls = width(|row| row.url.chars().count(), "URL");
    let names =
        width(|row| row.operation.name.chars().count() + row.operation.api.name.chars().count() + 1, "OPERATION");
    let mut out = format!("{:methods$}  {:urls$}  {:names$}  BACKEND\n", "METHOD", "URL", "OPERATION");
    for row in rows {
        let operation = row.operation;
        let name = format!("{}/{}", operation.api.name, operation.name);
        out.push_str(&format!("{:methods$}  {:urls$}  {name:names$}  {}\n", row.method, row.url, row.backend()));
        let own = steps(&operation.pipeline);
        wrap(&mut out, methods + 2, &own);
        for (product, pipeline) in &operation.product_pipelines {
            let mut words = steps(pipeline);
            if words != own {
                words.insert(0, format!("[with {product}]"));
                wrap(&mut out, methods + 2, &words);
            }
        }
    }
    out
}

/// Writes words, indented, with a line break where the line would be too long.
fn wrap(out: &mut String, indent: usize, words: &[String]) {
    let mut column = 0;
    for word in words {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            // A line that goes on from the one before it stands two columns further in.
            let further = if std::ptr::eq(word, &words[0]) { 0 } else { 2 };
            out.push_str(&" ".repeat(indent + further));
            column = indent + further;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    if column > 0 {
        out.push('\n');
    }
}
