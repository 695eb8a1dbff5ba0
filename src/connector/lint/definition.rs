//! The head of a definition, its security and its size.

use super::super::definition::{Generation, SchemeKind};
use super::super::template::is_host_template;
use super::super::tree::{Member, Node, Value};
use super::shape::{INFO, ROOT};
use super::{Hint as _, Linter, head};
use crate::config::diagnostic::closest;

/// Names that a title cannot hold, in lower case.
const RESERVED: [&str; 8] =
    ["api", "connector", "power apps", "powerapps", "power automate", "copilot studio", "power platform", "power bi"];
/// What a connector can be about.
const CATEGORIES: [&str; 19] = [
    "AI",
    "Business Management",
    "Business Intelligence",
    "Collaboration",
    "Commerce",
    "Communication",
    "Content and Files",
    "Finance",
    "Data",
    "Human Resources",
    "Internet of Things",
    "IT Operations",
    "Lifestyle and Entertainment",
    "Marketing",
    "Productivity",
    "Sales and CRM",
    "Security",
    "Social Media",
    "Website",
];
/// What the platform takes.
const MAX_SIZE: usize = 1024 * 1024;
const MAX_OPERATIONS: usize = 256;

impl Linter<'_, '_> {
    pub(super) fn definition(&mut self) {
        let root = self.definition.root;
        let start = root.span.start..root.span.start + 1;
        if self.definition.generation == Generation::Three {
            let span = root.get("openapi").map_or(start.clone(), |node| node.span.clone());
            self.error("openapi-3", &span, "the platform takes OpenAPI 2.0 only")
                .with("import it, and `sluicegate export connector` writes it as 2.0");
        }
        if self.package.definition.bytes.len() > MAX_SIZE {
            self.error("too-large", &start, "the definition is larger than 1 MB");
        }
        let count = self.definition.operations.len();
        match count {
            0 => self.error("no-operations", &start, "the definition has no operations").with("`paths` holds them"),
            1..=MAX_OPERATIONS => {}
            _ => {
                self.error("too-large", &start, format!("{count} operations, and the platform takes {MAX_OPERATIONS}"));
            }
        }
        self.info(root);
        if self.definition.generation == Generation::Two {
            self.shape(root, &ROOT);
            if let Some(info) = root.get("info") {
                self.shape(info, &INFO);
            }
            self.metadata(root);
        }
        self.host(root);
        self.security();
        self.references(root);
        let test = root.get("x-ms-capabilities").and_then(|list| list.get("testConnection"));
        if let Some(name) = test.and_then(|test| test.get("operationId")) {
            let id = self.package.definition.id;
            self.check_operation(id, &name.span, name.text().unwrap_or_default());
        }
    }

    fn info(&mut self, root: &Node) {
        let start = root.span.start..root.span.start + 1;
        let Some(info) = root.get("info") else {
            self.error("missing-title", &start, "`info` is missing");
            return;
        };
        let span = info.get("title").map_or(info.span.start..info.span.start + 1, |node| node.span.clone());
        let title = self.definition.title.trim_end_matches("(Independent Publisher)").trim_end();
        if title.is_empty() {
            self.error("missing-title", &span, "the connector has no `title`");
        } else {
            let length = title.chars().count();
            if length > 30 {
                self.error("long-name", &span, format!("the name has {length} characters, and 30 are allowed"));
            }
            let lower = title.to_lowercase();
            let is_word = |word: &&&str| {
                lower
                    .split(|c: char| !c.is_alphanumeric() && c != ' ')
                    .any(|part| format!(" {part} ").contains(&format!(" {word} ")))
            };
            if let Some(word) = RESERVED.iter().find(|word| is_word(word)) {
                self.warning("reserved-name", &span, format!("`{word}` cannot stand in the name of a connector"))
                    .with("certification refuses it");
            }
            if title.ends_with(|c: char| !c.is_alphanumeric()) {
                self.warning("reserved-name", &span, "the name does not end with a letter or a digit")
                    .with("certification refuses it");
            }
        }
        let length = self.definition.description.chars().count();
        if !(30..=500).contains(&length) {
            let span = info.get("description").map_or(span, |node| node.span.clone());
            self.warning("description-length", &span, format!("the description has {length} characters"))
                .with("certification asks for 30 to 500");
        }
    }

    /// What certification publishes about a connector: `ConnectorMetadataPropertiesMissing`, `InvalidConnectorCategory`,
    /// `TooManyConnectorCategories`.
    fn metadata(&mut self, root: &Node) {
        let start = root.span.start..root.span.start + 1;
        let contact = root.get("info").and_then(|info| info.get("contact"));
        if let Some(email) = contact.and_then(|contact| contact.get("email"))
            && email
                .text()
                .is_none_or(|text| !text.is_ascii() || text.split('@').filter(|part| !part.is_empty()).count() != 2)
        {
            self.error("bad-metadata", &email.span, "`email` is no address");
        }
        if let Some(info) = root.get("info")
            && !["email", "url"].iter().any(|name| contact.and_then(|contact| contact.get(name)).is_some())
        {
            let span = head(contact.unwrap_or(info));
            self.warning("bad-metadata", &span, "`info` names nobody who can be asked")
                .with("`\"contact\": { \"name\": …, \"url\": …, \"email\": … }`: certification asks for it");
        }
        let Some(list) = root.get("x-ms-connector-metadata") else {
            self.warning("bad-metadata", &start, "the definition has no `x-ms-connector-metadata`")
                .with("certification asks for `Website`, `Privacy policy` and `Categories`");
            return;
        };
        const NAMES: [&str; 3] = ["Website", "Privacy policy", "Categories"];
        let mut seen = Vec::new();
        for one in list.items() {
            let Some(name) = one.get("propertyName") else { continue };
            let text = name.text().unwrap_or_default();
            match NAMES.iter().find(|known| known.eq_ignore_ascii_case(text)) {
                Some(known) => {
                    if *known != text {
                        self.warning("bad-metadata", &name.span, format!("`{text}` is written `{known}`"));
                    }
                    seen.push(*known);
                }
                None => {
                    self.warning("bad-metadata", &name.span, format!("`{text}` is no property of the metadata"))
                        .with("`Website`, `Privacy policy` or `Categories`");
                    continue;
                }
            }
            let Some(value) = one.get("propertyValue").filter(|_| text == "Categories") else { continue };
            let categories = value.text().unwrap_or_default().split(';').map(str::trim).filter(|it| !it.is_empty());
            if categories.clone().count() > 2 {
                self.warning("bad-metadata", &value.span, "a connector has two categories at most");
            }
            for category in categories.filter(|category| !CATEGORIES.contains(category)) {
                let hint = closest(category, CATEGORIES).map(|other| format!("did you mean `{other}`?"));
                self.warning("bad-metadata", &value.span, format!("no category is called `{category}`")).hint = hint;
            }
        }
        for name in NAMES.iter().filter(|name| !seen.contains(name)) {
            self.warning(
                "bad-metadata",
                &(list.span.start..list.span.start + 1),
                format!("the metadata has no `{name}`"),
            );
        }
    }

    fn host(&mut self, root: &Node) {
        let base = root.get("basePath").filter(|base| !base.text().is_some_and(|text| text.starts_with('/')));
        if let (Some(base), Generation::Two) = (base, self.definition.generation) {
            self.error("bad-host", &base.span, "`basePath` begins with `/`");
        }
        if self.definition.generation == Generation::Three {
            return;
        }
        let start = root.span.start..root.span.start + 1;
        let set_by_policy = self.properties.policies.iter().any(|policy| is_host_template(&policy.id));
        match (root.get("host"), &self.definition.base.placeholder) {
            (None, _) => {
                self.error("bad-host", &start, "the definition has no `host`")
                    .with("a name without scheme and path: `api.contoso.com`");
            }
            (Some(host), Some(written)) if !set_by_policy => {
                self.error("bad-host", &host.span, format!("`{written}` is no host, and no policy sets another one"))
                    .with("the policy template `dynamichosturl` takes it from the connection");
            }
            (Some(host), _) if host.text().is_some_and(|host| host.contains("://")) => {
                self.error("bad-host", &host.span, "`host` has a scheme").with("`schemes` says it");
            }
            _ => {}
        }
        let schemes = root.get("schemes");
        let has = |name: &str| schemes.is_some_and(|list| list.items().iter().any(|one| one.text() == Some(name)));
        if schemes.is_some() && !has("https") {
            let span = schemes.map_or(start, |list| list.span.clone());
            self.warning("no-https", &span, "the API is not called by `https`");
        }
    }

    fn security(&mut self) {
        let schemes = &self.definition.schemes;
        let list = match self.definition.generation {
            Generation::Two => self.definition.root.get("securityDefinitions"),
            Generation::Three => self.definition.root.get("components").and_then(|all| all.get("securitySchemes")),
        };
        let spans: Vec<_> =
            list.map(Node::members).unwrap_or_default().iter().map(|member| member.at.clone()).collect();
        if let [_, second, ..] = &spans[..] {
            self.warning("several-schemes", second, "a connection uses one security definition, the first")
                .with("`connectionParameterSets` in apiProperties.json offers several ways");
        }
        let Some(scheme) = schemes.first() else { return };
        let Some(member) = list.and_then(|list| list.members().iter().find(|one| &*one.name == scheme.name)) else {
            return;
        };
        let span = &member.at;
        if self.package.properties.is_none() {
            return;
        }
        let wanted: &[&str] = match &scheme.kind {
            SchemeKind::Header(_) | SchemeKind::Query(_) => &["api_key"],
            SchemeKind::Basic => &["username", "password"],
            SchemeKind::OAuth { .. } if self.properties.token().is_none() => &["token"],
            _ => &[],
        };
        for name in wanted {
            if self.properties.parameter(name).is_none() {
                self.warning(
                    "undeclared-parameter",
                    span,
                    format!("no connection parameter is called `{name}`, so nothing is sent for `{}`", scheme.name),
                )
                .with(format!("declare `{name}` under `connectionParameters` in apiProperties.json"));
            }
        }
    }

    /// References that lead nowhere.
    fn references(&mut self, node: &Node) {
        match &node.value {
            Value::Array(items) => items.iter().for_each(|item| self.references(item)),
            Value::Object(members) => {
                for Member { name, value, .. } in members {
                    if &**name == "$ref"
                        && let Some(reference) = value.text()
                        && self.definition.root.resolve(reference).is_none()
                    {
                        self.error("broken-reference", &value.span, format!("`{reference}` is not in the definition"));
                    }
                    self.references(value);
                }
            }
            _ => {}
        }
    }
}
