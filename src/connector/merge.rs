//! Three texts into one: what was written before, what a person made of it, and what would be written now.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A stretch that both changed in different ways. The person's text stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The line of the result where it begins, counted from 1.
    pub line: usize,
    /// The person's lines.
    pub mine: Vec<String>,
    /// The lines that would stand there.
    pub theirs: Vec<String>,
}

/// Puts the changes of both together, line by line, as `diff3` does.
pub fn merge(base: &str, mine: &str, theirs: &str) -> (String, Vec<Conflict>) {
    if mine == base || mine == theirs {
        return (theirs.to_owned(), Vec::new());
    }
    if theirs == base {
        return (mine.to_owned(), Vec::new());
    }
    let [base, mine, theirs] = [base, mine, theirs].map(|text| text.lines().collect::<Vec<_>>());
    let (to_mine, to_theirs) = (matches(&base, &mine), matches(&base, &theirs));
    let mut out: Vec<&str> = Vec::new();
    let mut conflicts = Vec::new();
    let (mut in_base, mut in_mine, mut in_theirs) = (0, 0, 0);
    loop {
        // The next line that all three have.
        let common = (in_base..base.len()).find_map(|at| Some((at, to_mine[at]?, to_theirs[at]?)));
        let (next_base, next_mine, next_theirs) = common.unwrap_or((base.len(), mine.len(), theirs.len()));
        let was = &base[in_base..next_base];
        let (own, new) = (&mine[in_mine..next_mine], &theirs[in_theirs..next_theirs]);
        if own == new || new == was {
            out.extend(own);
        } else if own == was {
            out.extend(new);
        } else {
            let lines = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect();
            conflicts.push(Conflict { line: out.len() + 1, mine: lines(own), theirs: lines(new) });
            out.extend(own);
        }
        if common.is_none() {
            break;
        }
        out.push(mine[next_mine]);
        (in_base, in_mine, in_theirs) = (next_base + 1, next_mine + 1, next_theirs + 1);
    }
    let mut text = out.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    (text, conflicts)
}

/// For each line of `base`, its place in `other` where it is still there.
fn matches(base: &[&str], other: &[&str]) -> Vec<Option<usize>> {
    let mut places = vec![None; base.len()];
    for op in capture_diff_slices(Algorithm::Patience, base, other) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            for step in 0..len {
                places[old_index + step] = Some(new_index + step);
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_both_come_together() {
        for (name, base, mine, theirs, want, conflicts) in [
            ("nothing", "a\nb\n", "a\nb\n", "a\nb\n", "a\nb\n", 0),
            ("only the maker", "a\nb\n", "a\nb\n", "a\nc\n", "a\nc\n", 0),
            ("only the person", "a\nb\n", "a\nx\n", "a\nb\n", "a\nx\n", 0),
            ("both alike", "a\nb\n", "a\nc\n", "a\nc\n", "a\nc\n", 0),
            ("apart", "a\nb\nc\nd\n", "x\nb\nc\nd\n", "a\nb\nc\ny\n", "x\nb\nc\ny\n", 0),
            ("lines of both", "a\nb\nc\n", "a\nmine\nb\nc\n", "a\nb\nc\ntheirs\n", "a\nmine\nb\nc\ntheirs\n", 0),
            ("one goes, one stays", "a\nb\nc\nd\n", "a\nc\nd\n", "a\nb\nc\nd\ne\n", "a\nc\nd\ne\n", 0),
            ("the same line", "a\nb\nc\n", "a\nx\nc\n", "a\ny\nc\n", "a\nx\nc\n", 1),
            ("changed and gone", "a\nb\nc\n", "a\nx\nc\n", "a\nc\n", "a\nx\nc\n", 1),
        ] {
            let (found, told) = merge(base, mine, theirs);
            assert_eq!((found.as_str(), told.len()), (want, conflicts), "{name}");
        }
        let (_, told) = merge("a\nb\nc\n", "n\na\nx\nc\n", "a\ny\nz\nc\n");
        let lines = |list: &[&str]| list.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(told, [Conflict { line: 3, mine: lines(&["x"]), theirs: lines(&["y", "z"]) }]);
    }

    proptest::proptest! {
        #[test]
        fn one_side_alone_is_taken_whole(base in "([ab]\n){0,12}", other in "([abc]\n){0,12}") {
            proptest::prop_assert_eq!(merge(&base, &other, &base), (other.clone(), Vec::new()));
            proptest::prop_assert_eq!(merge(&base, &base, &other), (other.clone(), Vec::new()));
            proptest::prop_assert_eq!(merge(&base, &other, &other), (other, Vec::new()));
        }
    }
}
