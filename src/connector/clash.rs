//! Paths of a definition that one request fits.

use std::collections::HashMap;

use super::definition::Operation;

/// Two operations that one request fits, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The one that stands first.
    pub first: usize,
    /// The other one.
    pub second: usize,
    /// Whether their templates differ in nothing but the names of their variables.
    pub same: bool,
}

/// The place of an operation, and the literals of each segment of its path.
type Known<'p> = (usize, Vec<Vec<&'p str>>);

/// The clashes of a definition.
pub fn clashes(operations: &[Operation<'_>]) -> Vec<Clash> {
    let mut groups: HashMap<(&str, usize), Vec<Known<'_>>> = HashMap::new();
    let mut found = Vec::new();
    for (place, operation) in operations.iter().enumerate() {
        let segments: Vec<Vec<&str>> = operation.path.trim_start_matches('/').split('/').map(literals).collect();
        let group = groups.entry((&operation.method, segments.len())).or_default();
        for (first, other) in group.iter() {
            if other.iter().zip(&segments).all(|(one, two)| overlaps(one, two)) {
                found.push(Clash { first: *first, second: place, same: *other == segments });
            }
        }
        group.push((place, segments));
    }
    found.sort_by_key(|clash| (clash.second, clash.first));
    found
}

/// The literal text before, between and behind the variables of a segment; one text when there are none.
fn literals(segment: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = segment;
    while let Some((before, tail)) = rest.split_once('{') {
        parts.push(before);
        rest = tail.split_once('}').map_or("", |(_, rest)| rest);
    }
    parts.push(rest);
    parts
}

/// Whether one text fits both.
fn overlaps(one: &[&str], two: &[&str]) -> bool {
    match (one, two) {
        ([one], [two]) => one.eq_ignore_ascii_case(two),
        ([text], pattern) | (pattern, [text]) => fits(text, pattern),
        (one, two) => {
            let (Some(first), Some(second)) = (one.first(), two.first()) else { return false };
            let (Some(last), Some(end)) = (one.last(), two.last()) else { return false };
            (first.starts_with(second) || second.starts_with(first)) && (last.ends_with(end) || end.ends_with(last))
        }
    }
}

/// Whether a text has the literals of a pattern in their order, with something between them.
fn fits(text: &str, pattern: &[&str]) -> bool {
    let [first, middle @ .., last] = pattern else { return false };
    let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    for literal in middle {
        match rest.get(1..).and_then(|tail| tail.find(literal)) {
            Some(at) => rest = &rest[at + 1 + literal.len()..],
            None => return false,
        }
    }
    !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_of_segments() {
        for (one, two, want) in [
            ("a", "a", true),
            ("a", "b", false),
            ("{x}", "a", true),
            ("{x}", "{y}", true),
            ("People('{id}')", "People('7')", true),
            ("People('{id}')", "Teams('{id}')", false),
            ("{a}-{b}", "x-y", true),
            ("{a}-{b}", "xy", false),
            ("{x}", "", false),
        ] {
            assert_eq!(overlaps(&literals(one), &literals(two)), want, "{one} and {two}");
        }
    }
}
