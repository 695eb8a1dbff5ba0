//! What keys cost: a lookup among a few and among a million, the memory of each, a key file of a million from text to a ring,
//! unrelated traffic while that is read, and a million distinct keys that are wrong.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::Criterion;
use sluicegate::clock::Clock;
use sluicegate::compile::{self, Loaded, Shared};
use sluicegate::config::folder::NamedText;
use sluicegate::config::render;
use sluicegate::gateway::handle::Entry;
use sluicegate::identity::subscription::digest_of;
use sluicegate::server::{Server, Settings};
use tokio::sync::watch;

/// A key as `sluicegate key new` makes it, in length.
fn key(number: usize) -> String {
    format!("sgk_{:040}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A key file, as `sluicegate key new` writes it.
fn key_file(keys: usize) -> String {
    let mut text = String::new();
    for number in 0..keys {
        let key = key(number);
        let _ = write!(
            text,
            "\n[subscriptions.caller-{number}]\nproduct = \"gold\"\nconsumer = \"consumer-{}\"\n\
             created = \"2026-01-01T00:00:00Z\"\n\
             primary = {{ digest = \"{}\", last-four = \"{}\", created = \"2026-01-01T00:00:00Z\" }}\n",
            number % 1000,
            digest_of(key.as_bytes()),
            &key[key.len() - 4..],
        );
    }
    text
}

fn files(keys: String) -> Vec<NamedText> {
    let gateway = "[server]\nlisten = \"127.0.0.1:0\"\n[products.gold]\napis = [\"all\"]\n";
    let api = "[api]\nname = \"all\"\npath = \"/\"\n[[inbound]]\npolicy = \"return-response\"\nstatus = 204\n\
               [[operation]]\nname = \"All\"\nmatch = \"GET /*\"\n";
    [("gateway.toml", gateway.to_owned()), ("all.toml", api.to_owned()), ("keys.toml", keys)]
        .map(|(name, text)| (name.to_owned(), text))
        .into()
}

fn load(keys: String, shared: &Arc<Shared>) -> (Loaded, Duration) {
    let files = files(keys);
    let start = Instant::now();
    let loaded = compile::compile(files, None, shared);
    let took = start.elapsed();
    assert_eq!(loaded.diagnostics.errors(), 0, "{}", render::text(&loaded.diagnostics, &loaded.sources));
    (loaded, took)
}

/// The bytes of memory that the process holds, where the system tells (proc(5), `statm`).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

/// One connection that calls again and again.
struct Caller(BufReader<TcpStream>);

impl Caller {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self(BufReader::new(stream))
    }

    /// Sends `keys` in one piece and counts the answers by whether they are refusals.
    fn call(&mut self, keys: impl Iterator<Item = String>) -> (usize, usize) {
        let mut requests = String::new();
        let mut sent = 0;
        for key in keys {
            let _ = write!(requests, "GET / HTTP/1.1\r\nhost: bench\r\nocp-apim-subscription-key: {key}\r\n\r\n");
            sent += 1;
        }
        self.0.get_mut().write_all(requests.as_bytes()).expect("the gateway reads");
        let (mut good, mut refused) = (0, 0);
        let mut line = String::new();
        for _ in 0..sent {
            let mut length = 0;
            line.clear();
            self.0.read_line(&mut line).expect("the gateway answers");
            if line.contains(" 401 ") {
                refused += 1;
            } else {
                good += 1;
            }
            loop {
                line.clear();
                self.0.read_line(&mut line).expect("the gateway answers");
                let field = line.trim_end().to_ascii_lowercase();
                if field.is_empty() {
                    break;
                }
                if let Some(value) = field.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
            }
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("the whole answer");
        }
        (good, refused)
    }
}

/// How long single calls take, sorted.
fn latencies(address: SocketAddr, until: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut caller = Caller::connect(address);
    let mut all = Vec::new();
    while !until(all.len()) {
        let start = Instant::now();
        assert_eq!(caller.call(std::iter::once(key(all.len() % 100))), (1, 0), "a good key is let in");
        all.push(start.elapsed());
    }
    all.sort_unstable();
    all
}

fn report(what: &str, all: &[Duration]) {
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).or(all.last()).copied().unwrap_or_default();
    eprintln!(
        "{what}: {} calls, p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
        all.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn main() {
    // Cargo runs benches as tests too, with `--test`; then the size is no matter.
    let test = std::env::args().any(|argument| argument == "--test");
    let (many, calls) = if test { (1_000, 1_000) } else { (1_000_000, 20_000) };
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let shared = Arc::new(Shared { offline: true, ..Shared::new(Clock::system(), control.handle().clone()) });

    // Lookups, hit and miss, in an order that caches cannot foresee.
    let mut criterion = Criterion::default().sample_size(20).without_plots().configure_from_args();
    for count in [100, 10_000, many] {
        let (loaded, _) = load(key_file(count), &shared);
        let keys = loaded.gateway.expect("no errors").keys.clone();
        assert_eq!(keys.len(), count);
        let mut next = 0;
        let mut presented = |offset: usize| {
            next = (next + 611_953) % count;
            key(next + offset)
        };
        criterion.bench_function(&format!("{count} keys, a good one"), |bencher| {
            bencher.iter_batched(
                || presented(0),
                |key| black_box(keys.lookup(key.as_bytes()).is_some()),
                criterion::BatchSize::SmallInput,
            );
        });
        criterion.bench_function(&format!("{count} keys, a wrong one"), |bencher| {
            bencher.iter_batched(
                || presented(many),
                |key| black_box(keys.lookup(key.as_bytes()).is_some()),
                criterion::BatchSize::SmallInput,
            );
        });
    }

    // A file of a million keys.
    let text = key_file(many);
    let fresh = Arc::new(Shared { offline: true, ..Shared::new(Clock::system(), control.handle().clone()) });
    let before = resident();
    let (loaded, took) = load(text.clone(), &fresh);
    let Loaded { gateway, sources, .. } = loaded;
    let peak = resident();
    drop(sources);
    let gateway = Arc::new(gateway.expect("no errors"));
    let kept = resident().saturating_sub(before);
    eprintln!(
        "a key file of {many} subscriptions ({} MiB): read in {took:?}; {} bytes of memory for each key, {} while it is read",
        text.len() >> 20,
        kept / many as u64,
        peak.saturating_sub(before) / many as u64,
    );

    // Traffic on one worker while the file is read again and put in force.
    let entry = Arc::new(Entry::new(gateway.clone()));
    let server = Server::bind(Settings { listen: vec![([127, 0, 0, 1], 0).into()], workers: 1, ..Settings::default() })
        .expect("a port is free");
    let address = server.addresses()[0];
    let (stop, stopped) = watch::channel(None);
    let serving = entry.clone();
    let thread = std::thread::spawn(move || server.run(&serving, &stopped));
    report("traffic alone", &latencies(address, |done| done >= calls));
    let done = Arc::new(AtomicBool::new(false));
    let reloading = {
        let (done, entry, text) = (done.clone(), entry, format!("# changed\n{text}"));
        std::thread::spawn(move || {
            let (mut loaded, took) = load(text, &fresh);
            entry.swap(Arc::new(loaded.gateway.take().expect("no errors")));
            drop(loaded);
            done.store(true, Ordering::Release);
            took
        })
    };
    let during = latencies(address, |calls| calls > 0 && done.load(Ordering::Acquire));
    report("traffic during a reload", &during);
    let took = reloading.join().expect("the reload goes well");
    eprintln!("the reload beside it took {took:?}");
    drop(gateway);

    // As many wrong keys, no two alike.
    let mut caller = Caller::connect(address);
    let mut wrong = (0..many).map(|number| key(many + number));
    let batch = 100;
    assert_eq!(caller.call(wrong.by_ref().take(batch)), (0, batch));
    let before = resident();
    let start = Instant::now();
    for _ in 1..many / batch {
        assert_eq!(caller.call(wrong.by_ref().take(batch)), (0, batch), "a wrong key is refused");
    }
    let took = start.elapsed();
    let grown = resident().saturating_sub(before);
    eprintln!("{many} distinct wrong keys in {took:?}: {} KiB of memory more", grown >> 10);
    assert!(grown < 8 << 20, "memory grows with keys that are wrong");
    stop.send_replace(Some(Duration::ZERO));
    thread.join().expect("no panic").expect("the server stops");
}
