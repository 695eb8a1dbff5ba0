//! Broken limiters of each kind are caught, in virtual time; a right one never is.

use super::flawed::{Flaw, Flawed};
use crate::limit::MissingKey;
use crate::loadtest::analysis::{Measured, Report, Setting, analyse};
use crate::loadtest::expect::Expected;
use crate::loadtest::metric::assertions;
use crate::loadtest::plan::{Bounds, Plan, Used};
use crate::loadtest::probes::{Order, PROBES, Probe, plan};
use crate::loadtest::virtual_time::{self, Limits, Look, Subject};
use crate::loadtest::{keys, record, stated};

const SECOND: u64 = 1_000_000_000;

/// What holds of a right limiter, tested in every way there is.
pub(super) fn order(limits: Vec<Expected>, seed: u64) -> Order {
    Order { limits, probes: PROBES.map(|(_, probe)| probe).into(), seed, is_virtual: true, ..Order::default() }
}

pub(super) fn expected(limits: &[&str]) -> Vec<Expected> {
    let told = |text: &&str| Expected {
        missing_key: Some(MissingKey::OneKey),
        max_keys: Some(2_000),
        told: true,
        ..text.parse().unwrap()
    };
    limits.iter().map(told).collect()
}

pub(super) fn report(plan: &Plan, subject: &mut dyn Subject, service: u64) -> Report {
    let texts: Vec<String> = (0..plan.keys).map(|key| keys::text("{number}", record::KeyId(key), plan.seed)).collect();
    let session = virtual_time::run(plan, &texts, service, subject, &mut |_, _| Look::GoOn);
    let setting = Setting { virtual_time: true, ..Setting::default() };
    analyse(&session, plan, setting, &Measured::default(), &assertions(&[], true))
}

/// The assertions that do not hold.
fn failed(report: &Report) -> Vec<&str> {
    report.verdicts.iter().filter(|verdict| !verdict.holds).map(|verdict| verdict.assertion.as_str()).collect()
}

/// What a right limiter does, and the limiters that do not, as widely used gateways have them.
#[test]
fn a_broken_limiter_of_each_kind_is_caught() {
    struct Case {
        /// What is right.
        rule: &'static str,
        limits: &'static [&'static str],
        /// What is not, and the figures that tell.
        flaws: &'static [(Flaw, &'static [&'static str])],
    }
    const ONE: &[&str] = &["20/10s sliding"];
    for Case { rule, limits, flaws } in [
        Case {
            rule: "check and count are one step",
            limits: ONE,
            flaws: &[(Flaw::CountsLater, &["excess<=", "simultaneous.excess<="])],
        },
        Case {
            rule: "what is refused takes no allowance",
            limits: ONE,
            flaws: &[(Flaw::CountsRefusals, &["false-rejections<=", "ladder.least>="])],
        },
        Case {
            rule: "a key is dropped only when it is back to full",
            limits: ONE,
            flaws: &[(Flaw::ForgetsKeys, &["churn.excess<="]), (Flaw::ForgetsEarly, &["excess<="])],
        },
        Case {
            rule: "what happens without a key is decided",
            limits: ONE,
            flaws: &[
                (Flaw::MissingKeyIsUnlimited, &["missing-key.excess<="]),
                (Flaw::MissingKeyIsRefused, &["missing-key.refused<="]),
            ],
        },
        Case {
            rule: "Retry-After is the true wait, rounded up",
            limits: ONE,
            flaws: &[
                (Flaw::WholeWindow, &["retry-after.late<="]),
                (Flaw::Truncates, &["retry-after.honest>="]),
                (Flaw::Zero, &["retry-after.zero<="]),
                (Flaw::NoRetryAfter, &["retry-after.missing<="]),
            ],
        },
        Case {
            rule: "RateLimit tells the truth, on admitted answers too",
            limits: ONE,
            flaws: &[
                (Flaw::NoFields, &["ratelimit.missing<="]),
                (Flaw::FieldsOnRefusals, &["ratelimit.missing<="]),
                (Flaw::StaleRemaining, &["ratelimit.remaining>="]),
                (Flaw::EarlyReset, &["ratelimit.reset>="]),
            ],
        },
        Case {
            rule: "RateLimit tells of every limit",
            limits: &["50/1m sliding", "20/10s sliding"],
            flaws: &[(Flaw::TellsOfFirst, &["ratelimit.remaining>="])],
        },
        Case {
            rule: "no more than the limit in any window",
            limits: ONE,
            flaws: &[(Flaw::Aligned, &["boundary.excess<="]), (Flaw::Twice, &["excess<="])],
        },
        Case { rule: "nothing is unlimited by mistake", limits: ONE, flaws: &[(Flaw::Unlimited, &["excess<="])] },
        Case {
            rule: "several limits hold together",
            limits: &["20/10s sliding", "50/1m sliding"],
            flaws: &[(Flaw::FirstLimitOnly, &["excess<="])],
        },
        Case { rule: "counts survive a reload", limits: ONE, flaws: &[(Flaw::ReloadRefills, &["reload.excess<="])] },
        Case {
            rule: "replicas count together, and an outage of their store costs one time-out",
            limits: ONE,
            flaws: &[
                (Flaw::ReplicasAlone, &["excess<="]),
                (Flaw::SyncForgets, &["excess<="]),
                (Flaw::FailsWithoutStore, &["outage.failed<="]),
                (Flaw::WaitsForStore, &["outage.p90<="]),
            ],
        },
        Case {
            rule: "preflights are answered before anything that counts",
            limits: ONE,
            flaws: &[(Flaw::CountsPreflights, &["preflights.counted<="])],
        },
        Case {
            rule: "an address is what trusted proxies say, of IPv6 its network",
            limits: ONE,
            flaws: &[(Flaw::BelievesForgers, &["forged.admitted<="]), (Flaw::WholeIpv6, &["ipv6.admitted<="])],
        },
        Case {
            rule: "nobody pays for what another one asks",
            limits: ONE,
            flaws: &[(Flaw::RefusesAtRandom, &["false-rejections<="]), (Flaw::OneBucketForAll, &["victims.refused<="])],
        },
    ] {
        let expected = expected(limits);
        let numbers: Vec<(usize, u64)> =
            expected.iter().map(|limit| (limit.terms.capacity() as usize, limit.terms.period())).collect();
        let plan = plan(&order(expected, 7));
        for (flaw, figures) in flaws {
            let report = report(&plan, &mut Flawed::new(*flaw, &numbers), 0);
            for figure in *figures {
                assert_caught(&report, figure, &format!("{rule}: {flaw:?}"));
            }
        }
    }
}

/// An assertion that begins like this does not hold.
#[track_caller]
fn assert_caught(report: &Report, by: &str, what: &str) {
    let failed = failed(report);
    assert!(failed.iter().any(|assertion| assertion.starts_with(by)), "{what}: {by} in {failed:?}");
}

/// The figures of the gateway's own limits, of which others are expected.
fn in_place_of(promised: &[&str], running: &[&str], service: u64) -> Report {
    let plan = plan(&order(expected(promised), 7));
    report(&plan, &mut Limits::new(&stated::setups(&expected(running)).unwrap()), service)
}

/// Each way to treat requests without a key against each promise.
#[test]
fn a_missing_key_is_to_be_treated_as_promised() {
    use MissingKey::{OneKey, Refused, Unlimited};
    for (promised, running, caught_by) in [
        (OneKey, OneKey, None),
        (OneKey, Refused, Some("missing-key.refused<=0")),
        (OneKey, Unlimited, Some("missing-key.excess<=0")),
        (Refused, OneKey, Some("missing-key.excess<=0")),
        (Refused, Refused, None),
        (Refused, Unlimited, Some("missing-key.excess<=0")),
        (Unlimited, OneKey, Some("missing-key.refused<=0")),
        (Unlimited, Refused, Some("missing-key.refused<=0")),
        (Unlimited, Unlimited, None),
    ] {
        let with = |missing_key| -> Vec<Expected> {
            let all = expected(&["20/10s sliding"]).into_iter();
            all.map(|limit| Expected { missing_key: Some(missing_key), ..limit }).collect()
        };
        let plan = plan(&Order { probes: vec![Probe::MissingKey], ..order(with(promised), 7) });
        let found = report(&plan, &mut Limits::new(&stated::setups(&with(running)).unwrap()), 0);
        let mut failed = failed(&found);
        // The same requests, as everybody's conformance has it.
        failed.retain(|assertion| !["excess<=0%", "false-rejections<=0.1%"].contains(assertion));
        assert_eq!(failed, caught_by.into_iter().collect::<Vec<_>>(), "{running:?} in place of {promised:?}");
    }
}

/// The same test again at once: the keys are as the first one left them, and nobody is accused of that.
#[test]
fn what_was_counted_before_the_test_is_held_against_nobody() {
    /// The time goes on from where the test before ended.
    struct Later<'s>(&'s mut dyn Subject, u64);
    impl Subject for Later<'_> {
        fn ask(&mut self, now: u64, key: Option<&str>, attempt: &record::Attempt) -> record::Answer {
            self.0.ask(now + self.1, key, attempt)
        }
    }
    for limits in [
        &["20/10s sliding"][..],
        &["20/10s token-bucket burst=20"],
        &["20/10s fixed aligned"],
        &["20/10s fixed first-call"],
        &["20/10s sliding per=all"],
        &["20/10s fixed first-call per=all"],
    ] {
        let expected = expected(limits);
        let probes = vec![Probe::Simultaneous, Probe::MissingKey, Probe::Preflight, Probe::RetryAfter, Probe::Ladder];
        let short = Order { duration: Some(8 * SECOND), probes, ..order(expected.clone(), 7) };
        let used = Used { keys: true, missing: true };
        let (plan_of_new, plan_of_used) = (plan(&short), plan(&Order { used, ..short.clone() }));
        let second = |plan: &Plan| {
            let mut subject = Limits::new(&stated::setups(&expected).unwrap());
            let only_traffic = Order { probes: Vec::new(), ..short.clone() };
            let first = crate::loadtest::probes::plan(&only_traffic);
            assert_eq!(failed(&report(&first, &mut subject, 0)), [""; 0], "{limits:?}");
            report(plan, &mut Later(&mut subject, 8 * SECOND), 0)
        };
        let found = second(&plan_of_used);
        assert_eq!(failed(&found), [""; 0], "{limits:?}");
        assert!(found.conformance[0].false_refusals == Some(0) && found.honesty.waited > 0, "{limits:?}");
        assert!(!second(&plan_of_new).holds(), "{limits:?}: without knowing of it, it would be accused");
    }
}

/// What is promised is one algorithm, and what runs is another with the same numbers: each shows by what it lets through, or keeps
/// out, that the other would not.
#[test]
fn another_algorithm_than_the_promised_one_is_caught() {
    for (promised, running, caught_by) in [
        ("20/10s sliding", "20/10s token-bucket burst=20", "excess<="),
        ("20/10s sliding", "20/10s fixed aligned", "excess<="),
        ("20/10s sliding", "20/10s fixed first-call", "excess<="),
        ("20/10s fixed aligned", "20/10s token-bucket burst=20", "excess<="),
        ("20/10s fixed first-call", "20/10s token-bucket burst=20", "excess<="),
        ("20/10s token-bucket burst=5", "20/10s sliding", "simultaneous.excess<="),
        ("20/10s token-bucket burst=20", "20/10s fixed aligned", "boundary.excess<="),
        ("20/10s token-bucket burst=20", "20/10s sliding", "false-rejections<="),
        ("20/10s sliding", "20/10s sliding count=all", "false-rejections<="),
        ("20/10s sliding", "20/10s sliding per=all", "victims.refused<="),
    ] {
        let report = in_place_of(&[promised], &[running], 0);
        assert_caught(&report, caught_by, &format!("{running} in place of {promised}"));
    }
}

/// What is in progress is admitted beside each other, and rightly; what comes after that is not.
#[test]
fn a_limit_that_counts_once_requests_are_answered_is_judged_by_that() {
    for limit in ["20/10s sliding", "20/10s sliding slots=10", "20/10s token-bucket burst=5", "20/10s fixed first-call"]
    {
        let late = |limit: &str| format!("{limit} count=answered");
        let right = in_place_of(&[&late(limit)], &[&late(limit)], 200_000_000);
        assert_eq!(failed(&right), [""; 0], "{limit}");
        assert!(
            right.findings.iter().any(|it| it.probe == "simultaneous" && it.text.starts_with("40 of 40 ")
                || limit.contains("burst=5") && it.text.starts_with("10 of 10 ")),
            "{limit}: {:?}",
            right.findings
        );
        assert_eq!(right.metrics["retry-after.honest"].value, 100.0, "{limit}");
        // A promise to count at once is another one.
        assert_caught(&in_place_of(&[limit], &[&late(limit)], 200_000_000), "simultaneous.excess<=", limit);
        let stricter = late(&limit.replace("20/", "10/").replace("burst=5", "burst=2"));
        assert_caught(&in_place_of(&[&late(limit)], &[&stricter], 200_000_000), "false-rejections<=", limit);
        // In windows that begin nobody knows when, what was in progress may be why.
        if !limit.contains("fixed") {
            let wider = late(&limit.replace("20/", "40/").replace("burst=5", "burst=10"));
            assert_caught(&in_place_of(&[&late(limit)], &[&wider], 200_000_000), "excess<=", limit);
        }
    }
}

/// Refusals that count make it right to admit nothing under overload; the client that stops is admitted all the same.
#[test]
fn a_limit_that_counts_refusals_is_not_accused_of_it() {
    let expected = expected(&["20/10s sliding count=all"]);
    let plan = plan(&Order { others: true, ..order(expected.clone(), 7) });
    let found = report(&plan, &mut Limits::new(&stated::setups(&expected).unwrap()), 0);
    assert_eq!(failed(&found), [""; 0]);
    assert_eq!(found.metrics.get("retry-after.honest").map(|metric| metric.value), Some(100.0));
}

#[test]
fn answers_that_say_nothing_about_a_limit_prove_nothing() {
    struct Closed;
    impl Subject for Closed {
        fn ask(&mut self, _: u64, _: Option<&str>, _: &record::Attempt) -> record::Answer {
            record::Answer { status: 401, ..record::Answer::default() }
        }
    }
    let plan = plan(&order(expected(&["20/10s sliding"]), 7));
    let found = report(&plan, &mut Closed, 0);
    assert!(failed(&found).contains(&"judged>=50%"), "{:?}", failed(&found));
    assert!(found.setting.notes.iter().any(|note| note.contains("--keys-from")), "{:?}", found.setting.notes);
}

/// Clients that ask again and again use up the requests that a test may send.
#[test]
fn a_ladder_that_was_cut_short_accuses_nobody() {
    let expected = expected(&["20/10s sliding"]);
    let naive = Order {
        rate: Some(100.0),
        duration: Some(10 * SECOND),
        strategy: "naive".parse().unwrap(),
        probes: vec![Probe::Ladder],
        ..order(expected.clone(), 7)
    };
    let bounds = Bounds { requests: 1_500, ..naive.bounds };
    let plan = plan(&Order { bounds, ..naive });
    let found = report(&plan, &mut Limits::new(&stated::setups(&expected).unwrap()), 0);
    assert_eq!(failed(&found), [""; 0]);
    assert!(found.findings[0].text.ends_with("not judged: not all of it was sent"), "{:?}", found.findings);
    assert!(
        found.setting.notes.iter().any(|note| note.contains("the bound of 1,500 requests")),
        "{:?}",
        found.setting.notes
    );
}

#[test]
fn a_limit_that_refuses_in_shadow_mode_is_caught() {
    let shadow: Vec<Expected> = expected(&["20/10s sliding"])
        .into_iter()
        .map(|limit| Expected { shadow: true, told: false, ..limit })
        .collect();
    let plan = plan(&order(shadow.clone(), 7));
    let found = report(&plan, &mut Flawed::new(Flaw::RefusesInShadow, &[(20, 10 * SECOND)]), 0);
    assert_caught(&found, "false-rejections<=", "shadow");
    let right = report(&plan, &mut Limits::new(&stated::setups(&shadow).unwrap()), 0);
    assert_eq!(failed(&right), [""; 0]);
}

#[test]
fn the_control_is_not_accused() {
    for seed in 0..5 {
        let plan = plan(&order(expected(&["20/10s sliding"]), seed));
        let found = report(&plan, &mut Flawed::new(Flaw::None, &[(20, 10 * SECOND)]), 0);
        assert_eq!(failed(&found), [""; 0], "seed {seed}");
    }
}

/// The bars: no false rejection, no excess, and each client that waits as long as `Retry-After` says is admitted.
#[test]
fn the_gateways_own_limits_keep_their_promises_in_virtual_time() {
    for limits in [
        &["20/10s sliding"][..],
        &["20/10s sliding slots=10"],
        &["1/1s sliding"],
        &["7/3s token-bucket burst=20"],
        &["100/1m token-bucket burst=1"],
        &["20/10s fixed aligned"],
        &["20/10s fixed first-call"],
        &["20/10s sliding", "100/2m sliding"],
        &["20/10s sliding", "100/1m fixed aligned"],
        &["20/10s sliding", "30/10s token-bucket burst=5"],
        &["20/10s sliding per=all"],
        &["3/1s sliding", "10/10s sliding per=all"],
    ] {
        let expected = expected(limits);
        let plan = plan(&order(expected.clone(), 11));
        let found = report(&plan, &mut Limits::new(&stated::setups(&expected).unwrap()), 0);
        assert_eq!(failed(&found), [""; 0], "{limits:?}");
        let metric = |name: &str| found.metrics.get(name).map(|metric| metric.value);
        assert_eq!(metric("excess.requests"), Some(0.0), "{limits:?}");
        assert_eq!(metric("false-rejections.requests"), Some(0.0), "{limits:?}");
        assert_eq!(metric("retry-after.honest"), Some(100.0), "{limits:?}");
        assert!(found.honesty.waited > 0, "{limits:?}");
        assert!(found.totals.refused > 20 && found.totals.admitted > 20, "{limits:?}");
    }
}

#[test]
fn a_limit_on_requests_at_once_is_judged() {
    let limits = ["concurrency 5 hold=200ms"];
    let expected: Vec<Expected> =
        expected(&limits).into_iter().map(|limit| Expected { told: false, ..limit }).collect();
    let plan = plan(&Order { rate: Some(200.0), ..order(expected.clone(), 3) });
    let right = report(&plan, &mut Limits::new(&stated::setups(&expected).unwrap()), 200_000_000);
    assert_eq!(failed(&right), [""; 0]);
    assert!(right.totals.refused > 0);
    let wider: Vec<Expected> = vec!["concurrency 6".parse().unwrap()];
    let wrong = report(&plan, &mut Limits::new(&stated::setups(&wider).unwrap()), 200_000_000);
    assert_caught(&wrong, "excess<=", "one more than promised");
}

#[test]
fn the_same_seed_is_the_same_test() {
    let run = |seed: u64| {
        let limits = expected(&["20/10s sliding"]);
        let order = Order {
            shape: "poisson".parse().unwrap(),
            distribution: "zipf".parse().unwrap(),
            ..order(limits.clone(), seed)
        };
        let found = report(&plan(&order), &mut Limits::new(&stated::setups(&limits).unwrap()), 0);
        serde_json::to_string(&found).unwrap()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
