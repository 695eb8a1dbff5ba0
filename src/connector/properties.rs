//! What `apiProperties.json` says.

use super::template::Instance;
use super::tree::{Member, Node};

/// The properties of a package; all empty for a bare definition.
#[derive(Default)]
pub struct Properties<'n> {
    /// `connectionParameters`
    pub parameters: Vec<ConnectionParameter<'n>>,
    /// `connectionParameterSets`: a name and the parameters of each.
    pub sets: Vec<(&'n str, Vec<ConnectionParameter<'n>>)>,
    /// `policyTemplateInstances`, in their order.
    pub policies: Vec<Instance<'n>>,
    /// `capabilities`
    pub capabilities: Vec<&'n str>,
    /// `scriptOperations`: none for all of them.
    pub script_operations: Vec<&'n Node>,
    /// The table itself.
    pub root: Option<&'n Node>,
}

/// A parameter of a connection.
pub struct ConnectionParameter<'n> {
    /// Its name.
    pub name: &'n str,
    /// Its type: `string`, `securestring`, `oauthSetting`, `gatewaySetting`, `int`, `bool`.
    pub kind: &'n str,
    /// What it is called in the form.
    pub label: &'n str,
    /// Whether a connection needs it.
    pub required: bool,
    /// The value of connections that do not give it.
    pub default: Option<&'n str>,
    /// The values that it may have; any when there are none.
    pub allowed: Vec<&'n str>,
    /// Its table.
    pub node: &'n Node,
}

impl<'n> Properties<'n> {
    /// Reads a file.
    pub fn read(root: &'n Node) -> Self {
        let Some(table) = root.get_any_case("properties") else { return Self::default() };
        let list = |name: &str| table.get_any_case(name).map(Node::items).unwrap_or_default();
        let sets = table.get_any_case("connectionParameterSets").and_then(|sets| sets.get("values"));
        let set = |node: &'n Node| (node.text_of("name").unwrap_or_default(), parameters(node.get("parameters")));
        Self {
            parameters: parameters(table.get_any_case("connectionParameters")),
            sets: sets.map(Node::items).unwrap_or_default().iter().map(set).collect(),
            policies: list("policyTemplateInstances").iter().map(Instance::read).collect(),
            capabilities: list("capabilities").iter().filter_map(Node::text).collect(),
            script_operations: list("scriptOperations").iter().collect(),
            root: Some(table),
        }
    }

    /// All parameters, also those of the sets.
    pub fn all(&self) -> impl Iterator<Item = &ConnectionParameter<'n>> {
        self.parameters.iter().chain(self.sets.iter().flat_map(|(_, list)| list))
    }

    /// The parameter of this name, compared without case as the platform does.
    pub fn parameter(&self, name: &str) -> Option<&ConnectionParameter<'n>> {
        self.all().find(|one| one.name.eq_ignore_ascii_case(name))
    }

    /// The parameter that holds the tokens of OAuth.
    pub fn token(&self) -> Option<&ConnectionParameter<'n>> {
        self.all().find(|one| one.kind.eq_ignore_ascii_case("oauthSetting"))
    }
}

fn parameters(table: Option<&Node>) -> Vec<ConnectionParameter<'_>> {
    table.map(Node::members).unwrap_or_default().iter().map(parameter).collect()
}

fn parameter(Member { name, value, .. }: &Member) -> ConnectionParameter<'_> {
    let form = value.get("uiDefinition");
    let constraints = form.and_then(|form| form.get("constraints"));
    let default = [Some(value), form, constraints].into_iter().flatten().find_map(|node| node.get("defaultValue"));
    let allowed = constraints.and_then(|constraints| constraints.get("allowedValues")).map(Node::items);
    let allowed = allowed.unwrap_or_default().iter().filter_map(|item| item.get("value").unwrap_or(item).scalar());
    ConnectionParameter {
        name,
        kind: value.text_of("type").unwrap_or("string"),
        label: form.and_then(|form| form.text_of("displayName")).unwrap_or_default(),
        required: constraints.and_then(|constraints| constraints.get("required")).is_some_and(Node::is_true),
        default: default.and_then(Node::scalar),
        allowed: allowed.collect(),
        node: value,
    }
}
