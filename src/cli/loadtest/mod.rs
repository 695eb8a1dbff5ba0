//! `loadtest`: puts limits to the test, and says whether they kept their promise.

mod backend;
mod drive;
mod hooks;
mod order;
mod output;
mod progress;
mod serve;
mod setting;
mod subject;
mod target;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue, Method, Uri};

use super::exit;
use super::output::complain;
use crate::config::Period;
use crate::loadtest::arrivals::Shape;
use crate::loadtest::expect::Expected;
use crate::loadtest::keys::Distribution;
use crate::loadtest::live::KeyPlace;
use crate::loadtest::metric::Assertion;
use crate::loadtest::probes::{PROBES, Probe};
use crate::loadtest::strategy::Strategy;

/// Put limits to the test: does the gateway admit what they promise, no more and no less, and does it tell callers the truth?
///
/// With a folder, it reads what the policies of an operation promise, serves the folder on a free loopback port with a fast backend
/// in place of the real ones, and drives traffic at it. With --url it drives what answers there. The load is open loop: requests
/// are sent when they are due, however slow the answers are. Each finding is one that holds whatever the order of requests was on
/// the way, so that a right limit is never accused.
///
/// Beside the traffic it asks the limit questions, each with keys of its own: --probes. Nothing leaves this machine without
/// --allow-remote, and the number of requests and the time are bounded.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Loadtest {
    /// The folder that holds gateway.toml; `policies` when neither --url nor --expect is given.
    folder: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    traffic: TrafficArguments,
    #[command(flatten)]
    probes: ProbeArguments,
    #[command(flatten)]
    bounds: BoundArguments,
    #[command(flatten)]
    report: ReportArguments,
}

const HELP: &str = "Examples:
  sluicegate loadtest policies
  sluicegate loadtest policies --operation orders/GetOrder --shape ladder --html report.html
  sluicegate loadtest policies --virtual-time --keys 10000 --duration 1h
  sluicegate loadtest --url http://127.0.0.1:8000/anything --expect '100/1m sliding' --key header=apikey
  sluicegate loadtest policies --url http://127.0.0.1:8081 --url http://127.0.0.1:8082    (gateways that count together)
  sluicegate loadtest --expect '100/1m fixed aligned' --virtual-time --assert 'window<=1'

Limits for --expect:
  '100/1m sliding'                    at most 100 in any minute; `slots=60` when it counts in slots
  '100/1m token-bucket burst=20'      at most 20 at once, and 100 a minute
  '100/1m fixed aligned'              at most 100 in each minute of the clock; `first-call`: from the first request on
  'concurrency 52 hold=200ms'         at most 52 at once, of requests that take at least 200 ms
  each also takes `per=all` (keys count together), `count=all` (refused requests count too), `count=answered` (requests count
  once they have been answered) and `status=503` (how it refuses)

Exit codes: 0 all assertions hold, 1 the test could not run, 2 the arguments are wrong, 3 the configuration is wrong, 4 an assertion
does not hold.";

/// What is tested.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
struct TargetArguments {
    /// The operation, as `API/OPERATION` or by its name alone; the first that has a limit.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// The product under which calls are made; the first that holds the API, where it needs a key.
    #[arg(long, value_name = "NAME")]
    product: Option<String>,
    /// Drive what answers at this URL instead of serving the folder; several times for gateways that count together. Requests are
    /// spread over them.
    #[arg(long = "url", value_name = "URL", value_parser = url)]
    urls: Vec<Uri>,
    /// What a limit promises, in place of what the folder says; may be given several times.
    #[arg(long, value_name = "LIMIT", value_parser = Expected::from_str)]
    expect: Vec<Expected>,
    /// Test the limiter alone, with a clock that is moved and no sockets: an hour and 10,000 keys in a few seconds.
    #[arg(long)]
    virtual_time: bool,
    /// The method; the operation's, else GET.
    #[arg(long)]
    method: Option<Method>,
    /// The path and query, in place of the operation's with `1` for each variable.
    #[arg(long)]
    path: Option<String>,
    /// A header of every request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of every request; `@FILE` reads it from a file.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// Where requests carry the key that limits count by: header=NAME, query=NAME, subscription, address or none. Default: where the
    /// limit of the folder reads it; none with --expect.
    #[arg(long, value_name = "PLACE")]
    key: Option<KeyPlace>,
    /// The text of a key: `{number}` is its number, `{seed}` the seed, so that no test meets what the one before left behind.
    #[arg(long, value_name = "TEXT", default_value = "loadtest-{seed}-{number}")]
    key_template: String,
    /// Keys from a file, one a line, where they cannot be made up.
    #[arg(long, value_name = "FILE", conflicts_with = "key_template")]
    keys_from: Option<PathBuf>,
    /// Certificate authorities in a PEM file, to check an https URL by; the system's otherwise.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long each answer of the backend takes, where it is the test's own. Default: 0, or 100ms with a limit on requests at once.
    #[arg(long, value_name = "TIME", value_parser = period)]
    latency: Option<Duration>,
    /// How many tokens of a language model each answer reports, where the operation has a limit of them: of the test's own backend, or
    /// of the one that is driven. Default: 100 of the test's own; of another one such a limit is not judged without it.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// How many of a hundred requests to the test's own backend are answered with 503, by the seed: to see what retries of the
    /// gateway cost.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percentage, conflicts_with = "real_backends")]
    backend_failures: f64,
    /// Serve the test's own backend at this address, for gateways at --url that send there what they admit: so that it counts what
    /// reaches it, and --latency and --backend-failures apply.
    #[arg(long, value_name = "ADDRESS", requires = "urls", conflicts_with = "virtual_time")]
    backend_at: Option<SocketAddr>,
    /// A command that prints how many requests the backend has had so far, where it is not the test's own; it runs before and after.
    #[arg(long, value_name = "COMMAND", conflicts_with = "virtual_time")]
    backend_count: Option<String>,
    /// Send what is admitted to the backends of the folder. They must be on this machine, unless --allow-remote says otherwise.
    #[arg(long)]
    real_backends: bool,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traffic")]
struct TrafficArguments {
    /// Requests each second. Default: --load times what the limits admit.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// How many times what the limits admit is sent.
    #[arg(long, value_name = "TIMES", default_value = "2", value_parser = positive)]
    load: f64,
    /// How requests come: constant, poisson, burst, burst=5s (so often), ramp or ladder (1, 1.5, 2 and 4 times the rate).
    #[arg(long, default_value = "constant")]
    shape: Shape,
    /// How long; 0s for probes alone. Default: three of the limit's periods, from 10 s to a minute (an hour in virtual time).
    #[arg(long, value_name = "TIME", value_parser = period)]
    duration: Option<Duration>,
    /// How many keys.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Who asks how often: even, uniform, zipf or zipf=1.2.
    #[arg(long, value_name = "SHAPE", default_value = "even")]
    distribution: Distribution,
    /// What clients do when they are refused: once, naive, honours-retry-after, exponential-jitter, power-automate or apim-retry.
    #[arg(long, default_value = "once")]
    strategy: Strategy,
    /// What chance is drawn from. The same seed makes the same test; a random one otherwise, which the report tells.
    #[arg(long)]
    seed: Option<u64>,
}

/// What is asked of the limit beside the traffic.
#[derive(Debug, Args)]
#[command(next_help_heading = "Probes")]
struct ProbeArguments {
    /// What to probe: `all`, `none` or some of cold-start, simultaneous, refill, boundary, ladder, churn, missing-key, forged-address,
    /// ipv6-network, preflight, reload, store-outage, retry-after, rate-limit-fields, fairness, strategies. Default: all that can be done.
    #[arg(long, value_name = "LIST", value_parser = probes)]
    probes: Option<ProbeList>,
    /// The strategies that are compared. Default: all but `once`.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    strategies: Vec<Strategy>,
    /// How many clients the probes retry-after and rate-limit-fields have, each with a key of its own. Default: as many as the limit
    /// has room for, up to 50.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cohort: Option<u32>,
    /// A command that makes the target load its configuration anew.
    #[arg(long, value_name = "COMMAND")]
    on_reload: Option<String>,
    /// A command that cuts the target off from the store that gateways share.
    #[arg(long, value_name = "COMMAND", requires = "on_store_up")]
    on_store_down: Option<String>,
    /// A command that brings the store back.
    #[arg(long, value_name = "COMMAND", requires = "on_store_down")]
    on_store_up: Option<String>,
}

/// The bounds of a test.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bounds")]
struct BoundArguments {
    /// Connections at one time.
    #[arg(long, value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=8_192))]
    connections: u16,
    /// Requests in all.
    #[arg(long, value_name = "COUNT", default_value_t = 2_000_000)]
    max_requests: u64,
    /// Requests each second.
    #[arg(long, value_name = "COUNT", default_value = "100000", value_parser = positive)]
    max_rate: f64,
    /// The time in all. Default: 5m, and 1d in virtual time.
    #[arg(long, value_name = "TIME", value_parser = period)]
    max_duration: Option<Duration>,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = period)]
    timeout: Duration,
    /// Allow a target, or a backend of a folder that is served, on another machine. Load somebody else's only with their consent.
    #[arg(long)]
    allow_remote: bool,
}

/// What is told, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
struct ReportArguments {
    /// What must hold, for example 'excess<=1%' or 'retry-after.honest>=99%'; may be given several times. `--list-figures` lists the
    /// figures. Each takes the place of what is asserted about the figure by itself.
    #[arg(long = "assert", value_name = "ASSERTION", value_parser = Assertion::from_str)]
    assertions: Vec<Assertion>,
    /// Assert nothing but what --assert says.
    #[arg(long)]
    no_default_assertions: bool,
    /// The form of the report on standard output.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the report as JSON to a file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the verdicts as JUnit XML to a file as well, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write admitted against configured over time as CSV to a file as well.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write one self-contained HTML page with charts as well.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show how far the test is, on standard error.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    progress: When,
    /// List the figures that can be asserted on, and end.
    #[arg(long)]
    list_figures: bool,
}

/// Forms of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// Everything, for programs.
    Json,
    /// The verdicts, for CI.
    Junit,
    /// Admitted against configured over time.
    Csv,
    /// One page with charts.
    Html,
}

/// When progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// A line each second where there is no terminal.
    Always,
    /// Not at all.
    Never,
}

/// The probes that were chosen.
#[derive(Clone, Debug)]
struct ProbeList(Vec<Probe>);

fn probes(text: &str) -> Result<ProbeList, String> {
    match text {
        "all" => Ok(ProbeList(PROBES.map(|(_, probe)| probe).into())),
        "none" => Ok(ProbeList(Vec::new())),
        list => {
            let mut probes: Vec<Probe> = list.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>()?;
            probes.sort_unstable();
            probes.dedup();
            Ok(ProbeList(probes))
        }
    }
}

fn period(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    Period::parse(text).map(|period| period.0)
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("`{text}` is not a number above 0"))
}

fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from 0 to 100"))
}

fn url(text: &str) -> Result<Uri, String> {
    let hint = "a URL of a server, as in `http://127.0.0.1:8080/orders`";
    let url: Uri = text.parse().map_err(|_| format!("expected {hint}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(format!("expected {hint}"));
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a URL holds no user name and password here; use --header 'authorization: …'".to_owned());
    }
    Ok(url)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected `NAME: VALUE`")?;
    let name = name.trim().parse().map_err(|_| format!("`{}` cannot be the name of a header", name.trim()))?;
    let mut value =
        HeaderValue::from_str(value.trim()).map_err(|_| "this cannot be the value of a header".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

impl Loadtest {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        if self.report.list_figures {
            super::output::print(&output::figures());
            return exit::OK;
        }
        self.test().unwrap_or_else(|code| code)
    }

    fn test(&self) -> Result<u8, u8> {
        output::check(self)?;
        let subject = subject::find(self)?;
        let plan = order::plan(self, &subject)?;
        let report = drive::drive(self, &subject, &plan)?;
        output::write(self, &report)?;
        Ok(match report.setting.broken.is_empty() {
            false => exit::FAILED,
            true if report.holds() => exit::OK,
            true => exit::ASSERTION,
        })
    }
}

/// Says what is wrong with the arguments.
fn usage(message: &str) -> u8 {
    complain(&format!("error: {message}\n"));
    exit::USAGE
}
