//! Writes a package into a folder: over an earlier export of the same API, and over nothing else that anybody made.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::security::{NO_AUDIENCE, SETTINGS};
use super::token::is_to_fill_in;
use super::{Exported, api};
use crate::connector::package::{DEFINITION_FILE, PROPERTIES_FILE};

/// What tells an export from a package that a maker wrote. Without it, nothing is overwritten.
pub const MARK_FILE: &str = ".sluicegate-export.json";
/// What makers fill in or change in an export, which the next one keeps: pointers into apiProperties.json ...
const IN_PROPERTIES: [&str; 7] = [
    "/properties/iconBrandColor",
    "/properties/publisher",
    "/properties/stackOwner",
    "/properties/connectionParameters/token/oAuthSettings/clientId",
    "/properties/connectionParameters/token/oAuthSettings/scopes",
    "/properties/connectionParameters/token/oAuthSettings/properties/AzureActiveDirectoryResourceId",
    "/properties/connectionParameters/token/oAuthSettings/customParameters",
];
/// ... and into the definition.
const IN_DEFINITION: [&str; 3] = [
    "/securityDefinitions/oauth2/authorizationUrl",
    "/securityDefinitions/oauth2/tokenUrl",
    "/securityDefinitions/oauth2/scopes",
];

/// Why a package was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Something is there that may be a maker's own.
    #[error("{} holds {why}, and it is not overwritten", folder.display())]
    Theirs {
        /// Where it is.
        folder: PathBuf,
        /// What it is.
        why: String,
    },
    /// The file system refuses.
    #[error("{} cannot be written: {source}", path.display())]
    Unwritten {
        /// What cannot be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Exported {
    /// Writes the two files. What a maker filled in before is kept; so are all other files.
    ///
    /// Each file is whole at any time: it is written beside its place and renamed. An export that was cut off between the two is still one.
    ///
    /// # Errors
    /// A definition or an apiProperties.json is there that is no export of this API, or was changed since, unless `force` is set; or the
    /// file system refuses.
    pub fn write(&mut self, api: &str, folder: &Path, force: bool) -> Result<(), WriteError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| WriteError::Unwritten { path, source }
        };
        let mark = Mark::read(&folder.join(MARK_FILE));
        let read = |name: &str| match std::fs::read(folder.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            // A file in the place of the folder is told when the folder is made.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(WriteError::Unwritten { path: folder.join(name), source }),
        };
        let (definition, properties) = (read(DEFINITION_FILE)?, read(PROPERTIES_FILE)?);
        let old = [(DEFINITION_FILE, definition), (PROPERTIES_FILE, properties)];
        let why = old.iter().find_map(|(name, bytes)| mark.refusal(api, name, bytes.as_deref()?));
        if let Some(why) = why.filter(|_| !force) {
            return Err(WriteError::Theirs { folder: folder.to_owned(), why });
        }
        let json = |bytes: &Option<Vec<u8>>| serde_json::from_slice::<Value>(bytes.as_deref()?).ok();
        // What this export says by itself, so that the next one sees what was changed.
        let written = open(&self.definition).into_iter().chain(open(&self.properties));
        let written: Map<String, Value> = written.map(|(pointer, value)| (pointer, value.clone())).collect();
        if mark.api.as_deref() == Some(api) {
            let [(_, definition), (_, properties)] = &old;
            self.keep(&json(definition).unwrap_or_default(), &json(properties).unwrap_or_default(), &mark.written);
        }
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let new = [(DEFINITION_FILE, &self.definition), (PROPERTIES_FILE, &self.properties)];
        let signatures = new.map(|(name, value)| signature(name, value));
        // While one file is new and the other is not, both are known.
        let mut both = signatures.to_vec();
        both.extend(old.iter().filter_map(|(name, bytes)| Some(signature(name, &json(bytes)?))));
        let put = |name: &str, text: &str| replace(&folder.join(name), text).map_err(failed(&folder.join(name)));
        put(MARK_FILE, &Mark::text(api, &both, &written))?;
        for (name, value) in new {
            put(name, &api::text(value))?;
        }
        put(MARK_FILE, &Mark::text(api, &signatures, &written))
    }

    /// Takes over what a maker changed of what an export wrote, where it is the maker's to say.
    fn keep(&mut self, definition: &Value, properties: &Value, written: &Value) {
        let provider = format!("{SETTINGS}/identityProvider");
        let is_same = self.properties.pointer(&provider) == properties.pointer(&provider);
        for (new, old) in [(&mut self.definition, definition), (&mut self.properties, properties)] {
            for (pointer, value) in open(old) {
                let is_of_token = pointer.starts_with(SETTINGS) || pointer.starts_with("/securityDefinitions");
                if written.get(&pointer) == Some(value) || is_of_token && !is_same {
                    continue;
                }
                let Some((parent, name)) = pointer.rsplit_once('/') else { continue };
                // A parameter of the issuer's that the maker added.
                if let Some((table, added)) = parent.rsplit_once('/')
                    && let Some(Value::Object(table)) = new.pointer_mut(table).filter(|_| name == "value")
                {
                    table.entry(added).or_insert_with(|| json!({}));
                }
                if let Some(Value::Object(parent)) = new.pointer_mut(parent) {
                    parent.insert(name.to_owned(), value.clone());
                }
            }
        }
    }

    /// What the maker still has to fill in, for people.
    pub fn to_fill_in(&self) -> Vec<String> {
        let mut out = Vec::new();
        let Some(settings) = self.properties.pointer(SETTINGS) else { return out };
        let is_entra = settings["identityProvider"] == "aad";
        if settings["clientId"] == "" {
            out.push(match is_entra {
                true => {
                    "apiProperties.json needs the id of an app registration for the connector: `clientId`".to_owned()
                }
                false => {
                    "apiProperties.json needs the id that the issuer knows the connector by: `clientId`".to_owned()
                }
            });
        }
        if is_entra && settings["customParameters"]["resourceUri"]["value"] == NO_AUDIENCE {
            out.push(format!(
                "no policy names an audience that a token could be asked for: `{NO_AUDIENCE}` in apiProperties.json is to be replaced"
            ));
        }
        let urls = settings["customParameters"].as_object().into_iter().flatten();
        let urls = urls.map(|(_, one)| &one["value"]).chain(self.definition.pointer(IN_DEFINITION[0]));
        if urls.filter_map(Value::as_str).any(is_to_fill_in) {
            out.push(
                "the URLs at `fill-in.invalid` in both files are to be replaced: this command asks nobody, and the issuer's discovery document \
                 calls them `authorization_endpoint` and `token_endpoint`"
                    .to_owned(),
            );
        }
        out
    }
}

/// What of a file is the maker's to say, with its places.
fn open(value: &Value) -> Vec<(String, &Value)> {
    let all =
        IN_DEFINITION.iter().chain(&IN_PROPERTIES).filter_map(|pointer| Some((*pointer, value.pointer(pointer)?)));
    all.flat_map(|(pointer, value)| match value {
        Value::Object(table) if pointer.ends_with("/customParameters") => table
            .iter()
            .filter_map(|(name, one)| Some((format!("{pointer}/{name}/value"), one.get("value")?)))
            .collect(),
        value => vec![(pointer.to_owned(), value)],
    })
    .collect()
}

/// What an export says, without what makers fill in.
fn signature(name: &str, value: &Value) -> String {
    let mut value = value.clone();
    let open: &[&str] = if name == DEFINITION_FILE { &IN_DEFINITION } else { &IN_PROPERTIES };
    for pointer in open {
        if let Some((parent, name)) = pointer.rsplit_once('/')
            && let Some(Value::Object(parent)) = value.pointer_mut(parent)
        {
            parent.remove(name);
        }
    }
    let digest = digest::digest(&digest::SHA256, value.to_string().as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an earlier export left of itself.
#[derive(Default)]
struct Mark {
    api: Option<String>,
    signatures: Vec<String>,
    /// What it said where makers change it.
    written: Value,
}

impl Mark {
    fn read(path: &Path) -> Self {
        let Ok(bytes) = std::fs::read(path) else { return Self::default() };
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else { return Self::default() };
        let signatures = value["signatures"].as_array().into_iter().flatten();
        Self {
            api: value["api"].as_str().map(str::to_owned),
            signatures: signatures.filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            written: value["written"].clone(),
        }
    }

    fn text(api: &str, signatures: &[String], written: &Map<String, Value>) -> String {
        let value = json!({
            "about": "Written by `sluicegate export connector`, which overwrites its own exports only. Not a part of the connector.",
            "api": api,
            "signatures": signatures,
            "written": written,
        });
        format!("{value:#}\n")
    }

    /// Why a file is not overwritten.
    fn refusal(&self, api: &str, name: &str, bytes: &[u8]) -> Option<String> {
        match &self.api {
            None => Some(format!("{name}, which is no earlier export")),
            Some(other) if other != api => Some(format!("an export of the API `{other}`")),
            Some(_) => {
                let value = serde_json::from_slice::<Value>(bytes).ok();
                let is_own = value.is_some_and(|value| self.signatures.contains(&signature(name, &value)));
                (!is_own).then(|| format!("{name}, which was changed since it was exported"))
            }
        }
    }
}

/// Writes a file beside its place and renames it, so that nobody sees half of one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{}.new", name.trim_start_matches('.')));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&beside, path));
    if renamed.is_err() {
        // What is left of it is of no use.
        drop(std::fs::remove_file(&beside));
    }
    renamed
}
