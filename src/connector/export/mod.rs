//! An API of a folder as a connector package: what a maker imports to call the API through the gateway.
//!
//! The definition that the API was imported from gives the schemas and the words; paths, operations and parameters are those of the
//! TOML. The policies run in the gateway, so that the package has none but those which the platform needs for itself.

mod api;
mod callers;
mod convert;
mod earlier;
mod mend;
mod names;
mod parameters;
mod places;
mod properties;
mod responses;
mod security;
mod token;
mod walk;

pub use self::earlier::{MARK_FILE, WriteError};

use std::path::Path;

use serde_json::Value;

use super::definition::{Definition, Operation};
use super::package;
use crate::config::diagnostic::suggest;
use crate::config::folder::{ApiDocument, Document, OperationDocument, ProductDocument, parse, read_folder};
use crate::config::named::Offline;
use crate::config::source::Sources;
use crate::config::{Diagnostics, render};

/// A package that was made.
pub struct Exported {
    /// `apiDefinition.swagger.json`
    pub definition: Value,
    /// `apiProperties.json`
    pub properties: Value,
    /// What could not be said in it.
    pub notes: Vec<String>,
}

/// Where the gateway is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host, and port where it has one.
    pub host: String,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// What stands before the API's own path.
    pub path: String,
}

impl Address {
    /// Reads `gateway.contoso.com`, `localhost:8080` or `http://gateway.contoso.com/prefix`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            Some((other, _)) => return Err(format!("`{other}` is neither `https` nor `http`")),
            None => ("https", text),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let is_authority =
            host.parse::<http::uri::Authority>().is_ok_and(|one| one.as_str() == host && !host.contains('@'));
        if !is_authority {
            return Err(format!("`{host}` is no host"));
        }
        if host.starts_with('[') {
            return Err(format!(
                "`{host}` cannot stand in a definition of OpenAPI 2.0, which has names and addresses of IPv4"
            ));
        }
        let slash = if path.is_empty() { "" } else { "/" };
        Ok(Self { host: host.to_owned(), scheme, path: format!("{slash}{path}") })
    }
}

/// Makes a package of the API `name` of a folder.
///
/// # Errors
/// Why nothing could be made, for people.
pub fn export(folder: &Path, name: &str, address: &Address) -> Result<Exported, String> {
    let files = read_folder(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    let mut sources = Sources::default();
    for (name, text) in files {
        sources.add(name, text);
    }
    let mut diagnostics = Diagnostics::default();
    let document = parse(&sources, Some(folder), &Offline, &mut diagnostics);
    let found = document.apis.iter().find(|api| api.spec.name.value == name);
    // A mistake in the API's own file may have cost operations or policies.
    if diagnostics.errors() > 0 && found.is_none_or(|api| diagnostics.has_error_in(api.file)) {
        diagnostics.sort();
        return Err(format!("the folder has mistakes\n{}", render::text(&diagnostics, &sources)));
    }
    let Some(api) = found else {
        let known: Vec<&str> = document.apis.iter().map(|api| api.spec.name.value.as_str()).collect();
        return Err(format!("no API is called `{name}`; {}", instead(name, &known)));
    };
    let (mut read, mut faults) = (Sources::default(), Diagnostics::default());
    let file = match &api.spec.definition {
        None => None,
        Some(path) => {
            let path = folder.join(&path.value);
            let file = package::read_file(&path, &mut read, &mut faults);
            Some(file.ok_or_else(|| format!("the definition cannot be read\n{}", render::text(&faults, &read)))?)
        }
    };
    let definition = file.as_ref().map(|file| Definition::read(&file.root)).transpose();
    let definition = definition.map_err(|(_, why)| format!("the definition cannot be used: {why}"))?;
    let beside =
        api.spec.definition.as_ref().map(|path| folder.join(&path.value).with_file_name(package::PROPERTIES_FILE));
    let old = beside.filter(|path| path.is_file()).and_then(|path| package::read_file(&path, &mut read, &mut faults));
    let source = Source {
        document: &document,
        sources: &sources,
        api,
        definition: definition.as_ref(),
        old: old.as_ref().map(|file| &file.root),
    };
    let mut notes = Vec::new();
    if diagnostics.errors() > 0 {
        notes.push(format!(
            "{} has mistakes, and what they stand in may be missing here: `sluicegate check` shows them",
            folder.display()
        ));
    }
    let needs = callers::needs(&source, &mut notes);
    let security = security::decide(&needs, &mut notes);
    let definition = api::definition(&source, address, &security, &mut notes);
    let properties = properties::properties(&source, &security, &definition);
    Ok(Exported { definition, properties, notes })
}

/// What is there in place of an API that is not.
fn instead(name: &str, known: &[&str]) -> String {
    const MOST: usize = 12;
    let list: Vec<String> = known.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match (suggest(name, known.iter().copied()), known.len()) {
        (Some(hint), _) => hint,
        (None, 0) => "there are none".to_owned(),
        (None, count) if count > MOST => format!("there are {} and {} more", list.join(", "), count - MOST),
        (None, _) => format!("there are {}", list.join(", ")),
    }
}

impl<'a> Source<'a> {
    /// The products that the API is in.
    fn products(&self) -> impl Iterator<Item = &'a ProductDocument<'a>> {
        let name = &self.api.spec.name.value;
        let all = self.document.products.iter().map(|product| &product.spec);
        all.filter(move |product| product.spec.apis.iter().any(|api| api.value == *name))
    }

    /// Whether every caller needs a subscription key before any policy runs.
    fn needs_key(&self) -> bool {
        let is_open = self.products().any(|product| !product.spec.subscription_required.unwrap_or(true));
        let is_in_one = self.products().next().is_some();
        self.api.spec.subscription_required.unwrap_or(is_in_one && !is_open)
    }

    /// What the definition says of an operation: the one of its name, else the one of its method and path.
    fn known(&self, document: &OperationDocument<'_>) -> Option<&'a Operation<'a>> {
        let all = &self.definition?.operations;
        let (method, path) = document.spec.matches.value.trim().split_once(' ')?;
        let path = shape(path.split('?').next()?.trim());
        let by_name = all.iter().find(|one| one.id == document.spec.name.value);
        by_name.or_else(|| all.iter().find(|one| one.method == method && shape(one.path) == path))
    }

    /// A part of the definition with references to parameters written out: they are nowhere to be referred to.
    fn written_out(&self, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.written_out(item)).collect(),
            Value::Object(members) => {
                let reference = members.get("$ref").and_then(Value::as_str);
                let reference = reference.filter(|reference| reference.starts_with("#/parameters/"));
                let found = reference.and_then(|reference| self.definition?.root.resolve(reference));
                match found {
                    Some(parameter) => parameter.to_json(),
                    None => members.into_iter().map(|(name, value)| (name, self.written_out(value))).collect(),
                }
            }
            value => value,
        }
    }

    /// Whether a value has a secret of the configuration in it.
    fn holds_secret(&self, value: &Value) -> bool {
        let Some(text) = value.as_str() else { return false };
        let mut secrets = self.document.named.iter().filter(|(_, value)| value.secret && !value.value.is_empty());
        secrets.any(|(_, secret)| text.contains(&secret.value))
    }
}

/// A path without the names of its variables.
fn shape(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path.trim_end_matches('/');
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('{');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// What a package is made of.
struct Source<'a> {
    document: &'a Document<'a>,
    /// The files of the folder.
    sources: &'a Sources,
    api: &'a ApiDocument<'a>,
    definition: Option<&'a Definition<'a>>,
    /// The `apiProperties.json` that came with the definition.
    old: Option<&'a super::tree::Node>,
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("gateway.contoso.com", Some(("https", "gateway.contoso.com", ""))),
            ("http://localhost:8080/", Some(("http", "localhost:8080", ""))),
            ("https://contoso.com/apis/", Some(("https", "contoso.com", "/apis"))),
            ("ftp://contoso.com", None),
            ("me@contoso.com", None),
            ("[::1]:8080", None),
            ("", None),
        ] {
            let found = Address::parse(text).ok();
            let found = found.as_ref().map(|one| (one.scheme, one.host.as_str(), one.path.as_str()));
            assert_eq!(found, want, "{text}");
        }
    }
}
