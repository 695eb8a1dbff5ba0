//! Which named values of the caller and of its connection an expression is made of, for errors that name what is missing.

use std::fmt;

use super::evaluate::Node;
use super::{Expression, Facts};

/// Where a named value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header of the request.
    Header,
    /// A parameter of the request's query.
    Query,
    /// A variable of the operation's template.
    Path,
    /// A parameter of the caller's connection.
    Connection,
}

/// A named value that an expression reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it comes from.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Whether the expression says what stands in its place where it is missing.
    pub has_default: bool,
    /// What this exchange has for it.
    pub given: Given,
}

/// What an exchange has for a named value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Some text, the default among it.
    Text,
    /// No text: an empty value, or an empty default.
    Empty,
    /// Nothing.
    Nothing,
}

/// `the query parameter 'page'`, as callers read it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.place {
            Place::Header => "header",
            Place::Query => "query parameter",
            Place::Path => "path parameter",
            Place::Connection => "connection parameter",
        };
        write!(f, "the {kind} '{}'", self.name)
    }
}

impl Expression {
    /// The named values that its text is made of, in their order. Those that only help to choose another value are left out.
    pub fn sources(&self, facts: &dyn Facts) -> Vec<Source> {
        self.sources_until(facts, usize::MAX)
    }

    /// The named values that the first `end` bytes of its text are made of, and what stands right behind those.
    pub fn sources_until(&self, facts: &dyn Facts, end: usize) -> Vec<Source> {
        let mut found = Vec::new();
        let Node::Template(parts) = &self.node else {
            visit(&self.node, facts, &mut found);
            return found;
        };
        let mut at = 0;
        for part in parts {
            if at > end {
                break;
            }
            visit(part, facts, &mut found);
            at += part.evaluate(facts).ok().and_then(|value| value.into_text().ok()).map_or(0, |text| text.len());
        }
        found
    }
}

fn visit(node: &Node, facts: &dyn Facts, found: &mut Vec<Source>) {
    match node {
        Node::Literal(_) | Node::Header(_) => {}
        Node::Template(parts) => parts.iter().for_each(|part| visit(part, facts, found)),
        Node::Path { target, .. } => visit(target, facts, found),
        Node::Call { function, arguments } => {
            let place = match function.name {
                "header" | "headers" => Place::Header,
                "queryParameters" => Place::Query,
                "pathParameters" => Place::Path,
                "connectionParameters" => Place::Connection,
                "coalesce" | "if" => return,
                _ => return arguments.iter().for_each(|argument| visit(argument, facts, found)),
            };
            let name = match arguments.first() {
                Some(Node::Header(name)) => Some(name.as_str().to_owned()),
                Some(name) => {
                    name.evaluate(facts).ok().and_then(|name| name.into_text().ok()).map(|it| it.into_owned())
                }
                None => None,
            };
            let Some(name) = name else { return };
            let given = match node.evaluate(facts) {
                Ok(super::Value::Null) | Err(_) => Given::Nothing,
                Ok(value) if value.to_text().is_ok_and(|text| text.is_empty()) => Given::Empty,
                Ok(_) => Given::Text,
            };
            found.push(Source { place, name, has_default: arguments.len() > 1, given });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::expression::testing::MapFacts;
    use crate::expression::{Dialect, Expression};

    #[test]
    fn what_a_text_is_made_of() {
        let mut facts = MapFacts::empty();
        facts.query.insert("at".into(), "eu".into());
        facts.query.insert("none".into(), String::new());
        for (text, want) in [
            ("https://contoso.com", ""),
            ("https://@headers('X-Region').contoso.com", "the header 'x-region' Nothing false"),
            ("@{header('x', 'd')}", "the header 'x' Text true"),
            (
                "@queryParameters('at')@queryParameters('none')",
                "the query parameter 'at' Text false, the query parameter 'none' Empty false",
            ),
            ("@connectionParameters('host', '')", "the connection parameter 'host' Empty true"),
            ("@toLower(concat('a', pathParameters('id')))", "the path parameter 'id' Nothing false"),
            ("@coalesce(headers('a'), 'b')", ""),
            ("@body().host", ""),
        ] {
            let found = Expression::parse(text, Dialect::Gateway).unwrap().sources(&facts);
            let found: Vec<_> = found.iter().map(|it| format!("{it} {:?} {}", it.given, it.has_default)).collect();
            assert_eq!(found.join(", "), want, "{text}");
        }
        let url = "https://@headers('a').x/@headers('b')";
        let found = Expression::parse(url, Dialect::Gateway).unwrap().sources_until(&facts, "https://.x".len());
        assert_eq!(found.len(), 1, "the header behind the host is no part of it: {found:?}");
    }
}
