//! Fetches the pages that follow the first one, and answers with all of their items.

mod follow;
mod page;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::follow::Collect;
use self::page::{Onward, Shape};
use super::body_property::path;
use super::public_link::LinkRules;
use super::timeout::positive;
use super::{Policy, Sections};
use crate::clock::Clock;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Size};
use crate::json::{Key, Root};
use crate::pipeline::{Next, Origin, Step};

/// Fetches the pages that follow the first one, and answers a GET with the items of them all, as callers expect who do not page themselves.
///
/// What follows is told by a link in each page (`next-link`) or in a header (`next-link-header`: GitHub, GitLab and others write `Link`), or by a
/// cursor that goes into a parameter of the query (`cursor`). Each page is
/// a request of its own to the same backend, with the headers of the first one, through everything that comes after this policy: a `retry` behind it
/// tries each page again, a `timeout` in front of it covers them all, and the credentials of the backend are on each. Links to anywhere else
/// are not followed, nor is a link or a cursor that was there already. Paths are rewritten in front of it, in inbound.
///
/// An answer that is no page stays as it is: another status than 200, no JSON, no array at `items`. `x-collected-pages` says how many pages are in
/// the answer. When a bound ends it early, `x-collected-partial` says which one, and the answer still has the link or the cursor of the
/// page that would have come next, so that callers can go on from there.
///
/// Inside `choose`, pages are collected only for those who ask for it: `condition = "@equals(queryParameters('all'), 'true')"`.
///
/// ```toml
/// [[backend]]
/// policy    = "collect-pages"
/// items     = "@body().value"
/// next-link = "@odata.nextLink"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectPages {
    /// Where the array of items stands in a page: `@body().value`, or `@body()` when a page is nothing but an array.
    items: At<String>,
    /// The property that holds the link to the next page: `nextLink`, `@odata.nextLink`, `@body().paging.next`. There is no further page where it is
    /// missing, null or empty. Either this, `next-link-header` or `cursor`.
    next_link: Option<At<String>>,
    /// The header that holds the link to the next page. Of `link` (RFC 8288) the link whose relation is `next`; of another header, its value. There is no
    /// further page where it is missing.
    next_link_header: Option<At<String>>,
    /// The property that holds the cursor of the next page: `@body().meta.next_cursor`. A text, a number, or nothing when there is no further page.
    cursor: Option<At<String>>,
    /// The parameter of the query that a cursor goes into. Only with `cursor`.
    parameter: Option<At<String>>,
    /// Other hosts in links that mean the backend: names by which it knows itself. Written as in `allowed-hosts` of `set-backend-service`. The
    /// requests go to the backend all the same. Default: none.
    #[serde(default)]
    hosts: Vec<At<String>>,
    /// What is answered. Default `page`.
    #[serde(default)]
    answer: Form,
    /// How many pages there are at most. 1 to 1000. Default 100.
    max_pages: Option<At<NonZeroU32>>,
    /// No further page is fetched once there are so many items. The page that reaches it is kept whole, so that its link leads on. Default 5000.
    max_items: Option<NonZeroUsize>,
    /// How long the bodies of all pages are together, at most. A page beyond it is left out. Default, and at most: `buffer-size` of
    /// `[server.limits]`.
    max_bytes: Option<Size>,
    /// How long all of it may take. What is under way then is dropped; the first page is not. Default `60s`.
    max_time: Option<At<Period>>,
    /// What becomes of a collection that meets a bound. Default `partial`.
    on_limit: Option<Outcome>,
    /// What becomes of a collection of which a page cannot be had: the backend answered it with an error, or with something else, or its link leads
    /// elsewhere or in a circle. Default `fail`.
    on_error: Option<Outcome>,
}

/// What is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Form {
    /// The first page, with the items of all in it and without its link or cursor: what callers have a schema for.
    #[default]
    Page,
    /// The array of items alone. Of a partial one nothing but a header tells where it goes on.
    Array,
}

/// What becomes of a collection that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The caller gets what there is, with `x-collected-partial`.
    Partial,
    /// 502 (reason `PageFailed`), and on-error runs. A 429 or 503 of the backend keeps its status and its `Retry-After`.
    Fail,
}

/// The most pages of one answer.
const MOST_PAGES: u32 = 1000;

impl Policy for CollectPages {
    const NAME: &'static str = "collect-pages";
    const SECTIONS: Sections = Sections::BACKEND;
    const ONCE: bool = true;

    // A layer, because it repeats everything after it.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let items = within_body(&self.items, cx);
        let items = cx.note(items);
        let onward = self.onward(cx);
        let onward = cx.note(onward);
        let pages = self.pages();
        let pages = cx.note(pages);
        let time = cx.note(self.max_time.as_ref().map(positive).transpose());
        let rules = LinkRules::compile(&self.hosts, Vec::new(), cx);
        let rules = cx.note(rules);
        let (items, onward) = (items?, onward?);
        if self.answer == Form::Page && items.is_empty() && !matches!(onward, Onward::Header(_)) {
            return Err(CompileError::at(&self.items, "a page that is nothing but an array holds no link or cursor")
                .hint("the property that holds the items, for example `@body().value`"));
        }
        let plan = Arc::new(Plan {
            shape: Shape { items, onward, bare: self.answer == Form::Array },
            rules: rules?,
            bounds: Bounds {
                pages: pages?,
                items: self.max_items.map_or(5000, NonZeroUsize::get),
                bytes: self.max_bytes.map_or(u64::MAX, |size| size.0),
                time: time?.unwrap_or(Duration::from_secs(60)),
            },
            partial_at_bound: self.on_limit != Some(Outcome::Fail),
            partial_on_error: self.on_error == Some(Outcome::Partial),
            clock: cx.world.shared.clock.clone(),
            origin: cx.origin.clone(),
        });
        Ok(Step::layer(move |next| Next::new(Collect { plan: plan.clone(), next })))
    }
}

impl CollectPages {
    fn onward(&self, cx: &CompileCx<'_, '_>) -> Result<Onward, CompileError> {
        let ways = [&self.next_link, &self.next_link_header, &self.cursor];
        let names = ["next-link", "next-link-header", "cursor"];
        let mut given = names.into_iter().zip(ways).filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let Some((name, value)) = given.next() else {
            return Err(CompileError::whole("nothing says where the next page is").hint(
                "`next-link = \"@odata.nextLink\"`, `next-link-header = \"link\"`, or `cursor` and `parameter`",
            ));
        };
        if let Some((other, value)) = given.next() {
            return Err(CompileError::at(value, format!("both `{name}` and `{other}` are given")));
        }
        match (name, &self.parameter) {
            ("cursor", Some(parameter)) if !parameter.is_empty() => {
                Ok(Onward::Cursor { keys: property(value, "cursor", cx)?, parameter: parameter.value.clone() })
            }
            ("cursor", _) => Err(CompileError::at(value, "nothing says where the cursor goes")
                .hint("`parameter = \"cursor\"` is the parameter of the query")),
            (_, Some(parameter)) => {
                Err(CompileError::at(parameter, "a link goes into no parameter").hint("it is for `cursor`"))
            }
            ("next-link", None) => Ok(Onward::Link(property(value, "link", cx)?)),
            (_, None) => Ok(Onward::Header(cx.header_name(value)?)),
        }
    }

    fn pages(&self) -> Result<u32, CompileError> {
        match &self.max_pages {
            None => Ok(100),
            Some(pages) if pages.get() <= MOST_PAGES => Ok(pages.get()),
            Some(pages) => Err(CompileError::at(pages, format!("{} pages are too many", pages.value))
                .hint(format!("at most {MOST_PAGES}"))),
        }
    }
}

/// A path from the body on.
fn within_body(text: &At<String>, cx: &CompileCx<'_, '_>) -> Result<Box<[Key]>, CompileError> {
    let path = path(text, cx)?;
    if path.root == Root::Item {
        return Err(CompileError::at(text, "there is no item here").hint("begin with `@body()`"));
    }
    Ok(path.keys)
}

fn property(text: &At<String>, what: &str, cx: &CompileCx<'_, '_>) -> Result<Box<[Key]>, CompileError> {
    let keys = within_body(text, cx)?;
    if keys.is_empty() {
        return Err(CompileError::at(text, format!("there is no property that holds the {what}")));
    }
    Ok(keys)
}

/// What runs.
struct Plan {
    shape: Shape,
    rules: LinkRules,
    bounds: Bounds,
    partial_at_bound: bool,
    partial_on_error: bool,
    clock: Clock,
    origin: Arc<Origin>,
}

/// Where a collection ends.
struct Bounds {
    pages: u32,
    items: usize,
    bytes: u64,
    time: Duration,
}
