//! The access log as the configuration asks for it, kept while the configuration asks for the same.

use std::sync::Arc;

use prometheus::IntCounter;

use super::Overrides;
use crate::compile::settings::Process as Settings;
use crate::config::spec::AccessLogFormat;
use crate::gateway::Gateway;
use crate::telemetry::access_log::{AccessLog, Format, Options, Query, SinkError, Target};
use crate::telemetry::redact::Redactor;

/// What a log was opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    format: Format,
    target: Target,
    query: Query,
    /// The query parameters in which callers send credentials.
    parameters: Box<[Arc<str>]>,
}

/// The access log in use.
#[derive(Debug)]
pub(super) struct OpenLog {
    dropped: IntCounter,
    /// Standard output belongs to somebody else.
    keep_stdout_free: bool,
    off: bool,
    open: Option<(Wish, Arc<AccessLog>)>,
}

impl OpenLog {
    /// No log yet.
    pub(super) fn new(dropped: IntCounter, overrides: &Overrides) -> Self {
        let Overrides { keep_stdout_free, no_access_log: off, .. } = *overrides;
        Self { dropped, keep_stdout_free, off, open: None }
    }

    /// The log that a configuration asks for; the one in use when it asks for the same.
    pub(super) fn follow(
        &mut self,
        settings: &Settings,
        gateway: &Gateway,
    ) -> Result<Option<Arc<AccessLog>>, SinkError> {
        let format = match settings.access_log {
            _ if self.off => return Ok(None),
            AccessLogFormat::Off => {
                self.open = None;
                return Ok(None);
            }
            AccessLogFormat::Json => Format::Json,
            AccessLogFormat::Human => Format::Human,
        };
        let target = match settings.access_log_path.as_deref() {
            None | Some("stdout") if self.keep_stdout_free => Target::Stderr,
            None | Some("stdout") => Target::Stdout,
            Some("stderr") => Target::Stderr,
            Some(path) => Target::File(path.into()),
        };
        let parameters = gateway.secret_parameters.clone();
        let query = if settings.log_query { Query::Redacted } else { Query::Dropped };
        let wish = Wish { format, target, query, parameters };
        if let Some((known, log)) = &self.open
            && *known == wish
        {
            return Ok(Some(log.clone()));
        }
        let redactor = Redactor::default().with_parameters(wish.parameters.iter().map(|name| &**name));
        let options = Options { format, target: wish.target.clone(), query, redactor };
        let log = Arc::new(AccessLog::new(options, self.dropped.clone())?);
        self.open = Some((wish, log.clone()));
        Ok(Some(log))
    }

    /// Opens the file again, after a log rotation.
    pub(super) fn reopen(&self) {
        if let Some((_, log)) = &self.open
            && let Err(error) = log.reopen()
        {
            tracing::error!(error = super::reload::chain(&error), "the access log cannot be opened again");
        }
    }
}
