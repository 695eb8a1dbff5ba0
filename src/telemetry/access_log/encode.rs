//! A line's bytes: JSON and human text, written by hand because this runs for every request.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use http::Version;

use super::{AccessLog, Failure, Finding, Line, Query, Upstream};
use crate::telemetry::redact::MASK;

/// The most that is logged of one value, in bytes. A head may be far longer, and a log line is not the place for it.
const LONGEST: usize = 4 * 1024;
/// The most that is logged of a value that only describes.
const LONGEST_NOTE: usize = 512;

/// Stands for what was cut off.
const CUT: &str = "…";

const PLAIN: u8 = 0;
const UNICODE: u8 = 1;

/// For each byte: copied as it is, written as `\u00xx`, or the letter after a backslash (RFC 8259 §7). Control
/// characters are escaped in human lines too, so that a request cannot forge a line or steer a terminal.
const ESCAPES: [u8; 256] = {
    let mut table = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = UNICODE;
        byte += 1;
    }
    table[0x7f] = UNICODE;
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    table
};

/// One JSON object and a line feed.
pub(super) fn json(out: &mut Vec<u8>, line: &Line<'_>, time: &[u8], log: &AccessLog) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(time);
    out.push(b'"');
    string(out, ",\"request_id\":\"", line.request_id);
    optional(out, ",\"trace_id\":\"", line.trace_id);
    optional(out, ",\"client_request_id\":\"", line.client_request_id);
    out.extend_from_slice(b",\"client\":\"");
    address(out, line.client);
    out.extend_from_slice(b"\",\"protocol\":\"");
    out.extend_from_slice(protocol(line.protocol).as_bytes());
    out.push(b'"');
    string(out, ",\"method\":\"", line.method.as_str());
    optional(out, ",\"host\":\"", line.host);
    string(out, ",\"path\":\"", line.path);
    if let (Some(text), Query::Redacted) = (line.query, log.query) {
        out.extend_from_slice(b",\"query\":\"");
        query(out, text, log);
        out.push(b'"');
    }
    optional(out, ",\"api\":\"", line.api);
    optional(out, ",\"operation\":\"", line.operation);
    number(out, ",\"status\":", line.status.as_u16());
    number(out, ",\"bytes_in\":", line.bytes_in);
    number(out, ",\"bytes_out\":", line.bytes_out);
    out.extend_from_slice(b",\"duration_ms\":");
    milliseconds(out, line.duration);
    if let Some(upstream) = &line.upstream {
        json_upstream(out, upstream);
    }
    optional(out, ",\"cache\":\"", line.cache);
    optional(out, ",\"subscription\":\"", line.subscription);
    optional(out, ",\"consumer\":\"", line.consumer);
    if let Some(failure) = &line.error {
        json_failure(out, failure);
    }
    json_validation(out, line.validation);
    if let Some(agent) = line.user_agent {
        out.extend_from_slice(b",\"user_agent\":\"");
        header(out, agent);
        out.push(b'"');
    }
    if line.aborted {
        out.extend_from_slice(b",\"aborted\":true");
    }
    if line.truncated {
        out.extend_from_slice(b",\"truncated\":true");
    }
    out.extend_from_slice(b"}\n");
}

fn json_upstream(out: &mut Vec<u8>, upstream: &Upstream<'_>) {
    string(out, ",\"upstream\":{\"backend\":\"", upstream.backend);
    string(out, ",\"endpoint\":\"", upstream.endpoint);
    if let Some(status) = upstream.status {
        number(out, ",\"status\":", status.as_u16());
    }
    out.extend_from_slice(b",\"duration_ms\":");
    milliseconds(out, upstream.duration);
    number(out, ",\"attempts\":", upstream.attempts);
    out.push(b'}');
}

fn json_failure(out: &mut Vec<u8>, failure: &Failure<'_>) {
    string(out, ",\"error\":{\"source\":\"", failure.source);
    string(out, ",\"reason\":\"", failure.reason);
    for (key, value) in [
        (",\"policy\":\"", failure.policy),
        (",\"section\":\"", failure.section),
        (",\"scope\":\"", failure.scope),
        (",\"message\":\"", failure.message),
    ] {
        if !value.is_empty() {
            string(out, key, value);
        }
    }
    if let Some(cause) = failure.cause {
        string(out, ",\"cause\":\"", &crate::process::chain(cause));
    }
    out.push(b'}');
}

fn json_validation(out: &mut Vec<u8>, found: &[Finding]) {
    for (place, one) in found.iter().enumerate() {
        string(out, if place == 0 { ",\"validation\":[{\"policy\":\"" } else { ",{\"policy\":\"" }, one.policy);
        for (key, value) in [(",\"name\":\"", &*one.name), (",\"rule\":\"", one.rule)] {
            if !value.is_empty() {
                string(out, key, value);
            }
        }
        string(out, ",\"type\":\"", one.kind);
        string(out, ",\"action\":\"", one.action);
        out.extend_from_slice(b",\"details\":\"");
        text(out, &one.details, LONGEST_NOTE);
        out.extend_from_slice(b"\"}");
    }
    if !found.is_empty() {
        out.push(b']');
    }
}

/// `time status method host path?query duration client api/operation → backend …` and a line feed.
pub(super) fn human(out: &mut Vec<u8>, line: &Line<'_>, time: &[u8], log: &AccessLog) {
    out.extend_from_slice(time);
    number(out, " ", line.status.as_u16());
    note(out, " ", line.method.as_str());
    out.push(b' ');
    if let Some(host) = line.host {
        text(out, host, LONGEST_NOTE);
    }
    text(out, line.path, LONGEST);
    if let (Some(text), Query::Redacted) = (line.query, log.query) {
        out.push(b'?');
        query(out, text, log);
    }
    out.push(b' ');
    milliseconds(out, line.duration);
    number(out, "ms ", line.bytes_in);
    number(out, "B/", line.bytes_out);
    out.extend_from_slice(b"B ");
    address(out, line.client);
    out.push(b' ');
    out.extend_from_slice(protocol(line.protocol).as_bytes());
    if let Some(api) = line.api {
        note(out, " ", api);
        note(out, "/", line.operation.unwrap_or("-"));
    }
    if let Some(upstream) = &line.upstream {
        note(out, " -> ", upstream.backend);
        note(out, " ", upstream.endpoint);
        match upstream.status {
            Some(status) => number(out, " ", status.as_u16()),
            None => out.extend_from_slice(b" -"),
        }
        out.push(b' ');
        milliseconds(out, upstream.duration);
        number(out, "ms x", upstream.attempts);
    }
    if let Some(cache) = line.cache {
        note(out, " cache=", cache);
    }
    if let Some(subscription) = line.subscription {
        note(out, " subscription=", subscription);
    }
    match line.consumer {
        Some(name) if name.contains(' ') => string(out, " consumer=\"", name),
        Some(name) => note(out, " consumer=", name),
        None => {}
    }
    if let Some(trace) = line.trace_id {
        note(out, " trace=", trace);
    }
    if let Some(id) = line.client_request_id {
        note(out, " client-id=", id);
    }
    note(out, " id=", line.request_id);
    if let Some(failure) = &line.error {
        note(out, " error=", failure.source);
        note(out, "/", failure.reason);
        if !failure.policy.is_empty() {
            note(out, " at ", failure.scope);
            note(out, "/", failure.section);
            note(out, "/", failure.policy);
        }
        note(out, ": \"", failure.message);
        out.push(b'"');
        if let Some(cause) = failure.cause {
            string(out, " cause=\"", &crate::process::chain(cause));
        }
    }
    for one in line.validation {
        note(out, " validation=", one.policy);
        note(out, "/", one.action);
        note(out, ": \"", &one.details);
        out.push(b'"');
    }
    if let Some(agent) = line.user_agent {
        out.extend_from_slice(b" \"");
        header(out, agent);
        out.push(b'"');
    }
    if line.aborted {
        out.extend_from_slice(b" aborted");
    }
    if line.truncated {
        out.extend_from_slice(b" truncated");
    }
    out.push(b'\n');
}

/// A key with the opening quote of its value, then the value and the closing quote.
fn string(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(key.as_bytes());
    text(out, value, LONGEST);
    out.push(b'"');
}

fn optional(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        string(out, key, value);
    }
}

fn note(out: &mut Vec<u8>, before: &str, value: &str) {
    out.extend_from_slice(before.as_bytes());
    text(out, value, LONGEST_NOTE);
}

fn number(out: &mut Vec<u8>, before: &str, value: impl itoa::Integer) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals.
fn milliseconds(out: &mut Vec<u8>, duration: Duration) {
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, "", microseconds / 1_000);
    let rest = microseconds % 1_000;
    // Each is a single digit.
    out.extend_from_slice(&[b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            number(out, "", first);
            for octet in rest {
                number(out, ".", octet);
            }
        }
        // Writing into memory cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "unknown",
    }
}

fn query(out: &mut Vec<u8>, query: &str, log: &AccessLog) {
    let (shown, rest) = cut(query, LONGEST);
    log.redactor.each_pair(shown, |_, piece, hidden| {
        escaped(out, piece.as_bytes());
        if hidden {
            out.extend_from_slice(MASK.as_bytes());
        }
    });
    if rest {
        out.extend_from_slice(CUT.as_bytes());
    }
}

/// A header's value: UTF-8 when it is, otherwise Latin-1, which is what older clients mean (RFC 9110 §5.5).
fn header(out: &mut Vec<u8>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(value) => text(out, value, LONGEST_NOTE),
        Err(_) => {
            for &byte in value.iter().take(LONGEST_NOTE) {
                let mut utf8 = [0; 2];
                escaped(out, char::from(byte).encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
}

fn text(out: &mut Vec<u8>, value: &str, longest: usize) {
    let (shown, rest) = cut(value, longest);
    escaped(out, shown.as_bytes());
    if rest {
        out.extend_from_slice(CUT.as_bytes());
    }
}

fn cut(value: &str, longest: usize) -> (&str, bool) {
    if value.len() <= longest { (value, false) } else { (&value[..value.floor_char_boundary(longest)], true) }
}

/// Copies UTF-8 with what JSON must escape escaped.
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut from = 0;
    while let Some(at) = next_escape(bytes, from) {
        out.extend_from_slice(&bytes[from..at]);
        escape(out, bytes[at]);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Where the next byte that must be escaped is.
fn next_escape(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = bytes[at..].first_chunk::<8>() {
        if needs_escape(u64::from_le_bytes(*word)) {
            break;
        }
        at += 8;
    }
    bytes[at..].iter().position(|byte| ESCAPES[usize::from(*byte)] != PLAIN).map(|found| at + found)
}

/// Whether any of eight bytes must be escaped: below a space, a quote, a backslash or a delete. The tests for "a byte is
/// less than" and "a byte is" are those of <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>.
fn needs_escape(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let less = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word & HIGH;
    let is = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    less(word, 0x20) | is(b'"') | is(b'\\') | is(0x7f) != 0
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match ESCAPES[usize::from(byte)] {
        UNICODE => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}
