//! Policy templates, connection parameters and what else apiProperties.json says.

use super::super::template::{Instance, REQUEST, calls, is_host_template, required_parameters};
use super::super::tree::{Member, Node, Value};
use super::{Hint as _, Linter};
use crate::config::Diagnostic;
use crate::config::diagnostic::{closest, one_of};

/// Functions of policy templates.
const FUNCTIONS: [&str; 7] =
    ["headers", "header", "queryParameters", "connectionParameters", "body", "item", "triggerBody"];
/// The templates.
const TEMPLATES: [&str; 16] = [
    "convertarraytoobject",
    "convertobjecttoarray",
    "dynamichosturl",
    "dynamicsubdomain",
    "encodepropertyvalue",
    "moveproperties",
    "pollingtrigger",
    "routerequesttoendpoint",
    "setconnectionstatustounauthenticated",
    "setheader",
    "setproperty",
    "setqueryparameter",
    "setvaluefromurl",
    "stringreplace",
    "stringtoarray",
    "updatenextlink",
];
/// What templates take beside what they need.
const OPTIONAL: &[&str] = &[
    "copyOnlySubProperties",
    "dstSubPath",
    "existsAction",
    "httpMethod",
    "keyName",
    "nextLinkParentPropertyPath",
    "propertySubPath",
    "retainKey",
    "valueName",
];
/// `environmentVariables("name")` is put in when a connector is saved.
const SAVED: &str = "environmentvariables";

impl Linter<'_, '_> {
    pub(super) fn policies(&mut self) {
        let Some(root) = self.properties.root else {
            if self.package.properties.is_none() && self.place.definition.ends_with(super::package::DEFINITION_FILE) {
                let start = 0..1;
                self.warning("no-properties", &start, "there is no apiProperties.json beside the definition");
            } else if let Some(file) = &self.package.properties {
                self.push(Diagnostic::error("no-properties", file.id, 0..1, "apiProperties.json has no `properties`"));
            }
            return;
        };
        let file = self.properties_file();
        self.about(root);
        for node in &self.properties.script_operations {
            self.check_operation(file, &node.span, node.text().unwrap_or_default());
        }
        for parameter in self.properties.all() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if !parameter.name.chars().all(allowed) {
                let text = format!("`{}` cannot be the name of a connection parameter", parameter.name);
                let found = Diagnostic::warning(
                    "bad-name",
                    file,
                    parameter.node.span.start..parameter.node.span.start + 1,
                    text,
                );
                self.push(found).with("letters, digits and `_`");
            }
        }
        for (at, instance) in self.properties.policies.iter().enumerate() {
            self.instance(instance);
            self.reads(instance, &self.properties.policies[..at]);
        }
        self.base_path();
        if self.place.script.is_none() && !self.properties.script_operations.is_empty() {
            let span = self.properties.script_operations[0].span.clone();
            self.push(Diagnostic::warning(
                "no-script",
                file,
                span,
                "`scriptOperations` names operations, and there is no script.csx",
            ));
        }
    }

    fn instance(&mut self, instance: &Instance<'_>) {
        let file = self.properties_file();
        let id = instance.node.get_any_case("templateId");
        let head = id.map_or(instance.node.span.start..instance.node.span.start + 1, |node| node.span.clone());
        let Some(required) = required_parameters(&instance.id) else {
            let text = format!("no policy template is called `{}`", instance.id);
            let hint = closest(&instance.id, TEMPLATES).map(|other| format!("did you mean `{other}`?"));
            self.push(Diagnostic::error("unknown-template", file, head, text).maybe_hint(hint));
            return;
        };
        for name in required {
            if instance.parameter(name).is_none() {
                let text = format!("the policy has no `x-ms-apimTemplateParameter.{name}`");
                self.push(Diagnostic::error("missing-parameter", file, head.clone(), text));
            }
        }
        for node in &instance.operations {
            self.check_operation(file, &node.span, node.text().unwrap_or_default());
        }
        self.misspelt(instance, required);
        self.settings(instance);
        self.values(instance, instance.node);
        let url = instance.parameter("urlTemplate").filter(|_| is_host_template(&instance.id));
        // https://learn.microsoft.com/connectors/custom-connectors/policy-templates/dynamichosturl/dynamichosturl
        if is_host_template(&instance.id) && super::has_gateway(self.properties) {
            let text = format!("`{}` does not work with an on-premises gateway", instance.id);
            self.push(Diagnostic::error("gateway-policy", file, head, text));
        }
        if let Some(url) = url
            && calls(url.text().unwrap_or_default()).any(|(name, _)| REQUEST.contains(&name.as_str()))
        {
            let text = "the host comes from the request, so callers can send what the connection holds anywhere";
            self.push(Diagnostic::warning("host-from-request", file, url.span.clone(), text))
                .with("take it from `@connectionParameters`");
        }
    }

    /// Parameters that are almost one of the template's: what they say is not heard, and an operation's name that is not heard makes the policy
    /// one for all.
    fn misspelt(&mut self, instance: &Instance<'_>, required: &[&str]) {
        const COMMON: [&str; 2] = ["x-ms-apimTemplate-operationName", "x-ms-apimTemplate-policySection"];
        let file = self.properties_file();
        let own = required.iter().chain(OPTIONAL).map(|name| format!("x-ms-apimTemplateParameter.{name}"));
        let known: Vec<String> = own.chain(COMMON.map(str::to_owned)).collect();
        for Member { name, at, .. } in instance.node.get("parameters").map(Node::members).unwrap_or_default() {
            let ends = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
            let Some(end) = ends("x-ms-apimTemplateParameter.").or_else(|| ends("x-ms-apimTemplate-")) else {
                continue;
            };
            if known.iter().any(|one| one.eq_ignore_ascii_case(name)) {
                continue;
            }
            // The long beginning is the same for all, and would make all of them alike.
            let short = |one: &'static str| one.rsplit(['.', '-']).next().unwrap_or_default();
            let names = required.iter().chain(OPTIONAL).copied().chain(COMMON.map(short));
            if let Some(other) = closest(&end, names) {
                let text = format!("no parameter of `{}` is called `{name}`", instance.id);
                let found = Diagnostic::error("unknown-property", file, at.clone(), text);
                let whole = known.iter().find(|one| one.ends_with(other)).map_or(other, String::as_str);
                self.push(found.hint(format!("did you mean `{whole}`?")));
            }
        }
    }

    /// Values that a template takes, by the published
    /// [schema](https://github.com/microsoft/PowerPlatformConnectors/blob/dev/schemas/paconn-apiProperties.schema.json).
    fn settings(&mut self, instance: &Instance<'_>) {
        let file = self.properties_file();
        let methods: &[&str] = match instance.id.as_str() {
            "setvaluefromurl" => &["GET", "POST", "PUT"],
            _ => &["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "@Request.OriginalHTTPMethod"],
        };
        for (name, known) in [
            ("existsAction", &["override", "skip", "append"][..]),
            ("retainKey", &["true", "false"]),
            ("httpMethod", methods),
        ] {
            let Some(node) = instance.parameter(name) else { continue };
            let text = node.scalar().unwrap_or_default();
            if !known.iter().any(|one| one.eq_ignore_ascii_case(text)) {
                let message = format!("`{text}` is no value of `{name}`");
                self.push(Diagnostic::error("template-value", file, node.span.clone(), message))
                    .with(one_of(known.iter().copied()));
            }
        }
        let Some(section) = instance.policy_section() else { return };
        let text = section.text().unwrap_or_default();
        let fixed = match instance.id.as_str() {
            "updatenextlink" => Some("Response"),
            "dynamichosturl"
            | "dynamicsubdomain"
            | "routerequesttoendpoint"
            | "setqueryparameter"
            | "setvaluefromurl"
            | "pollingtrigger" => Some("Request"),
            _ => None,
        };
        let found = if !["request", "response", "failure"].contains(&text.to_ascii_lowercase().as_str()) {
            Some((
                format!("no section is called `{text}`"),
                "`Request`, `Response`, or `Failure` for `setheader`".to_owned(),
            ))
        } else if text.eq_ignore_ascii_case("failure") && instance.id != "setheader" {
            Some((format!("`{}` does not run in `Failure`", instance.id), "only `setheader` does".to_owned()))
        } else {
            let wrong = fixed.filter(|fixed| !fixed.eq_ignore_ascii_case(text));
            wrong.map(|fixed| {
                (format!("`{}` runs in `{fixed}` only", instance.id), format!("leave it out, or `{fixed}`"))
            })
        };
        if let Some((message, hint)) = found {
            self.push(Diagnostic::error("template-value", file, section.span.clone(), message)).with(hint);
        }
    }

    /// The expressions of every text.
    fn values(&mut self, instance: &Instance<'_>, node: &Node) {
        match &node.value {
            Value::Text(text) => self.expressions(instance, node, text),
            Value::Array(items) => items.iter().for_each(|item| self.values(instance, item)),
            Value::Object(members) => {
                for Member { name, value, .. } in members {
                    if !matches!(&**name, "title" | "templateId") {
                        self.values(instance, value);
                    }
                }
            }
            _ => {}
        }
    }

    fn expressions(&mut self, instance: &Instance<'_>, node: &Node, text: &str) {
        let file = self.properties_file();
        for (name, argument) in calls(text) {
            if name == "connectionparameters" {
                if instance.id == "setproperty" {
                    let text =
                        "the platform does not evaluate `@connectionParameters` in `setproperty`: its text is sent";
                    self.push(Diagnostic::warning("not-evaluated", file, node.span.clone(), text))
                        .with("the gateway evaluates it");
                }
                self.connection_parameter(node, &argument);
            } else if !FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(&name)) && name != SAVED {
                let at = text.to_ascii_lowercase().find(&name).unwrap_or_default();
                let written = text.get(at..at + name.len()).unwrap_or(&name);
                let text = format!("`{written}` is no function of policy templates; its text is sent as it is");
                let hint = closest(&name, FUNCTIONS).map(|other| format!("did you mean `{other}`?"));
                self.push(Diagnostic::warning("unknown-function", file, node.span.clone(), text).maybe_hint(hint));
            }
        }
    }

    fn connection_parameter(&mut self, node: &Node, name: &str) {
        let file = self.properties_file();
        let names: Vec<&str> = self.properties.all().map(|one| one.name).collect();
        if names.contains(&name) {
            return;
        }
        let found = match names.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => {
                let text = format!("the connection parameter is called `{known}`, not `{name}`");
                Diagnostic::warning("parameter-case", file, node.span.clone(), text)
                    .hint("it works, since names compare without case")
            }
            None => {
                let known = if names.is_empty() { "there are none".to_owned() } else { one_of(names) };
                Diagnostic::error(
                    "undeclared-parameter",
                    file,
                    node.span.clone(),
                    format!("no connection parameter is called `{name}`"),
                )
                .hint(known)
            }
        };
        self.push(found);
    }

    /// A host template takes the place of the base path too.
    fn base_path(&mut self) {
        let base = self.definition.root.text_of("basePath").unwrap_or_default().trim_matches('/').to_owned();
        if base.is_empty() {
            return;
        }
        let file = self.properties_file();
        for instance in self.properties.policies.iter().filter(|one| is_host_template(&one.id)) {
            let Some(url) = instance.parameter("urlTemplate") else { continue };
            let template = url.text().unwrap_or_default().trim_end_matches('/');
            let after = template.split_once("://").map_or(template, |(_, rest)| rest);
            // A whole URL from the connection may hold the path.
            let is_whole = template.starts_with('@') && !after.contains('/');
            if !template.ends_with(&base) && !after.contains('/') && !is_whole {
                let text =
                    format!("the template takes the place of the base path `/{base}` too, and does not repeat it");
                let found = Diagnostic::warning("lost-base-path", file, url.span.clone(), text);
                self.push(found).with(format!("`{template}/{base}`"));
            }
        }
    }
}
