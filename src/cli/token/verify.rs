//! `token verify`: why a configuration takes a token or refuses it, check by check.

mod judge;
mod report;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;

use super::decode::Decoded;
use super::{Format, input};
use crate::cli::{exit, output};
use crate::clock::Clock;
use crate::compile::Loaded;
use crate::config::diagnostic::closest;
use crate::config::render;
use crate::gateway::{Gateway, Operation};
use crate::identity::TokenVerifier;
use crate::pipeline::{Pipeline, TokenCheck, TokenDemand};
use judge::{Judged, Verdict};

/// Explain why a folder's policies take a token or refuse it.
///
/// Every policy that an operation would put the token to is walked through, and every check is shown with what it expects and
/// what it finds, also those behind the one that fails. Keys that the configuration fetches are fetched from their issuer; nothing
/// else is sent anywhere, and neither the token nor a part of it is ever printed. The rules of `authorize` need a request, and are only
/// named.
///
/// Exits with 0 when the token is accepted, 4 when it is refused or when that depends on the request, and 1 when it cannot be said
/// because there are no keys. Without --operation, every operation of the API must accept it. Without --product, it is a call without a
/// subscription, or with one that is not of a product.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pbpaste | sluicegate token verify policies --api contacts
  printf %s \"$TOKEN\" | sluicegate token verify policies --api contacts --operation WhoAmI
  printf %s \"$TOKEN\" | sluicegate token verify policies --api contacts --at 2026-01-01T09:30:00Z --format json")]
pub struct Verify {
    /// The folder that holds gateway.toml.
    folder: PathBuf,
    /// The token; standard input when it is missing or `-`.
    token: Option<String>,
    /// The API that is called; needed when the folder has several that look at tokens.
    #[arg(long, value_name = "NAME")]
    api: Option<String>,
    /// The operation that is called [default: all of the API].
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// The product of the subscription that it is called with [default: the open one, else none].
    #[arg(long, value_name = "NAME")]
    product: Option<String>,
    /// The time of the call (RFC 3339) [default: now].
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<SystemTime>,
    /// Fetch nothing: keys are those of the configuration alone.
    #[arg(long)]
    offline: bool,
    /// The form of what is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn time(text: &str) -> Result<SystemTime, String> {
    let problem = "expected a time with its zone, as in `2026-01-01T09:30:00Z`";
    text.parse::<jiff::Timestamp>().map(SystemTime::from).map_err(|_| problem.to_owned())
}

/// A mistake in the arguments.
struct Usage(String);

impl Verify {
    pub(super) fn run(&self) -> u8 {
        self.explain().unwrap_or_else(|code| code)
    }

    fn explain(&self) -> Result<u8, u8> {
        let token = input::token(self.token.as_deref()).map_err(|message| {
            output::complain(&format!("error: {message}\n"));
            exit::FAILED
        })?;
        let runtime = output::runtime()?;
        let Loaded { gateway, diagnostics, sources, .. } = output::load_quiet(&self.folder, &runtime);
        let Some(gateway) = gateway else {
            let style = render::Style::of(std::io::stderr().is_terminal());
            output::complain(&render::styled(&diagnostics, &sources, style));
            return Err(exit::CONFIGURATION);
        };
        let ways = self.ways(&gateway).map_err(|Usage(message)| {
            output::complain(&format!("error: {message}\n"));
            exit::USAGE
        })?;
        if !self.offline {
            runtime.block_on(fetch_keys(&ways));
        }
        let now = self.at.unwrap_or_else(|| Clock::system().wall());
        let decoded = Decoded::read(&token).ok();
        let judged: Vec<Judged> = ways.iter().map(|way| judge::judge(way, &token, decoded.as_ref(), now)).collect();
        let verdict = Verdict::of_all(&judged);
        let doubtful = decoded.as_ref().filter(|_| verdict != Verdict::Accepted);
        let mut warnings = doubtful.map(|decoded| decoded.warnings(now)).unwrap_or_default();
        if self.product.is_none() {
            let mut products: Vec<&str> =
                ways.iter().flat_map(|way| &way.other_products).map(|product| &**product).collect();
            products.sort_unstable();
            products.dedup();
            let other =
                |product| format!("with a subscription of product {product} other policies run: --product {product}");
            warnings.extend(products.into_iter().map(other));
        }
        output::print(&match self.format {
            Format::Text => report::text(&judged, &warnings, output::style()),
            Format::Json => format!("{:#}\n", report::json(&judged, &warnings, now)),
        });
        Ok(match verdict {
            Verdict::Accepted => exit::OK,
            Verdict::Unknown => exit::FAILED,
            Verdict::Refused | Verdict::Depends => exit::ASSERTION,
        })
    }

    /// What the token may be put to.
    fn ways(&self, gateway: &Gateway) -> Result<Vec<Way>, Usage> {
        if let Some(name) = &self.product
            && !gateway.products.iter().any(|product| *product.name == **name)
        {
            return Err(unknown("product", name, gateway.products.iter().map(|product| &*product.name)));
        }
        let looks = |operation: &&Arc<Operation>| pipelines(operation).any(|(_, it)| !it.token_checks.is_empty());
        let mut looking: Vec<&str> = gateway.operations.iter().filter(looks).map(|it| &*it.api.name).collect();
        looking.dedup();
        let api = match (&self.api, &*looking) {
            (Some(name), _) => gateway
                .apis
                .iter()
                .map(|api| &*api.name)
                .find(|api| *api == *name)
                .ok_or_else(|| unknown("API", name, gateway.apis.iter().map(|api| &*api.name)))?,
            (None, [only]) => only,
            (None, []) => return Err(Usage("no policy of this folder looks at tokens".to_owned())),
            (None, several) => {
                return Err(Usage(format!(
                    "several APIs look at tokens\n  hint: give one of them as --api: {}",
                    several.join(", ")
                )));
            }
        };
        let of_api = || gateway.operations.iter().filter(|operation| *operation.api.name == *api);
        let asked = |operation: &&Arc<Operation>| self.operation.as_deref().is_none_or(|it| *it == *operation.name);
        if let Some(name) = &self.operation
            && !of_api().any(|operation| asked(&operation))
        {
            return Err(unknown(&format!("operation of `{api}`"), name, of_api().map(|operation| &*operation.name)));
        }
        let mut ways: Vec<Way> = Vec::new();
        for operation in of_api().filter(asked) {
            let product = self.product.as_deref();
            let product = product.or(operation.api.open_product.as_ref().map(|product| &*product.name));
            let Some((_, pipeline)) = pipelines(operation).find(|(name, _)| *name == product) else { continue };
            let others = pipelines(operation).filter(|(_, other)| !same(&pipeline.token_checks, &other.token_checks));
            let others: Vec<Arc<str>> = others.filter_map(|(name, _)| name.map(Into::into)).collect();
            match ways.iter_mut().find(|way| same(&way.checks, &pipeline.token_checks)) {
                Some(way) => way.operations.push(operation.name.clone()),
                None => ways.push(Way {
                    api: operation.api.name.clone(),
                    operations: vec![operation.name.clone()],
                    product: product.map(Into::into),
                    other_products: others,
                    checks: pipeline.token_checks.to_vec(),
                }),
            }
        }
        match (&self.product, ways.iter().all(|way| way.checks.is_empty())) {
            (Some(product), _) if ways.is_empty() => {
                Err(Usage(format!("`{api}` is not one of the APIs of product `{product}`")))
            }
            (_, true) => Err(Usage(match &self.operation {
                Some(operation) => format!("no policy of `{api}/{operation}` looks at tokens"),
                None => format!("no policy of `{api}` looks at tokens"),
            })),
            _ => Ok(ways),
        }
    }
}

/// Operations that put a token to the same checks.
struct Way {
    api: Arc<str>,
    operations: Vec<Arc<str>>,
    /// The product of the subscription.
    product: Option<Arc<str>>,
    /// The products under which the checks are others.
    other_products: Vec<Arc<str>>,
    checks: Vec<TokenCheck>,
}

/// Whether two lists are of the same policies.
fn same(one: &[TokenCheck], other: &[TokenCheck]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(&one.origin, &other.origin))
}

fn pipelines(operation: &Operation) -> impl Iterator<Item = (Option<&str>, &Pipeline)> {
    let products = operation.product_pipelines.iter().map(|(name, pipeline)| (Some(&**name), &**pipeline));
    std::iter::once((None, &*operation.pipeline)).chain(products)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Usage {
    let hint = match closest(name, known.clone()) {
        Some(best) => format!("\n  hint: did you mean `{best}`?"),
        None => format!("\n  hint: one of {}", known.collect::<Vec<_>>().join(", ")),
    };
    Usage(format!("unknown {what} `{name}`{hint}"))
}

/// Fetches the keys of all verifiers; why a fetch failed shows where keys are missing.
async fn fetch_keys(ways: &[Way]) {
    let mut verifiers: Vec<&Arc<TokenVerifier>> = Vec::new();
    for check in ways.iter().flat_map(|way| &way.checks) {
        if let TokenDemand::Valid { verifier, .. } = &check.demand
            && !verifiers.iter().any(|known| Arc::ptr_eq(known, verifier))
        {
            verifiers.push(verifier);
        }
    }
    let refreshes: Vec<_> = verifiers.iter().map(|verifier| verifier.fetch_keys()).collect();
    for refresh in refreshes {
        refresh.done().await;
    }
}
