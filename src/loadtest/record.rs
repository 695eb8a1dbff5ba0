//! What is kept of each request: when it was meant to be sent, was sent and was answered, and what the answer said.

use super::replay::Span;

/// Stands for an absent number in a [`Record`].
const NONE: u32 = u32::MAX;

/// The number of a key among those of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u32);

impl KeyId {
    /// Of requests that carry no key.
    pub const MISSING: Self = Self(u32::MAX);
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// As any client sends it.
    #[default]
    Plain,
    /// With forwarding headers that name another client.
    Forged,
    /// A CORS preflight.
    Preflight,
    /// From another address of the caller's IPv6 network each time.
    Network,
}

/// What an answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status; 0 when none came.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// How many requests are left, as `RateLimit` or a header like it says.
    pub remaining: Option<u32>,
    /// The seconds until the limit is reset, as `RateLimit` or a header like it says.
    pub reset: Option<u32>,
    /// The limit, as a header says.
    pub limit: Option<u32>,
}

/// What an answer says about a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The request passed it.
    Admitted,
    /// The limit refused it.
    Refused,
    /// Nobody knows: no answer came, or one from before the limit (401, 404) or from a gateway in trouble.
    Unknown,
}

/// A request that is to be sent, and whose answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whose.
    pub key: KeyId,
    /// The client's call, of which this may be one attempt of several.
    pub job: u32,
    /// The phase, by its place in the plan.
    pub phase: u16,
    /// 1 for the first.
    pub number: u16,
    /// How many attempts of the call were refused before.
    pub refusals: u16,
    /// The kind.
    pub kind: Kind,
    /// When it is meant to be sent.
    pub intended: u64,
    /// When the call's first attempt was meant to be sent.
    pub began: u64,
}

/// A request and its answer. All times are nanoseconds from the start of the test.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The request.
    pub attempt: Attempt,
    /// When the sender was ready to send it: later than intended when it could not keep up.
    pub handled: u64,
    /// When it was sent: later than handled when all connections were in use.
    pub sent: u64,
    /// When the answer's head came.
    pub received: u64,
    /// When the answer's end came.
    pub ended: u64,
    /// The status.
    pub status: u16,
    retry_after: u32,
    remaining: u32,
    reset: u32,
}

impl Record {
    /// A request and its answer. `times` are when it was handled and sent, and when the answer's head and end came.
    pub fn new(attempt: Attempt, times: [u64; 4], answer: &Answer) -> Self {
        let [handled, sent, received, ended] = times;
        let number = |value: Option<u32>| value.map_or(NONE, |value| value.min(NONE - 1));
        Self {
            attempt,
            handled,
            sent,
            received: received.max(sent),
            ended: ended.max(received),
            status: answer.status,
            retry_after: number(answer.retry_after),
            remaining: number(answer.remaining),
            reset: number(answer.reset),
        }
    }

    /// When the limit decided.
    pub fn span(&self) -> Span {
        Span { sent: self.sent, received: self.received, ended: self.ended }
    }

    /// From when it was meant to be sent to when the answer's head came. So a slow answer counts for the requests behind it
    /// too, as real clients would have it.
    pub fn latency(&self) -> u64 {
        self.received.saturating_sub(self.attempt.intended)
    }

    /// `Retry-After`, in seconds.
    pub fn retry_after(&self) -> Option<u32> {
        (self.retry_after != NONE).then_some(self.retry_after)
    }

    /// How many requests the answer said are left.
    pub fn remaining(&self) -> Option<u32> {
        (self.remaining != NONE).then_some(self.remaining)
    }

    /// The seconds that the answer said are left until the limit is reset.
    pub fn reset(&self) -> Option<u32> {
        (self.reset != NONE).then_some(self.reset)
    }
}

/// What a status says, when `refusals` are the statuses with which limits refuse.
pub fn fate(status: u16, refusals: &[u16]) -> Fate {
    match status {
        status if refusals.contains(&status) => Fate::Refused,
        200..=399 => Fate::Admitted,
        _ => Fate::Unknown,
    }
}
