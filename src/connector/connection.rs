//! What a connector asks of its connections, and the connection that gateway.toml gets for it.

use std::fmt::Write as _;

use super::definition::{Definition, SchemeKind};
use super::package::slug;
use super::properties::{ConnectionParameter, Properties};
use super::written::{holds_named_value, key, one_line, text};

/// What an API asks of its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The parameters of every connection.
    pub parameters: Vec<Parameter>,
    /// Sets of more parameters, by name, of which a connection chooses one.
    pub sets: Vec<(String, Vec<Parameter>)>,
}

/// One parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether a connection needs it.
    pub required: bool,
    /// The value of connections that do not give it.
    pub default: Option<String>,
    /// The values that it may have; any when there are none.
    pub allowed: Vec<String>,
    /// What it is called in the form.
    pub label: String,
}

/// Kinds of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    #[default]
    Text,
    /// Text that is secret.
    Secret,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Bool,
    /// An OAuth token.
    Token,
    /// The on-premises gateway.
    Gateway,
}

impl Kind {
    fn of(kind: &str) -> Self {
        match kind.to_ascii_lowercase().as_str() {
            "securestring" => Self::Secret,
            "int" => Self::Int,
            "bool" => Self::Bool,
            "oauthsetting" => Self::Token,
            "gatewaysetting" => Self::Gateway,
            _ => Self::Text,
        }
    }

    /// The name of the type in TOML; none for the default.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Text => None,
            Self::Secret => Some("securestring"),
            Self::Int => Some("int"),
            Self::Bool => Some("bool"),
            Self::Token => Some("oauth-setting"),
            Self::Gateway => Some("gateway-setting"),
        }
    }

    /// Whether its value does not belong into a file.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Token)
    }
}

impl Parameter {
    fn of(parameter: &ConnectionParameter<'_>) -> Self {
        let kind = Kind::of(parameter.kind);
        let plain = |value: &&str| !holds_named_value(value);
        let allowed: Vec<&str> = parameter.allowed.clone();
        // A list that cannot be written whole would refuse what the package allows.
        let allowed = if allowed.iter().all(plain) { allowed } else { Vec::new() };
        Self {
            name: one_line(parameter.name),
            kind,
            // Nobody connects without signing in, whatever the form says.
            required: parameter.required || kind == Kind::Token,
            default: parameter.default.filter(plain).map(str::to_owned),
            allowed: allowed.into_iter().map(str::to_owned).collect(),
            label: one_line(parameter.label),
        }
    }

    fn needed(name: &str, kind: Kind, label: &str) -> Self {
        Self { name: name.to_owned(), kind, required: true, label: label.to_owned(), ..Self::default() }
    }

    /// Whether a connection must say it.
    fn is_needed(&self) -> bool {
        self.required && self.default.is_none() && self.kind != Kind::Gateway
    }

    /// What follows its value as a comment.
    fn note(&self) -> String {
        let required = if self.is_needed() { "required" } else { "" };
        [self.label.as_str(), required].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

/// Parameters, each name once: they compare without case.
fn each(list: &[ConnectionParameter<'_>]) -> Vec<Parameter> {
    let mut found: Vec<Parameter> = Vec::new();
    for parameter in list.iter().map(Parameter::of) {
        if !found.iter().any(|known| known.name.to_lowercase() == parameter.name.to_lowercase()) {
            found.push(parameter);
        }
    }
    found
}

impl Asked {
    /// What a package asks for. A definition without apiProperties.json asks for what its security needs, as the wizard that
    /// imports it makes it.
    pub fn of(definition: &Definition<'_>, properties: &Properties<'_>) -> Self {
        if properties.root.is_none() {
            let kind = definition.schemes.first().map(|scheme| &scheme.kind);
            let parameters = match kind {
                Some(SchemeKind::Header(_) | SchemeKind::Query(_)) => {
                    vec![Parameter::needed("api_key", Kind::Secret, "API key")]
                }
                Some(SchemeKind::Basic) => vec![
                    Parameter::needed("username", Kind::Text, "User name"),
                    Parameter::needed("password", Kind::Secret, "Password"),
                ],
                Some(SchemeKind::Bearer | SchemeKind::OAuth { .. }) => {
                    vec![Parameter::needed("token", Kind::Token, "Token")]
                }
                Some(SchemeKind::Other(_)) | None => Vec::new(),
            };
            return Self { parameters, sets: Vec::new() };
        }
        let mut sets: Vec<(String, Vec<Parameter>)> = Vec::new();
        for (name, parameters) in &properties.sets {
            let name = one_line(name);
            if !sets.iter().any(|(known, _)| *known == name) {
                sets.push((name, each(parameters)));
            }
        }
        Self { parameters: each(&properties.parameters), sets }
    }

    /// Whether a connection has nothing to say.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty() && self.sets.is_empty()
    }

    /// The parameters of every connection and those of a set, which count where both have the same one.
    pub fn with(&self, set: Option<&str>) -> impl Iterator<Item = &Parameter> {
        let set = self.sets.iter().find(|(name, _)| Some(name.as_str()) == set);
        let own = set.map_or(&[][..], |(_, list)| list);
        let is_own = |one: &Parameter| own.iter().any(|known| known.name.to_lowercase() == one.name.to_lowercase());
        self.parameters.iter().filter(move |one| !is_own(one)).chain(own)
    }

    /// `[api.connection]` of the API's file.
    pub fn write(&self, out: &mut String) {
        if !self.parameters.is_empty() {
            out.push_str("\n# What a connection says; `[connections]` in gateway.toml has the values.\n");
            table("[api.connection.parameters]", &self.parameters, out);
        }
        for (name, parameters) in &self.sets {
            let name = key(name);
            let _ = write!(out, "\n# One way to connect.\n[api.connection.sets.{name}]\n\n");
            table(&format!("[api.connection.sets.{name}.parameters]"), parameters, out);
        }
    }
}

fn table(header: &str, parameters: &[Parameter], out: &mut String) {
    let _ = writeln!(out, "{header}");
    let width = parameters.iter().map(|parameter| key(&parameter.name).len()).max().unwrap_or_default();
    for parameter in parameters {
        let mut pairs = Vec::new();
        if let Some(kind) = parameter.kind.name() {
            pairs.push(format!("type = {}", text(kind)));
        }
        if parameter.required {
            pairs.push("required = true".to_owned());
        }
        if let Some(default) = &parameter.default {
            pairs.push(format!("default = {}", text(default)));
        }
        if !parameter.allowed.is_empty() {
            let list: Vec<String> = parameter.allowed.iter().map(|value| text(value)).collect();
            pairs.push(format!("allowed = [{}]", list.join(", ")));
        }
        if !parameter.label.is_empty() {
            pairs.push(format!("description = {}", text(&parameter.label)));
        }
        let value = if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) };
        let _ = writeln!(out, "{:width$} = {value}", key(&parameter.name));
    }
}

/// What the person who imports says of the connection.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The set that its parameters belong to.
    pub set: Option<String>,
    /// Values by the names of parameters.
    pub values: Vec<(String, GivenValue)>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenValue {
    /// As it is.
    Text(String),
    /// From an environment variable.
    Env(String),
    /// From a file.
    File(String),
    /// The caller's own token.
    PassThrough,
}

impl Given {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.set.is_none() && self.values.is_empty()
    }

    fn of(&self, parameter: &Parameter) -> Option<&GivenValue> {
        self.values.iter().find(|(name, _)| name.to_lowercase() == parameter.name.to_lowercase()).map(|(_, it)| it)
    }

    /// Whether an API can have this said of its connection. The error is for people.
    fn check(&self, asked: &Asked) -> Result<(), String> {
        let list = |names: &mut dyn Iterator<Item = &str>| {
            let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
            if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) }
        };
        if let Some(set) = &self.set
            && !asked.sets.iter().any(|(name, _)| name == set)
        {
            let known = list(&mut asked.sets.iter().map(|(name, _)| name.as_str()));
            return Err(format!("no parameter set is called `{set}`; {known}"));
        }
        for (name, value) in &self.values {
            let found = asked.with(self.set.as_deref()).find(|one| one.name.to_lowercase() == name.to_lowercase());
            let Some(parameter) = found else {
                let known = list(&mut asked.with(self.set.as_deref()).map(|one| one.name.as_str()));
                return Err(format!("no connection parameter is called `{name}`; {known}"));
            };
            match value {
                GivenValue::Text(_) if parameter.kind.is_secret() => {
                    return Err(format!(
                        "`{name}` is secret: `--parameter {name}=env:VARIABLE` or `--parameter {name}=file:PATH`"
                    ));
                }
                GivenValue::PassThrough if parameter.kind != Kind::Token => {
                    return Err(format!("`{name}` is no token, and only a token can be the caller's own"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is still missing.
    fn missing<'a>(&self, asked: &'a Asked) -> Vec<&'a str> {
        let lacks = |parameter: &&Parameter| parameter.is_needed() && self.of(parameter).is_none();
        let mut missing: Vec<&str> =
            asked.with(self.set.as_deref()).filter(lacks).map(|one| one.name.as_str()).collect();
        if self.set.is_none() && !asked.sets.is_empty() {
            missing.push("a parameter set");
        }
        missing
    }
}

/// The tables of a connection for gateway.toml.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    /// The tables, as comments while something is missing.
    pub tables: String,
    /// What is missing, for people; empty when the connection is in force.
    pub missing: String,
}

/// The connection of an API.
///
/// # Errors
/// What is said of it cannot be, for people.
pub fn offer(api: &str, asked: &Asked, given: &Given) -> Result<Offer, String> {
    given.check(asked)?;
    let missing = given.missing(asked);
    if !missing.is_empty() && !given.is_empty() {
        return Err(format!("the connection lacks {}", names(&missing)));
    }
    if missing.is_empty() {
        let mut tables = format!("\n# What the calls of {api} bring to its backend.\n");
        tables.push_str(&connection(api, api, asked, given.set.as_deref(), given));
        return Ok(Offer { tables, missing: String::new() });
    }
    let mut tables = format!(
        "\n# What the calls of {api} bring to its backend: give the values, and take the first `# ` of the lines off.\n"
    );
    let sets: Vec<Option<&str>> = match asked.sets.as_slice() {
        [] => vec![None],
        sets => sets.iter().map(|(name, _)| Some(name.as_str())).collect(),
    };
    for (number, set) in sets.iter().enumerate() {
        if number > 0 {
            tables.push_str("# or\n");
        }
        let name = set.map_or_else(|| api.to_owned(), |set| slug(&format!("{api}-{set}")));
        for line in connection(&name, api, asked, *set, given).lines() {
            let _ = writeln!(tables, "{}", format!("# {line}").trim_end());
        }
    }
    Ok(Offer { tables, missing: names(&missing) })
}

fn names(missing: &[&str]) -> String {
    let quoted = |name: &&str| if name.contains(' ') { (*name).to_owned() } else { format!("`{name}`") };
    missing.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// One connection and its named values.
fn connection(name: &str, api: &str, asked: &Asked, set: Option<&str>, given: &Given) -> String {
    let mut out = format!("[connections.{name}]\napi = {}\n", text(api));
    if let Some(set) = set {
        let _ = writeln!(out, "set = {}", text(set));
    }
    let parameters: Vec<&Parameter> = asked.with(set).filter(|one| one.kind != Kind::Gateway).collect();
    let token = parameters.iter().find(|one| one.kind == Kind::Token);
    if let Some(token) = token {
        let line = match given.of(token) {
            Some(GivenValue::PassThrough) => "pass-through = true",
            Some(_) => "",
            None => {
                "# pass-through = true          # the caller's own token; or token-source = \"…\", whose token the gateway fetches; or `token` below"
            }
        };
        if !line.is_empty() {
            let _ = writeln!(out, "{line}");
        }
    }
    out.push_str("# subscriptions = [\"…\"]        # whose calls it is for; without it, every call\n");
    let _ = write!(out, "\n[connections.{name}.parameters]\n");
    let mut secrets = Vec::new();
    let mut lines = Vec::new();
    for parameter in &parameters {
        let shown = key(&parameter.name);
        let secret = slug(&format!("{name}-{}", parameter.name));
        let mut refer = |source: (&'static str, String)| {
            secrets.push((secret.clone(), source));
            text(&format!("{{{{{secret}}}}}"))
        };
        let line = match given.of(parameter) {
            Some(GivenValue::PassThrough) => continue,
            Some(GivenValue::Text(value)) => format!("{shown} = {}", text(value)),
            Some(GivenValue::Env(variable)) => format!("{shown} = {}", refer(("env", variable.clone()))),
            Some(GivenValue::File(path)) => format!("{shown} = {}", refer(("file", path.clone()))),
            None if parameter.kind == Kind::Token => format!("# {shown} = {}", text(&format!("{{{{{secret}}}}}"))),
            None if parameter.is_needed() && parameter.kind.is_secret() => {
                let variable = secret.to_ascii_uppercase().replace('-', "_");
                format!("{shown} = {}", refer(("env", variable)))
            }
            None if parameter.is_needed() => {
                format!("{shown} = {}", text(parameter.allowed.first().map_or("…", String::as_str)))
            }
            None => format!("# {shown} = {}", text(parameter.default.as_deref().unwrap_or("…"))),
        };
        lines.push((line, parameter.note()));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default();
    for (line, note) in lines {
        let note = if note.is_empty() { String::new() } else { format!("    # {note}") };
        let padded = if note.is_empty() { line } else { format!("{line:width$}") };
        let _ = writeln!(out, "{padded}{note}");
    }
    for (secret, (source, value)) in secrets {
        let _ = write!(out, "\n[named-values.{secret}]\n{source} = {}\n", text(&value));
    }
    out
}

#[cfg(test)]
mod tests;
