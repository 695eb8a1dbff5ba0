//! Named values: `{{name}}` in any text of the configuration stands for a value from the file, the environment or a secret file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeValue;

use super::credentials::{KeyVaultSpec, ManagedIdentitySpec};
use super::diagnostic::{Diagnostic, Diagnostics, suggest};
use super::read::{Table, Value, as_text, read};
use super::source::{FileId, Location};
use super::value::At;

/// A named value: plain text, or a table that says where the value comes from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedValueSpec {
    /// The name of an environment variable; its value is a secret.
    pub env: Option<String>,
    /// The path of a file, relative to the configuration folder; its content without the last line break is a secret.
    pub file: Option<String>,
    /// The URL of a secret in a key vault, with or without its version, as in
    /// `https://contoso.vault.azure.net/secrets/erp-key`; its value is a secret. It is fetched at the start, which fails without it,
    /// and again as `[key-vault]` says and on SIGHUP: a changed value is a reload, and when the vault cannot be reached the last value serves
    /// on. `sluicegate check` fetches nothing.
    pub key_vault: Option<At<String>>,
    /// The client id of a user-assigned identity that may read the secret. Default: what `[key-vault]` says.
    pub identity_client_id: Option<String>,
    /// What is taken when the environment variable is not set or the file does not exist.
    pub default: Option<String>,
}

/// A named value that a key vault holds.
pub struct Wanted<'a> {
    /// The named value.
    pub name: &'a str,
    /// The secret's URL.
    pub url: &'a At<String>,
    /// The client id of a user-assigned identity.
    pub identity: Option<&'a str>,
}

/// Where secrets come from that are neither in the environment nor in a file.
pub trait SecretStore {
    /// The values of secrets, in the order they are asked for; none for those that could not be had, which has been reported
    /// to `diagnostics`, and a placeholder in place of those that are not fetched because the configuration is only looked at.
    fn secrets(
        &self,
        vault: &KeyVaultSpec,
        identity: &ManagedIdentitySpec,
        wanted: &[Wanted<'_>],
        file: FileId,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Option<Secret>>;
}

/// What a store gives.
pub enum Secret {
    /// The value.
    Value(String),
    /// Something in its place.
    Placeholder,
}

/// The text in place of a secret that is not fetched.
const PLACEHOLDER: &str = "placeholder";

/// A store that fetches nothing: for commands that only look at a configuration.
pub struct Offline;

impl SecretStore for Offline {
    fn secrets(
        &self,
        _: &KeyVaultSpec,
        _: &ManagedIdentitySpec,
        wanted: &[Wanted<'_>],
        _: FileId,
        _: &mut Diagnostics,
    ) -> Vec<Option<Secret>> {
        wanted.iter().map(|_| Some(Secret::Placeholder)).collect()
    }
}

/// One value after its source was read.
#[derive(Clone)]
pub struct NamedValue {
    /// The value.
    pub value: String,
    /// Whether it came from the environment or a file, and so must not be shown.
    pub secret: bool,
    /// Whether it could not be read, which has been reported, or is a placeholder: what it stands in cannot be judged.
    pub broken: bool,
    /// Whether a key vault holds it and has not been asked.
    pending: bool,
}

impl std::fmt::Debug for NamedValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value: &str = if self.secret { "***" } else { &self.value };
        f.debug_struct("NamedValue").field("value", &value).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl NamedValue {
    /// A secret; broken when there is none.
    fn secret(value: Option<String>) -> Self {
        Self { secret: true, broken: value.is_none(), pending: false, value: value.unwrap_or_default() }
    }
}

/// A named value that is to be had from a key vault.
pub struct InVault {
    name: String,
    url: At<String>,
    identity: Option<String>,
}

impl InVault {
    /// What to ask for.
    pub fn wanted(&self) -> Wanted<'_> {
        Wanted { name: &self.name, url: &self.url, identity: self.identity.as_deref() }
    }
}

/// All named values of a configuration.
#[derive(Debug, Default)]
pub struct NamedValues(BTreeMap<String, NamedValue>);

impl NamedValues {
    /// Reads `[named-values]`. Those of a key vault are to be had from [`NamedValues::fetch`].
    pub fn load(
        table: Table<'_>,
        file: FileId,
        folder: Option<&Path>,
        diagnostics: &mut Diagnostics,
    ) -> (Self, Vec<InVault>) {
        let mut values = BTreeMap::new();
        let mut in_vault = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                diagnostics.push(
                    Diagnostic::error(
                        "bad-name",
                        file,
                        key.span(),
                        format!("`{name}` cannot be the name of a named value"),
                    )
                    .hint("letters, digits, `-`, `_` and `.`"),
                );
                continue;
            }
            let span = value.span();
            if let Some(text) = as_text(&value) {
                let broken = text.contains("{{");
                if broken {
                    diagnostics.push(
                        Diagnostic::error("nested-named-value", file, span, "a named value cannot hold another one")
                            .hint("write the text out"),
                    );
                }
                values.insert(name, NamedValue { value: text.to_owned(), secret: false, broken, pending: false });
                continue;
            }
            let DeValue::Table(inner) = value.into_inner() else {
                diagnostics.push(
                    Diagnostic::error(
                        "wrong-type",
                        file,
                        span,
                        format!("named value `{name}` is neither text nor a table"),
                    )
                    .hint("`name = \"text\"`, `name = { env = \"VARIABLE\" }`, `name = { file = \"path\" }` or `name = { key-vault = \"https://…\" }`"),
                );
                continue;
            };
            let Some(spec) = read::<NamedValueSpec>(&inner, file, &span, diagnostics) else {
                values.insert(name, NamedValue::secret(None));
                continue;
            };
            if let Some(url) = &spec.key_vault
                && spec.env.is_none()
                && spec.file.is_none()
                && spec.default.is_none()
            {
                values.insert(name.clone(), NamedValue { pending: true, ..NamedValue::secret(None) });
                in_vault.push(InVault { name, url: url.clone(), identity: spec.identity_client_id });
                continue;
            }
            match resolve(&spec, folder) {
                Ok(value) => drop(values.insert(name, NamedValue::secret(Some(value)))),
                Err((message, hint)) => {
                    diagnostics.push(
                        Diagnostic::error("missing-secret", file, span, format!("named value `{name}`: {message}"))
                            .hint(hint),
                    );
                    // Known by name, so that each use does not become a second mistake.
                    values.insert(name, NamedValue::secret(None));
                }
            }
        }
        (Self(values), in_vault)
    }

    /// Puts in the values of the key vault.
    pub fn fetch(&mut self, fetched: impl IntoIterator<Item = (InVault, Option<Secret>)>) {
        for (InVault { name, .. }, secret) in fetched {
            let value = match secret {
                Some(Secret::Value(value)) => NamedValue::secret(Some(value)),
                Some(Secret::Placeholder) => NamedValue { value: PLACEHOLDER.to_owned(), ..NamedValue::secret(None) },
                None => NamedValue::secret(None),
            };
            self.0.insert(name, value);
        }
    }

    /// The names and values, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &NamedValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Takes the secrets out of a text that quotes a value they stand in.
    pub fn redact(&self, text: &mut String) {
        for (name, value) in self.iter().filter(|(_, value)| value.secret && !value.value.is_empty()) {
            if text.contains(&value.value) {
                *text = text.replace(&value.value, &format!("{{{{{name}}}}}"));
            }
        }
    }

    /// Puts the values in place of `{{name}}` in every text of a table.
    pub fn substitute(&self, table: &mut Table<'_>, file: FileId, source: &str, diagnostics: &mut Diagnostics) {
        for (_, value) in table.iter_mut() {
            self.substitute_value(value, file, source, diagnostics);
        }
    }

    fn substitute_value(&self, value: &mut Value<'_>, file: FileId, source: &str, diagnostics: &mut Diagnostics) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) if text.contains("{{") => {
                let replaced = self.expand(text, file, span, source, diagnostics);
                *text = replaced.into();
            }
            DeValue::Array(list) => {
                for item in list.iter_mut() {
                    self.substitute_value(item, file, source, diagnostics);
                }
            }
            DeValue::Table(table) => self.substitute(table, file, source, diagnostics),
            _ => {}
        }
    }

    fn expand(
        &self,
        text: &str,
        file: FileId,
        span: Range<usize>,
        source: &str,
        diagnostics: &mut Diagnostics,
    ) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut searched = span.start;
        while let Some(open) = rest.find("{{") {
            let Some(close) = rest[open..].find("}}").map(|at| open + at) else { break };
            out.push_str(&rest[..open]);
            let name = rest[open + 2..close].trim();
            // The place of this use in the file, by its text: escapes before it do not matter.
            let raw = &rest[open..close + 2];
            let at = source.get(searched..span.end).and_then(|text| text.find(raw)).map(|at| searched + at);
            let place = at.map_or_else(|| span.clone(), |at| at + 2..at + raw.len() - 2);
            searched = place.end.min(span.end);
            match self.0.get(name) {
                Some(value) => {
                    if value.pending {
                        diagnostics.push(
                            Diagnostic::error(
                                "nested-named-value",
                                file,
                                place,
                                format!(
                                    "`{name}` is a secret of the key vault, and the vault cannot be reached with it"
                                ),
                            )
                            .hint("take it from the environment or a file"),
                        );
                    }
                    if value.broken {
                        diagnostics.distrust(Location { file, span: span.clone() });
                    }
                    out.push_str(&value.value);
                }
                None => {
                    diagnostics.distrust(Location { file, span: span.clone() });
                    diagnostics.push(
                        Diagnostic::error("unknown-named-value", file, place, format!("unknown named value `{name}`"))
                            .hint("define it under `[named-values]` in gateway.toml")
                            .maybe_hint(suggest(name, self.0.keys().map(String::as_str))),
                    );
                }
            }
            rest = &rest[close + 2..];
        }
        out.push_str(rest);
        out
    }
}

#[expect(clippy::disallowed_methods, reason = "the configuration is the one place that reads the environment")]
fn resolve(spec: &NamedValueSpec, folder: Option<&Path>) -> Result<String, (String, String)> {
    let found = match (&spec.env, &spec.file, &spec.key_vault) {
        (Some(variable), None, None) => std::env::var(variable).map_err(|_| {
            (format!("environment variable `{variable}` is not set"), format!("set `{variable}`, or give a `default`"))
        }),
        (None, Some(path), None) => {
            let path = folder.map_or_else(|| path.into(), |folder| folder.join(path));
            std::fs::read_to_string(&path).map(|text| text.trim_end_matches(['\n', '\r']).to_owned()).map_err(|error| {
                (
                    format!("file `{}` cannot be read: {error}", path.display()),
                    "give a readable file, or a `default`".to_owned(),
                )
            })
        }
        (None, None, Some(_)) => {
            return Err((
                "a secret of a key vault has no `default`".to_owned(),
                "without its value nothing starts; take `default` out".to_owned(),
            ));
        }
        _ => return Err(("exactly one source is needed".to_owned(), "`env`, `file` or `key-vault`".to_owned())),
    };
    match (found, &spec.default) {
        (Err(_), Some(default)) => Ok(default.clone()),
        (found, _) => found,
    }
}

/// Whether a text holds a use of a named value.
pub fn has_use(value: &Spanned<DeValue<'_>>) -> bool {
    matches!(value.get_ref(), DeValue::String(text) if text.contains("{{"))
}

/// The identity endpoint that App Service, Functions and Container Apps set in the environment, and its secret.
#[expect(clippy::disallowed_methods, reason = "the configuration is the one place that reads the environment")]
pub fn identity_environment() -> Option<(String, String)> {
    Some((std::env::var("IDENTITY_ENDPOINT").ok()?, std::env::var("IDENTITY_HEADER").ok()?))
}
