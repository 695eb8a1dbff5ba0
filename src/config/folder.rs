//! A configuration folder into documents: every table read and typed, policies still as written.

mod document;

use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::document::{ApiDocument, Document, Entry, OperationDocument, ProductDocument, RawPolicy, ScopeDocument};
use super::diagnostic::{Diagnostic, Diagnostics, one_of, suggest};
use super::key_file::KEYS_FILE;
use super::named::{InVault, NamedValues, SecretStore};
use super::read::{Table, Value, as_text, read_what_is_right as read, take};
use super::source::{FileId, Location, SourceFile, Sources};
use super::spec::ApiSpec;
use super::value::NESTED_MARK;

/// The name of the file that describes the process.
pub const GATEWAY_FILE: &str = "gateway.toml";

/// A file before it is parsed: its name in the folder and its text.
pub type NamedText = (String, String);

/// Reads the TOML files of a folder, sorted by name. Hidden files are left out: editors and Kubernetes keep theirs there. So is
/// the key file, which may be large.
pub fn read_folder(folder: &Path) -> std::io::Result<Vec<NamedText>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.ends_with(".toml") && !name.starts_with('.') && name != KEYS_FILE && path.is_file() {
            let bytes = std::fs::read(&path)?;
            // What is not UTF-8 becomes U+FFFD, which `parse` refuses and shows.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // A byte-order mark is no part of TOML, and Windows editors write one.
            files.push((name, text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned)));
        }
    }
    files.sort();
    Ok(files)
}

/// Parses the files of a folder. `folder` is where relative paths start.
pub fn parse<'i>(
    sources: &'i Sources,
    folder: Option<&Path>,
    store: &dyn SecretStore,
    diagnostics: &mut Diagnostics,
) -> Document<'i> {
    let mut document = Document { key_file: sources.keys(), ..Document::default() };
    let mut tables = Vec::new();
    for (file, source) in sources.iter().filter(|(file, _)| Some(*file) != sources.keys()) {
        let text: &'i str = &source.text;
        if let Some(at) = text.find('\u{fffd}') {
            diagnostics.push(
                Diagnostic::error("encoding", file, at..at + '\u{fffd}'.len_utf8(), "this is not UTF-8 text")
                    .hint("save the file as UTF-8; a U+FFFD that is meant is written `\\uFFFD`"),
            );
            document.unread = true;
            continue;
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            syntax(&errors, file, source, diagnostics);
            document.unread = true;
            continue;
        }
        let table = table.into_inner();
        list_settings(&mut document.settings, "", &table, file);
        tables.push((file, source.name == GATEWAY_FILE, table));
    }
    if let Some((file, _, table)) = tables.iter_mut().find(|(_, gateway, _)| *gateway)
        && let Some((key, value)) = take(table, "named-values")
    {
        match value.into_inner() {
            DeValue::Table(values) => {
                let (named, in_vault) = NamedValues::load(values, *file, folder, diagnostics);
                document.named = named;
                if !in_vault.is_empty() {
                    let text = &sources.file(*file).text;
                    fetch(&mut document.named, in_vault, table, *file, text, store, diagnostics);
                }
            }
            _ => diagnostics.push(not_a_table("named-values", *file, key.span())),
        }
    }
    for (file, gateway, mut table) in tables {
        document.named.substitute(&mut table, file, &sources.file(file).text, diagnostics);
        if gateway {
            read_gateway(&mut document, file, table, diagnostics);
        } else {
            read_api(&mut document, file, table, diagnostics);
        }
    }
    document
}

/// Fetches the named values of the key vault, whose own table may use the others.
fn fetch(
    named: &mut NamedValues,
    in_vault: Vec<InVault>,
    table: &Table<'_>,
    file: FileId,
    text: &str,
    store: &dyn SecretStore,
    diagnostics: &mut Diagnostics,
) {
    let before = diagnostics.errors();
    let early = |name: &str| {
        table.iter().find(|(key, _)| key.get_ref() == name).map(|(key, value)| (key.clone(), value.clone()))
    };
    let mut tables: Table<'_> = ["key-vault", "managed-identity"].into_iter().filter_map(early).collect();
    named.substitute(&mut tables, file, text, diagnostics);
    let vault = one(&mut tables, "key-vault", file, diagnostics).unwrap_or_default();
    let identity = one(&mut tables, "managed-identity", file, diagnostics).unwrap_or_default();
    let fetched = if diagnostics.errors() == before {
        let wanted: Vec<_> = in_vault.iter().map(InVault::wanted).collect();
        store.secrets(&vault, &identity, &wanted, file, diagnostics)
    } else {
        // Nobody is asked with a mistake in what is sent.
        in_vault.iter().map(|_| None).collect()
    };
    named.fetch(in_vault.into_iter().zip(fetched));
}

/// One mistake in the syntax often makes the parser stumble on over the following lines: of mistakes on neighbouring
/// lines only the first is shown, unless a bracket that was never closed explains them all.
fn syntax(errors: &[toml::de::Error], file: FileId, source: &SourceFile, diagnostics: &mut Diagnostics) {
    let end = source.text.len();
    let line = |span: &Range<usize>| source.position(span.start).0;
    let mut groups: Vec<(Range<usize>, usize, String)> = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let span = span.start.min(end)..span.end.min(end);
        let message = error.message().replace(", expected literal string", "").replace("basic string", "text");
        match groups.last_mut() {
            Some((_, last, first)) if line(&span) <= *last + 1 => {
                *last = line(&span);
                if message.starts_with("unclosed") {
                    *first = message;
                }
            }
            _ => groups.push((span.clone(), line(&span), message)),
        }
    }
    for (span, _, message) in groups {
        diagnostics.push(Diagnostic::error("syntax", file, span, message));
    }
}

fn not_a_table(name: &str, file: FileId, span: Range<usize>) -> Diagnostic {
    Diagnostic::error("wrong-type", file, span, format!("`{name}` is not a table")).hint(format!("write `[{name}]`"))
}

fn list_settings(out: &mut Vec<(String, String, Location)>, prefix: &str, table: &Table<'_>, file: FileId) {
    fn value(out: &mut Vec<(String, String, Location)>, name: String, item: &Value<'_>, file: FileId) {
        match item.get_ref() {
            DeValue::Table(inner) => list_settings(out, &name, inner, file),
            DeValue::Array(list) => {
                for (index, item) in list.iter().enumerate() {
                    value(out, format!("{name}[{index}]"), item, file);
                }
            }
            DeValue::String(text) => out.push((name, text.to_string(), Location { file, span: item.span() })),
            DeValue::Integer(number) => out.push((name, number.to_string(), Location { file, span: item.span() })),
            DeValue::Float(number) => out.push((name, number.to_string(), Location { file, span: item.span() })),
            DeValue::Boolean(flag) => out.push((name, flag.to_string(), Location { file, span: item.span() })),
            DeValue::Datetime(date) => out.push((name, date.to_string(), Location { file, span: item.span() })),
        }
    }
    for (key, item) in table {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        value(out, name, item, file);
    }
}

fn read_gateway<'i>(document: &mut Document<'i>, file: FileId, mut table: Table<'i>, diagnostics: &mut Diagnostics) {
    const KEYS: [&str; 22] = [
        "server",
        "store",
        "cache",
        "limits",
        "errors",
        "telemetry",
        "named-values",
        "backends",
        "issuers",
        "certificates",
        "token-sources",
        "managed-identity",
        "key-vault",
        "products",
        "consumers",
        "keys",
        "subscriptions",
        "connections",
        "fragments",
        "inbound",
        "backend",
        "outbound",
    ];
    document.gateway = Some(file);
    document.scope = read_scope(&mut table, "", file, diagnostics);
    document.server = one(&mut table, "server", file, diagnostics).unwrap_or_default();
    document.store = one(&mut table, "store", file, diagnostics).unwrap_or_default();
    document.cache = one(&mut table, "cache", file, diagnostics).unwrap_or_default();
    document.limits = one(&mut table, "limits", file, diagnostics).unwrap_or_default();
    document.errors = one(&mut table, "errors", file, diagnostics).unwrap_or_default();
    document.telemetry = one(&mut table, "telemetry", file, diagnostics).unwrap_or_default();
    document.backends = named(&mut table, "backends", file, diagnostics, |table, file, place, diagnostics| {
        read(&table, file, place, diagnostics)
    });
    document.issuers = named(&mut table, "issuers", file, diagnostics, |table, file, place, diagnostics| {
        read(&table, file, place, diagnostics)
    });
    document.keys = one(&mut table, "keys", file, diagnostics).unwrap_or_default();
    document.consumers = named(&mut table, "consumers", file, diagnostics, |table, file, place, diagnostics| {
        read(&table, file, place, diagnostics)
    });
    document.certificates = named(&mut table, "certificates", file, diagnostics, |table, file, place, diagnostics| {
        read(&table, file, place, diagnostics)
    });
    document.token_sources =
        named(&mut table, "token-sources", file, diagnostics, |table, file, place, diagnostics| {
            read(&table, file, place, diagnostics)
        });
    // It was of use before, and is read once more for its mistakes.
    document.key_vault = one(&mut table, "key-vault", file, diagnostics).unwrap_or_default();
    document.managed_identity = one(&mut table, "managed-identity", file, diagnostics).unwrap_or_default();
    document.subscriptions =
        named(&mut table, "subscriptions", file, diagnostics, |table, file, place, diagnostics| {
            read(&table, file, place, diagnostics)
        });
    document.connections = named(&mut table, "connections", file, diagnostics, |table, file, place, diagnostics| {
        read(&table, file, place, diagnostics)
    });
    document.products = named(&mut table, "products", file, diagnostics, |mut table, file, place, diagnostics| {
        let scope = read_scope(&mut table, "products.NAME.", file, diagnostics);
        read(&table, file, place, diagnostics).map(|spec| ProductDocument { spec, scope })
    });
    document.fragments = named(&mut table, "fragments", file, diagnostics, |mut table, file, _, diagnostics| {
        let policies = take(&mut table, "policies")
            .map(|(_, value)| policies(value, "fragments.NAME.policies", file, diagnostics));
        unknown_keys(&table, file, &["policies"], diagnostics);
        Some(policies.unwrap_or_default())
    });
    take(&mut table, "named-values");
    let misplaced = [take(&mut table, "api"), take(&mut table, "operation")];
    if let Some((key, _)) = misplaced.into_iter().flatten().next() {
        let text = format!("`{}` does not belong in {GATEWAY_FILE}", key.get_ref());
        diagnostics.push(
            Diagnostic::error("unknown-key", file, key.span(), text)
                .hint("give the API a file of its own in the same folder"),
        );
    }
    unknown_keys(&table, file, &[&KEYS[..], &["on-error"]].concat(), diagnostics);
}

fn read_api<'i>(document: &mut Document<'i>, file: FileId, mut table: Table<'i>, diagnostics: &mut Diagnostics) {
    let scope = read_scope(&mut table, "", file, diagnostics);
    let api = read_api_table(&mut table, file, diagnostics);
    let mut operations = Vec::new();
    if let Some((_, value)) = take(&mut table, "operation") {
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(list) => {
                for item in list {
                    operations.extend(read_operation(document, item, file, diagnostics));
                }
            }
            _ => diagnostics.push(
                Diagnostic::error("wrong-type", file, span, "`operation` is not a list of tables")
                    .hint("write `[[operation]]`"),
            ),
        }
    }
    unknown_keys(&table, file, &["api", "operation", "inbound", "backend", "outbound", "on-error"], diagnostics);
    match api {
        Some(spec) => document.apis.push(ApiDocument { file, spec, scope, operations }),
        None => {
            document.unread = true;
            document.strays.push((file, "api", scope));
            document.strays.extend(operations.into_iter().map(|operation| (file, "operation", operation.scope)));
        }
    }
}

fn read_api_table(table: &mut Table<'_>, file: FileId, diagnostics: &mut Diagnostics) -> Option<ApiSpec> {
    if let Some((key, value)) = take(table, "api") {
        let DeValue::Table(api) = value.into_inner() else {
            diagnostics.push(not_a_table("api", file, key.span()));
            return None;
        };
        return read(&api, file, &key.span(), diagnostics);
    }
    let missing = |span| Diagnostic::error("missing-key", file, span, "this file has no `[api]` table");
    // The keys of an API at the top of its file: the header was forgotten.
    let own = ["name", "path", "hosts", "backend", "description", "version"];
    let found = own.into_iter().filter_map(|name| take(table, name)).map(|(key, _)| key.span());
    diagnostics.push(match found.min_by_key(|span| span.start) {
        Some(first) => missing(first).hint("write `[api]` above this line"),
        None => missing(0..0).hint("each file beside gateway.toml describes one API"),
    });
    None
}

fn read_operation<'i>(
    document: &mut Document<'i>,
    item: Value<'i>,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Option<OperationDocument<'i>> {
    let span = item.span();
    let DeValue::Table(mut table) = item.into_inner() else {
        diagnostics
            .push(Diagnostic::error("wrong-type", file, span, "an operation is a table").hint("write `[[operation]]`"));
        return None;
    };
    let scope = read_scope(&mut table, "operation.", file, diagnostics);
    match read(&table, file, &span, diagnostics) {
        Some(spec) => Some(OperationDocument { spec, scope }),
        None => {
            document.strays.push((file, "operation", scope));
            None
        }
    }
}

/// Takes the four sections out of a table whose name in headers is `prefix`.
fn read_scope<'i>(
    table: &mut Table<'i>,
    prefix: &str,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> ScopeDocument<'i> {
    let mut section = |name: &str| match take(table, name) {
        // The name of a backend, written where its section goes: `[api]` has a key for it, and a policy chooses another.
        Some((key, value)) if name == "backend" && as_text(&value).is_some() => {
            let text = "`backend` is a section here, not the name of a backend";
            diagnostics.push(Diagnostic::error("wrong-type", file, key.span(), text).hint(
                "name it in `[api]`; `policy = \"set-backend-service\"` with `backend = \"name\"` chooses another one",
            ));
            Vec::new()
        }
        Some((_, value)) => policies(value, &format!("{prefix}{name}"), file, diagnostics),
        None => Vec::new(),
    };
    ScopeDocument {
        inbound: section("inbound"),
        backend: section("backend"),
        outbound: section("outbound"),
        on_error: section("on-error"),
    }
}

fn one<T: DeserializeOwned>(
    table: &mut Table<'_>,
    name: &str,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let (key, value) = take(table, name)?;
    match value.into_inner() {
        DeValue::Table(inner) => read(&inner, file, &key.span(), diagnostics),
        _ => {
            diagnostics.push(not_a_table(name, file, key.span()));
            None
        }
    }
}

fn named<'i, T: Default>(
    table: &mut Table<'i>,
    name: &str,
    file: FileId,
    diagnostics: &mut Diagnostics,
    mut make: impl FnMut(Table<'i>, FileId, &Range<usize>, &mut Diagnostics) -> Option<T>,
) -> Vec<Entry<T>> {
    let Some((key, value)) = take(table, name) else { return Vec::new() };
    let DeValue::Table(inner) = value.into_inner() else {
        diagnostics.push(
            Diagnostic::error("wrong-type", file, key.span(), format!("`{name}` is not a table"))
                .hint(format!("write `[{name}.NAME]`")),
        );
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (key, value) in inner {
        let span = key.span();
        let title = key.into_inner().into_owned();
        match value.into_inner() {
            DeValue::Table(body) => {
                let before = diagnostics.errors();
                let spec = make(body, file, &span, diagnostics).unwrap_or_default();
                let clean = diagnostics.errors() == before;
                entries.push(Entry { name: Spanned::new(span, title), spec, clean });
            }
            _ => diagnostics.push(
                Diagnostic::error("wrong-type", file, span, format!("`{title}` is not a table"))
                    .hint(format!("write `[{name}.{title}]` and its keys below it")),
            ),
        }
    }
    entries
}

fn unknown_keys(table: &Table<'_>, file: FileId, known: &[&str], diagnostics: &mut Diagnostics) {
    for key in table.keys() {
        diagnostics.push(
            Diagnostic::error("unknown-key", file, key.span(), format!("unknown key `{}`", key.get_ref()))
                .label(format!("expected {}", one_of(known.iter().copied())))
                .maybe_hint(suggest(key.get_ref(), known.iter().copied())),
        );
    }
}

/// A list of policy tables; `title` is its name in headers.
fn policies<'i>(value: Value<'i>, title: &str, file: FileId, diagnostics: &mut Diagnostics) -> Vec<RawPolicy<'i>> {
    let span = value.span();
    let DeValue::Array(list) = value.into_inner() else {
        diagnostics.push(
            Diagnostic::error("wrong-type", file, span, "expected a list of policies")
                .hint(format!("write `[[{title}]]` with double brackets, and `policy = \"…\"` below it")),
        );
        return Vec::new();
    };
    list.into_iter().filter_map(|item| policy(item, file, diagnostics)).collect()
}

fn policy<'i>(item: Value<'i>, file: FileId, diagnostics: &mut Diagnostics) -> Option<RawPolicy<'i>> {
    let span = item.span();
    let DeValue::Table(mut table) = item.into_inner() else {
        diagnostics.push(
            Diagnostic::error("wrong-type", file, span, "a policy is a table").hint("`{ policy = \"set-header\", … }`"),
        );
        return None;
    };
    let Some((_, name)) = take(&mut table, "policy") else {
        let close = table.keys().find(|key| suggest(key.get_ref(), ["policy"]).is_some());
        let (span, hint) = match close {
            Some(key) => (key.span(), format!("did you mean `policy` instead of `{}`?", key.get_ref())),
            None => (span, "every policy names its kind: `policy = \"set-header\"`".to_owned()),
        };
        diagnostics.push(Diagnostic::error("missing-key", file, span, "missing key `policy`").hint(hint));
        return None;
    };
    let Some(kind) = as_text(&name) else {
        diagnostics.push(Diagnostic::error("wrong-type", file, name.span(), "`policy` is not text"));
        return None;
    };
    let name = Spanned::new(name.span(), kind.to_owned());
    let id = take(&mut table, "id").and_then(|(_, value)| {
        let id = as_text(&value).map(str::to_owned);
        if id.is_none() {
            diagnostics.push(Diagnostic::error("wrong-type", file, value.span(), "`id` is not text"));
        }
        id
    });
    let operations = operations(&mut table);
    let mut nested = Vec::new();
    lift(&mut table, file, &mut nested, diagnostics);
    Some(RawPolicy { file, name, id, operations, table, nested })
}

/// Takes the names of the operations that a policy is for. A policy may have a key of this name for tables of its own.
fn operations(table: &mut Table<'_>) -> Option<Vec<Spanned<String>>> {
    let names = table.iter().find(|(key, _)| key.get_ref() == "operations").and_then(|(_, value)| {
        let DeValue::Array(list) = value.get_ref() else { return None };
        list.iter().map(|item| as_text(item).map(|name| Spanned::new(item.span(), name.to_owned()))).collect()
    })?;
    take(table, "operations");
    Some(names)
}

/// Takes the lists of policies out of a policy's table, at any depth, and leaves their numbers.
fn lift<'i>(table: &mut Table<'i>, file: FileId, nested: &mut Vec<Vec<RawPolicy<'i>>>, diagnostics: &mut Diagnostics) {
    for (_, value) in table.iter_mut() {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(inner) => lift(inner, file, nested, diagnostics),
            DeValue::Array(list) => {
                let holds_policies = list
                    .iter()
                    .any(|item| matches!(item.get_ref(), DeValue::Table(inner) if inner.contains_key("policy")));
                if holds_policies {
                    let mark = DeValue::String(format!("{NESTED_MARK}{}", nested.len()).into());
                    let list = std::mem::replace(value.get_mut(), mark);
                    nested.push(policies(Spanned::new(span, list), "", file, diagnostics));
                } else {
                    for item in list.iter_mut() {
                        if let DeValue::Table(inner) = item.get_mut() {
                            lift(inner, file, nested, diagnostics);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}
