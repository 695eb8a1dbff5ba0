//! Policy templates of connector packages into policies of the gateway.

use percent_encoding::percent_decode_str;

use super::caller;
use super::tree::Node;
use super::written::{Block, holds_named_value, text};
use crate::expression::{Dialect, Expression};
use crate::json;

/// How well something is carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It does what the platform does.
    Exact,
    /// It differs, as the note says.
    Approximated,
    /// It does nothing here.
    Unsupported,
}

impl Grade {
    /// The word in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Approximated => "approximated",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Sections that policy templates go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `Request`
    Inbound,
    /// `Response`
    Outbound,
    /// `Failure`
    OnError,
}

impl Section {
    /// The name of the section in TOML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::OnError => "on-error",
        }
    }
}

/// A policy template as the gateway has it.
#[derive(Debug)]
pub struct Converted {
    /// Where it runs.
    pub section: Section,
    /// Its table.
    pub block: Block,
    /// How well it is carried over.
    pub grade: Grade,
    /// What differs; empty when nothing does.
    pub notes: Vec<String>,
    /// What was decided for it, where the platform does not say what it does.
    pub decisions: Vec<&'static str>,
}

/// A policy template of a package.
pub struct Instance<'n> {
    /// `templateId`, folded.
    pub id: String,
    /// `title`
    pub title: &'n str,
    /// Its entry.
    pub node: &'n Node,
    /// `parameters`
    parameters: Option<&'n Node>,
    /// The operations it is for; none for all.
    pub operations: Vec<&'n Node>,
}

/// Functions that read what callers send, folded.
pub const REQUEST: [&str; 3] = ["headers", "header", "queryparameters"];

/// Functions that policy templates may call in a text; the texts of all others are sent as they are.
const FUNCTIONS: [&str; 5] = ["headers", "header", "queryParameters", "connectionParameters", "body"];
/// Is replaced when a solution is saved, and what the package has is still a call.
const SAVED: &str = "environmentVariables";

const OWN: &str = "x-ms-apimTemplateParameter.";
const COMMON: &str = "x-ms-apimTemplate-";

impl<'n> Instance<'n> {
    /// Reads an entry of `policyTemplateInstances`.
    pub fn read(node: &'n Node) -> Self {
        let parameters = node.get("parameters");
        let names = parameters.and_then(|list| list.get_any_case(&format!("{COMMON}operationName")));
        let one = names.filter(|names| names.text().is_some_and(|name| !name.is_empty()));
        Self {
            id: node.get_any_case("templateId").and_then(Node::text).unwrap_or_default().trim().to_ascii_lowercase(),
            title: node.text_of("title").unwrap_or_default(),
            node,
            parameters,
            operations: names.map(Node::items).unwrap_or_default().iter().chain(one).collect(),
        }
    }

    /// A parameter of the template.
    pub fn parameter(&self, name: &str) -> Option<&'n Node> {
        self.parameters?.get_any_case(&format!("{OWN}{name}"))
    }

    pub(super) fn text(&self, name: &str) -> &'n str {
        self.parameter(name).and_then(Node::scalar).unwrap_or_default()
    }

    /// `x-ms-apimTemplate-policySection`
    pub(super) fn policy_section(&self) -> Option<&'n Node> {
        self.parameters?.get_any_case(&format!("{COMMON}policySection"))
    }

    pub(super) fn section(&self) -> Section {
        match self.policy_section().and_then(Node::text).unwrap_or_default().to_ascii_lowercase().as_str() {
            "response" => Section::Outbound,
            "failure" => Section::OnError,
            _ => Section::Inbound,
        }
    }

    /// Whether it may read variables of the path template of its operations.
    pub fn reads_path(&self) -> bool {
        ["newPath", "parameterValueUrl"].iter().any(|name| self.text(name).contains('{'))
    }

    /// The policy of the gateway. `host` is the definition's own.
    pub fn convert(&self, host: &str) -> Converted {
        let mut notes = Vec::new();
        let mut section = self.section();
        let mut block = match self.id.as_str() {
            "setheader" => {
                let block = Block::policy("set-header").text("name", self.text("name").trim());
                self.exists_action(self.valued(block, &mut notes))
            }
            "setqueryparameter" => {
                let name = percent_decode_str(self.text("name")).decode_utf8_lossy();
                let block = Block::policy("set-query-parameter").text("name", &name);
                self.exists_action(self.valued(block, &mut notes))
            }
            "dynamichosturl" | "dynamicsubdomain" => {
                section = Section::Inbound;
                let template = self.text("urlTemplate");
                let url = expression(template, &mut notes);
                let block = Block::policy("dynamic-host-url").text("url", &url);
                let from_request = calls(template).any(|(name, _)| REQUEST.contains(&name.as_str()));
                if from_request {
                    notes.push(format!(
                        "callers choose the host: only `{host}` is let through until `allowed-hosts` names others"
                    ));
                    block.raw("allowed-hosts", format!("[{}]", text(host)))
                } else {
                    block
                }
            }
            "routerequesttoendpoint" => {
                section = Section::Inbound;
                let path = expression(self.text("newPath"), &mut notes);
                let block = Block::policy("route-request").text("path", &path);
                match self.text("httpMethod") {
                    "" => block,
                    method if method.starts_with('@') => block,
                    method => block.text("method", &method.to_ascii_uppercase()),
                }
            }
            "setproperty" => self.set_property(&mut notes),
            "stringreplace" => {
                let block = self.body_property("string-replace");
                let block = block.text("from", self.text("sourceString")).text("to", self.text("replacementString"));
                self.target(block)
            }
            "convertarraytoobject" => {
                let mut block = self.body_property("convert-array-to-object");
                block = block.text("key", self.text("keyWithinCollectionPath"));
                if self.text("retainKey").eq_ignore_ascii_case("false") {
                    block = block.raw("retain-key", "false");
                }
                self.target(block)
            }
            "convertobjecttoarray" => {
                let mut block = self.body_property("convert-object-to-array");
                for (key, parameter) in [("key-name", "keyName"), ("value-name", "valueName")] {
                    let name = self.text(parameter);
                    block = if name.is_empty() { block } else { block.text(key, name) };
                }
                self.target(block)
            }
            "stringtoarray" => {
                let block = self.body_property("string-to-array").text("delimiters", self.text("delimiterList"));
                self.target(block.text("child", self.text("childPropertyName")))
            }
            "encodepropertyvalue" => self.target(self.body_property("encode-property-value")),
            "moveproperties" => self.move_properties(),
            "setvaluefromurl" => {
                section = Section::Inbound;
                let block = Block::policy("set-value-from-url")
                    .text("target", self.text("parameterTemplate"))
                    .text("url", &expression(self.text("parameterValueUrl"), &mut notes))
                    .text("value", &value_path(self.text("parameterValuePathTemplate")));
                match self.text("httpMethod").to_ascii_uppercase().as_str() {
                    "" | "GET" => block,
                    method => block.text("method", method),
                }
            }
            "updatenextlink" => {
                section = Section::Outbound;
                let block = Block::policy("update-next-link").text("property", self.text("nextLinkPropertyName"));
                match self.text("nextLinkParentPropertyPath") {
                    "" => block,
                    parent => block.text("parent", &body_path(parent)),
                }
            }
            "pollingtrigger" => {
                section = Section::Inbound;
                self.polling_trigger(&mut notes)
            }
            "setconnectionstatustounauthenticated" => {
                section = Section::Outbound;
                Block::policy("set-connection-status").raw("status", self.status(&mut notes))
            }
            other => {
                notes.push(format!("the template `{other}` is not known"));
                return unsupported(section, Block::policy(if other.is_empty() { "unknown" } else { other }), notes);
            }
        };
        if !self.title.is_empty() {
            block = block.comment(self.title);
        }
        if section == Section::OnError {
            block.when = Some(caller::FAILURE);
            notes.push(
                "`Failure` is on-error, where the backend is to blame: it did not answer; an answer with an error status goes through outbound"
                    .to_owned(),
            );
        }
        match refusal(&block) {
            Some(why) => {
                notes.push(why);
                unsupported(section, block, notes)
            }
            None => {
                let grade = if notes.is_empty() { Grade::Exact } else { Grade::Approximated };
                Converted { section, block, grade, notes, decisions: self.decisions() }
            }
        }
    }

    fn valued(&self, block: Block, notes: &mut Vec<String>) -> Block {
        block.text("value", &expression(self.text("value"), notes))
    }

    fn exists_action(&self, block: Block) -> Block {
        match self.text("existsAction").to_ascii_lowercase().as_str() {
            action @ ("skip" | "append") => block.text("action", action),
            _ => block,
        }
    }

    /// `propertyParentPath` and `propertySubPath`, where they say something.
    fn body_property(&self, name: &str) -> Block {
        let mut block = Block::policy(name);
        let parent = body_path(self.text("propertyParentPath"));
        if parent != "@body()" {
            block = block.text("parent", &parent);
        }
        match self.text("propertySubPath") {
            "" | "null" => block,
            property => block.text("property", property),
        }
    }

    fn target(&self, block: Block) -> Block {
        match self.text("newPropertyPath") {
            "" => block,
            target => block.text("target", &body_path(target)),
        }
    }

    fn set_property(&self, notes: &mut Vec<String>) -> Block {
        let mut block = Block::policy("set-property");
        let parent = body_path(self.text("newPropertyParentPathTemplate"));
        if parent != "@body()" {
            block = block.text("parent", &parent);
        }
        let value = self.text("propertyValuePathTemplate");
        if value.to_ascii_lowercase().contains("@connectionparameters(") {
            notes.push("`@connectionParameters` is evaluated here; the platform sends its text".to_owned());
        }
        let mut value = escaped(value, Holes::Paths, notes);
        // Two braces would begin a named value.
        if holds_named_value(&value) {
            notes.push("a space stands between two opening braces".to_owned());
            value = value.replace("{{", "{ {").replace("{{", "{ {");
        }
        block.text("name", self.text("newPropertySubPathTemplate")).text("value", &value)
    }

    fn move_properties(&self) -> Block {
        let mut block = Block::policy("move-properties");
        let (from, to) = (body_path(self.text("srcParentPath")), body_path(self.text("dstParentPath")));
        if from != "@body()" {
            block = block.text("source-parent", &from);
        }
        block = block.text("source-property", self.text("srcSubPath"));
        if to != "@body()" {
            block = block.text("target-parent", &to);
        }
        match self.text("dstSubPath") {
            "" | "null" => {}
            property => block = block.text("target-property", property),
        }
        let whole = self.text("copyOnlySubProperties").eq_ignore_ascii_case("false");
        if whole { block.raw("children-only", "false") } else { block }
    }

    fn polling_trigger(&self, notes: &mut Vec<String>) -> Block {
        let mut block = Block::policy("polling-trigger").text("data", self.text("triggerDataPath"));
        let mut pairs = Vec::new();
        for member in self.parameter("triggerConfig").map(Node::members).unwrap_or_default() {
            let Some(value) = member.value.scalar() else { continue };
            if member.name.eq_ignore_ascii_case("x-ms-triggerConfig-nextLink") {
                block = block.text("next-link", value);
            } else if !member.name.is_empty() {
                pairs.push(format!("{} = {}", text(&member.name), text(&escaped(value, Holes::Paths, notes))));
            }
        }
        block.raw("query", format!("{{ {} }}", pairs.join(", ")))
    }

    fn status(&self, notes: &mut Vec<String>) -> String {
        match self.text("statusCode").parse::<u16>() {
            Ok(status @ 100..=599) => status.to_string(),
            _ => {
                notes.push("`statusCode` is no status; 401 stands in its place".to_owned());
                "401".to_owned()
            }
        }
    }
}

fn unsupported(section: Section, mut block: Block, notes: Vec<String>) -> Converted {
    block.off = true;
    Converted { section, block, grade: Grade::Unsupported, notes, decisions: Vec::new() }
}

impl Converted {
    /// Takes it out, because the gateway would refuse it.
    pub fn refuse(&mut self, why: &str) {
        self.notes.push(format!("the gateway would refuse it: {why}"));
        self.block.off = true;
        self.grade = Grade::Unsupported;
        self.decisions.clear();
    }

    /// Notes what differs.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
        self.grade = self.grade.max(Grade::Approximated);
    }
}

/// Whether a template, by its folded id, sets the host.
pub fn is_host_template(id: &str) -> bool {
    matches!(id, "dynamichosturl" | "dynamicsubdomain")
}

/// The parameters that a template, by its folded id, needs; none for one that is not known.
pub fn required_parameters(id: &str) -> Option<&'static [&'static str]> {
    Some(match id {
        "setheader" | "setqueryparameter" => &["name", "value"],
        "dynamichosturl" | "dynamicsubdomain" => &["urlTemplate"],
        "routerequesttoendpoint" => &["newPath"],
        "setproperty" => &["newPropertyParentPathTemplate", "newPropertySubPathTemplate", "propertyValuePathTemplate"],
        "stringreplace" => &["propertyParentPath", "sourceString", "replacementString", "newPropertyPath"],
        "convertarraytoobject" => &["propertyParentPath", "keyWithinCollectionPath", "newPropertyPath"],
        "convertobjecttoarray" | "encodepropertyvalue" => &["propertyParentPath", "newPropertyPath"],
        "stringtoarray" => &["propertyParentPath", "delimiterList", "childPropertyName", "newPropertyPath"],
        "moveproperties" => &["srcParentPath", "srcSubPath", "dstParentPath"],
        "setvaluefromurl" => &["parameterTemplate", "parameterValueUrl", "parameterValuePathTemplate"],
        "updatenextlink" => &["nextLinkPropertyName"],
        "pollingtrigger" => &["triggerConfig", "triggerDataPath"],
        "setconnectionstatustounauthenticated" => &["statusCode"],
        _ => return None,
    })
}

/// The calls of a template, each with its folded name and its first argument.
pub fn calls(template: &str) -> impl Iterator<Item = (String, String)> {
    let places = template.match_indices('@').map(|(at, _)| &template[at..]);
    places.filter_map(|tail| {
        let inner = &tail[..call(tail)];
        let (name, arguments) = inner.trim_start_matches(['@', '{']).split_once('(')?;
        let argument = arguments.split('\'').nth(1).unwrap_or_default();
        Some((name.to_ascii_lowercase(), argument.to_owned()))
    })
}

/// Why a policy cannot be written.
fn refusal(block: &Block) -> Option<String> {
    let braces = block.pairs.iter().any(|(_, value)| holds_named_value(value));
    braces.then(|| "two opening braces would begin a named value".to_owned())
}

/// A path into the body, with what makers leave out: `body()`, `@body.name`.
fn body_path(path: &str) -> String {
    let path = path.trim();
    let path =
        if path.starts_with("body") || path.starts_with("item()") { format!("@{path}") } else { path.to_owned() };
    match path.strip_prefix("@body") {
        Some(rest) if !rest.starts_with("()") => format!("@body(){rest}"),
        _ if path.is_empty() => "@body()".to_owned(),
        _ => path,
    }
}

/// The path to a value, which some write as a hole: `{@body().x}`, `@{body().x}`.
fn value_path(path: &str) -> String {
    let inner = path.trim().trim_start_matches("@{").trim_start_matches('{');
    body_path(if inner.len() < path.trim().len() { inner.trim_end_matches('}') } else { inner })
}

/// The text of a template as an expression of the gateway: an `@` that the platform takes as it is gets a second one.
pub fn expression(template: &str, notes: &mut Vec<String>) -> String {
    let mut out = escaped(template, Holes::Calls, notes);
    if holds_named_value(&out) {
        notes.push("two opening braces would begin a named value, and are written as an expression".to_owned());
        while let Some(at) = out.find("{{") {
            out.replace_range(at..at + 2, "{@{'{'}");
        }
    }
    out
}

/// What the holes of a text read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// Nothing but what functions give.
    Calls,
    /// Also paths into a body and its items.
    Paths,
}

/// A text in which every `@` that begins no hole of a policy template is doubled.
fn escaped(template: &str, holes: Holes, notes: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let length = call(tail);
        let inner = tail[1..].trim_start_matches('{');
        let name = inner.split('(').next().unwrap_or_default();
        let is_path = json::root(inner).or_else(|| json::root(tail)).is_some();
        let is_hole = if is_path && holes == Holes::Paths {
            true
        } else {
            let known = FUNCTIONS.iter().any(|one| one.eq_ignore_ascii_case(name));
            length > 0 && known && Expression::parse(&tail[..length], Dialect::Gateway).is_ok()
        };
        if is_hole {
            let length = length.max(1);
            out.push_str(&tail[..length]);
            rest = &tail[length..];
            continue;
        }
        if length > 0 && name.eq_ignore_ascii_case(SAVED) {
            let note = "is put in where a solution is saved; here its text is sent as it is";
            notes.push(format!("`{name}` {note}"));
        } else if length > 0 {
            notes.push(format!("`{name}` is no function of policy templates, and its text is sent as it is"));
        }
        // What the gateway would take for an expression, or for an escape of its own.
        let known = tail[1..].starts_with(['{', '@']) || inner.contains('(') && name.bytes().all(is_word);
        out.push_str(if known { "@@" } else { "@" });
        rest = &tail[1..];
    }
    out.push_str(rest);
    out
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of `@name(…)` or `@{name(…)}` at the beginning of a text; 0 when there is none.
fn call(text: &str) -> usize {
    let in_braces = text.starts_with("@{");
    let start = if in_braces { 2 } else { 1 };
    let rest = &text[start..];
    let name = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
    if name == 0 || rest.as_bytes().get(name) != Some(&b'(') {
        return 0;
    }
    let (mut depth, mut quoted) = (0_u32, false);
    for (at, byte) in rest.bytes().enumerate().skip(name) {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => {
                let Some(outer) = depth.checked_sub(1) else { return 0 };
                depth = outer;
                if depth == 0 && !in_braces {
                    return start + at + 1;
                }
            }
            b'}' if !quoted && depth == 0 => return start + at + 1,
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests;
