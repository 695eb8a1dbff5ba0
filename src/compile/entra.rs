//! `[issuers.NAME.entra]` and `validate-azure-ad-token`: tenants of Entra ID as sources of keys.

use std::sync::Arc;

use super::{CompileError, World};
use crate::config::At;
use crate::config::spec::{EntraSpec, EntraVersion};
use crate::identity::entra::is_guid;
use crate::identity::{KeyLocation, RemoteKeysOptions, RemoteSource, Tenants};

/// The public cloud.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// The tenant of personal Microsoft accounts, which `organizations` does not serve.
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The sources of an Entra ID configuration: one for each version of tokens.
pub fn sources(
    spec: &EntraSpec,
    options: &RemoteKeysOptions,
    world: &World,
) -> Result<Vec<RemoteSource>, CompileError> {
    let (path, tenants) = tenants(spec)?;
    let tenants = Arc::new(tenants);
    let authority = spec.authority.as_ref().map_or(AUTHORITY, |url| url.trim_end_matches('/'));
    let versions = match &spec.versions {
        Some(versions) if versions.is_empty() => {
            return Err(CompileError::at(versions, "no version is accepted").hint("leave it out for both"));
        }
        Some(versions) => versions.as_slice(),
        None => &[EntraVersion::V2, EntraVersion::V1],
    };
    // What stands in for §4.3 of Discovery is stricter: the issuer must be the tenant's, token by token.
    let options = RemoteKeysOptions { check_issuer: false, ..options.clone() };
    let source = |version: &EntraVersion| {
        let version = if *version == EntraVersion::V2 { "/v2.0" } else { "" };
        let url = format!("{authority}/{path}{version}/.well-known/openid-configuration");
        let keys = world.remote_keys(KeyLocation::Discovery(url), options.clone()).map_err(|message| {
            let error = match &spec.authority {
                Some(authority) => CompileError::at(authority, message),
                None => CompileError::whole(message),
            };
            error.hint("an `https` URL; plain `http` only to this machine")
        })?;
        Ok(RemoteSource { keys, issuer: None, tenants: Some(tenants.clone()) })
    };
    versions.iter().map(source).collect()
}

/// The tenant whose documents are read, and the tenants that are accepted.
fn tenants(spec: &EntraSpec) -> Result<(String, Tenants), CompileError> {
    for tenant in &spec.tenants {
        if !is_guid(tenant) {
            return Err(CompileError::at(tenant, format!("`{}` is not the id of a tenant", tenant.value))
                .hint("32 hexadecimal digits in five groups: Directory (tenant) ID in the Azure portal"));
        }
    }
    let any = spec.any_tenant.as_ref().filter(|any| any.value);
    let listed = || Tenants::Listed(spec.tenants.iter().map(|tenant| tenant.to_ascii_lowercase().into()).collect());
    let several = match (any, spec.tenants.first()) {
        (Some(any), Some(_)) => {
            return Err(CompileError::at(any, "either every tenant is accepted or those of `tenants`"));
        }
        (Some(_), None) => Some(Tenants::Any),
        (None, Some(_)) => Some(listed()),
        (None, None) => None,
    };
    match (&spec.tenant_id, several) {
        (Some(id), several) if matches!(id.as_str(), "organizations" | "common") => match several {
            Some(several) => Ok((id.value.clone(), several)),
            None => Err(CompileError::at(id, format!("`{}` stands for every tenant in the world", id.value))
                .hint("list the ids to accept in `tenants`, or say `any-tenant = true`")),
        },
        (Some(id), Some(_)) => Err(CompileError::at(id, "either one tenant is accepted or several")
            .hint("`tenants` lists several; `tenant-id` then is `organizations` or `common`, or left out")),
        (Some(id), None) => one(id),
        (None, Some(several)) => {
            let personal = spec.tenants.iter().any(|tenant| tenant.eq_ignore_ascii_case(PERSONAL));
            let path = if personal || several == Tenants::Any { "common" } else { "organizations" };
            Ok((path.to_owned(), several))
        }
        (None, None) => Err(CompileError::whole("missing key `tenant-id`")
            .code("missing-key")
            .hint("the tenant's id or domain, or `tenants` for several")),
    }
}

fn one(id: &At<String>) -> Result<(String, Tenants), CompileError> {
    if is_guid(id) {
        let id = id.to_ascii_lowercase();
        return Ok((id.clone(), Tenants::Listed(vec![id.into()])));
    }
    // It becomes a part of the URL that keys are fetched from.
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)) {
        return Err(CompileError::at(id, format!("`{}` is neither the id of a tenant nor a domain", id.value))
            .hint("for example `contoso.onmicrosoft.com`"));
    }
    Ok((id.value.clone(), Tenants::Discovered))
}
