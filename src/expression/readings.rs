//! What an expression read of an exchange, in words for the log.

use std::fmt::Write as _;

use super::evaluate::{Key, Node};
use super::{Expression, Facts};
use crate::telemetry::redact::{MASK, Redactor};

/// More facts than this say nothing new.
const MOST: usize = 8;
/// Longer values are cut.
const LONGEST: usize = 120;

/// Functions whose results may be shown. Bodies, variables and whole URLs may hold anything, and are left out.
const SHOWN: [&str; 18] = [
    "api",
    "claims",
    "clientCertificate",
    "clientIp",
    "connection",
    "connectionIp",
    "consumer",
    "elapsed",
    "header",
    "headers",
    "host",
    "method",
    "operation",
    "path",
    "pathParameters",
    "product",
    "queryParameters",
    "subscription",
];

impl Expression {
    /// The facts it reads, each with its value for this exchange: `claims('tid') = 'contoso', method() = 'GET'`. What may
    /// be a secret by its name is masked, what may be one by its nature is left out.
    pub fn readings(&self, facts: &dyn Facts, redactor: &Redactor) -> String {
        let mut readings = Readings { facts, redactor, seen: Vec::new() };
        readings.visit(&self.node);
        readings.seen.join(", ")
    }
}

struct Readings<'a> {
    facts: &'a dyn Facts,
    redactor: &'a Redactor,
    seen: Vec<String>,
}

impl Readings<'_> {
    fn visit(&mut self, node: &Node) {
        match node {
            Node::Literal(_) | Node::Header(_) => {}
            Node::Template(parts) => parts.iter().for_each(|part| self.visit(part)),
            Node::Path { target, steps } => {
                self.visit(target);
                for step in steps {
                    if let Key::Computed(node) = &step.key {
                        self.visit(node);
                    }
                }
            }
            Node::Call { function, arguments } => {
                if SHOWN.contains(&function.name) {
                    self.fact(node, function.name, arguments);
                } else {
                    arguments.iter().for_each(|argument| self.visit(argument));
                }
            }
        }
    }

    fn fact(&mut self, node: &Node, function: &str, arguments: &[Node]) {
        let named = match arguments.first() {
            None => None,
            Some(Node::Header(name)) => Some(name.as_str().to_owned()),
            Some(node) => {
                node.evaluate(self.facts).ok().and_then(|name| name.into_text().ok()).map(|it| it.into_owned())
            }
        };
        let secret = named.as_deref().is_some_and(|name| match function {
            "header" | "headers" => name.parse().is_ok_and(|name| self.redactor.is_secret_header(&name)),
            "queryParameters" => self.redactor.is_secret_parameter(name),
            _ => false,
        });
        let mut text = match &named {
            Some(name) => format!("{function}('{}') = ", shortened(name)),
            None => format!("{function}() = "),
        };
        let value = node.evaluate(self.facts).map(super::Value::into_json);
        let _ = match value {
            _ if secret => write!(text, "{MASK}"),
            Ok(serde_json::Value::String(value)) => write!(text, "'{}'", shortened(&value)),
            Ok(value) => write!(text, "{}", shortened(&value.to_string())),
            Err(error) => write!(text, "({error})"),
        };
        if self.seen.len() < MOST && !self.seen.contains(&text) {
            self.seen.push(text);
        }
    }
}

/// Text of a caller's in one line and of bounded length.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::expression::testing::MapFacts;
    use crate::expression::{Dialect, Expression};
    use crate::telemetry::Redactor;

    #[test]
    fn facts_are_shown_once_and_secrets_never() {
        let mut facts = MapFacts::empty();
        facts.claims = Some(json!({ "tid": "contoso", "roles": ["clerk"], "long": "x".repeat(500) }));
        facts.headers.insert("x-tenant", "a\tb".parse().unwrap());
        facts.headers.insert("authorization", "Bearer hush".parse().unwrap());
        facts.query.insert("code".into(), "hush".into());
        facts.body = Some(json!({ "password": "hush" }));
        facts.variables.insert("token".into(), json!("hush"));
        for (expression, want) in [
            ("@equals(claims('tid'), 'contoso')", "claims('tid') = 'contoso'"),
            ("@or(equals(claims('tid'), 'a'), equals(claims('tid'), 'b'))", "claims('tid') = 'contoso'"),
            ("@contains(claims('roles'), 'clerk')", "claims('roles') = [\"clerk\"]"),
            ("@equals(claims('none'), null)", "claims('none') = null"),
            ("@equals(headers('x-tenant'), 'a')", "headers('x-tenant') = 'a\u{fffd}b'"),
            ("@equals(headers('authorization'), 'a')", "headers('authorization') = ***"),
            ("@equals(queryParameters('code'), 'a')", "queryParameters('code') = ***"),
            ("@equals(body().password, variables('token'))", ""),
            ("@contains(queryString(), url())", ""),
            ("@equals(method(), 'POST')", "method() = 'GET'"),
            ("true", ""),
        ] {
            let expression = Expression::parse(expression, Dialect::Gateway).unwrap();
            assert_eq!(expression.readings(&facts, &Redactor::default()), want, "{expression:?}");
        }
        let long = Expression::parse("@claims('long')", Dialect::Gateway).unwrap();
        assert_eq!(long.readings(&facts, &Redactor::default()).chars().count(), "claims('long') = ''".len() + 121);
    }
}
