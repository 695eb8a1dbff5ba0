//! The functions of the language: one table, from which look-up, hints and the reference are made.

mod collection;
mod conversion;
mod date;
mod fact;
mod hash;
mod logic;
mod math;
mod object;
mod text;
mod uri;

use std::fmt;

use super::evaluate::Call;
use super::{EvaluationError, Needs, Value};

/// What a function evaluates to.
pub(super) type Evaluated<'a> = Result<Value<'a>, EvaluationError>;

/// What a function can give: decides whether `.name` and `[0]` behind a call read from its result or are literal text.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// Text, a number, a boolean or null.
    Scalar,
    /// An object or an array too.
    Structure,
    /// One of the arguments.
    Arguments,
}

/// One function of the language.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// The arguments as documented: `text, start, [length]`; `…` after the last for any number.
    arguments: &'static str,
    summary: &'static str,
    example: &'static str,
    result: &'static str,
    pub(super) run: for<'a> fn(&Call<'a>) -> Evaluated<'a>,
    pub(super) needs: Needs,
    pub(super) gives: Gives,
    /// Whether the result depends on the arguments alone.
    pub(super) is_pure: bool,
    /// Whether the first argument is the name of a header.
    pub(super) takes_header: bool,
}

impl Function {
    /// A pure function that gives a scalar. `signature` is `name(argument, [optional], many…)`.
    const fn new(
        signature: &'static str,
        summary: &'static str,
        example: &'static str,
        result: &'static str,
        run: for<'a> fn(&Call<'a>) -> Evaluated<'a>,
    ) -> Self {
        let mut open = 0;
        while signature.as_bytes()[open] != b'(' {
            open += 1;
        }
        let (name, rest) = signature.split_at(open);
        let (arguments, _) = rest.split_at(1).1.split_at(rest.len() - 2);
        Self {
            name,
            arguments,
            summary,
            example,
            result,
            run,
            needs: Needs::NONE,
            gives: Gives::Scalar,
            is_pure: true,
            takes_header: false,
        }
    }

    /// Reads a fact of the exchange.
    const fn reads(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self.is_pure = false;
        self
    }

    /// Can give an object or an array.
    const fn structured(mut self) -> Self {
        self.gives = Gives::Structure;
        self
    }

    /// Gives one of its arguments.
    const fn choosing(mut self) -> Self {
        self.gives = Gives::Arguments;
        self
    }

    /// Takes the name of a header first.
    const fn header(mut self) -> Self {
        self.takes_header = true;
        self
    }

    /// The fewest and the most arguments; `None` for any number.
    pub(super) fn arity(&self) -> (usize, Option<usize>) {
        if self.arguments.is_empty() {
            return (0, Some(0));
        }
        let names = || self.arguments.split(", ");
        let least = names().filter(|name| !name.starts_with('[')).count();
        let most = (!self.arguments.contains('…')).then(|| names().count());
        (least, most)
    }

    /// The function as it is called: `substring(text, start, [length])`.
    pub(super) fn signature(&self) -> String {
        format!("{}({})", self.name, self.arguments)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The groups of the reference, in its order.
const GROUPS: &[(&str, &[Function])] = &[
    ("Facts of the exchange", fact::FUNCTIONS),
    ("Logic and comparison", logic::FUNCTIONS),
    ("Text", text::FUNCTIONS),
    ("Collections", collection::FUNCTIONS),
    ("Objects", object::FUNCTIONS),
    ("Conversion", conversion::FUNCTIONS),
    ("Math", math::FUNCTIONS),
    ("Dates and times", date::FUNCTIONS),
    ("URLs", uri::FUNCTIONS),
    ("Hashing", hash::FUNCTIONS),
];

/// A function as the reference shows it.
#[derive(Clone, Debug)]
pub struct FunctionDoc {
    /// The heading it stands under.
    pub group: &'static str,
    /// Its name as documented; names compare without case.
    pub name: &'static str,
    /// How it is called: `substring(text, start, [length])`.
    pub signature: String,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// A call.
    pub example: &'static str,
    /// What the call gives: text in single quotes, arrays and objects as JSON.
    pub result: &'static str,
}

/// Every function, in the order of the reference.
pub fn catalogue() -> impl Iterator<Item = FunctionDoc> {
    GROUPS.iter().flat_map(|(group, functions)| {
        functions.iter().map(|function| FunctionDoc {
            group,
            name: function.name,
            signature: function.signature(),
            summary: function.summary,
            example: function.example,
            result: function.result,
        })
    })
}

fn all() -> impl Iterator<Item = &'static Function> {
    GROUPS.iter().flat_map(|(_, functions)| functions.iter())
}

/// The function of this name, in any case.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    all().find(|function| function.name.eq_ignore_ascii_case(name))
}

/// The function whose name is nearest to one that does not exist.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let close = |candidate: &str| {
        let candidate = candidate.to_ascii_lowercase();
        let distance = distance(name.as_bytes(), candidate.as_bytes());
        let suffix = candidate.len() >= 4 && name.ends_with(&candidate);
        // A third of the letters may differ: `queryParamters`, `lenght`. `triggerBody` is `body` here.
        if distance <= (name.len().max(candidate.len()) / 3).max(1) {
            Some(distance)
        } else {
            suffix.then_some(usize::MAX)
        }
    };
    all()
        .filter_map(|function| Some((close(function.name)?, function.name)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be added, removed, replaced or swapped with a neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &y) in b.iter().enumerate() {
            row[j + 1] = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
