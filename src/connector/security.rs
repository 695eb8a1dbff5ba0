//! The authentication that a definition declares, as the policy that stands before all others.

use super::connection::{Asked, Kind, Parameter};
use super::definition::{Definition, Scheme, SchemeKind};
use super::report::Report;
use super::template::Grade;
use super::written::{Block, one_line};
use crate::policy::is_framing;

/// Nothing that is asked for holds what a scheme needs.
const NOT_HELD: &str = "no connection parameter holds it, so nothing is added to requests";
/// The platform signs people in, and keeps their tokens.
const NO_SIGN_IN: &str = "the gateway does not sign users in: the token is that of the connection's `token-source`, a stored one, or with `pass-through` the caller's own";

/// The policies that authenticate with the backend, in their order: one, or one for each set of parameters.
pub fn policies(definition: &Definition<'_>, asked: &Asked, report: &mut Report) -> Vec<Block> {
    if asked.sets.is_empty() {
        return single(definition, &asked.parameters, report).into_iter().collect();
    }
    let mut blocks = Vec::new();
    for (name, parameters) in &asked.sets {
        let subject = format!("parameter set `{}`", one_line(name));
        // The scheme of the definition that the set is for, else the one that its parameters speak of.
        let declared =
            definition.schemes.iter().find_map(|scheme| policy(&scheme.kind, parameters).map(|block| (scheme, block)));
        let implied = || {
            [SchemeKind::Basic, SchemeKind::Bearer]
                .iter()
                .find_map(|kind| policy(kind, parameters).map(|it| (kind.clone(), it)))
        };
        let (block, note) = match declared {
            Some((scheme, block)) if is_token(&scheme.kind) => (origin(block, scheme), NO_SIGN_IN.to_owned()),
            Some((_, block)) => (block, String::new()),
            None => match implied() {
                Some((SchemeKind::Basic, block)) => {
                    (block, "the definition declares no scheme for it; user name and password are sent".to_owned())
                }
                Some((_, block)) => {
                    (block, format!("the definition declares no scheme for it; its token is sent; {NO_SIGN_IN}"))
                }
                None => {
                    report.add(Grade::Approximated, subject, NOT_HELD);
                    continue;
                }
            },
        };
        let grade = if note.is_empty() { Grade::Exact } else { Grade::Approximated };
        report.add(grade, subject, note);
        blocks.push(block.text("set", name).comment("Authentication of the connection, before the policies."));
    }
    blocks
}

/// The policy of a definition whose connections have one set of parameters: that of its first scheme. A token is sent even when none is
/// declared: nothing else can be done with it, and published packages rely on it.
fn single(definition: &Definition<'_>, parameters: &[Parameter], report: &mut Report) -> Option<Block> {
    let [scheme, others @ ..] = definition.schemes.as_slice() else {
        let block = policy(&SchemeKind::Bearer, parameters)?;
        let note = format!("the definition declares no scheme for it; its token is sent; {NO_SIGN_IN}");
        report.add(Grade::Approximated, "the connection's token", note);
        return Some(block.comment("The token of the connection, before the policies."));
    };
    let subject = format!("security `{}`", one_line(scheme.name));
    match &scheme.kind {
        SchemeKind::Other(kind) => {
            let why = match *kind {
                "apiKey" => "a key is sent in a header or in the query".to_owned(),
                kind => format!("the type `{}` is not known", one_line(kind)),
            };
            report.add(Grade::Unsupported, subject, why);
            return None;
        }
        SchemeKind::Header(header) => {
            let name = http::HeaderName::from_bytes(header.trim().as_bytes());
            if name.as_ref().map_or(true, is_framing) {
                let why = format!("`{}` cannot be the header of a key", one_line(header));
                report.add(Grade::Unsupported, subject, why);
                return None;
            }
        }
        _ => {}
    }
    let Some(mut block) = policy(&scheme.kind, parameters) else {
        report.add(Grade::Approximated, subject, NOT_HELD);
        return None;
    };
    block =
        block.comment(format!("Authentication of the connection (`{}`), before the policies.", one_line(scheme.name)));
    block = origin(block, scheme);
    for scheme in others {
        let name = one_line(scheme.name);
        block = block.comment(format!("The definition also has `{name}`; a connection uses one of them."));
        report.add(
            Grade::Approximated,
            format!("security `{name}`"),
            "another scheme was taken: a connection uses one",
        );
    }
    let note = if is_token(&scheme.kind) { NO_SIGN_IN } else { "" };
    report.add(if note.is_empty() { Grade::Exact } else { Grade::Approximated }, subject, note);
    Some(block)
}

fn is_token(kind: &SchemeKind<'_>) -> bool {
    matches!(kind, SchemeKind::Bearer | SchemeKind::OAuth { .. })
}

/// Where the tokens of a scheme come from, for people.
fn origin(block: Block, scheme: &Scheme<'_>) -> Block {
    match scheme.kind {
        SchemeKind::OAuth { token_url: Some(url) } => block.comment(format!("Its tokens come from {}", one_line(url))),
        _ => block,
    }
}

/// The policy of a scheme; none when the parameters do not hold what it needs.
fn policy(kind: &SchemeKind<'_>, parameters: &[Parameter]) -> Option<Block> {
    let block = |scheme: &str| Block::policy("authentication-connection").text("scheme", scheme);
    let has = |name: &str| parameters.iter().any(|one| one.name.eq_ignore_ascii_case(name));
    match kind {
        SchemeKind::Header(header) => has("api_key").then(|| block("api-key").text("name", header.trim())),
        SchemeKind::Query(query) => has("api_key").then(|| block("api-key").text("in", "query").text("name", query)),
        SchemeKind::Basic => (has("username") && has("password")).then(|| block("basic")),
        SchemeKind::Bearer | SchemeKind::OAuth { .. } => {
            let token = parameters.iter().find(|one| one.kind == Kind::Token)?;
            let block = block("oauth2");
            Some(if token.name.eq_ignore_ascii_case("token") { block } else { block.text("parameter", &token.name) })
        }
        SchemeKind::Other(_) => None,
    }
}
