//! Rewrites the link to the next page so that it leads through the gateway.

use std::borrow::Cow;

use http::Uri;
use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::{BodyProperty, property};
use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::json::Node;
use crate::pipeline::{Apply, Context, Fault, Flow, Step};

/// Rewrites the link to the next page in the answer, so that callers follow it through the gateway: the connector template `updatenextlink`,
/// see [x-ms-pageable](https://learn.microsoft.com/connectors/custom-connectors/openapi-extensions#x-ms-pageable).
///
/// Scheme and host become those that the caller used, the base path of the backend becomes the API's, and the rest of the path and the query
/// stay. A link to the path that this request went to gets the caller's own path, so that operations which `route-request` or
/// `rewrite-uri` sent elsewhere are found again. A link that is relative is rewritten as well. Nothing happens where there is no link.
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
}

impl Policy for UpdateNextLink {
    const NAME: &'static str = "update-next-link";
    const SECTIONS: Sections = Sections::OUTBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::REQUEST_HEAD;
        let own = self.property.unwrap_or_else(|| At { value: "nextLink".to_owned(), span: 0..0 });
        if property(Some(&own), cx)?.is_empty() {
            return Err(CompileError::at(&own, "there is no property that holds the link"));
        }
        let place = BodyProperty::compile(self.parent.as_ref(), Some(&own), None, cx)?;
        Ok(Step::sync(Compiled(place)))
    }
}

// === impl Apply ===

struct Compiled(BodyProperty);

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let way = Way::of(cx);
        self.0.edit(cx, |node| {
            let link = node.as_text().filter(|link| !link.is_empty())?;
            Some(Node::text(&way.public(&link)?))
        })?;
        Ok(Flow::Next)
    }
}

/// How the request came and where it went.
struct Way {
    /// Scheme, host and base path that the caller used.
    public: String,
    /// The caller's own path, with the base path.
    path: String,
    /// The path that the backend was asked for, below its base path.
    sent: String,
    /// The base path of the backend.
    base: String,
}

impl Way {
    fn of(cx: &Context<'_>) -> Self {
        let exchange = cx.exchange;
        let origin = format!("{}://{}", exchange.scheme(), exchange.authority());
        let api = exchange.operation.as_ref().map_or("", |operation| &*operation.api.path).trim_end_matches('/');
        let base = cx.state.upstream.backend.as_ref().and_then(|backend| backend.base_path()).unwrap_or_default();
        Self {
            public: format!("{origin}{api}"),
            path: format!("{origin}{}", exchange.target.path()),
            sent: cx.uri().map(|uri| uri.path().to_owned()).unwrap_or_default(),
            base: base.to_owned(),
        }
    }

    /// The link as callers follow it; none when it is no link.
    fn public(&self, link: &str) -> Option<String> {
        let (link, fragment) = link.find('#').map_or((link, ""), |at| link.split_at(at));
        let (path, query) = link.find('?').map_or((link, ""), |at| link.split_at(at));
        let path = if path.contains("://") {
            let uri: Uri = path.parse().ok()?;
            Cow::Owned(uri.path().to_owned())
        } else if path.is_empty() {
            return Some(format!("{}{query}{fragment}", self.path));
        } else if path.starts_with('/') {
            Cow::Borrowed(path)
        } else {
            let folder = self.sent.rsplit_once('/').map_or("", |(folder, _)| folder);
            Cow::Owned(format!("{}{folder}/{path}", self.base))
        };
        let inside = path.strip_prefix(&*self.base).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let inside = inside.unwrap_or(&path);
        if inside == self.sent {
            return Some(format!("{}{query}{fragment}", self.path));
        }
        Some(format!("{}{inside}{query}{fragment}", self.public))
    }
}
