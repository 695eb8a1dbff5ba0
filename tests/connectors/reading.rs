//! Connector packages as the tests read them: by themselves, so that a mistake of the importer is not their own.

use std::path::Path;

use serde_json::Value as Json;

/// A package.
pub(crate) struct Package {
    pub(crate) definition: Json,
    /// `properties` of apiProperties.json; null for a bare definition.
    pub(crate) properties: Json,
    pub(crate) operations: Vec<Operation>,
    pub(crate) policies: Vec<Policy>,
}

/// An operation of the definition.
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// References followed.
    pub(crate) parameters: Vec<Json>,
    /// The schema of the answer; null when there is none.
    pub(crate) answer: Json,
}

/// An entry of `policyTemplateInstances`.
pub(crate) struct Policy {
    /// Counted from 1.
    pub(crate) number: usize,
    /// In lower case.
    pub(crate) id: String,
    parameters: Vec<(String, Json)>,
    operations: Vec<String>,
}

impl Package {
    #[track_caller]
    pub(crate) fn read(folder: &Path) -> Self {
        let definition = read(&folder.join("apiDefinition.swagger.json"));
        let file = folder.join("apiProperties.json");
        let properties = if file.is_file() { read(&file)["properties"].take() } else { Json::Null };
        let list = properties["policyTemplateInstances"].as_array().cloned().unwrap_or_default();
        let policies = list.iter().enumerate().map(|(place, entry)| Policy::read(place + 1, entry)).collect();
        let operations = operations(&definition);
        Self { definition, properties, operations, policies }
    }

    /// The connection parameters, with those of the first set, and its name.
    pub(crate) fn connection(&self) -> (Option<String>, Vec<(String, Json)>) {
        let own = |table: &Json| {
            let list = table.as_object().into_iter().flatten();
            list.map(|(name, parameter)| (name.clone(), parameter.clone())).collect::<Vec<_>>()
        };
        let mut parameters = own(&self.properties["connectionParameters"]);
        let set = &self.properties["connectionParameterSets"]["values"][0];
        // One package says some of them twice.
        for (name, parameter) in own(&set["parameters"]) {
            parameters.retain(|(known, _)| *known != name);
            parameters.push((name, parameter));
        }
        (set["name"].as_str().map(str::to_owned), parameters)
    }

    /// The policies of an operation, in their order.
    pub(crate) fn policies_of(&self, operation: &Operation) -> Vec<&Policy> {
        self.policies.iter().filter(|policy| policy.is_for(&operation.id)).collect()
    }
}

impl Policy {
    fn read(number: usize, entry: &Json) -> Self {
        let all: Vec<(String, Json)> = entry["parameters"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let name = name.rsplit('.').next().unwrap();
                (name.trim_start_matches("x-ms-apimTemplate-").to_ascii_lowercase(), value.clone())
            })
            .collect();
        let named = all.iter().find(|(name, _)| name == "operationname").map(|(_, list)| list);
        let operations = named.and_then(Json::as_array).into_iter().flatten();
        Self {
            number,
            id: entry["templateId"].as_str().unwrap_or_default().to_ascii_lowercase(),
            operations: operations.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            parameters: all,
        }
    }

    pub(crate) fn parameter(&self, name: &str) -> &Json {
        let name = name.to_ascii_lowercase();
        self.parameters.iter().find(|(known, _)| *known == name).map_or(&Json::Null, |(_, value)| value)
    }

    /// A parameter that is text; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.parameter(name).as_str().unwrap_or_default()
    }

    pub(crate) fn is_for(&self, operation: &str) -> bool {
        self.operations.is_empty() || self.operations.iter().any(|name| name == operation)
    }

    /// `Request`, `Response` or `Failure`.
    pub(crate) fn section(&self) -> &str {
        match self.id.as_str() {
            "updatenextlink" | "setconnectionstatustounauthenticated" => "Response",
            _ if self.text("policySection").is_empty() => "Request",
            _ => self.text("policySection"),
        }
    }
}

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

fn operations(root: &Json) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in root["paths"].as_object().into_iter().flatten() {
        for (method, node) in item.as_object().into_iter().flatten() {
            let Some(id) = node["operationId"].as_str().filter(|_| METHODS.contains(&method.as_str())) else {
                continue;
            };
            let lists = [&item["parameters"], &node["parameters"]];
            let parameters = lists.iter().flat_map(|list| list.as_array().into_iter().flatten());
            let good = ["200", "201", "202", "default"].map(|status| &node["responses"][status]["schema"]);
            found.push(Operation {
                id: id.trim().to_owned(),
                method: method.to_ascii_uppercase(),
                path: path.trim().to_owned(),
                parameters: parameters.map(|node| follow(root, node).clone()).collect(),
                answer: good.into_iter().find(|schema| !schema.is_null()).cloned().unwrap_or_default(),
            });
        }
    }
    found
}

/// What a `$ref` leads to.
pub(crate) fn follow<'a>(root: &'a Json, node: &'a Json) -> &'a Json {
    let reference = node["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    reference.and_then(|pointer| root.pointer(pointer)).unwrap_or(node)
}

/// JSON with the faults that real packages have: a byte-order mark, bytes that are not UTF-8, commas before a bracket,
/// spaces of typesetters, a brace too many at the end.
#[track_caller]
pub(crate) fn read(path: &Path) -> Json {
    let bytes = std::fs::read(path).unwrap();
    let text =
        String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
    let text = text.trim_start_matches('\u{feff}');
    let mut clean = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        if quoted {
            quoted = escaped || character != '"';
            escaped = character == '\\' && !escaped;
        } else if matches!(character, ']' | '}') {
            let end = clean.trim_end().len();
            if clean[..end].ends_with(',') {
                clean.truncate(end - 1);
            }
        } else {
            quoted = character == '"';
        }
        clean.push(if character.is_whitespace() && !quoted { ' ' } else { character });
    }
    let mut values = serde_json::Deserializer::from_str(&clean).into_iter();
    values.next().unwrap().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
