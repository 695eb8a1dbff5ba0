//! What callers have to show the gateway: keys, names with passwords, tokens.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::HeaderName;
use regex::Regex;
use toml::de::DeValue;

use super::Source;
use super::token::{Issuer, issuers};
use super::walk::{self, Found, Section};
use crate::config::folder::OperationDocument;
use crate::config::source::Location;
use crate::config::spec::{ClientCertificateMode, ParameterPlace};
use crate::telemetry::redact::Redactor;

/// A key and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Header(String),
    Query(String),
}

/// What a policy asks of a caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    Token(Issuer),
    Key(Key),
    Basic,
}

impl Need {
    /// What it is, for people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Token(issuer) => format!("a token of {}", issuer.text()),
            Self::Key(Key::Header(name)) => format!("a key in the header `{name}`"),
            Self::Key(Key::Query(name)) => format!("a key in the query parameter `{name}`"),
            Self::Basic => "a user name and a password".to_owned(),
        }
    }

    /// Whether it goes into `Authorization`, which holds one thing.
    pub(super) fn is_authorization(&self) -> bool {
        match self {
            Self::Token(_) | Self::Basic => true,
            Self::Key(Key::Header(name)) => name.eq_ignore_ascii_case("authorization"),
            Self::Key(Key::Query(_)) => false,
        }
    }
}

/// What all callers of an API have to show, or some, in the order in which it is asked for.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) all: Vec<Asked>,
}

/// Something that is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) need: Need,
    /// The operations that always ask for it.
    pub(super) operations: BTreeSet<String>,
    /// Where a policy asks for it first; empty for the API's own key.
    pub(super) place: String,
}

impl Needs {
    fn add(&mut self, need: Need, operation: Option<&str>, place: impl FnOnce() -> String) {
        let known = self.all.iter().position(|asked| match (&asked.need, &need) {
            (Need::Token(one), Need::Token(other)) => one.maker == other.maker,
            (Need::Key(Key::Header(one)), Need::Key(Key::Header(other))) => one.eq_ignore_ascii_case(other),
            (one, other) => one == other,
        });
        if let (Some(at), Need::Token(new)) = (known, &need)
            && let Need::Token(old) = &mut self.all[at].need
        {
            old.audience = old.audience.take().or_else(|| new.audience.clone());
            old.scopes.extend(new.scopes.iter().cloned());
        }
        let at = known.unwrap_or_else(|| {
            self.all.push(Asked { need, operations: BTreeSet::new(), place: place() });
            self.all.len() - 1
        });
        self.all[at].operations.extend(operation.map(str::to_owned));
    }
}

/// The key of the API's own: where it is asked for before any policy.
pub(super) fn own_key(source: &Source<'_>) -> Key {
    let header = source.api.spec.key_header.as_ref().map_or("Ocp-Apim-Subscription-Key", |header| &header.value);
    Key::Header(header.to_owned())
}

/// What the operations of an API ask of their callers.
pub(super) fn needs(source: &Source<'_>, notes: &mut Vec<String>) -> Needs {
    let mut needs = Needs::default();
    let (mut told, mut scopes) = (BTreeSet::new(), BTreeSet::new());
    for operation in &source.api.operations {
        let name = &operation.spec.name.value;
        let found = walk::policies(source, operation, Section::Inbound);
        if source.needs_key() {
            needs.add(Need::Key(own_key(source)), Some(name), String::new);
        }
        for one in &found {
            for need in asked(source, one, &mut told) {
                needs.add(need, one.certain.then_some(name), || one.place(source));
            }
            if one.name() == "require-scope" {
                scopes.extend(one.texts("scopes").into_iter().map(str::to_owned));
            }
            told.extend(header(source, operation, one));
            told.extend(conditions(source, operation, one));
        }
    }
    for asked in &mut needs.all {
        if let Need::Token(issuer) = &mut asked.need {
            issuer.scopes.extend(scopes.iter().cloned());
        }
    }
    told.extend(handshake(source));
    notes.extend(told);
    needs
}

/// What callers have to show before there is a request.
fn handshake(source: &Source<'_>) -> Option<String> {
    let mode = source.document.server.client_certificates.mode.as_ref()?;
    let location = Location { file: source.document.gateway?, span: mode.span.clone() };
    (mode.value == ClientCertificateMode::Required).then(|| {
        format!(
            "the gateway's listener requires a certificate ({}), and a connection shows none: no call gets through",
            source.sources.place(&location)
        )
    })
}

/// What one policy asks for. What a connection cannot show is told.
fn asked(source: &Source<'_>, found: &Found<'_>, told: &mut BTreeSet<String>) -> Vec<Need> {
    match found.name() {
        "validate-jwt" | "validate-azure-ad-token" => {
            let elsewhere = found.text("header").or(found.text("header-name"));
            let elsewhere = elsewhere.filter(|name| !name.eq_ignore_ascii_case("authorization"));
            let elsewhere = elsewhere.or(found.text("query-parameter")).or(found.text("query-parameter-name"));
            if let Some(place) = elsewhere {
                told.insert(format!(
                    "`{}` ({}) reads the token from `{place}`, and the platform sends it in `Authorization`: let the policy read it there",
                    found.name(),
                    found.place(source)
                ));
            }
            issuers(source, found).into_iter().map(Need::Token).collect()
        }
        // Who was known before the policies passes here.
        "api-key" if source.needs_key() => Vec::new(),
        "api-key" => key(source, found).map_or_else(
            || {
                told.insert(format!(
                    "`api-key` ({}) looks for the key where a connection cannot put it: let `sources` have `header`",
                    found.place(source)
                ));
                Vec::new()
            },
            |need| vec![need],
        ),
        "basic-auth" => vec![Need::Basic],
        "check-header" => {
            let name = found.text("name").unwrap_or_default();
            if is_key(name) { vec![Need::Key(Key::Header(name.to_owned()))] } else { Vec::new() }
        }
        "validate-client-certificate" => {
            told.insert(format!(
                "`validate-client-certificate` ({}) asks for a certificate, and a connection shows none: calls that meet it are refused",
                found.place(source)
            ));
            Vec::new()
        }
        "ip-filter" => {
            told.insert(format!(
                "`ip-filter` ({}) has to let in the addresses that the platform calls from, those of the maker's region",
                found.place(source)
            ));
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// The first place of a key that a connection can fill.
fn key(source: &Source<'_>, found: &Found<'_>) -> Option<Need> {
    let spec = &source.api.spec;
    let sources = match found.value("sources") {
        Some(DeValue::Array(_)) => found.texts("sources"),
        _ => vec!["header", "query"],
    };
    sources.into_iter().find_map(|place| match place {
        "header" => {
            let own = found.text("header").map(|name| Key::Header(name.to_owned()));
            Some(Need::Key(own.unwrap_or_else(|| own_key(source))))
        }
        "query" => {
            let usual = spec.key_query.as_ref().map_or("subscription-key", |name| name.value.as_str());
            Some(Need::Key(Key::Query(found.text("query").unwrap_or(usual).to_owned())))
        }
        "basic" => Some(Need::Basic),
        _ => None,
    })
}

/// Whether what a header holds is a secret, by its name.
fn is_key(name: &str) -> bool {
    let redactor = Redactor::default();
    HeaderName::from_bytes(name.as_bytes()).is_ok_and(|header| redactor.is_secret_header(&header))
        || redactor.is_secret_parameter(name)
}

/// What the platform sends by itself.
const SENT: [&str; 5] = ["accept", "content-length", "content-type", "host", "user-agent"];

/// Whether an operation has a header or a query parameter, so that a connector can send it.
fn is_sent(source: &Source<'_>, operation: &OperationDocument<'_>, place: ParameterPlace, name: &str) -> bool {
    let is_header = place == ParameterPlace::Header;
    let is_same = |found: &str| if is_header { found.eq_ignore_ascii_case(name) } else { found == name };
    let kind = if is_header { "header" } else { "query" };
    let query = operation.spec.matches.value.split_once('?').map_or("", |(_, query)| query.trim());
    let mut matched = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    is_header && SENT.iter().any(|one| is_same(one))
        || !is_header && matched.any(is_same)
        || operation.spec.parameters.iter().any(|one| one.place == place && is_same(&one.name))
        || source
            .known(operation)
            .is_some_and(|known| known.parameters.iter().any(|one| one.place == kind && is_same(one.name)))
}

/// A header that a policy asks for, and that is no key: the operation has to have it as a parameter.
fn header(source: &Source<'_>, operation: &OperationDocument<'_>, found: &Found<'_>) -> Option<String> {
    let name = found.text("name").filter(|_| found.name() == "check-header")?;
    let text = format!(
        "`check-header` ({}) asks for `{name}`, which the connector does not send: make it a parameter of the operations, or leave the check to other callers",
        found.place(source)
    );
    (!is_key(name) && !is_sent(source, operation, ParameterPlace::Header, name)).then_some(text)
}

/// What the conditions of branches look at, and the connector does not send: such a branch never runs for it.
fn conditions(source: &Source<'_>, operation: &OperationDocument<'_>, found: &Found<'_>) -> Vec<String> {
    static READ: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)\b(headers?|queryParameters)\(\s*'([^']+)'").ok());
    let Some(read) = &*READ else { return Vec::new() };
    let texts = found.conditions();
    let looked_at = texts.iter().flat_map(|condition| read.captures_iter(condition));
    let unsent = looked_at.filter_map(|one| {
        let (place, kind) = match one[1].to_ascii_lowercase().as_str() {
            "queryparameters" => (ParameterPlace::Query, "query parameter"),
            _ => (ParameterPlace::Header, "header"),
        };
        let name = &one[2];
        (!is_key(name) && !is_sent(source, operation, place, name)).then(|| {
            format!(
                "`{}` ({}) looks at the {kind} `{name}`, which the connector does not send: make it a parameter of the operations where it matters",
                found.name(),
                found.place(source)
            )
        })
    });
    unsent.collect()
}
