//! Products, consumers, subscriptions and their keys.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::value::{At, Scalar};

/// `[products.NAME]`: APIs that are granted together, with policies of their own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ProductSpec {
    /// The APIs of the product, by name.
    pub apis: Vec<At<String>>,
    /// Whether a subscription key is needed. An API may be in at most one product that needs none. Default `true`.
    pub subscription_required: Option<bool>,
    /// Whether the global policies run too. Default `true`.
    pub inherit: Option<bool>,
}

/// `[keys]`: the file of subscriptions that `sluicegate key` writes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct KeysSpec {
    /// The file, relative to the configuration folder: for folders that nothing may write to. It holds `[subscriptions.NAME]`
    /// tables only, and goes into force when it changes, as everything in the folder does. Default: `keys.toml`, when
    /// it is there.
    pub file: Option<At<String>>,
}

/// `[consumers.NAME]`: who calls, with one subscription or with several. Without any such table, a subscription's `consumer` may
/// be any text.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ConsumerSpec {
    /// Who it is, for people.
    pub description: Option<String>,
    /// The groups that it belongs to; `@consumer('groups')` is a list of them.
    pub groups: Vec<String>,
    /// Anything else that policies want to know: `@consumer('tier')` reads `tier`.
    pub metadata: BTreeMap<String, Scalar>,
}

/// `[subscriptions.NAME]`: a grant, and the keys it is used with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SubscriptionSpec {
    /// What it is for, for people.
    pub description: Option<String>,
    /// Digests of the keys: `sha256:` and 64 hexadecimal digits. Two, so that one can be changed at a time.
    pub keys: Vec<At<String>>,
    /// A key, with what is known of it. `sluicegate key` writes keys in this way.
    pub primary: Option<At<KeySpec>>,
    /// The other key, so that one can be changed at a time.
    pub secondary: Option<At<KeySpec>>,
    /// Keys that were replaced and work for some time still.
    pub retiring: Vec<At<KeySpec>>,
    /// Who calls with it; for logs and `@consumer()`. One of `[consumers]`, where there are any.
    pub consumer: Option<At<String>>,
    /// The product that it grants.
    pub product: Option<At<String>>,
    /// The APIs that it grants. With neither `product` nor `apis` it grants all APIs.
    pub apis: Vec<At<String>>,
    /// Only an active subscription works. Default `active`.
    pub state: SubscriptionState,
    /// When it was made: a date and time with a time zone.
    pub created: Option<At<String>>,
    /// When it stops working: a date and time with a time zone (`2027-01-31T00:00:00Z`).
    pub expires: Option<At<String>>,
    /// When it began, written the same way: the periods of a `quota` are counted from here. Default: `created`,
    /// else the year 1.
    pub start: Option<At<String>>,
    /// Anything else that policies want to know: `@subscription('team')` reads `team`.
    pub metadata: BTreeMap<String, Scalar>,
}

/// One key of a subscription.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeySpec {
    /// The digest of the key: `sha256:` and 64 hexadecimal digits.
    pub digest: At<String>,
    /// The key's last four characters, by which people recognise it.
    pub last_four: Option<At<String>>,
    /// When it was made: a date and time with a time zone. `sluicegate key rotate` replaces the older key.
    pub created: Option<At<String>>,
    /// When it stops working: a date and time with a time zone.
    pub expires: Option<At<String>>,
    /// When it was revoked. A key that has been never works.
    pub revoked: Option<At<String>>,
}

/// States of a subscription, as in Azure API Management.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SubscriptionState {
    /// Its keys work.
    #[default]
    Active,
    /// Blocked for now.
    Suspended,
    /// Asked for and not yet granted.
    Submitted,
    /// Asked for and refused.
    Rejected,
    /// Ended by its owner.
    Cancelled,
    /// Past its end.
    Expired,
}
