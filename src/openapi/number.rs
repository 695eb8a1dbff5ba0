//! Numbers of JSON compared by their digits, so that `0.1` is a multiple of `0.01` and long ids are not rounded.

use std::cmp::Ordering;

/// A number.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// `digits × 10^exponent`; no digits at the end are zero.
    Exact {
        /// Whether it is below zero.
        negative: bool,
        /// Its digits.
        digits: u128,
        /// The power of ten.
        exponent: i64,
    },
    /// One with more digits than are kept.
    Rough(f64),
}

impl Number {
    /// Reads a number of JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let power = power.strip_prefix('+').unwrap_or(power);
        // Beyond these bounds all powers behave alike.
        let power = match power.parse::<i64>() {
            Ok(power) => power.clamp(-1_000_000_000, 1_000_000_000),
            Err(_) if power.starts_with('-') => -1_000_000_000,
            Err(_) => 1_000_000_000,
        };
        let all = whole.bytes().chain(fraction.bytes());
        let kept = all.clone().skip_while(|byte| *byte == b'0');
        let zeros = kept.clone().fold(0_usize, |zeros, byte| if byte == b'0' { zeros + 1 } else { 0 });
        let count = kept.clone().count() - zeros;
        if count > 38 {
            return text.parse().ok().map(Self::Rough);
        }
        let digits = kept.take(count).fold(0_u128, |value, byte| value * 10 + u128::from(byte - b'0'));
        let exponent = if digits == 0 { 0 } else { power - fraction.len() as i64 + zeros as i64 };
        Some(Self::Exact { negative: negative && digits != 0, digits, exponent })
    }

    /// Whether it is a whole number: `3`, `3.0`, `3e2`.
    pub fn is_whole(self) -> bool {
        match self {
            Self::Exact { exponent, .. } => exponent >= 0,
            Self::Rough(value) => value.fract() == 0.0,
        }
    }

    /// Whether it is a multiple of another one, which is above zero.
    pub fn is_multiple_of(self, of: Self) -> bool {
        let (Self::Exact { digits, exponent, .. }, Self::Exact { digits: of_digits, exponent: of_exponent, .. }) =
            (self, of)
        else {
            return (self.value() % of.value()) == 0.0;
        };
        if of_digits == 0 {
            return true;
        }
        let shift = exponent - of_exponent;
        if shift < 0 {
            let scale = u32::try_from(-shift).ok().and_then(|shift| 10_u128.checked_pow(shift));
            // A scale that large is larger than the number itself.
            return scale
                .and_then(|scale| of_digits.checked_mul(scale))
                .map_or(digits == 0, |of| digits.is_multiple_of(of));
        }
        if u64::try_from(of_digits).is_err() {
            return (self.value() % of.value()) == 0.0;
        }
        (digits % of_digits * power_of_ten(shift.unsigned_abs(), of_digits)).is_multiple_of(of_digits)
    }

    /// Its value, rounded.
    pub fn value(self) -> f64 {
        match self {
            Self::Rough(value) => value,
            Self::Exact { negative, digits, exponent } => {
                let sign = if negative { "-" } else { "" };
                format!("{sign}{digits}e{exponent}").parse().unwrap_or(f64::NAN)
            }
        }
    }
}

/// `10^power` modulo a number below 2^64.
fn power_of_ten(mut power: u64, modulus: u128) -> u128 {
    let (mut result, mut base) = (1 % modulus, 10 % modulus);
    while power > 0 {
        if power & 1 == 1 {
            result = result * base % modulus;
        }
        base = base * base % modulus;
        power >>= 1;
    }
    result
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let (
            Self::Exact { negative, digits, exponent },
            Self::Exact { negative: other_negative, digits: other_digits, exponent: other_exponent },
        ) = (*self, *other)
        else {
            return self.value().partial_cmp(&other.value());
        };
        if negative != other_negative {
            return Some(if negative { Ordering::Less } else { Ordering::Greater });
        }
        let size = match (digits, other_digits) {
            (0, 0) => Ordering::Equal,
            (0, _) => Ordering::Less,
            (_, 0) => Ordering::Greater,
            _ => {
                let shift = exponent - other_exponent;
                let scaled = |digits: u128| {
                    let scale = u32::try_from(shift.unsigned_abs()).ok().and_then(|by| 10_u128.checked_pow(by))?;
                    digits.checked_mul(scale)
                };
                // What does not fit when it is brought to the other's scale is larger than what fits.
                if shift >= 0 {
                    scaled(digits).map_or(Ordering::Greater, |digits| digits.cmp(&other_digits))
                } else {
                    scaled(other_digits).map_or(Ordering::Less, |other| digits.cmp(&other))
                }
            }
        };
        Some(if negative { size.reverse() } else { size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_compared_by_their_digits() {
        for (a, b, want) in [
            ("1", "1.0", Ordering::Equal),
            ("10", "1e1", Ordering::Equal),
            ("-0", "0", Ordering::Equal),
            ("0.1", "0.10000000000000000001", Ordering::Less),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("-2", "-1", Ordering::Less),
            ("-1", "0", Ordering::Less),
            ("1e400", "1e399", Ordering::Greater),
            ("1e-400", "0", Ordering::Greater),
            ("123456789012345678901234567890123456789012", "1e40", Ordering::Greater),
        ] {
            assert_eq!(number(a).partial_cmp(&number(b)), Some(want), "{a} {b}");
            assert_eq!(number(b).partial_cmp(&number(a)), Some(want.reverse()), "{b} {a}");
        }
        assert!(Number::parse("x").is_none());
    }

    #[test]
    fn multiples_and_whole_numbers() {
        for (value, of, want) in [
            ("19.99", "0.01", true),
            ("0.0075", "0.0001", true),
            ("0.00751", "0.0001", false),
            ("1e308", "0.123456789", false),
            ("1e308", "0.5", true),
            ("7", "2", false),
            ("0", "3", true),
            ("-9", "3", true),
        ] {
            assert_eq!(number(value).is_multiple_of(number(of)), want, "{value} {of}");
        }
        for (value, want) in [("1", true), ("1.0", true), ("1.5", false), ("15e-1", false), ("1e5", true)] {
            assert_eq!(number(value).is_whole(), want, "{value}");
        }
    }
}
