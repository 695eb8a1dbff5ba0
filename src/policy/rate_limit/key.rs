//! A client's address as the key of a limit.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

/// Begins keys that no header can hold, so that no caller can count as somebody else.
pub(super) const MARK: char = '\0';

/// A client's address as a key, made without allocation.
pub(in crate::policy) struct AddressKey {
    text: [u8; 48],
    length: usize,
}

impl AddressKey {
    pub(in crate::policy) fn new(address: IpAddr) -> Self {
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
