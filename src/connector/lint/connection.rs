//! Security: what the definition declares, and the parameters that connections are made with.

use super::super::definition::Generation;
use super::super::tree::{Member, Node};
use super::{Hint as _, Linter, head};
use crate::config::Diagnostic;
use crate::config::diagnostic::closest;

/// Types of connection parameters, by the published
/// [schema](https://github.com/microsoft/PowerPlatformConnectors/blob/dev/schemas/paconn-apiProperties.schema.json).
const TYPES: [&str; 6] = ["string", "securestring", "int", "bool", "oauthSetting", "gatewaySetting"];

impl Linter<'_, '_> {
    pub(super) fn connections(&mut self) {
        if self.definition.generation == Generation::Two {
            self.schemes();
            self.requirements();
        }
        let file = self.properties_file();
        for parameter in self.properties.all() {
            let written = parameter.node.get("type");
            if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(parameter.kind)) || written.is_none() {
                let span = written.map_or(head(parameter.node), |node| node.span.clone());
                let text = match written {
                    Some(_) => format!("no connection parameter is of the type `{}`", parameter.kind),
                    None => format!("the connection parameter `{}` has no `type`", parameter.name),
                };
                self.push(Diagnostic::error("bad-connection", file, span, text))
                    .with("`string`, `securestring`, `int`, `bool`, `oauthSetting` or `gatewaySetting`");
            }
            if parameter.name.eq_ignore_ascii_case("connectionId") {
                let text = "`connectionId` is a name of the platform";
                self.push(Diagnostic::error("bad-connection", file, head(parameter.node), text));
            }
            if parameter.kind.eq_ignore_ascii_case("oauthSetting") {
                let settings = parameter.node.get_any_case("oAuthSettings");
                if settings.and_then(|settings| settings.text_of("identityProvider")).is_none() {
                    let span = settings.map_or(head(parameter.node), head);
                    let text = format!("`{}` does not say who issues its tokens", parameter.name);
                    self.push(Diagnostic::error("bad-connection", file, span, text))
                        .with("`identityProvider` in `oAuthSettings`: `oauth2`, `aad`, `oauth2generic`…");
                }
            }
        }
    }

    /// `SecuritySchemePropertyRequired`
    fn schemes(&mut self) {
        let schemes = self.definition.root.get("securityDefinitions").map(Node::members).unwrap_or_default();
        for Member { name, at, value } in schemes {
            let needed: &[&str] = match (value.text_of("type"), value.text_of("flow")) {
                (Some("basic"), _) => &[],
                (Some("apiKey"), _) => &["name", "in"],
                (Some("oauth2"), Some("accessCode")) => &["authorizationUrl", "tokenUrl"],
                (Some("oauth2"), Some("implicit")) => &["authorizationUrl"],
                (Some("oauth2"), Some("application" | "password")) => &["tokenUrl"],
                (Some("oauth2"), _) => &["flow", "authorizationUrl", "tokenUrl"],
                (found, _) => {
                    let text = format!("`{name}` is of no type of security: `{}`", found.unwrap_or_default());
                    self.error("bad-security", at, text).with("`apiKey`, `basic` or `oauth2`");
                    continue;
                }
            };
            for key in needed.iter().filter(|key| value.get(key).is_none()) {
                self.error("bad-security", at, format!("the security definition `{name}` has no `{key}`"));
            }
        }
    }

    /// `SecurityRequirementMustBeDefined`, `SecurityRequirementMustHaveEmptyValue`; warnings, since published connectors have them.
    fn requirements(&mut self) {
        let root = self.definition.root;
        let own = self.definition.operations.iter().filter_map(|operation| operation.node.get("security"));
        let lists = root.get("security").into_iter().chain(own);
        let known = root.get("securityDefinitions").map(Node::members).unwrap_or_default();
        for Member { name, at, value } in lists.flat_map(Node::items).flat_map(Node::members) {
            match known.iter().find(|one| one.name == *name) {
                None => {
                    let names = known.iter().map(|one| &*one.name);
                    let hint = match closest(name, names.clone()) {
                        Some(other) => format!("did you mean `{other}`?"),
                        None => "`securityDefinitions` describes it".to_owned(),
                    };
                    self.warning("bad-security", at, format!("no security definition is called `{name}`")).with(hint);
                }
                Some(one) if one.value.text_of("type") != Some("oauth2") && !value.items().is_empty() => {
                    self.warning("bad-security", at, format!("`{name}` has no scopes")).with("only `oauth2` has: `[]`");
                }
                Some(_) => {}
            }
        }
    }
}
