//! The policy catalogue: one file for each policy, and the list of them all.

mod api_key;
mod authentication_basic;
mod authentication_certificate;
mod authentication_connection;
mod authentication_managed_identity;
mod authentication_oauth2;
mod authorize;
mod azure_openai_token_limit;
mod basic_auth;
mod body_places;
mod body_property;
mod body_template;
mod branch;
mod cache_lookup;
mod cache_lookup_value;
mod cache_remove_value;
mod cache_store;
mod cache_store_value;
mod cached;
mod check_header;
mod choose;
mod collect_pages;
mod convert_array_to_object;
mod convert_dates;
mod convert_numbers;
mod convert_object_to_array;
mod cors;
mod draw;
mod dynamic_host_url;
mod dynamic_subdomain;
mod encode_property_value;
mod find_and_replace;
mod forward_request;
mod granted;
mod include_fragment;
mod inject_error;
mod inject_latency;
mod ip_filter;
mod limit_concurrency;
mod link_field;
mod llm_token_limit;
mod mock_response;
mod move_properties;
mod parameters;
mod polling_trigger;
mod public_link;
mod quota;
mod quota_by_key;
mod rate_limit;
mod rate_limit_by_key;
pub(crate) mod redirect_content_urls;
mod require_role;
mod require_scope;
mod retry;
mod return_response;
mod rewrite_uri;
mod route_request;
mod route_template;
mod set_backend_service;
mod set_body;
mod set_connection_status;
mod set_defaults;
mod set_header;
mod set_method;
mod set_property;
mod set_query_parameter;
mod set_status;
mod set_value_from_url;
mod set_variable;
mod string_replace;
mod string_to_array;
#[cfg(test)]
mod tests;
mod timeout;
mod token;
mod unfit;
mod update_next_link;
mod validate_azure_ad_token;
mod validate_client_certificate;
mod validate_content;
mod validate_headers;
mod validate_jwt;
mod validate_parameters;
mod validate_status_code;
mod validation;
mod value;

pub(crate) use set_header::is_framing;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::compile::{CompileCx, CompileError};
use crate::config::RawPolicy;
use crate::pipeline::Step;

/// A policy as written in TOML. One implementor for each file in `src/policy/`.
pub trait Policy: DeserializeOwned + JsonSchema {
    /// The name that stands in `policy = "…"`.
    const NAME: &'static str;
    /// Where it may be written.
    const SECTIONS: Sections;
    /// Whether it stands at most once in a list.
    const ONCE: bool = false;
    /// Checks the values and builds the step. Errors name the field, never the policy.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError>;
}

/// A section of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Before the backend is chosen and called.
    Inbound,
    /// Around the call of the backend.
    Backend,
    /// On the answer's way back.
    Outbound,
    /// After something failed.
    OnError,
}

impl Section {
    /// All sections, in the order they run.
    pub const ALL: [Self; 4] = [Self::Inbound, Self::Backend, Self::Outbound, Self::OnError];

    /// The name of the section in TOML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Backend => "backend",
            Self::Outbound => "outbound",
            Self::OnError => "on-error",
        }
    }

    /// Whether the message of the section is the response.
    pub fn is_response(self) -> bool {
        matches!(self, Self::Outbound | Self::OnError)
    }
}

/// A set of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections(u8);

impl Sections {
    /// Inbound only.
    pub const INBOUND: Self = Self(1);
    /// Backend only.
    pub const BACKEND: Self = Self(2);
    /// Outbound only.
    pub const OUTBOUND: Self = Self(4);
    /// On-error only.
    pub const ON_ERROR: Self = Self(8);
    /// Where the message is the request.
    pub const REQUEST: Self = Self(1 | 2);
    /// Where the message goes to the backend or comes from it.
    pub const MESSAGES: Self = Self(1 | 2 | 4);
    /// Where the message is the response.
    pub const RESPONSE: Self = Self(4 | 8);
    /// Everywhere.
    pub const ALL: Self = Self(15);

    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a section is in the set.
    pub const fn contains(self, section: Section) -> bool {
        self.0 & (1 << section as u8) != 0
    }

    /// The sections of the set.
    pub fn iter(self) -> impl Iterator<Item = Section> {
        Section::ALL.into_iter().filter(move |section| self.contains(*section))
    }
}

/// Builds a step from a policy as written; mistakes go to the context's diagnostics.
pub type CompileFn = for<'i> fn(&RawPolicy<'i>, &mut CompileCx<'_, 'i>) -> Option<Step>;

/// One registry entry, made from the type: nothing is stated twice.
pub struct Kind {
    /// The policy's name.
    pub name: &'static str,
    /// Where it may be written.
    pub sections: Sections,
    /// Whether it stands at most once in a list.
    pub once: bool,
    /// Its JSON Schema, with the doc comments of its fields.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Its compiler.
    pub compile: CompileFn,
}

impl Kind {
    /// The entry of a policy type.
    pub const fn of<P: Policy>() -> Self {
        Self { name: P::NAME, sections: P::SECTIONS, once: P::ONCE, schema: P::json_schema, compile: compile::<P> }
    }

    /// The kind with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KINDS.binary_search_by(|kind| kind.name.cmp(name)).ok().map(|at| &KINDS[at])
    }
}

fn compile<'i, P: Policy>(raw: &RawPolicy<'i>, cx: &mut CompileCx<'_, 'i>) -> Option<Step> {
    let spec = cx.read::<P>(raw)?;
    match spec.compile(cx) {
        Ok(step) => Some(step),
        Err(error) => {
            cx.report(error, raw);
            None
        }
    }
}

/// Every policy, sorted by name. `base` is no policy: it marks where the broader scope's steps go.
pub const KINDS: &[Kind] = &[
    Kind::of::<api_key::ApiKey>(),
    Kind::of::<authentication_basic::AuthenticationBasic>(),
    Kind::of::<authentication_certificate::AuthenticationCertificate>(),
    Kind::of::<authentication_connection::AuthenticationConnection>(),
    Kind::of::<authentication_managed_identity::AuthenticationManagedIdentity>(),
    Kind::of::<authentication_oauth2::AuthenticationOauth2>(),
    Kind::of::<authorize::Authorize>(),
    Kind::of::<azure_openai_token_limit::AzureOpenaiTokenLimit>(),
    Kind::of::<basic_auth::BasicAuth>(),
    Kind::of::<cache_lookup::CacheLookup>(),
    Kind::of::<cache_lookup_value::CacheLookupValue>(),
    Kind::of::<cache_remove_value::CacheRemoveValue>(),
    Kind::of::<cache_store::CacheStore>(),
    Kind::of::<cache_store_value::CacheStoreValue>(),
    Kind::of::<check_header::CheckHeader>(),
    Kind::of::<choose::Choose>(),
    Kind::of::<collect_pages::CollectPages>(),
    Kind::of::<convert_array_to_object::ConvertArrayToObject>(),
    Kind::of::<convert_dates::ConvertDates>(),
    Kind::of::<convert_numbers::ConvertNumbers>(),
    Kind::of::<convert_object_to_array::ConvertObjectToArray>(),
    Kind::of::<cors::Cors>(),
    Kind::of::<dynamic_host_url::DynamicHostUrl>(),
    Kind::of::<dynamic_subdomain::DynamicSubdomain>(),
    Kind::of::<encode_property_value::EncodePropertyValue>(),
    Kind::of::<find_and_replace::FindAndReplace>(),
    Kind::of::<forward_request::ForwardRequest>(),
    Kind::of::<include_fragment::IncludeFragment>(),
    Kind::of::<inject_error::InjectError>(),
    Kind::of::<inject_latency::InjectLatency>(),
    Kind::of::<ip_filter::IpFilter>(),
    Kind::of::<limit_concurrency::LimitConcurrency>(),
    Kind::of::<llm_token_limit::LlmTokenLimit>(),
    Kind::of::<mock_response::MockResponse>(),
    Kind::of::<move_properties::MoveProperties>(),
    Kind::of::<polling_trigger::PollingTrigger>(),
    Kind::of::<quota::Quota>(),
    Kind::of::<quota_by_key::QuotaByKey>(),
    Kind::of::<rate_limit::RateLimit>(),
    Kind::of::<rate_limit_by_key::RateLimitByKey>(),
    Kind::of::<redirect_content_urls::RedirectContentUrls>(),
    Kind::of::<require_role::RequireRole>(),
    Kind::of::<require_scope::RequireScope>(),
    Kind::of::<retry::Retry>(),
    Kind::of::<return_response::ReturnResponse>(),
    Kind::of::<rewrite_uri::RewriteUri>(),
    Kind::of::<route_request::RouteRequest>(),
    Kind::of::<set_backend_service::SetBackendService>(),
    Kind::of::<set_body::SetBody>(),
    Kind::of::<set_connection_status::SetConnectionStatus>(),
    Kind::of::<set_defaults::SetDefaults>(),
    Kind::of::<set_header::SetHeader>(),
    Kind::of::<set_method::SetMethod>(),
    Kind::of::<set_property::SetProperty>(),
    Kind::of::<set_query_parameter::SetQueryParameter>(),
    Kind::of::<set_status::SetStatus>(),
    Kind::of::<set_value_from_url::SetValueFromUrl>(),
    Kind::of::<set_variable::SetVariable>(),
    Kind::of::<string_replace::StringReplace>(),
    Kind::of::<string_to_array::StringToArray>(),
    Kind::of::<timeout::Timeout>(),
    Kind::of::<update_next_link::UpdateNextLink>(),
    Kind::of::<validate_azure_ad_token::ValidateAzureAdToken>(),
    Kind::of::<validate_client_certificate::ValidateClientCertificate>(),
    Kind::of::<validate_content::ValidateContent>(),
    Kind::of::<validate_headers::ValidateHeaders>(),
    Kind::of::<validate_jwt::ValidateJwt>(),
    Kind::of::<validate_parameters::ValidateParameters>(),
    Kind::of::<validate_status_code::ValidateStatusCode>(),
];
