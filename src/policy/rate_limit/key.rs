//! Whose request it is, as limits see it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use http::StatusCode;

use super::OnMissingKey;
use crate::expression::{Expression, Value};
use crate::pipeline::limits::KeyText;
use crate::pipeline::{Context, Fault};
use crate::policy::value::evaluation_failed;
use crate::telemetry::metrics::LimitMetrics;

/// Begins keys that no header can hold, so that no caller can count as somebody else.
pub(super) const MARK: char = '\0';

/// The key of all requests without one.
const NO_KEY: &str = "\0";

/// Whose requests count together.
pub(in crate::policy) enum Key {
    /// The subscription's, else those of the client's address.
    Caller,
    /// Those that give the same text.
    Expression(Expression),
}

/// What happens to a request without a key.
pub(in crate::policy) struct Missing<'a> {
    pub(in crate::policy) then: OnMissingKey,
    /// Whether the limit refuses nothing.
    pub(in crate::policy) shadow: bool,
    pub(in crate::policy) metrics: &'a LimitMetrics,
    /// Of the refusal.
    pub(in crate::policy) reason: &'static str,
    pub(in crate::policy) message: &'static str,
}

impl Key {
    /// Whose request it is; none when it is not limited.
    pub(in crate::policy) fn of(&self, cx: &Context<'_>, missing: &Missing<'_>) -> Result<Option<KeyText>, Fault> {
        let key = match self {
            Self::Caller => cx.state.subscription.as_ref().map(|subscription| Cow::Borrowed(&*subscription.id)),
            Self::Expression(expression) => match expression.evaluate(cx).map_err(evaluation_failed)? {
                Value::Null => None,
                value => Some(value.into_text().map_err(evaluation_failed)?),
            },
        };
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            return Ok(Some(KeyText::new(&key)));
        }
        match missing.then {
            _ if matches!(self, Self::Caller) => Ok(Some(Self::of_address(cx))),
            OnMissingKey::ClientIp => Ok(Some(Self::of_address(cx))),
            OnMissingKey::Share => Ok(Some(KeyText::new(NO_KEY))),
            OnMissingKey::Skip => Ok(None),
            OnMissingKey::Reject if missing.shadow => {
                missing.metrics.shadow_refused.inc();
                Ok(None)
            }
            OnMissingKey::Reject => {
                missing.metrics.refused.inc();
                Err(Fault::client(StatusCode::FORBIDDEN, missing.reason, missing.message).by_limit())
            }
        }
    }

    fn of_address(cx: &Context<'_>) -> KeyText {
        KeyText::new(&AddressKey::new(cx.exchange.client_ip))
    }
}

/// A client's address as a key, made without allocation.
struct AddressKey {
    text: [u8; 48],
    length: usize,
}

impl AddressKey {
    fn new(address: IpAddr) -> Self {
        let mut key = Self { text: [0; 48], length: 0 };
        let written = match address.to_canonical() {
            IpAddr::V4(address) => write!(key, "{MARK}{address}"),
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
                write!(key, "{MARK}{network}/64")
            }
        };
        debug_assert!(written.is_ok(), "an address has at most 39 characters");
        key
    }
}

impl std::fmt::Write for AddressKey {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.text.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl std::ops::Deref for AddressKey {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_keys() {
        for (name, address, want) in [
            ("IPv4", "192.0.2.7", "\u{0}192.0.2.7"),
            ("IPv4 in IPv6", "::ffff:192.0.2.7", "\u{0}192.0.2.7"),
            ("IPv6 by network", "2001:db8:1:2:3:4:5:6", "\u{0}2001:db8:1:2::/64"),
            ("the longest", "ffff:eeee:dddd:cccc:bbbb:aaaa:9999:8888", "\u{0}ffff:eeee:dddd:cccc::/64"),
        ] {
            assert_eq!(&*AddressKey::new(address.parse().unwrap()), want, "{name}");
        }
    }
}
