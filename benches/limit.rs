//! What one decision of a rate limit costs, with one key and with a million.

use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate::clock::Clock;
use sluicegate::limit::{Algorithm, Ask, ConcurrencyLimit, Limiter, Precision, Settings, WindowStart};
use sluicegate::llm::{Answer, Form, Prompt};

const KEYS: usize = 1_000_000;

/// The text of a key, fresh in the cache as it is when it comes with a request.
fn key(number: usize) -> String {
    format!("subscription-{number:08}")
}

fn limiter(algorithm: Algorithm, calls: NonZeroU32, period: Duration) -> Limiter {
    let max_keys = NonZeroUsize::MIN.saturating_add(KEYS);
    Limiter::new(Settings { max_keys, ..Settings::new(algorithm, calls, period) }, Clock::system())
}

fn decisions(criterion: &mut Criterion) {
    let hundred = NonZeroU32::MIN.saturating_add(99);
    let million = NonZeroU32::MIN.saturating_add(999_999);
    let minute = Duration::from_secs(60);
    let sixteen = NonZeroU32::MIN.saturating_add(15);
    let exact = Algorithm::SlidingWindow { precision: Precision::Exact };
    let slots = Algorithm::SlidingWindow { precision: Precision::Slots(sixteen) };
    let fixed = Algorithm::FixedWindow { start: WindowStart::Clock };
    for (name, algorithm, roomy) in [
        ("sliding window", exact, exact),
        ("sliding window in 16 slots", slots, slots),
        ("fixed window", fixed, fixed),
        ("token bucket", Algorithm::TokenBucket { burst: hundred }, Algorithm::TokenBucket { burst: million }),
    ] {
        let mut group = criterion.benchmark_group(name);
        let rejecting = limiter(algorithm, hundred, minute);
        group.bench_function("1 key, mostly rejected", |bencher| {
            bencher.iter(|| rejecting.decide(black_box("subscription-00000001"), 1));
        });
        // A short period, so that requests leave the window as fast as others come.
        let plenty = limiter(roomy, million, Duration::from_millis(1));
        group.bench_function("1 key, all admitted", |bencher| {
            bencher.iter(|| plenty.decide(black_box("subscription-00000001"), 1));
        });
        let crowded = limiter(algorithm, hundred, minute);
        for number in 0..KEYS {
            crowded.decide(&key(number), 1);
        }
        group.bench_function("1 key among 1,000,000", |bencher| {
            bencher.iter(|| crowded.decide(black_box("subscription-00000001"), 1));
        });
        let mut next = 0;
        group.bench_function("1,000,000 keys in random order", |bencher| {
            bencher.iter(|| {
                // A full-period walk in an order that caches cannot foresee.
                next = (next + 611_953) % KEYS;
                crowded.decide(black_box(&key(next)), 1)
            });
        });
        group.bench_function("1,000,000 keys in random order: the key's text alone", |bencher| {
            bencher.iter(|| {
                next = (next + 611_953) % KEYS;
                black_box(key(next))
            });
        });
        group.finish();
    }
    tokens(criterion);
    let limit = ConcurrencyLimit::new(hundred);
    criterion.bench_function("concurrency permit", |bencher| {
        bencher.iter(|| limit.try_acquire(black_box("subscription-00000001")));
    });
}

/// A token limit: asked with what is counted ahead, and put right when the answer is known; and what reading the messages costs.
fn tokens(criterion: &mut Criterion) {
    let many = NonZeroU32::MIN.saturating_add(999_999);
    let exact = Algorithm::SlidingWindow { precision: Precision::Exact };
    let limiter = limiter(exact, many, Duration::from_millis(1));
    let mut group = criterion.benchmark_group("tokens");
    group.bench_function("decision and correction", |bencher| {
        bencher.iter(|| {
            let ask = Ask::new(black_box("subscription-00000001"), 300);
            let decision = limiter.ask(&ask);
            limiter.charge(&Ask { cost: 200, ..ask });
            decision
        });
    });
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(90);
    let request = format!(r#"{{"messages":[{{"role":"user","content":"{words}"}}]}}"#);
    group.bench_function("a request of 4 KiB", |bencher| {
        bencher.iter(|| {
            let mut prompt = Prompt::default();
            prompt.read(black_box(request.as_bytes()));
            prompt.tokens()
        });
    });
    let answer = format!(r#"{{"choices":[{{"message":{{"content":"{words}"}}}}],"usage":{{"total_tokens":900}}}}"#);
    group.bench_function("an answer of 4 KiB", |bencher| {
        bencher.iter(|| {
            let mut read = Answer::new(Form::Json);
            read.read(black_box(answer.as_bytes()));
            read.usage()
        });
    });
    let event = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"}}]}\n\n";
    let mut read = Answer::new(Form::Events);
    group.bench_function("an event", |bencher| bencher.iter(|| read.read(black_box(event.as_bytes()))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = decisions
}
criterion_main!(benches);
