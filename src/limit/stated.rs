//! What a policy says about its limits, as plain data: for who tests them or lists them.

use std::num::NonZeroU32;

use super::{Count, Settings};

/// What a policy says about one of its limits.
#[derive(Clone, Debug)]
pub struct Stated {
    /// The limit.
    pub terms: StatedTerms,
    /// Whose requests count together.
    pub key: StatedKey,
    /// What happens to a request without a key.
    pub missing_key: MissingKey,
    /// How much a request costs, where that is always the same.
    pub cost: Option<u32>,
    /// Which requests are counted, where that does not differ between them. [`Later`](Count::Later) are those of whose answers it is
    /// said; when they are counted, it is with `cost`.
    pub count: Option<Count>,
    /// What is counted where the units are tokens of a language model.
    pub tokens: Option<Tokens>,
    /// Whether it only counts and refuses nothing.
    pub shadow: bool,
    /// Whether requests wait their turn before they are refused.
    pub delays: bool,
    /// Whether its answers carry `RateLimit`.
    pub told: bool,
    /// The API that it is for, in a limit of several.
    pub api: Option<String>,
    /// The operation that it is for, in a limit of several.
    pub operation: Option<String>,
}

/// How tokens are counted: as many as the answer says that it used, once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Whether the estimate of the prompt is counted beforehand.
    pub estimates: bool,
    /// How many are counted ahead beside it.
    pub reserve: u32,
    /// Whether there is a quota beside the rate, which may refuse requests too.
    pub quota: bool,
}

/// The limit itself.
#[derive(Clone, Debug)]
pub enum StatedTerms {
    /// So many in a time. With [`Settings::varying`] the numbers stand for nothing.
    Rate(Settings),
    /// So many at once.
    Concurrency(NonZeroU32),
}

/// Whose requests count together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatedKey {
    /// The subscription's, else the client's address.
    Caller,
    /// Everybody's.
    All,
    /// Those for which this has the same value, as it is written.
    Written(String),
}

/// What happens to a request without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingKey {
    /// It is refused.
    Refused,
    /// All of them are one key.
    OneKey,
    /// It is not limited.
    Unlimited,
    /// It counts by something else.
    Otherwise,
}
