//! Which parts of an exchange an expression reads, so that nothing is kept or buffered that no step asks for.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of facts that must be at hand before an expression runs. Computed while the expression is read.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Needs(u16);

impl Needs {
    /// Nothing: the value is the same for every request, or depends on the gateway alone.
    pub const NONE: Self = Self(0);
    /// The request's method and target: URL and query.
    pub const TARGET: Self = Self(1 << 11);
    /// The request's head: method, target and headers.
    pub const REQUEST_HEAD: Self = Self(1 | Self::TARGET.0);
    /// The body of the current message, buffered; as JSON for `body()`, as text for `bodyText()`.
    pub const BODY: Self = Self(1 << 1);
    /// The response's head: status and headers.
    pub const RESPONSE_HEAD: Self = Self(1 << 2);
    /// The claims of a validated token.
    pub const CLAIMS: Self = Self(1 << 3);
    /// Variables that a policy set earlier in the exchange.
    pub const VARIABLES: Self = Self(1 << 4);
    /// Who calls: subscription, consumer.
    pub const CALLER: Self = Self(1 << 5);
    /// The parameters of the caller's connection.
    pub const CONNECTION: Self = Self(1 << 6);
    /// The failure that on-error handles.
    pub const LAST_ERROR: Self = Self(1 << 7);
    /// A buffered body for a step inside this one, which is buffered there and only when that step runs.
    pub const INNER_BODY: Self = Self(1 << 8);
    /// The request's head, once there is an answer: for a step of inbound that ends its work then.
    pub const HEAD_LATER: Self = Self(1 << 9);

    /// The backend's answer as it comes: for what a step of inbound counts of it.
    pub const ANSWER: Self = Self(1 << 10);

    const NAMES: [&'static str; 12] = [
        "request-head",
        "body",
        "response-head",
        "claims",
        "variables",
        "caller",
        "connection",
        "last-error",
        "inner-body",
        "head-later",
        "answer",
        "target",
    ];

    /// Whether everything in `other` is needed.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a step or one inside it reads the body.
    pub const fn reads_body(self) -> bool {
        self.contains(Self::BODY) || self.contains(Self::INNER_BODY)
    }

    /// Whether nothing is needed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together, where `|` cannot be used in a constant.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Needs {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Needs {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = (0..Self::NAMES.len()).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| Self::NAMES[bit]);
        f.debug_set().entries(names).finish()
    }
}
