//! What an OpenAPI 2.0 or 3.x definition says, as far as a gateway needs it.

use std::ops::Range;

use super::tree::{Member, Node};

/// What OpenAPI 2.0 lets a parameter, an item or a schema say of its values.
pub(super) const VALUE_WORDS: [&str; 16] = [
    "type",
    "format",
    "default",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "enum",
    "multipleOf",
    "items",
];

/// The generation of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `swagger: "2.0"`
    Two,
    /// `openapi: 3.…`
    Three,
}

/// A definition.
pub struct Definition<'n> {
    /// The whole document.
    pub root: &'n Node,
    /// Which OpenAPI it is.
    pub generation: Generation,
    /// `info.title`
    pub title: &'n str,
    /// `info.description`
    pub description: &'n str,
    /// What its operations' paths are appended to.
    pub base: Base,
    /// The security schemes.
    pub schemes: Vec<Scheme<'n>>,
    /// The operations, in the order written.
    pub operations: Vec<Operation<'n>>,
}

/// The URL of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The URL, without a slash at its end. `https://host.invalid` where the definition's host is none.
    pub url: String,
    /// The host as written, when it is none.
    pub placeholder: Option<String>,
}

impl Base {
    /// The host, without a port.
    pub fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.split(['/', ':']).next().unwrap_or_default()
    }
}

/// A security scheme, as the request shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme<'n> {
    /// Its name in the definition.
    pub name: &'n str,
    /// What it is.
    pub kind: SchemeKind<'n>,
}

/// Kinds of security scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemeKind<'n> {
    /// A key in a header.
    Header(&'n str),
    /// A key in a query parameter.
    Query(&'n str),
    /// A user name and a password.
    Basic,
    /// A bearer token.
    Bearer,
    /// A token of OAuth 2.0, with the URL it comes from.
    OAuth {
        /// The token endpoint, where the definition names it.
        token_url: Option<&'n str>,
    },
    /// Something else, by its `type`.
    Other(&'n str),
}

/// An operation.
pub struct Operation<'n> {
    /// Its `operationId`, or one made of method and path.
    pub id: String,
    /// Whether the definition gives it an `operationId`.
    pub has_id: bool,
    /// The method in capitals.
    pub method: String,
    /// The path as written.
    pub path: &'n str,
    /// Where the name of its method stands.
    pub at: Range<usize>,
    /// What stands below.
    pub node: &'n Node,
    /// Its parameters with those of its path, references followed.
    pub parameters: Vec<Parameter<'n>>,
}

/// A parameter.
#[derive(Clone)]
pub struct Parameter<'n> {
    /// Its name.
    pub name: &'n str,
    /// Where it goes: `path`, `query`, `header`, `body`, `formData`, `cookie`.
    pub place: &'n str,
    /// The table that describes it.
    pub node: &'n Node,
    /// Its schema: the table itself in OpenAPI 2.0, unless it is the body.
    pub schema: &'n Node,
    /// Whether it must be there.
    pub required: bool,
}

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// How many steps a chain of references may take.
const MAX_REFERENCES: usize = 16;

impl<'n> Definition<'n> {
    /// Reads a definition. The error says why it is none.
    pub fn read(root: &'n Node) -> Result<Self, (Range<usize>, String)> {
        let generation = match (root.get("swagger"), root.get("openapi")) {
            (Some(version), _) if version.scalar().is_some_and(|text| text.starts_with('2')) => Generation::Two,
            (None, Some(version)) if version.scalar().is_some_and(|text| text.starts_with('3')) => Generation::Three,
            (Some(version), _) | (None, Some(version)) => {
                return Err((version.span.clone(), "neither OpenAPI 2.0 nor 3".to_owned()));
            }
            (None, None) => {
                let span = root.span.start..root.span.start + 1;
                return Err((span, "no OpenAPI definition: it has neither `swagger` nor `openapi`".to_owned()));
            }
        };
        let info = |name| root.get("info").and_then(|info| info.text_of(name)).unwrap_or_default().trim();
        Ok(Self {
            root,
            generation,
            title: info("title"),
            description: info("description"),
            base: base(root, generation),
            schemes: schemes(root, generation),
            operations: operations(root),
        })
    }

    /// Follows a `$ref`, and those it leads to.
    pub fn follow(&self, node: &'n Node) -> &'n Node {
        follow(self.root, node)
    }
}

fn follow<'n>(root: &'n Node, mut node: &'n Node) -> &'n Node {
    for _ in 0..MAX_REFERENCES {
        match node.text_of("$ref").and_then(|reference| root.resolve(reference)) {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}

/// Where the definition's API is called: of several servers the first one that has a host.
fn base(root: &Node, generation: Generation) -> Base {
    match generation {
        Generation::Two => {
            let schemes = root.get("schemes").map(Node::items).unwrap_or_default();
            let scheme = schemes.iter().find_map(Node::text).filter(|scheme| matches!(*scheme, "http" | "https"));
            let host = root.text_of("host").unwrap_or_default().trim();
            let host = host.split_once("://").map_or(host, |(_, host)| host).trim_end_matches('/');
            let path = root.text_of("basePath").unwrap_or_default().trim().trim_matches('/');
            let slash = if path.is_empty() { "" } else { "/" };
            called_at(&format!("{}://{host}{slash}{path}", scheme.unwrap_or("https")))
        }
        Generation::Three => {
            let servers = root.get("servers").map(Node::items).unwrap_or_default();
            let mut bases = servers.iter().map(|one| called_at(&server(one)));
            let first = bases.next().unwrap_or_else(|| called_at(""));
            match first.placeholder {
                None => first,
                Some(_) => bases.find(|one| one.placeholder.is_none()).unwrap_or(first),
            }
        }
    }
}

/// What a URL says. One that names no scheme (RFC 3986 §4.2) is called by https.
fn called_at(url: &str) -> Base {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url.strip_prefix("//").unwrap_or(url)));
    let rest = rest.trim_end_matches('/');
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let scheme = if scheme.eq_ignore_ascii_case("http") { "http" } else { "https" };
    let path = path.replace(' ', "%20");
    if is_host(host) && !path.contains(['{', '}', '?', '#', '@']) {
        Base { url: format!("{scheme}://{host}{path}"), placeholder: None }
    } else {
        let path = if path.contains(['{', '}', '?', '#', '@']) { "" } else { &path };
        let written = if host.is_empty() { "none".to_owned() } else { host.to_owned() };
        Base { url: format!("{scheme}://host.invalid{path}"), placeholder: Some(written) }
    }
}

/// The URL of a server with the defaults of its variables.
fn server(node: &Node) -> String {
    let mut url = node.text_of("url").unwrap_or_default().to_owned();
    for Member { name, value, .. } in node.get("variables").map(Node::members).unwrap_or_default() {
        if let Some(default) = value.get("default").and_then(Node::scalar) {
            url = url.replace(&format!("{{{name}}}"), default);
        }
    }
    url
}

/// Whether something can be called: a name with a dot, an address, `localhost`; with or without a port.
fn is_host(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let labels = |name: &str| {
        name.split('.').all(|label| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !label.is_empty() && label.len() < 64 && label.bytes().all(allowed)
        })
    };
    (name.contains('.') || name == "localhost") && labels(name)
}

/// The schemes, first those that the gateway can send, in the order in which the whole definition asks for them.
fn schemes(root: &Node, generation: Generation) -> Vec<Scheme<'_>> {
    let list = match generation {
        Generation::Two => root.get("securityDefinitions"),
        Generation::Three => root.get("components").and_then(|components| components.get("securitySchemes")),
    };
    let members = list.map(Node::members).unwrap_or_default().iter();
    let mut found: Vec<Scheme<'_>> = members.map(|member| scheme(&member.name, follow(root, &member.value))).collect();
    let required = root.get("security").map(Node::items).unwrap_or_default();
    let required: Vec<&str> = required.iter().flat_map(Node::members).map(|one| &*one.name).collect();
    let place = |one: &Scheme<'_>| required.iter().position(|name| *name == one.name).unwrap_or(required.len());
    found.sort_by_key(|one| (matches!(one.kind, SchemeKind::Other(_)), place(one)));
    found
}

fn scheme<'n>(name: &'n str, node: &'n Node) -> Scheme<'n> {
    let text = |key| node.text_of(key).unwrap_or_default();
    let kind = match text("type") {
        "apiKey" => match text("in") {
            "header" => SchemeKind::Header(text("name")),
            "query" => SchemeKind::Query(text("name")),
            _ => SchemeKind::Other("apiKey"),
        },
        "basic" => SchemeKind::Basic,
        "http" if text("scheme").eq_ignore_ascii_case("basic") => SchemeKind::Basic,
        "http" if text("scheme").eq_ignore_ascii_case("bearer") => SchemeKind::Bearer,
        "oauth2" => {
            let flows = node.get("flows").map(Node::members).unwrap_or_default();
            let in_flow = flows.iter().find_map(|flow| flow.value.text_of("tokenUrl"));
            SchemeKind::OAuth { token_url: node.text_of("tokenUrl").or(in_flow).filter(|url| !url.is_empty()) }
        }
        "openIdConnect" => SchemeKind::OAuth { token_url: None },
        other => SchemeKind::Other(other),
    };
    Scheme { name, kind }
}

fn operations(root: &Node) -> Vec<Operation<'_>> {
    let mut found = Vec::new();
    for Member { name: path, value: item, .. } in root.get("paths").map(Node::members).unwrap_or_default() {
        let item = follow(root, item);
        let shared = item.get("parameters").map(Node::items).unwrap_or_default();
        for member in item.members() {
            if !METHODS.iter().any(|method| member.name.eq_ignore_ascii_case(method))
                || member.value.members().is_empty()
            {
                continue;
            }
            let node = &member.value;
            let method = member.name.to_ascii_uppercase();
            let id = node.text_of("operationId").map(str::trim).filter(|id| !id.is_empty());
            let made = || super::package::slug(&format!("{method} {path}"));
            let mut parameters: Vec<Parameter<'_>> = Vec::new();
            let own = node.get("parameters").map(Node::items).unwrap_or_default();
            for parameter in shared.iter().chain(own).filter_map(|node| parameter(root, node)) {
                let same = |known: &&mut Parameter<'_>| known.name == parameter.name && known.place == parameter.place;
                match parameters.iter_mut().find(same) {
                    Some(known) => *known = parameter,
                    None => parameters.push(parameter),
                }
            }
            parameters.extend(node.get("requestBody").map(|body| request_body(root, body)));
            found.push(Operation {
                has_id: id.is_some(),
                id: id.map_or_else(made, str::to_owned),
                method,
                path,
                at: member.at.clone(),
                node,
                parameters,
            });
        }
    }
    found
}

fn parameter<'n>(root: &'n Node, node: &'n Node) -> Option<Parameter<'n>> {
    let node = follow(root, node);
    let (name, place) = (node.text_of("name")?, node.text_of("in")?);
    let required = place == "path" || node.get("required").is_some_and(Node::is_true);
    let schema = node.get("schema").map_or(node, |schema| follow(root, schema));
    Some(Parameter { name, place, node, schema, required })
}

/// The body of OpenAPI 3 as the parameter that it was in 2.0.
fn request_body<'n>(root: &'n Node, node: &'n Node) -> Parameter<'n> {
    let node = follow(root, node);
    let content = node.get("content").map(Node::members).unwrap_or_default();
    let media = content.iter().find(|media| media.name.contains("json")).or(content.first());
    let schema = media.and_then(|media| media.value.get("schema")).map_or(node, |schema| follow(root, schema));
    let required = node.get("required").is_some_and(Node::is_true);
    Parameter { name: node.text_of("x-name").unwrap_or("body"), place: "body", node, schema, required }
}

impl Operation<'_> {
    /// `GET /orders/{id}`.
    pub fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path as the gateway's template has it: escapes where the text of a path needs them.
    pub fn template(&self) -> String {
        let path = self.path.trim();
        let mut out = if path.starts_with('/') { String::new() } else { "/".to_owned() };
        let mut in_braces = false;
        for character in path.chars() {
            in_braces = character == '{' || in_braces && character != '}';
            match character {
                ' ' if !in_braces => out.push_str("%20"),
                '#' if !in_braces => out.push_str("%23"),
                '*' if !in_braces => out.push_str("%2A"),
                other => out.push(other),
            }
        }
        out
    }
}

impl Parameter<'_> {
    /// `x-ms-visibility`.
    pub fn visibility(&self) -> Option<&str> {
        self.node.text_of("x-ms-visibility").or_else(|| self.schema.text_of("x-ms-visibility"))
    }

    /// The type by its schema.
    pub fn type_name(&self) -> Option<&str> {
        let kind = self.schema.get("type")?;
        // OpenAPI 3.1 has lists: the first that is not `null`.
        kind.text().or_else(|| kind.items().iter().filter_map(Node::text).find(|name| *name != "null"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::json;

    #[test]
    fn the_base_of_a_service() {
        for (text, url, placeholder) in [
            (r#"{"host":"api.contoso.com","basePath":"/v1/","schemes":["https"]}"#, "https://api.contoso.com/v1", None),
            (r#"{"host":"api.contoso.com:8080","schemes":["http"]}"#, "http://api.contoso.com:8080", None),
            (r#"{"host":"https://api.contoso.com/","basePath":"/"}"#, "https://api.contoso.com", None),
            (r#"{"host":"{{your_domain}}","basePath":"/API"}"#, "https://host.invalid/API", Some("{{your_domain}}")),
            (r#"{"host":"dynamichosturl"}"#, "https://host.invalid", Some("dynamichosturl")),
            (r#"{}"#, "https://host.invalid", Some("none")),
        ] {
            let (root, _) = json::parse(text).unwrap();
            let want = Base { url: url.to_owned(), placeholder: placeholder.map(str::to_owned) };
            assert_eq!(base(&root, Generation::Two), want, "{text}");
        }
        for (servers, url) in [
            (
                r#"{"url":"https://{region}.contoso.com/v2","variables":{"region":{"default":"eu"}}}"#,
                "https://eu.contoso.com/v2",
            ),
            (r#"{"url":"//api.contoso.com/v2/"}"#, "https://api.contoso.com/v2"),
            (r#"{"url":"/v1"},{"url":"{scheme}://api/v1"},{"url":"http://api.contoso.com"}"#, "http://api.contoso.com"),
            (r#"{"url":"/v1"},{"url":"/v2"}"#, "https://host.invalid/v1"),
            ("", "https://host.invalid"),
        ] {
            let (root, _) = json::parse(&format!(r#"{{"servers":[{servers}]}}"#)).unwrap();
            assert_eq!(base(&root, Generation::Three).url, url, "{servers}");
        }
    }

    #[test]
    fn the_scheme_that_is_asked_for_and_can_be_sent_is_first() {
        let text = r#"{"security":[{"session":[]},{"bearer":[]},{"key":[]}],"components":{"securitySchemes":{
            "basic":{"type":"http","scheme":"basic"},"key":{"type":"apiKey","in":"header","name":"x"},
            "session":{"type":"apiKey","in":"cookie","name":"s"},"bearer":{"type":"http","scheme":"Bearer"}}}}"#;
        let (root, _) = json::parse(text).unwrap();
        let names: Vec<&str> = schemes(&root, Generation::Three).iter().map(|one| one.name).collect();
        assert_eq!(names, ["bearer", "key", "basic", "session"]);
    }
}
