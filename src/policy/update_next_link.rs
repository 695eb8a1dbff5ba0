//! Rewrites the link to the next page so that it leads through the gateway.

use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::{BodyProperty, property};
use super::public_link::{LinkRules, Links};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::json::Node;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Rewrites the link to the next page in the answer, so that callers follow it through the gateway: the connector template `updatenextlink`,
/// see [x-ms-pageable](https://learn.microsoft.com/connectors/custom-connectors/openapi-extensions#x-ms-pageable).
///
/// Scheme and host become the gateway's own (`[server] public-url`, else as the caller used them), the base path of the backend becomes the
/// API's, and the query stays. A link to the path that this request went to gets the caller's own path; another path that a
/// `rewrite-uri` or `route-request` of the API leads to is found backwards, by its template; inside `choose` too, unless a policy there wraps what
/// comes after it (`retry`, `timeout`). A parameter of the query that such a template fills (`/find?q={text}`) is read from the link; one that tells
/// the operation stands in it once, with the value that the backend wrote where it is asked for it by the same path. Relative links are rewritten as well. Links to
/// other hosts, and to paths outside the backend's base URL, stay as they are, because the gateway does not lead there. The query parameters
/// of the backend's own `credentials` are taken out. Nothing happens where there is no link.
///
/// ```toml
/// [[outbound]]
/// policy   = "update-next-link"
/// property = "@odata.nextLink"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpdateNextLink {
    /// The object that holds the link, or the array whose items do. Default `@body()`.
    parent: Option<At<String>>,
    /// The property that holds the link: `nextLink`, `@odata.nextLink`, `['@odata.nextLink']`. A dot in a name that does not begin with `@` leads
    /// into the object before it. Default `nextLink`.
    property: Option<At<String>>,
    /// Other hosts in links that mean the backend: names by which it knows itself. Written as in `allowed-hosts` of `set-backend-service`.
    /// Default: none.
    #[serde(default)]
    hosts: Vec<At<String>>,
    /// Query parameters that are taken out of the link, for those that a policy has put into the request and that callers must not see
    /// (`api_key`). Default: none.
    #[serde(default)]
    remove_parameters: Vec<String>,
}

impl Policy for UpdateNextLink {
    const NAME: &'static str = "update-next-link";
    const SECTIONS: Sections = Sections::OUTBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::TARGET;
        let rules = LinkRules::compile(&self.hosts, self.remove_parameters, cx);
        let rules = cx.note(rules);
        let own = self.property.unwrap_or_else(|| At { value: "nextLink".to_owned(), span: 0..0 });
        if property(Some(&own), cx)?.is_empty() {
            return Err(CompileError::at(&own, "there is no property that holds the link"));
        }
        let place = BodyProperty::compile(self.parent.as_ref(), Some(&own), None, cx)?;
        Ok(Step::sync(Compiled { place, rules: rules? }))
    }
}

// === impl Apply ===

struct Compiled {
    place: BodyProperty,
    rules: LinkRules,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Some(links) = Links::of(&self.rules, cx) else { return Ok(Flow::Next) };
        self.place.edit(cx, |node| {
            let link = node.as_text().filter(|link| !link.is_empty())?;
            Some(Node::text(&links.public(&link)?))
        })?;
        Ok(Flow::Next)
    }
}
