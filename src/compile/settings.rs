//! The settings of the process, checked; and the configuration in force as a person may see it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::folder::Document;
use crate::config::key_file;
use crate::config::source::{FileId, Sources};
use crate::config::spec::{self, ErrorFormat};
use crate::config::{At, Diagnostic, Diagnostics, Period, Size};
use crate::forwarded::{Fields, Forwarding};
use crate::gateway::Settings;
use crate::pipeline::public::PublicUrl;
use crate::pipeline::rescue;
use crate::server;
use crate::store;
use crate::telemetry::Redactor;
use crate::telemetry::redact::MASK;

/// What only the start of the process reads; a change needs a restart.
#[derive(Debug, Default, Clone)]
pub struct Process {
    /// Listeners, limits and time-outs.
    pub server: server::Settings,
    /// What the public listener shows and asks for, read from its files.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The admin address.
    pub admin: Option<SocketAddr>,
    /// The access log.
    pub access_log: spec::AccessLogFormat,
    /// Where the access log goes: `stdout`, `stderr` or a path.
    pub access_log_path: Option<String>,
    /// Whether the access log holds the query.
    pub log_query: bool,
    /// The least severe message of the process log.
    pub log_level: spec::LogLevel,
    /// The form of the process log.
    pub log_format: spec::LogFormat,
    /// Where counts are kept over restarts.
    pub store: Option<store::Settings>,
}

fn or(period: Option<Period>, default: Duration) -> Duration {
    period.map_or(default, |period| period.0)
}

fn bytes(size: Option<Size>, default: usize) -> usize {
    size.map_or(default, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
}

fn address(
    text: Option<&At<String>>,
    default: &str,
    file: Option<FileId>,
    diagnostics: &mut Diagnostics,
) -> Option<SocketAddr> {
    let written = text.map_or(default, |text| text.as_str());
    match (written.parse(), text, file) {
        (Ok(address), ..) => Some(address),
        (Err(_), Some(text), Some(file)) => {
            diagnostics.push(
                Diagnostic::error(
                    "bad-address",
                    file,
                    text.span.clone(),
                    format!("`{written}` is not an address to listen on"),
                )
                .hint("an IP address and a port, for example `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`"),
            );
            None
        }
        _ => None,
    }
}

/// The settings that only the start of the process reads.
pub fn process(
    document: &Document<'_>,
    folder: Option<&Path>,
    tls: Option<Arc<rustls::ServerConfig>>,
    diagnostics: &mut Diagnostics,
) -> Process {
    let (server, file) = (&document.server, document.gateway);
    let default = server::Settings::default();
    let listen = address(server.listen.as_ref(), "127.0.0.1:8080", file, diagnostics);
    let admin = match &server.admin {
        Some(text) if text.value == "off" => None,
        text => address(text.as_ref(), "127.0.0.1:9090", file, diagnostics),
    };
    let body = server.limits.body_size.map_or(100 << 20, |size| size.0);
    Process {
        server: server::Settings {
            listen: listen.into_iter().collect(),
            workers: server.workers.map_or(0, std::num::NonZeroUsize::get),
            limits: server::admission::Limits { target: bytes(server.limits.uri_length, 16 << 10), body: Some(body) },
            head_size: bytes(server.limits.head_size, default.head_size),
            head_fields: server.limits.header_count.map_or(default.head_fields, std::num::NonZeroUsize::get),
            keep_alive: or(server.timeouts.keep_alive, default.keep_alive),
            head_timeout: or(server.timeouts.head, default.head_timeout),
            body_timeout: or(server.timeouts.body, Duration::from_secs(30)),
            send_timeout: or(server.timeouts.send, default.send_timeout),
            max_connections: server.limits.connections.map_or(default.max_connections, std::num::NonZeroUsize::get),
            ..default
        },
        tls,
        admin,
        access_log: document.telemetry.access_log,
        access_log_path: document.telemetry.access_log_path.as_ref().map(|path| path.value.clone()),
        log_query: document.telemetry.access_log_query.unwrap_or(true),
        log_level: document.telemetry.log_level,
        log_format: document.telemetry.log_format,
        store: store(document, folder, diagnostics),
    }
}

/// The time between two writes of the store.
const SYNC_INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3_600);

fn store(document: &Document<'_>, folder: Option<&Path>, diagnostics: &mut Diagnostics) -> Option<store::Settings> {
    let spec = &document.store;
    let mut mistake = |span: std::ops::Range<usize>, message: &str, hint: &str| {
        if let Some(file) = document.gateway {
            diagnostics.push(Diagnostic::error("bad-value", file, span, message).hint(hint));
        }
    };
    if let Some(interval) = &spec.sync_interval {
        if !SYNC_INTERVALS.contains(&interval.0) {
            mistake(interval.span.clone(), "the store is written every 10 ms to 1 h", "for example `1s`");
        } else if spec.path.is_none() {
            mistake(interval.span.clone(), "without `path` there is nothing to write", "give `path`, or leave it out");
        }
    }
    let path = spec.path.as_ref()?;
    if path.is_empty() {
        mistake(path.span.clone(), "the path of a file cannot be empty", "for example `counts.redb`");
    }
    Some(store::Settings {
        path: folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value)),
        sync_interval: spec.sync_interval.as_ref().map_or(Duration::from_secs(1), |interval| interval.0),
    })
}

/// The settings that requests read.
pub fn settings(
    document: &Document<'_>,
    trust: &Arc<crate::identity::certificate::ClientTrust>,
    diagnostics: &mut Diagnostics,
) -> Option<Settings> {
    let file = document.gateway?;
    let server = &document.server;
    let mut proxies = Vec::new();
    for text in &server.trusted_proxies {
        match text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error)) {
            Ok(range) => proxies.push(range),
            Err(_) => diagnostics.push(
                Diagnostic::error(
                    "bad-range",
                    file,
                    text.span.clone(),
                    format!("`{}` is not an address range", text.value),
                )
                .hint("an address, or CIDR such as `10.0.0.0/8` or `fd00::/8`"),
            ),
        }
    }
    let fields = match server.forwarded_headers {
        spec::ForwardedHeaders::XForwarded => Fields::XForwarded,
        spec::ForwardedHeaders::Forwarded => Fields::Forwarded,
    };
    Some(Settings {
        error_format: error_format(document.errors.format.unwrap_or_default()),
        buffer_size: server.limits.buffer_size.map_or(8 << 20, |size| size.0),
        request_id_header: header_name(server.request_id_header.as_ref(), "x-request-id", file, diagnostics),
        public_url: public_url(server.public_url.as_ref(), file, diagnostics),
        forwarding: Forwarding::new(proxies.into_iter().collect(), fields),
        client_certificates: super::tls::client_certificates(document, trust, diagnostics),
        drain_delay: or(server.drain.delay, Duration::ZERO),
        drain_deadline: or(server.drain.deadline, Duration::from_secs(30)),
    })
}

fn public_url(text: Option<&At<String>>, file: FileId, diagnostics: &mut Diagnostics) -> Option<PublicUrl> {
    let text = text?;
    let url = PublicUrl::parse(text);
    if url.is_none() {
        let message = format!("`{}` is not the address of a gateway", text.value);
        diagnostics.push(
            Diagnostic::error("bad-url", file, text.span.clone(), message)
                .hint("`https://api.contoso.com`, with a path when a proxy in front takes one off"),
        );
    }
    url
}

/// The form of error bodies as requests read it.
pub fn error_format(format: ErrorFormat) -> rescue::ErrorFormat {
    match format {
        ErrorFormat::Apim => rescue::ErrorFormat::Apim,
        ErrorFormat::Connector => rescue::ErrorFormat::Connector,
        ErrorFormat::Problem => rescue::ErrorFormat::Problem,
    }
}

/// What becomes of the backend's error answers as requests read it.
pub fn backend_errors(errors: spec::BackendErrors) -> rescue::BackendErrors {
    match errors {
        spec::BackendErrors::Pass => rescue::BackendErrors::Pass,
        spec::BackendErrors::WrapUnstructured => rescue::BackendErrors::WrapUnstructured,
        spec::BackendErrors::Wrap => rescue::BackendErrors::Wrap,
    }
}

/// The name of a header from the configuration, or the default.
pub fn header_name(
    text: Option<&At<String>>,
    default: &'static str,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> HeaderName {
    let fallback = HeaderName::from_static(default);
    let Some(text) = text else { return fallback };
    HeaderName::from_bytes(text.as_bytes()).unwrap_or_else(|_| {
        diagnostics.push(
            Diagnostic::error(
                "bad-value",
                file,
                text.span.clone(),
                format!("`{}` cannot be the name of a header", text.value),
            )
            .hint("letters, digits and `-` (RFC 9110 §5.1)"),
        );
        fallback
    })
}

/// Key, value and place of everything that is configured. Named values stay as they are written (`{{name}}`), so that no
/// secret shows; what looks like one is masked.
pub fn view(document: &Document<'_>, sources: &Sources) -> Vec<(String, String, String)> {
    let redactor = Redactor::default();
    let written: HashMap<&str, &str> =
        document.settings.iter().map(|(key, value, _)| (key.as_str(), value.as_str())).collect();
    // The header or parameter that a `value` belongs to is named beside it.
    let is_secret = |key: &str, value: &str| {
        let (table, last) = key.rsplit_once('.').unwrap_or(("", key));
        let name = written.get(format!("{table}.name").as_str());
        match last {
            "value" => name.is_some_and(|name| {
                redactor.is_secret_parameter(name)
                    || HeaderName::from_bytes(name.as_bytes()).is_ok_and(|name| redactor.is_secret_header(&name))
            }),
            // What stands in for a secret of the environment or of a file.
            "default" => table.starts_with("named-values."),
            // What a backend is shown, whatever it is called.
            _ if [".credentials.header.", ".credentials.query.", ".credentials.authorization.parameter"]
                .iter()
                .any(|part| key.contains(part)) =>
            {
                true
            }
            "header" => table == "managed-identity",
            // A certificate with its key.
            "content" => table.starts_with("certificates."),
            "body" => written.get(format!("{table}.policy").as_str()) == Some(&"authentication-certificate"),
            // It may be a symmetric key.
            "jwk" => true,
            // The key of a limit, the file of a private key.
            "key" | "code" => false,
            _ => redactor.is_secret_parameter(last) || value.starts_with("sha256:"),
        }
    };
    let shown = |key: &str, value: &str| match value {
        _ if value.contains("{{") || value.starts_with('@') => value.to_owned(),
        _ if is_secret(key, value) => MASK.to_owned(),
        _ => redactor.url(value).into_owned(),
    };
    let settings = document.settings.iter();
    settings.map(|(key, value, place)| (key.clone(), shown(key, value), sources.place(place))).collect()
}

/// The files that the configuration names: secrets, keys, certificates.
pub fn files(document: &Document<'_>, folder: Option<&Path>) -> Vec<PathBuf> {
    let names = document.settings.iter().filter(|(key, ..)| {
        let last = key.rsplit('.').next().unwrap_or_default();
        let last = last.split_once('[').map_or(last, |(list, _)| list);
        last == "file"
            || last.ends_with("-file")
            || last.ends_with("-files")
            || matches!(key.as_str(), "server.tls.certificate" | "server.tls.key")
    });
    let path = |name: &String| folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    let mut files: Vec<PathBuf> = names.map(|(_, name, _)| path(name)).collect();
    // Also while there is none, so that the first key is noticed. One that is named is among the others.
    files.extend(folder.filter(|_| document.keys.file.is_none()).map(|folder| key_file::path(None, folder)));
    files.sort();
    files.dedup();
    files
}
