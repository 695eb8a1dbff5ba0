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
    /// The path of a rewrite template, and those parameters of its query that are a variable: what else the gateway writes there a link
    /// need not repeat. Variables that come twice, or stand beside each other, cannot be read backwards.
    pub fn to(rewrite: &str) -> Self {
        let (path, query) = rewrite.split_once('?').unwrap_or((rewrite, ""));
        let slash = if path.starts_with('/') { "" } else { "/" };
        let is_variable = |value: &str| value.starts_with('{') && value.find('}') == Some(value.len() - 1);
        let read = query.split('&').filter(|pair| pair.split_once('=').is_some_and(|(_, value)| is_variable(value)));
        let read: Vec<&str> = read.collect();
        let whole = Template::parse(&format!("{slash}{path}?{}", read.join("&"))).ok().filter(|_| !read.is_empty());
        let whole = whole.map_or_else(|| Template::parse(&format!("{slash}{path}")), Ok);
        whole.map_or(Self::Unknown, Self::To)
    }
}

/// The operations of an API by the paths that their requests are sent to.
#[derive(Debug)]
pub struct WayBack {
    router: Router<(), u32>,
    /// The operation's template, and how it is filled; nothing where the path is the same.
    public: Vec<Option<(Template, Rewrite)>>,
}

/// How callers reach what the backend has at a path.
#[derive(Debug)]
pub struct Way<'a> {
    /// The path, and the query where the operation's template has one.
    pub target: String,
    /// Where the operation and what it sends differ: its template, and the one of what it sends.
    pub templates: Option<(&'a Template, &'a Template)>,
}

impl Way<'_> {
    /// Whether the path tells a parameter of the backend's query, so that it does not stand in the query as well.
    pub fn tells(&self, parameter: &str) -> bool {
        self.templates.is_some_and(|(_, sent)| sent.has_query_parameter(parameter))
    }

    /// Whether it is that of this operation, told by parameters of the backend's query.
    pub fn is_told_by_query(&self, operation: &Template) -> bool {
        self.templates.is_some_and(|(own, sent)| own == operation && sent.as_str().contains('?'))
    }
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
                    Some((sent, back)) => (Cow::Owned(sent), Some((template.clone(), back))),
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

    /// How callers reach what the backend has at `path` with this query; in front of all by an operation that is called by `method`. None
    /// where no operation leads there.
    pub fn find(&self, method: &Method, path: &str, query: Option<&str>) -> Option<Way<'_>> {
        let find = |method: &Method| self.router.route("", method, path, query, &HeaderMap::new());
        let found = find(&Method::GET).or_else(|_| find(method)).or_else(|miss| match miss {
            Miss::WrongMethod { allowed, .. } => allowed.first().map_or(Err(()), |method| find(method).map_err(drop)),
            _ => Err(()),
        });
        let found = found.ok()?;
        let Some((template, rewrite)) = self.public.get(found.operation as usize)? else {
            return Some(Way { target: path.to_owned(), templates: None });
        };
        let (mut target, mut telling) = (String::with_capacity(path.len()), String::new());
        let own_path = template.as_str().split('?').next().unwrap_or_default();
        let mut is_empty = false;
        let value = |name: &str| {
            let value = self.router.parameter(&found, name, path, query);
            is_empty |= value == Some(Value::Query("")) && own_path.contains(&format!("{{{name}}}"));
            value
        };
        rewrite.expand(value, &mut target, &mut telling).ok()?;
        normalise(&target).ok().filter(|_| !is_empty)?;
        if !telling.is_empty() {
            target.push('?');
            target.push_str(&telling);
        }
        Some(Way { target, templates: Some((template, self.router.template(&found))) })
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
            let sent = sent.as_str();
            let (path, query) = sent.split_at(sent.find('?').unwrap_or(sent.len()));
            let before = path.strip_suffix(&format!("/{{{name}}}"))?;
            Template::parse(&format!("{before}/{{*{name}}}{query}")).ok()?
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
            ("GET", "/named/{name}/{kind}", Sent::to("/find?all=1&n={name}&k={kind}&x={kind}")),
            ("GET", "/named/{name}", Sent::to("/find?all=1&n={name}")),
            ("GET", "/said?n={name}", Sent::to("/say?name={name}")),
            ("GET", "/both/{id}", Sent::to("/both-of/{id}?id={id}")),
            ("GET", "/part/{id}", Sent::to("/part-of?filter=id eq '{id}'")),
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
            ("GET", "/find?page=2&n=a+b%2Fc&n=d", Some("/named/a%20b%2Fc")),
            ("GET", "/find?page=2&%6E=a", Some("/named/a")),
            ("GET", "/find?n=", None),
            ("GET", "/find?n=..", None),
            ("GET", "/find?page=2", None),
            ("GET", "/find", None),
            ("GET", "/say?name=", Some("/said?n=")),
            ("GET", "/say?name=a+b", Some("/said?n=a+b")),
            ("GET", "/both-of/7", Some("/both/7")),
            ("GET", "/both-of/7?id=8", Some("/both/7")),
            ("GET", "/part-of?filter=id%20eq%20'7'", None),
        ] {
            let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
            let got = back.find(&Method::from_bytes(method.as_bytes()).unwrap(), path, query).map(|way| way.target);
            assert_eq!(got.as_deref(), want, "{method} {path} {query:?}");
        }
    }
}
