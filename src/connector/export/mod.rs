//! An API of a folder as a connector package: what a maker imports to call the API through the gateway.
//!
//! The definition that the API was imported from gives the schemas and the words; paths, operations and parameters are those of the
//! TOML. The policies run in the gateway, so that the package has none but those which the platform needs for itself.

mod api;
mod convert;
mod properties;

use std::path::Path;

use serde_json::Value;

use super::definition::Definition;
use super::package;
use crate::config::diagnostic::suggest;
use crate::config::folder::{ApiDocument, Document, parse, read_folder};
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
    let Some(api) = document.apis.iter().find(|api| api.spec.name.value == name) else {
        if diagnostics.errors() > 0 {
            diagnostics.sort();
            return Err(format!("the folder has mistakes\n{}", render::text(&diagnostics, &sources)));
        }
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
    let source =
        Source { document: &document, api, definition: definition.as_ref(), old: old.as_ref().map(|file| &file.root) };
    let mut notes = Vec::new();
    let security = properties::security(&source, &mut notes);
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

/// What a package is made of.
struct Source<'a> {
    document: &'a Document<'a>,
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
