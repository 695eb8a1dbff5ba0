//! From the path that a backend knows to the path that callers use: rewrite templates, read backwards.

use std::borrow::Cow;

use http::{HeaderMap, Method};

use super::builder::BasePath;
use super::path::normalise;
use super::rewrite::{Rewrite, Value};
use super::router::{Miss, Router};
use super::template::Template;

/// Where an operation sends its requests, as far as its policies tell beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sent {
    /// To its own path.
    #[default]
    Same,
    /// To another path with these variables.
    To(Template),
    /// To a path that only a request tells.
    Unknown,
}

impl Sent {
    /// The path of a rewrite template. Variables that come twice, or stand beside each other, cannot be read backwards.
    pub fn to(rewrite: &str) -> Self {
        let path = rewrite.split('?').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        Template::parse(&format!("{slash}{path}")).map_or(Self::Unknown, Self::To)
    }
}

/// The operations of an API by the paths that their requests are sent to.
#[derive(Debug)]
pub struct WayBack {
    router: Router<(), u32>,
    /// The public template of each; none where it is the path itself.
    public: Vec<Option<Rewrite>>,
}

impl WayBack {
    /// The way back to these operations: method, template and where each sends its requests.
    pub fn new<'o>(operations: impl Iterator<Item = (Option<&'o Method>, &'o Template, &'o Sent)>) -> Self {
        let mut builder = Router::builder();
        let mut public = Vec::new();
        let Ok(root) = BasePath::parse("/") else {
            return Self { router: builder.build().router, public };
        };
        let api = builder.api((), &[], &root, None);
        for (method, template, sent) in operations {
            let (sent, back) = match sent {
                Sent::Unknown => continue,
                Sent::Same => (Cow::Borrowed(template), None),
                Sent::To(sent) => match backwards(template, sent) {
                    Some((sent, back)) => (Cow::Owned(sent), Some(back)),
                    None => continue,
                },
            };
            let Ok(number) = u32::try_from(public.len()) else { break };
            public.push(back);
            match method {
                Some(method) => builder.operation(api, method.clone(), &sent, number),
                None => builder.operation(api, Method::GET, &sent, number),
            }
        }
        Self { router: builder.build().router, public }
    }

    /// The path, and the query where its template has one, by which callers reach what the backend has at `path`; in front of
    /// all an operation that is called by `method`. None where no operation leads there.
    pub fn find(&self, method: &Method, path: &str) -> Option<String> {
        let find = |method: &Method| self.router.route("", method, path, None, &HeaderMap::new());
        let found = find(&Method::GET).or_else(|_| find(method)).or_else(|miss| match miss {
            Miss::WrongMethod { allowed, .. } => allowed.first().map_or(Err(()), |method| find(method).map_err(drop)),
            _ => Err(()),
        });
        let found = found.ok()?;
        let Some(template) = self.public.get(found.operation as usize)? else { return Some(path.to_owned()) };
        let (mut public, mut query) = (String::with_capacity(path.len()), String::new());
        let value = |name: &str| match self.router.parameter(&found, name, path, None) {
            Some(Value::Path(value)) => Some(Value::Path(value)),
            _ => None,
        };
        template.expand(value, &mut public, &mut query).ok()?;
        let mark = if query.is_empty() { "" } else { "?" };
        normalise(&public).ok()?;
        Some(format!("{public}{mark}{query}"))
    }
}

/// The template of what is sent, to be matched, and the one of the operation, to be filled; none where one has a variable that the
/// other has not.
fn backwards(template: &Template, sent: &Template) -> Option<(Template, Rewrite)> {
    let back = Rewrite::parse(template.as_str()).ok()?;
    if template.as_str().split('/').next_back() == Some("*") {
        return None;
    }
    let same = template.names().iter().all(|name| sent.names().contains(name))
        && sent.names().iter().all(|name| template.names().contains(name));
    if !same {
        return None;
    }
    // What takes several segments is sent as several.
    let rest = template.names().iter().find(|name| template.as_str().contains(&format!("{{*{name}}}")));
    let sent = match rest {
        None => sent.clone(),
        Some(name) if sent.as_str().contains(&format!("{{*{name}}}")) => sent.clone(),
        Some(name) => {
            let before = sent.as_str().strip_suffix(&format!("/{{{name}}}"))?;
            Template::parse(&format!("{before}/{{*{name}}}")).ok()?
        }
    };
    Some((sent, back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_are_read_backwards() {
        let operations = [
            ("GET", "/", Sent::to("/orders")),
            ("POST", "/", Sent::to("/orders")),
            ("GET", "/{id}", Sent::to("orders/{id}")),
            ("GET", "/{id}/lines/{line}", Sent::to("/v2/lines/{line}/of/{id}?all=1")),
            ("DELETE", "/gone/{id}", Sent::to("/bin/{id}")),
            ("GET", "/files/{*rest}", Sent::to("/store/{rest}")),
            ("GET", "/found?kind={kind}", Sent::to("/search/{kind}")),
            ("GET", "/plain/{id}", Sent::Same),
            ("GET", "/twice/{id}", Sent::to("/{id}/x/{id}")),
            ("GET", "/less/{id}", Sent::to("/one")),
            ("GET", "/known/*", Sent::to("/echo")),
            ("GET", "/told/{id}", Sent::Unknown),
        ];
        let templates: Vec<_> = operations
            .iter()
            .map(|(method, template, sent)| {
                (Method::from_bytes(method.as_bytes()).unwrap(), Template::parse(template).unwrap(), sent)
            })
            .collect();
        let back = WayBack::new(templates.iter().map(|(method, template, sent)| (Some(method), template, *sent)));
        for (method, path, want) in [
            ("GET", "/orders", Some("/")),
            ("POST", "/orders", Some("/")),
            ("POST", "/orders/7", Some("/7")),
            ("GET", "/orders/a%2Fb", Some("/a%2Fb")),
            ("GET", "/v2/lines/3/of/7", Some("/7/lines/3")),
            ("GET", "/bin/7", Some("/gone/7")),
            ("GET", "/store/a/b.txt", Some("/files/a/b.txt")),
            ("GET", "/search/a&b", Some("/found?kind=a%26b")),
            ("GET", "/plain/7", Some("/plain/7")),
            ("GET", "/7/x/7", None),
            ("GET", "/one", None),
            ("GET", "/echo", None),
            ("GET", "/told/7", None),
        ] {
            let got = back.find(&Method::from_bytes(method.as_bytes()).unwrap(), path);
            assert_eq!(got.as_deref(), want, "{method} {path}");
        }
    }
}
