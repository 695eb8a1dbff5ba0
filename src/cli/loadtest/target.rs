//! What requests are sent to, and what they carry.

use http::{HeaderName, HeaderValue, Uri};

use super::subject::{Known, Subject};
use super::{Loadtest, usage};
use crate::cli::exit;
use crate::clock::Clock;
use crate::loadtest::live::{KeyPlace, Target};
use crate::process::Process;

/// What requests are sent to.
pub(super) fn target(
    arguments: &Loadtest,
    subject: &Subject,
    own: Option<&Process>,
    keys: &[String],
) -> Result<Target, u8> {
    let given = &arguments.target;
    let known = subject.operation.as_ref();
    let bad = |error: &dyn std::fmt::Display| usage(&error.to_string());
    let urls = urls(arguments, own, known).map_err(|error| bad(&error))?;
    let (first, others) = urls.split_first().ok_or(exit::FAILED)?;
    let method = given.method.clone().or_else(|| known.map(|known| known.method.clone())).unwrap_or_default();
    let mut headers: Vec<(HeaderName, HeaderValue)> = known.map(|known| known.headers.clone()).unwrap_or_default();
    let place = match (&subject.found.place, known) {
        (KeyPlace::Subscription, Some(known)) => KeyPlace::Header(known.key_header.clone()),
        (place, known) => {
            // A call that needs a key has one, though the limits do not count by it.
            if let Some(known) = known.filter(|known| known.needs_key && own.is_some())
                && let Some(value) = keys.first().and_then(|key| HeaderValue::from_str(key).ok())
            {
                headers.push((known.key_header.clone(), value));
            }
            place.clone()
        }
    };
    headers.extend(given.headers.iter().cloned());
    let authorities = given.ca_file.as_deref();
    let mut target = Target::new(first, authorities, Clock::system()).map_err(|error| bad(&error))?;
    for url in others {
        target = target.and_at(url, authorities).map_err(|error| bad(&error))?;
    }
    if let Some(address) = target.remote().filter(|_| !arguments.bounds.allow_remote) {
        return Err(usage(&format!(
            "{address} is not on this machine. Load somebody else's machine only with their consent, and with --allow-remote"
        )));
    }
    let proxy = known.and_then(|known| known.proxy);
    if place == KeyPlace::Address
        && proxy.is_none()
        && (target.remote().is_some() || target.addresses().any(|address| address.is_ipv6()))
    {
        return Err(usage("--key address needs a target at an IPv4 address of this machine"));
    }
    Ok(target
        .with_method(method)
        .with_headers(headers)
        .with_body(subject.body.clone())
        .with_keys(place, keys.to_vec().into())
        .as_proxy(proxy))
}

/// The URLs of the gateways. One without a path is where the gateway is; the operation says the rest.
fn urls(arguments: &Loadtest, own: Option<&Process>, known: Option<&Known>) -> Result<Vec<Uri>, http::uri::InvalidUri> {
    let given = &arguments.target;
    if let (Some(own), Some(known)) = (own, known) {
        return Ok(vec![format!("{}{}", own.url(), known.path).parse()?]);
    }
    let whole = |url: &Uri| {
        let path = match (url.path(), &given.path, known) {
            (_, Some(path), _) => path.clone(),
            ("" | "/", None, Some(known)) => known.path.clone(),
            _ => url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        };
        let scheme = url.scheme_str().unwrap_or("http");
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        format!("{scheme}://{authority}{path}").parse()
    };
    given.urls.iter().map(whole).collect()
}
