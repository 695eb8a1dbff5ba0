//! What is tested: an operation of a folder, or what the command line says of somebody else's gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri};

use super::Loadtest;
use crate::cli::output::{complain, load_offline};
use crate::cli::{exit, routes};
use crate::compile::Loaded;
use crate::config::spec::VersionScheme;
use crate::config::{Diagnostics, folder, named, render};
use crate::forwarded::Fields;
use crate::gateway::{Gateway, Operation, Product};
use crate::llm::Prompt;
use crate::loadtest::expect::Counted;
use crate::loadtest::live::KeyPlace;
use crate::loadtest::stated::{self, Found, Usage};

/// The folder that is tested when nothing is named.
const DEFAULT_FOLDER: &str = "policies";

/// What is tested.
pub(super) struct Subject {
    /// What is expected of the limits.
    pub found: Found,
    /// The folder's operation, when it is known.
    pub operation: Option<Known>,
    /// The body of every request.
    pub body: Bytes,
    /// How many tokens of a language model each of them uses.
    pub usage: Usage,
}

/// An operation of a folder.
pub(super) struct Known {
    pub folder: PathBuf,
    pub loaded: Loaded,
    /// `API/OPERATION`.
    pub name: String,
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub product: Option<Arc<Product>>,
    /// The header that a subscription's key goes into, where calls need one or the limits count by it.
    pub key_header: HeaderName,
    pub needs_key: bool,
    pub answers_preflights: bool,
    /// In which fields the gateway believes who sends, if it trusts this machine as a proxy.
    pub proxy: Option<Fields>,
}

/// Finds out what is tested.
pub(super) fn find(arguments: &Loadtest) -> Result<Subject, u8> {
    let target = &arguments.target;
    let body = body(arguments)?;
    let usage = usage(arguments, &body);
    let operation = match &arguments.folder {
        Some(folder) => Some(known(arguments, folder, usage)?),
        None if target.urls.is_empty() && target.expect.is_empty() => {
            Some(known(arguments, Path::new(DEFAULT_FOLDER), usage)?)
        }
        None => None,
    };
    let mut found = match &operation {
        Some(known) => {
            let gateway = known.loaded.gateway.as_ref();
            let operation = gateway.and_then(|gateway| by_name(gateway, &known.name).ok()).ok_or(exit::FAILED)?;
            let by_subscription = known.needs_key || target.key == Some(KeyPlace::Subscription);
            stated::find(
                &known.loaded.stated,
                operation,
                known.product.as_deref(),
                target.key.as_ref(),
                by_subscription,
                usage,
            )
        }
        None => Found { place: target.key.clone().unwrap_or_default(), ..Found::default() },
    };
    if !target.expect.is_empty() {
        found.setups = stated::setups(&target.expect).map_err(|error| super::usage(&error))?;
        found.limits.clone_from(&target.expect);
        (found.others, found.notes) = (target.expect.iter().any(|limit| limit.counted == Counted::All), Vec::new());
    }
    if operation.is_none() && found.place == KeyPlace::Subscription {
        return Err(super::usage(
            "--key subscription needs a folder that says where the key goes; --key header=NAME says it",
        ));
    }
    if target.virtual_time && found.setups.is_empty() {
        return Err(super::usage("there is no limit to run in virtual time"));
    }
    if !target.virtual_time && target.urls.is_empty() && operation.is_none() {
        return Err(super::usage("there is nothing to send to; give a folder, --url or --virtual-time"));
    }
    Ok(Subject { found, operation, body, usage })
}

/// The body of every request.
fn body(arguments: &Loadtest) -> Result<Bytes, u8> {
    let Some(body) = arguments.target.body.as_deref() else { return Ok(Bytes::new()) };
    let Some(path) = body.strip_prefix('@') else { return Ok(Bytes::from(body.to_owned())) };
    let cannot = |error| super::usage(&format!("the body in `{path}` cannot be read: {error}"));
    let read = std::fs::read(path).map_err(cannot)?;
    Ok(read.into())
}

/// How many tokens an answer of the test's own backend reports, when nothing is said.
const TOKENS: u32 = 100;

/// How many tokens each request uses.
fn usage(arguments: &Loadtest, body: &[u8]) -> Usage {
    let target = &arguments.target;
    let own = target.virtual_time || target.backend_at.is_some() || (target.urls.is_empty() && !target.real_backends);
    let mut prompt = Prompt::default();
    prompt.read(body);
    let prompt = prompt.tokens();
    let enough = u32::try_from(prompt).unwrap_or(u32::MAX).max(TOKENS);
    Usage { answer: target.tokens.or(own.then_some(enough)), prompt }
}

fn known(arguments: &Loadtest, folder: &Path, usage: Usage) -> Result<Known, u8> {
    let loaded = load_offline(folder)?;
    let Some(gateway) = &loaded.gateway else {
        complain(&render::text(&loaded.diagnostics, &loaded.sources));
        return Err(exit::CONFIGURATION);
    };
    let target = &arguments.target;
    let operation = match &target.operation {
        Some(name) => by_name(gateway, name).map_err(|error| super::usage(&error))?,
        None => first_limited(&loaded, gateway, usage).ok_or_else(|| {
            super::usage(&format!(
                "no operation of `{}` has a limit; name one with --operation, or say with --expect what to expect",
                folder.display()
            ))
        })?,
    };
    let api = &operation.api;
    let product = match &target.product {
        Some(name) => {
            let named = gateway.products.iter().find(|product| *product.name == **name);
            Some(named.ok_or_else(|| super::usage(&format!("there is no product `{name}`")))?.clone())
        }
        None => product(gateway, operation),
    };
    let document = folder::parse(&loaded.sources, None, &named::Offline, &mut Diagnostics::default());
    let spec = document.apis.iter().find(|one| *one.spec.name.value == *api.name);
    let mut headers = Vec::new();
    if let Some(host) = spec.and_then(|api| api.spec.hosts.first()) {
        let value = HeaderValue::from_str(&host.value.replace('*', "loadtest")).map_err(|_| exit::FAILED)?;
        headers.push((http::header::HOST, value));
    }
    let version = spec.and_then(|api| api.spec.version.as_ref());
    if let Some((version, value)) = version.and_then(|version| Some((version, version.value.as_deref()?)))
        && version.scheme == VersionScheme::Header
    {
        let name = version.name.as_ref().map_or("api-version", |name| name.as_str());
        if let (Ok(name), Ok(value)) = (name.parse(), HeaderValue::from_str(value)) {
            headers.push((name, value));
        }
    }
    let path = match &target.path {
        Some(path) => path.clone(),
        None => {
            let path = routes::path(operation, spec);
            filled(path.split(" [").next().unwrap_or_default())
        }
    };
    Ok(Known {
        folder: folder.to_owned(),
        name: format!("{}/{}", api.name, operation.name),
        method: operation.method.clone().unwrap_or(Method::GET),
        path,
        headers,
        answers_preflights: operation.pipeline(product.as_deref()).answers_preflights(),
        proxy: proxy(gateway, &target.urls),
        product,
        key_header: api.key_header.clone(),
        needs_key: api.subscription_required,
        loaded,
    })
}

/// How requests of this machine to gateways of this machine are believed; of others it is not known where they come from.
fn proxy(gateway: &Gateway, urls: &[Uri]) -> Option<Fields> {
    let mut senders = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    if !urls.is_empty() {
        let sender = |url: &Uri| match url.host()?.trim_matches(['[', ']']) {
            "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            host => host.parse().ok().filter(IpAddr::is_loopback),
        };
        senders = urls.iter().map(sender).collect::<Option<_>>()?;
    }
    let forwarding = &gateway.settings.forwarding;
    let believed: Option<Vec<Fields>> = senders.into_iter().map(|sender| forwarding.believed_of(sender)).collect();
    believed?.first().copied()
}

/// The product that a call is made under: where a key is needed, a key of the first that holds the API.
fn product(gateway: &Gateway, operation: &Operation) -> Option<Arc<Product>> {
    let api = &operation.api;
    if !api.subscription_required {
        return api.open_product.clone();
    }
    gateway.products.iter().find(|product| api.products.contains(&product.name)).cloned()
}

fn by_name<'g>(gateway: &'g Gateway, name: &str) -> Result<&'g Operation, String> {
    let full = |operation: &Operation| format!("{}/{}", operation.api.name, operation.name);
    let fits = |operation: &&Arc<Operation>| full(operation) == name || *operation.name == *name;
    let mut fitting = gateway.operations.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(format!("several APIs have an operation `{name}`; write `API/{name}`")),
        (None, _) => {
            let names: Vec<String> = gateway.operations.iter().map(|operation| full(operation)).collect();
            let short = gateway.operations.iter().map(|operation| &*operation.name);
            let hint = crate::config::diagnostic::suggest(name, names.iter().map(String::as_str).chain(short));
            let hint = hint.unwrap_or_else(|| "`sluicegate routes` lists them".to_owned());
            Err(format!("there is no operation `{name}`; {hint}"))
        }
    }
}

/// The first operation with a limit that can be called as it is, else the first with a limit.
fn first_limited<'g>(loaded: &Loaded, gateway: &'g Gateway, usage: Usage) -> Option<&'g Operation> {
    let limited = |operation: &&Arc<Operation>| {
        let product = product(gateway, operation);
        let found = stated::find(
            &loaded.stated,
            operation,
            product.as_deref(),
            None,
            operation.api.subscription_required,
            usage,
        );
        !found.limits.is_empty()
    };
    let simple = |operation: &&Arc<Operation>| {
        operation.method.as_ref().is_none_or(|method| *method == Method::GET) && operation.template.names().is_empty()
    };
    let mut all = gateway.operations.iter().filter(limited);
    let first = all.clone().next();
    all.find(simple).or(first).map(|operation| &**operation)
}

/// A template with `1` in place of each variable.
fn filled(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut inside = false;
    for c in template.chars() {
        match c {
            '{' => inside = true,
            '}' if inside => {
                inside = false;
                out.push('1');
            }
            _ if inside => {}
            '*' => out.push('1'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        for (template, want) in [
            ("/orders", "/orders"),
            ("/orders/{id}/lines/{line}", "/orders/1/lines/1"),
            ("/files/*", "/files/1"),
            ("/files/{*rest}?x={y}", "/files/1?x=1"),
        ] {
            assert_eq!(filled(template), want);
        }
    }
}
