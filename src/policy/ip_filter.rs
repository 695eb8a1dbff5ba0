//! Lets callers in, or keeps them out, by their address.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr as _;

use http::StatusCode;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Policy, Sections};
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::pipeline::{Apply, Context, Exchange, Fault, Flow, Step};

/// Lets callers in, or keeps them out, by their address: `403` for those kept out. The address is `@clientIp()`: that of the
/// connection, or behind `trusted-proxies` the last one in the forwarding headers that is not a trusted proxy's. (Azure API
/// Management only ever looks at the connection; see
/// [ip-filter](https://learn.microsoft.com/azure/api-management/ip-filter-policy).)
///
/// An IPv4 address and the same one written as IPv6 (`::ffff:192.0.2.1`) are equal.
///
/// ```toml
/// [[inbound]]
/// policy    = "ip-filter"
/// action    = "allow"
/// addresses = ["192.0.2.7", "10.0.0.0/8", "198.51.100.10-198.51.100.20", "2001:db8::/32"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IpFilter {
    /// What happens to the listed addresses.
    action: Action,
    /// Addresses, networks in CIDR notation, and ranges from the first to the last address. At least one; thousands cost no
    /// more than a few.
    addresses: At<Vec<At<String>>>,
}

/// What happens to the listed addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// They are let in, and nobody else.
    Allow,
    /// They are kept out, and nobody else.
    Forbid,
}

impl Policy for IpFilter {
    const NAME: &'static str = "ip-filter";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        if self.addresses.is_empty() {
            return Err(CompileError::at(&self.addresses, "a filter without addresses filters nothing")
                .hint("give at least one address, network or range"));
        }
        let mut ranges = Vec::with_capacity(self.addresses.len());
        for text in &self.addresses.value {
            let range = Range::parse(text).map_err(|message| {
                CompileError::at(text, message).hint("`192.0.2.7`, `10.0.0.0/8` or `10.0.0.1-10.0.0.9`")
            })?;
            if let Ok(network) = IpNet::from_str(text)
                && network.addr() != network.network()
            {
                let message = format!("`{}` means the whole of `{}`", text.value, network.trunc());
                cx.warn(text, "host-bits", message, "write the network's first address, or the one address alone");
            }
            ranges.push(range);
        }
        Ok(Step::sync(Compiled { action: self.action, ranges: Ranges::new(ranges) }))
    }
}

// === impl Apply ===

struct Compiled {
    action: Action,
    ranges: Ranges,
}

impl Apply for Compiled {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let address = cx.exchange.client_ip;
        match (self.action, self.ranges.contains(address)) {
            (Action::Allow, true) | (Action::Forbid, false) => Ok(Flow::Next),
            (Action::Allow, false) => Err(refused(
                cx.exchange,
                "CallerIpNotAllowed",
                format!("Caller IP address {} is not allowed. Access denied.", address.to_canonical()),
            )),
            (Action::Forbid, true) => {
                Err(refused(cx.exchange, "CallerIpBlocked", "Caller IP address is blocked. Access denied.".to_owned()))
            }
        }
    }
}

/// The log says where the address is from: a load balancer that is not listed is the usual mistake.
#[cold]
fn refused(exchange: &Exchange, reason: &'static str, message: String) -> Fault {
    let address = exchange.client_ip.to_canonical();
    let connection = exchange.connection_ip.to_canonical();
    let cause = if address == connection {
        format!(
            "{address} is the other end of the connection; a proxy's callers count once it is among the `trusted-proxies`"
        )
    } else {
        format!("{address} is what the trusted proxy {connection} tells")
    };
    Fault::client(StatusCode::FORBIDDEN, reason, message).public("Forbidden").cause(cause)
}

/// Addresses as numbers, IPv4 in its place within IPv6 (RFC 4291 §2.5.5.2).
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// From the first address to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: u128,
    last: u128,
}

impl Range {
    fn parse(text: &str) -> Result<Self, String> {
        let address = |text: &str| {
            let text = text.trim();
            text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address"))
        };
        if text.contains('/') {
            let network = IpNet::from_str(text.trim()).map_err(|_| format!("`{text}` is not a network"))?;
            return Ok(Self { first: number(network.network()), last: number(network.broadcast()) });
        }
        let Some((first, last)) = text.split_once('-') else {
            let number = number(address(text)?);
            return Ok(Self { first: number, last: number });
        };
        let (first, last) = (address(first)?.to_canonical(), address(last)?.to_canonical());
        if first.is_ipv4() != last.is_ipv4() {
            return Err(format!("`{text}` begins and ends in different address families"));
        }
        if first > last {
            return Err(format!("`{text}` ends before it begins"));
        }
        Ok(Self { first: number(first), last: number(last) })
    }
}

/// Sorted ranges that neither overlap nor touch.
#[derive(Debug)]
struct Ranges(Box<[Range]>);

impl Ranges {
    fn new(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, range| {
            let joins = next.first <= range.last.saturating_add(1);
            if joins {
                range.last = range.last.max(next.last);
            }
            joins
        });
        Self(ranges.into_boxed_slice())
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.0.partition_point(|range| range.first <= address);
        after.checked_sub(1).is_some_and(|at| address <= self.0[at].last)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = |number| IpAddr::from(Ipv6Addr::from_bits(number)).to_canonical();
        write!(f, "{}-{}", address(self.first), address(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read() {
        for (text, want) in [
            ("192.0.2.7", Ok("192.0.2.7-192.0.2.7")),
            ("10.0.0.0/8", Ok("10.0.0.0-10.255.255.255")),
            ("10.1.2.3/8", Ok("10.0.0.0-10.255.255.255")),
            ("10.0.0.1 - 10.0.0.9", Ok("10.0.0.1-10.0.0.9")),
            ("10.0.0.1-10.0.0.1", Ok("10.0.0.1-10.0.0.1")),
            ("::ffff:10.0.0.1", Ok("10.0.0.1-10.0.0.1")),
            ("::ffff:10.0.0.1-10.0.0.2", Ok("10.0.0.1-10.0.0.2")),
            ("0.0.0.0/0", Ok("0.0.0.0-255.255.255.255")),
            ("2001:db8::/126", Ok("2001:db8::-2001:db8::3")),
            ("::ffff:10.0.0.0/104", Ok("10.0.0.0-10.255.255.255")),
            ("10.0.0.9-10.0.0.1", Err("`10.0.0.9-10.0.0.1` ends before it begins")),
            ("10.0.0.1-::1", Err("`10.0.0.1-::1` begins and ends in different address families")),
            ("10.0.0.0/33", Err("`10.0.0.0/33` is not a network")),
            ("10.0.0", Err("`10.0.0` is not an IP address")),
            ("localhost", Err("`localhost` is not an IP address")),
            ("", Err("`` is not an IP address")),
        ] {
            let read = Range::parse(text).map(|range| range.to_string());
            assert_eq!(read.as_deref().map_err(String::as_str), want, "{text}");
        }
    }

    #[test]
    fn ends_are_inside_and_neighbours_are_not() {
        let list = ["10.0.0.5-10.0.0.9", "10.0.0.0/30", "10.0.0.4", "192.0.2.1", "2001:db8::/32"];
        let ranges = Ranges::new(list.iter().map(|text| Range::parse(text).unwrap()).collect());
        assert_eq!(ranges.0.len(), 3, "touching ranges are one");
        for (address, want) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.0.0.4", true),
            ("10.0.0.9", true),
            ("10.0.0.10", false),
            ("192.0.2.0", false),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
            ("::192.0.2.1", false),
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("2001:db8::", true),
            ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(ranges.contains(address.parse().unwrap()), want, "{address}");
        }
    }

    proptest! {
        #[test]
        fn merging_changes_no_answer(
            pairs in proptest::collection::vec((0u128..40, 0u128..6), 0..12), edge: bool, probe in 0u128..60,
        ) {
            // The last addresses of all are where arithmetic goes wrong.
            let place = |at: u128| if edge { u128::MAX - 59 + at } else { at };
            let ranges: Vec<Range> =
                pairs.iter().map(|(first, length)| Range { first: place(*first), last: place(first + length) }).collect();
            let want = ranges.iter().any(|range| (range.first..=range.last).contains(&place(probe)));
            let address = IpAddr::from(Ipv6Addr::from_bits(place(probe)));
            prop_assert_eq!(Ranges::new(ranges).contains(address), want);
        }
    }
}
