//! The proofs against brute force: a right limiter with hidden times is never accused, known times are judged exactly.

use proptest::prelude::*;

use super::*;

/// A limiter that is right by definition: it looks at all that it admitted.
struct Right {
    terms: Terms,
    admitted: Vec<u64>,
}

impl Right {
    fn admits(&mut self, at: u64) -> bool {
        let fits = match self.terms {
            Terms::SlidingWindow { calls, period, .. } => {
                (self.admitted.iter().filter(|one| at - **one < period).count() as u64) < calls
            }
            Terms::TokenBucket { calls, period, burst } => (0..=self.admitted.len()).all(|from| {
                let inside = &self.admitted[from..];
                let length = inside.first().map_or(0, |first| at - first);
                (inside.len() as u64 + 1) <= burst + length * calls / period
            }),
            Terms::FixedWindow { calls, period, start: WindowStart::Aligned } => {
                // An offset that nobody knows.
                let window = |at: u64| (at + 37) / period;
                (self.admitted.iter().filter(|one| window(**one) == window(at)).count() as u64) < calls
            }
            Terms::FixedWindow { calls, period, start: WindowStart::FirstCall } => {
                let mut begin: Option<u64> = None;
                let mut count = 0;
                for one in &self.admitted {
                    match begin {
                        Some(begin) if one - begin < period => count += 1,
                        _ => (begin, count) = (Some(*one), 1),
                    }
                }
                begin.is_none_or(|begin| at - begin >= period) || count < calls
            }
            Terms::Concurrency { .. } => unreachable!("needs ends; tested apart"),
        };
        if fits {
            self.admitted.push(at);
        }
        fits
    }
}

/// Arrival times, and by how much sending was earlier and receiving later.
fn traffic() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    prop::collection::vec((0_u64..40, 0_u64..60, 0_u64..60), 1..80).prop_map(|steps| {
        let mut at = 100;
        steps
            .into_iter()
            .map(|(step, before, after)| {
                at += step;
                (at, before, after)
            })
            .collect()
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    (1_u64..8, 20_u64..300, 1_u64..8, 0..4).prop_map(|(calls, period, burst, kind)| match kind {
        0 => Terms::SlidingWindow { calls, period, slots: 0 },
        1 => Terms::TokenBucket { calls, period, burst },
        2 => Terms::FixedWindow { calls, period, start: WindowStart::Aligned },
        _ => Terms::FixedWindow { calls, period, start: WindowStart::FirstCall },
    })
}

fn history(terms: Terms, traffic: &[(u64, u64, u64)], blur: u64) -> History {
    let mut right = Right { terms, admitted: Vec::new() };
    let mut history = History::default();
    for (at, before, after) in traffic {
        let received = at + after * blur;
        let span = Span { sent: at - before * blur, received, ended: received };
        if right.admits(*at) { history.admitted.push(span) } else { history.refused.push(span) }
    }
    history
}

proptest! {
    #[test]
    fn a_right_limiter_is_never_accused(terms in terms(), traffic in traffic(), blur in 0_u64..2) {
        let history = history(terms, &traffic, blur);
        prop_assert!(!false_refusals(&terms, &history).contains(&true));
        let histories = [history];
        prop_assert_eq!(excess(&terms, &histories), vec![None]);
    }

    #[test]
    fn an_unknown_fate_accuses_nobody(terms in terms(), traffic in traffic(), lost in any::<prop::sample::Index>()) {
        let mut history = history(terms, &traffic, 1);
        if !history.admitted.is_empty() {
            let span = history.admitted.swap_remove(lost.index(history.admitted.len()));
            history.unknown.push(span);
        }
        prop_assert!(!false_refusals(&terms, &history).contains(&true));
        prop_assert_eq!(excess(&terms, &[history]), vec![None]);
    }

    #[test]
    fn what_was_counted_before_accuses_nobody(
        terms in terms(), traffic in traffic(), blur in 0_u64..2, seen in any::<prop::sample::Index>()
    ) {
        // The test begins when some have come already, of which it knows nothing.
        let seen = seen.index(traffic.len());
        let begun = seen.checked_sub(1).map_or(0, |last| traffic[last].0);
        let (mut right, mut history) = (Right { terms, admitted: Vec::new() }, History::default());
        for (number, (at, before, after)) in traffic.iter().enumerate() {
            let admits = right.admits(*at);
            let received = at + after * blur - begun.min(*at);
            let span = Span { sent: (at - before * blur).saturating_sub(begun), received, ended: received };
            match admits {
                _ if number < seen => {}
                true => history.admitted.push(span),
                false => history.refused.push(span),
            }
        }
        history.used_before = true;
        // Fractions of tokens are cut off on both sides.
        let next = admits_at(&terms, &history.admitted, true).unwrap() + begun + 2;
        if next >= traffic.last().unwrap().0 {
            prop_assert!(Right { terms, admitted: right.admitted.clone() }.admits(next), "it said that it would");
        }
        prop_assert!(!false_refusals(&terms, &history).contains(&true));
        prop_assert_eq!(excess(&terms, &[history]), vec![None]);
    }

    #[test]
    fn known_times_are_judged_exactly(calls in 1_u64..6, period in 20_u64..200, traffic in traffic()) {
        let terms = Terms::SlidingWindow { calls, period, slots: 0 };
        let times: Vec<u64> = traffic.iter().map(|(at, _, _)| *at).collect();
        let spans: Vec<Span> = times.iter().map(|at| Span::at(*at)).collect();
        let busiest = times.iter().map(|from| times.iter().filter(|at| **at >= *from && **at - from < period).count() as u64);
        let want = busiest.max().unwrap().saturating_sub(calls);
        let found = excess(&terms, &[History { admitted: spans, ..History::default() }]);
        prop_assert_eq!(found[0].map_or(0, |found| found.requests()), want);
    }

    #[test]
    fn a_sequence_that_first_call_windows_cannot_explain_is_found(calls in 1_u64..4, period in 20_u64..200, traffic in traffic()) {
        // With known times there is only one way to lay the windows.
        let mut times: Vec<u64> = traffic.iter().map(|(at, _, _)| *at).collect();
        times.dedup();
        let (mut begin, mut count, mut most) = (None, 0_u64, 0);
        for at in &times {
            match begin {
                Some(begin) if at - begin < period => count += 1,
                _ => (begin, count) = (Some(*at), 1),
            }
            most = most.max(count);
        }
        let spans = times.iter().map(|at| Span::at(*at)).collect();
        let terms = Terms::FixedWindow { calls, period, start: WindowStart::FirstCall };
        let found = excess(&terms, &[History { admitted: spans, ..History::default() }]);
        prop_assert_eq!(found[0].is_some(), most > calls);
    }

    #[test]
    fn what_is_left_is_within_its_bounds(
        calls in 1_u64..8, period in 20_u64..300, slots in 0_u64..9, traffic in traffic(), blur in 0_u64..2
    ) {
        let terms = Terms::SlidingWindow { calls, period, slots };
        let history = history(terms, &traffic, blur);
        let mut right = Right { terms, admitted: Vec::new() };
        for (at, before, after) in &traffic {
            right.admits(*at);
            let left = calls - right.admitted.iter().filter(|one| at - **one < period).count() as u64;
            let span = Span { sent: at - before * blur, received: at + after * blur, ended: *at };
            // As a client knows it: of what was admitted before.
            let before = &history.admitted[..right.admitted.len()];
            let (least, most) = remaining(&terms, before, span).unwrap();
            prop_assert!(least <= left && left <= most, "{least} ≤ {left} ≤ {most}");
        }
        let next = admits_at(&terms, &history.admitted, false).unwrap();
        if next >= traffic.last().unwrap().0 {
            prop_assert!(right.admits(next), "it said that it would");
        }
    }
}

#[test]
fn a_window_boundary_shows_as_twice_the_limit() {
    let (calls, period) = (10, 1_000);
    let spans: Vec<Span> = [990_u64, 1_010].iter().flat_map(|at| vec![Span::at(*at); 10]).collect();
    let history = History { admitted: spans, ..History::default() };
    assert_eq!(busiest_window(&history, period), 20);
    let histories = [history];
    let found = |terms: Terms| excess(&terms, &histories)[0].map(|found| (found.requests(), found.percent()));
    assert_eq!(found(Terms::SlidingWindow { calls, period, slots: 0 }), Some((10, 100.0)));
    assert_eq!(found(Terms::FixedWindow { calls, period, start: WindowStart::Aligned }), None);
    assert_eq!(found(Terms::FixedWindow { calls, period, start: WindowStart::FirstCall }), Some((10, 100.0)));
}

#[test]
fn a_key_that_was_used_before_is_judged_when_that_is_over() {
    // Milliseconds, against which rounding is nothing.
    const MS: u64 = 1_000_000;
    for terms in [
        Terms::SlidingWindow { calls: 3, period: 100 * MS, slots: 0 },
        Terms::TokenBucket { calls: 3, period: 90 * MS, burst: 3 },
        Terms::FixedWindow { calls: 3, period: 100 * MS, start: WindowStart::FirstCall },
        Terms::FixedWindow { calls: 3, period: 100 * MS, start: WindowStart::Aligned },
    ] {
        let refused = [10, 99, 2_000].map(|at| Span::at(at * MS)).to_vec();
        let history = |used_before| History { refused: refused.clone(), used_before, ..History::default() };
        assert_eq!(false_refusals(&terms, &history(false)), [true, true, true], "{terms}");
        let early = matches!(terms, Terms::TokenBucket { .. });
        assert_eq!(false_refusals(&terms, &history(true)), [false, early, true], "{terms}");
    }
    // A window from before may hold three, and the next one begin at once; no two windows hold nine.
    let terms = Terms::FixedWindow { calls: 3, period: 100, start: WindowStart::FirstCall };
    let found = |admitted: &[u64], used_before| {
        let admitted = admitted.iter().copied().map(Span::at).collect();
        excess(&terms, &[History { admitted, used_before, ..History::default() }])[0].map(|found| found.requests())
    };
    let six = [10, 11, 12, 20, 21, 22];
    assert_eq!((found(&six, false), found(&six, true)), (Some(3), None));
    assert_eq!(found(&[10, 11, 12, 20, 21, 22, 30, 31, 32], true), Some(2));
}

#[test]
fn aligned_windows_share_their_start() {
    // Each key alone could have windows of its own; together they leave no place for the boundary.
    let period = 100;
    let key =
        |from: u64| History { admitted: [from, from + 30, from + 59].map(Span::at).to_vec(), ..History::default() };
    let terms = Terms::FixedWindow { calls: 2, period, start: WindowStart::Aligned };
    let found =
        |keys: &[u64]| excess(&terms, &keys.iter().map(|from| key(*from)).collect::<Vec<_>>()).iter().flatten().count();
    assert_eq!(found(&[1_000]), 0);
    assert_eq!(found(&[1_000, 1_050]), 0, "a boundary soon after 1,000 explains both");
    assert_eq!(found(&[1_000, 1_035, 1_070]), 1);
}

#[test]
fn requests_at_once_are_proven_by_how_long_they_take() {
    let span = |sent, ended| Span { sent, received: ended, ended };
    let history = History { admitted: vec![span(0, 110), span(5, 112), span(9, 109)], ..History::default() };
    let found = |max, hold| excess(&Terms::Concurrency { max, hold }, std::slice::from_ref(&history))[0];
    assert_eq!(found(2, 100).map(|found| found.requests()), Some(1));
    assert_eq!(found(3, 100), None);
    assert_eq!(found(2, 0), None, "without a time nothing is proven");
    let refused = |at| History { refused: vec![span(at, at + 1)], ..history.clone() };
    let wrong = |max, at| false_refusals(&Terms::Concurrency { max, hold: 0 }, &refused(at))[0];
    assert_eq!((wrong(3, 50), wrong(4, 50), wrong(1, 200)), (false, true, true));
}

/// A limiter that counts a request once it has been answered, right by definition: it looks at all that it has counted.
fn late_history(terms: Terms, traffic: &[(u64, u64, u64)], lasting: &[u64], blur: u64) -> History {
    let mut counted: Vec<u64> = Vec::new();
    let mut history = History { late: true, ..History::default() };
    for ((at, before, after), lasts) in traffic.iter().zip(lasting.iter().cycle()) {
        let mut seen: Vec<u64> = counted.iter().copied().filter(|counted| counted <= at).collect();
        seen.sort_unstable();
        let admits = match terms {
            Terms::TokenBucket { calls, period, burst } => {
                let arrival = seen.iter().fold(0, |arrival: u64, counted| arrival.max(counted * calls) + period);
                arrival <= at * calls + (burst - 1) * period
            }
            Terms::SlidingWindow { calls, period, .. } => {
                (seen.iter().filter(|counted| at - **counted < period).count() as u64) < calls
            }
            other => unreachable!("{other}"),
        };
        let ended = at + lasts + after * blur;
        let span = Span { sent: at - before * blur, received: ended.min(at + after * blur), ended };
        if admits {
            counted.push(at + lasts);
            history.admitted.push(span);
        } else {
            history.refused.push(span);
        }
    }
    history
}

proptest! {
    #[test]
    fn a_right_limiter_that_counts_late_is_never_accused(
        terms in terms(), traffic in traffic(), lasting in prop::collection::vec(0_u64..200, 1..80), blur in 0_u64..2
    ) {
        prop_assume!(!matches!(terms, Terms::FixedWindow { .. }));
        let history = late_history(terms, &traffic, &lasting, blur);
        prop_assert!(!false_refusals(&terms, &history).contains(&true));
        prop_assert_eq!(excess(&terms, &[history]), vec![None]);
    }
}

#[test]
fn what_was_in_progress_is_no_excess_and_what_came_after_is() {
    let span = |sent: u64, ended: u64| Span { sent, received: sent, ended };
    let (window, bucket) = (
        Terms::SlidingWindow { calls: 3, period: 100_000, slots: 0 },
        Terms::TokenBucket { calls: 3, period: 100_000, burst: 3 },
    );
    let of = |terms: &Terms, admitted: &[Span]| {
        let history = History { late: true, admitted: admitted.to_vec(), ..History::default() };
        excess(terms, &[history])[0].map(|excess| (excess.admitted, excess.allowed))
    };
    for (name, admitted, want) in [
        ("all in progress together", vec![span(0, 50); 9], None),
        ("as many as are allowed, one after the other", (0..3).map(|at| span(at, at)).collect(), None),
        ("two more", (0..5).map(|at| span(at, at)).collect(), Some((5, 3))),
        ("one more after many in progress", [vec![span(0, 50); 9], vec![span(60, 60)]].concat(), Some((10, 3))),
        ("long after", vec![span(0, 0), span(1, 1), span(2, 2), span(100_002, 100_002)], None),
    ] {
        assert_eq!(of(&window, &admitted), want, "window: {name}");
        assert_eq!(of(&bucket, &admitted), want, "bucket: {name}");
    }
}
