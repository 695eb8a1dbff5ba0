//! Reads the text of an expression, with positions for what is wrong.

use std::ops::Range;
use std::str::FromStr;

use http::HeaderName;

use super::evaluate::{Key, Node, Step};
use super::functions::{self, Function};
use super::{Dialect, MAX_DEPTH, MAX_LENGTH, Needs, SyntaxError, Value};

#[cfg(test)]
mod tests;

pub(super) fn parse(text: &str, dialect: Dialect) -> Result<(Node, Needs), SyntaxError> {
    // The only dialect yet; another one decides here what becomes of an unknown function.
    let Dialect::Gateway = dialect;
    if text.len() > MAX_LENGTH {
        return Err(SyntaxError::new(MAX_LENGTH..text.len(), "the expression is longer than 16 KiB")
            .with_hint("take long text from a named value or a file"));
    }
    let mut parser = Parser { text, at: 0, depth: 0, needs: Needs::NONE };
    let node = parser.template()?;
    Ok((node, parser.needs))
}

struct Parser<'t> {
    text: &'t str,
    /// The next byte to read; always at a character's boundary.
    at: usize,
    depth: usize,
    needs: Needs,
}

/// Where a path stands: behind a call in text only what surely is a path belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Expression,
}

/// What is said of expressions as Azure API Management writes them.
const CSHARP: &str = "C# policy expressions are not supported yet";

type Parsed<T> = Result<T, SyntaxError>;

impl<'t> Parser<'t> {
    // === text with expressions in it ===

    fn template(&mut self) -> Parsed<Node> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        // `(` without `)` in the literal text so far: a `)` after a call may close it, or be one too many.
        let mut open = 0_usize;
        while let Some(found) = memchr::memchr(b'@', &self.text.as_bytes()[self.at..]) {
            let before = &self.text[self.at..self.at + found];
            for byte in before.bytes() {
                match byte {
                    b'(' => open += 1,
                    b')' => open = open.saturating_sub(1),
                    _ => {}
                }
            }
            literal.push_str(before);
            let start = self.at + found;
            self.at = start + 1;
            let node = match self.peek() {
                Some(b'@') => {
                    self.at += 1;
                    None
                }
                Some(b'{') => Some(self.hole(start)?),
                // As text it would go unnoticed that a policy of Azure API Management does not do what it did there.
                Some(b'(') if start == 0 => {
                    return Err(SyntaxError::new(0..2, CSHARP)
                        .with_hint("write a call such as `@headers('x-tenant')`, or `@@(` for a literal `@(`"));
                }
                _ if self.at_call() => {
                    let call = self.call(Place::Text, start)?;
                    if self.peek() == Some(b')') && open == 0 {
                        return Err(SyntaxError::new(self.at..self.at + 1, "there is a `)` too many")
                            .with_hint("write the call as `@{…}` to put a literal `)` after it"));
                    }
                    if start == 0 && self.at == self.text.len() {
                        return Ok(call);
                    }
                    Some(call)
                }
                _ => None,
            };
            match node {
                None => literal.push('@'),
                Some(node) => {
                    push_text(&mut parts, &mut literal);
                    parts.push(node);
                }
            }
        }
        literal.push_str(&self.text[self.at..]);
        if parts.is_empty() {
            return Ok(Node::Literal(Value::Str(literal.into())));
        }
        push_text(&mut parts, &mut literal);
        Ok(Node::Template(parts.into()))
    }

    /// `@{ … }`, from the brace on.
    fn hole(&mut self, start: usize) -> Parsed<Node> {
        self.at += 1;
        let node = self.expression()?;
        self.skip_space();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                Ok(node)
            }
            None => Err(SyntaxError::new(start..self.text.len(), "the `@{` is never closed").with_hint("add a `}`")),
            Some(_) => Err(SyntaxError::new(self.here(), format!("expected `}}`, found {}", self.found()))),
        }
    }

    /// Whether a name and, right behind it, a `(` follow.
    fn at_call(&self) -> bool {
        let length = name_length(&self.text[self.at..]);
        length > 0 && self.text.as_bytes().get(self.at + length) == Some(&b'(')
    }

    // === expressions ===

    fn expression(&mut self) -> Parsed<Node> {
        self.skip_space();
        if self.depth == MAX_DEPTH {
            return Err(SyntaxError::new(self.here(), format!("calls are nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let node = self.operand()?;
        self.depth -= 1;
        Ok(node)
    }

    fn operand(&mut self) -> Parsed<Node> {
        let start = self.at;
        match self.peek() {
            Some(b'\'') => self.string().map(|text| Node::Literal(Value::Str(text.into()))),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.') => self.number(),
            Some(b'"') => {
                Err(SyntaxError::new(self.here(), "expected a value, found `\"`")
                    .with_hint("write text in single quotes"))
            }
            Some(b'@') => Err(SyntaxError::new(self.here(), "expected a value, found `@`")
                .with_hint("inside a call or `@{…}` functions are written without `@`")),
            _ => {
                let length = name_length(&self.text[self.at..]);
                if length == 0 {
                    return Err(SyntaxError::new(self.here(), format!("expected a value, found {}", self.found())));
                }
                self.at += length;
                self.skip_space();
                if self.peek() == Some(b'(') {
                    self.at = start;
                    return self.call(Place::Expression, start);
                }
                self.at = start + length;
                keyword(&self.text[start..self.at], start..self.at)
            }
        }
    }

    /// A call and the path behind it. `start` is where the caret of an unclosed call begins.
    fn call(&mut self, place: Place, start: usize) -> Parsed<Node> {
        let name_start = self.at;
        self.at += name_length(&self.text[self.at..]);
        let name = name_start..self.at;
        let function = functions::find(&self.text[name.clone()])
            .ok_or_else(|| unknown_function(&self.text[name.clone()], name.clone(), place))?;
        self.skip_space();
        self.at += 1;
        let mut arguments = self.arguments(function, start)?;
        let (least, most) = function.arity();
        if arguments.len() < least || most.is_some_and(|most| arguments.len() > most) {
            return Err(wrong_count(function, arguments.len(), start..self.at));
        }
        if function.takes_header
            && let Some((argument, range)) = arguments.first_mut()
        {
            check_header(argument, range.clone())?;
        }
        self.needs |= function.needs;
        let node = fold(Node::Call { function, arguments: arguments.into_iter().map(|(node, _)| node).collect() });
        if node.may_have_properties() {
            self.path(node, place)
        } else if place == Place::Expression && matches!(self.peek(), Some(b'.' | b'[' | b'?')) {
            Err(SyntaxError::new(
                self.here(),
                format!("`{}` gives no object, so nothing can be read from it", function.name),
            ))
        } else {
            Ok(node)
        }
    }

    /// The arguments and the `)`, each with its place.
    fn arguments(&mut self, function: &Function, start: usize) -> Parsed<Vec<(Node, Range<usize>)>> {
        let mut arguments = Vec::new();
        self.skip_space();
        if self.peek() == Some(b')') {
            self.at += 1;
            return Ok(arguments);
        }
        loop {
            self.skip_space();
            let from = self.at;
            if self.at == self.text.len() {
                return Err(unclosed(function, start..self.text.len()));
            }
            let argument = self.expression()?;
            arguments.push((argument, from..self.at));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b')') => {
                    self.at += 1;
                    return Ok(arguments);
                }
                None => return Err(unclosed(function, start..self.text.len())),
                Some(_) => {
                    return Err(SyntaxError::new(self.here(), format!("expected `,` or `)`, found {}", self.found())));
                }
            }
        }
    }

    fn path(&mut self, target: Node, place: Place) -> Parsed<Node> {
        let mut steps = Vec::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let null_safe = rest.first() == Some(&b'?') && matches!(rest.get(1), Some(b'.' | b'['));
            let skipped = usize::from(null_safe);
            let key = match rest.get(skipped) {
                Some(b'[') => {
                    self.at += skipped;
                    self.bracket()?
                }
                Some(b'.') => {
                    let name = self.at + skipped + 1;
                    let length = property_length(&self.text[name..]);
                    if length == 0 {
                        if place == Place::Text && !null_safe {
                            // The full stop of a sentence.
                            break;
                        }
                        self.at = name;
                        return Err(SyntaxError::new(
                            self.here(),
                            format!("expected a property's name, found {}", self.found()),
                        )
                        .with_hint("write names with other characters as `['name']`"));
                    }
                    self.at = name + length;
                    Key::Name(self.text[name..self.at].into())
                }
                _ => break,
            };
            steps.push(Step { key, null_safe });
        }
        Ok(if steps.is_empty() { target } else { Node::Path { target: Box::new(target), steps: steps.into() } })
    }

    fn bracket(&mut self) -> Parsed<Key> {
        let open = self.at;
        self.at += 1;
        self.skip_space();
        let from = self.at;
        let node = self.expression()?;
        let range = from..self.at;
        self.skip_space();
        match self.peek() {
            Some(b']') => self.at += 1,
            None => {
                return Err(SyntaxError::new(open..self.text.len(), "the `[` is never closed").with_hint("add a `]`"));
            }
            Some(_) => return Err(SyntaxError::new(self.here(), format!("expected `]`, found {}", self.found()))),
        }
        match node {
            Node::Literal(Value::Str(name)) => Ok(Key::Name(name.into())),
            Node::Literal(Value::Int(index)) => usize::try_from(index).map(Key::Index).map_err(|_| {
                SyntaxError::new(range, "items count from `0`").with_hint("`last(…)` gives the last item")
            }),
            Node::Literal(other) => {
                Err(SyntaxError::new(range, format!("expected a name in quotes or a number, found {}", other.kind())))
            }
            node => Ok(Key::Computed(node)),
        }
    }

    // === literals ===

    /// Text in single quotes; `''` is one quote.
    fn string(&mut self) -> Parsed<String> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        while let Some(found) = memchr::memchr(b'\'', &self.text.as_bytes()[self.at..]) {
            text.push_str(&self.text[self.at..self.at + found]);
            self.at += found + 1;
            if self.peek() != Some(b'\'') {
                return Ok(text);
            }
            text.push('\'');
            self.at += 1;
        }
        Err(SyntaxError::new(start..self.text.len(), "the text is never closed")
            .with_hint("add a `'`; a quote inside text is written `''`"))
    }

    fn number(&mut self) -> Parsed<Node> {
        let start = self.at;
        let length = self.text[start..]
            .bytes()
            .enumerate()
            .take_while(|&(index, byte)| match byte {
                b'0'..=b'9' | b'.' | b'e' | b'E' => true,
                b'-' | b'+' => index == 0 || matches!(self.text.as_bytes()[start + index - 1], b'e' | b'E'),
                _ => false,
            })
            .count();
        self.at += length;
        let written = &self.text[start..self.at];
        if let Ok(integer) = written.parse::<i64>() {
            return Ok(Node::Literal(Value::Int(integer)));
        }
        match f64::from_str(written) {
            Ok(number) if number.is_finite() => Ok(Node::Literal(Value::Float(number))),
            _ => Err(SyntaxError::new(start..self.at, format!("`{written}` is not a number"))),
        }
    }

    // === reading ===

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The character at hand, as a range.
    fn here(&self) -> Range<usize> {
        self.at..self.at + self.text[self.at..].chars().next().map_or(0, char::len_utf8)
    }

    /// The character at hand, for a message.
    fn found(&self) -> String {
        match self.text[self.at..].chars().next() {
            Some(character) => format!("`{character}`"),
            None => "the end of the text".to_owned(),
        }
    }
}

fn push_text(parts: &mut Vec<Node>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Node::Literal(Value::Str(std::mem::take(literal).into())));
    }
}

/// Evaluates a call whose arguments are known and whose result depends on nothing else. A call that fails is left to fail
/// when it runs: it may stand in a branch that is never taken.
fn fold(node: Node) -> Node {
    let Node::Call { function, arguments } = &node else { return node };
    if !function.is_pure || !arguments.iter().all(|argument| matches!(argument, Node::Literal(_))) {
        return node;
    }
    match node.evaluate(&super::facts::NoFacts) {
        Ok(value) => Node::Literal(value.into_static()),
        Err(_) => node,
    }
}

fn check_header(argument: &mut Node, range: Range<usize>) -> Parsed<()> {
    if let Node::Literal(value) = argument {
        let name = value.to_text().unwrap_or_default();
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(SyntaxError::new(range, format!("`{name}` cannot be the name of a header")));
        };
        *argument = Node::Header(name);
    }
    Ok(())
}

fn keyword(name: &str, range: Range<usize>) -> Parsed<Node> {
    if name.eq_ignore_ascii_case("true") {
        Ok(Node::Literal(Value::Bool(true)))
    } else if name.eq_ignore_ascii_case("false") {
        Ok(Node::Literal(Value::Bool(false)))
    } else if name.eq_ignore_ascii_case("null") {
        Ok(Node::Literal(Value::Null))
    } else if matches!(name, "context" | "return" | "var") {
        Err(SyntaxError::new(range, CSHARP).with_hint("write a call such as `headers('x-tenant')`"))
    } else {
        let hint = match functions::find(name) {
            Some(function) => format!("`{}` is a function: write `{}`", function.name, function.signature()),
            None => format!("write text in single quotes: `'{name}'`"),
        };
        Err(SyntaxError::new(range, format!("expected a value, found `{name}`")).with_hint(hint))
    }
}

fn unknown_function(name: &str, range: Range<usize>, place: Place) -> SyntaxError {
    let error = SyntaxError::new(range, format!("there is no function `{name}`"));
    match (functions::nearest(name), place) {
        (Some(nearest), _) => error.with_hint(format!("did you mean `{nearest}`?")),
        (None, Place::Text) => error.with_hint("write `@@` for a literal `@`"),
        (None, Place::Expression) => error,
    }
}

fn unclosed(function: &Function, range: Range<usize>) -> SyntaxError {
    SyntaxError::new(range, format!("the `(` of `{}` is never closed", function.name)).with_hint("add a `)`")
}

fn wrong_count(function: &Function, found: usize, range: Range<usize>) -> SyntaxError {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let wanted = match function.arity() {
        (least, Some(most)) if least == most => format!("{least} {}", plural(least)),
        (least, Some(most)) => format!("{least} to {most} arguments"),
        (least, None) => format!("at least {least} {}", plural(least)),
    };
    SyntaxError::new(range, format!("`{}` takes {wanted}, found {found}", function.name))
        .with_hint(format!("it is called as `{}`", function.signature()))
}

/// The length of a function's name.
fn name_length(text: &str) -> usize {
    match text.bytes().next() {
        Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
            text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
        }
        _ => 0,
    }
}

/// The length of a property's name after a dot: letters of any script, digits, `_` and `$`, not starting with a digit.
fn property_length(text: &str) -> usize {
    let fits = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    if text.starts_with(char::is_numeric) {
        return 0;
    }
    text.chars().take_while(|character| fits(*character)).map(char::len_utf8).sum()
}
