//! What a probe asks, made from what stands in a field.
//!
//! Invariant: a target holds no password.

use std::net::IpAddr;

use model::gate::ReferenceKind;

use crate::documents::{Node, Value};
use crate::egress::is_name;

/// Longest target, in characters: URLs are cut by servers from 2000 on.
const TARGET_CHARS_MAX: usize = 2000;

/// What a probe asks, and where that leads as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) text: String,
    /// Host and port of the connection; `None` for files. Without a port: a name that is only resolved.
    pub(super) place: Option<(String, Option<u16>)>,
}

/// Builds the target of a field. `path` is asked when the field has none of its own.
pub(super) fn target(
    kind: ReferenceKind,
    node: &Node,
    path: Option<&str>,
) -> Result<Target, String> {
    let text = field(node)?;
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.chars().count() > TARGET_CHARS_MAX {
        return Err(format!("has more than {TARGET_CHARS_MAX} characters"));
    }
    if text.contains(|c: char| c.is_control()) {
        return Err("holds a control character".to_owned());
    }
    match kind {
        ReferenceKind::Tcp => connection(text, "tcp", None),
        ReferenceKind::Tls => connection(text, "tls", Some(443)),
        ReferenceKind::Dns => name(text),
        ReferenceKind::Http => http(text, path),
        ReferenceKind::Postgres => postgres(text),
        ReferenceKind::File => file(text),
    }
}

/// The field's text; a map of `host` and `port` counts as both.
fn field(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Map(map) => {
            let part = |names: &[&str]| {
                let mut entries = names.iter().filter_map(|name| map.get(name));
                match &entries.next()?.node.value {
                    Value::Text(text) => Some(text.clone()),
                    Value::Integer(number) => Some(number.to_string()),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Large(_)
                    | Value::Float(_)
                    | Value::List(_)
                    | Value::Map(_) => None,
                }
            };
            match (part(&["host", "hostname", "address"]), part(&["port"])) {
                (Some(host), Some(port)) if host.contains(':') => Ok(format!("[{host}]:{port}")),
                (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
                (Some(host), None) => Ok(host),
                (None, _) => Err("is a map without `host`".to_owned()),
            }
        }
        Value::Null => Err("is empty".to_owned()),
        Value::List(_) => Err("is a list; let the pointer end with `/*`".to_owned()),
        Value::Bool(_) | Value::Integer(_) | Value::Large(_) | Value::Float(_) => {
            Err("is no text".to_owned())
        }
    }
}

fn connection(text: &str, scheme: &str, default: Option<u16>) -> Result<Target, String> {
    let (named, authority, _) = url(text)?;
    if named.is_some_and(|named| named != scheme && !(scheme == "tls" && named == "https")) {
        return Err(format!("is no `host:port` or `{scheme}://host:port`"));
    }
    let (host, port) = host_port(authority)?;
    let port = port.or(default).ok_or("has no port")?;
    Ok(Target {
        text: joined(&host, port),
        place: Some((host, Some(port))),
    })
}

fn name(text: &str) -> Result<Target, String> {
    let (_, authority, _) = url(text)?;
    let (host, _) = host_port(authority)?;
    if host.parse::<IpAddr>().is_ok() {
        return Err("is an address, and only names are resolved".to_owned());
    }
    Ok(Target {
        text: host.clone(),
        place: Some((host, None)),
    })
}

fn http(text: &str, path: Option<&str>) -> Result<Target, String> {
    let (scheme, authority, rest) = url(text)?;
    let scheme = scheme.unwrap_or("http");
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        other => return Err(format!("has the scheme {other:?}, not http or https")),
    };
    let (host, port) = host_port(authority)?;
    let rest = rest.split('#').next().unwrap_or_default();
    if rest.contains(char::is_whitespace) {
        return Err("holds a space".to_owned());
    }
    let place = match port {
        Some(port) => joined(&host, port),
        None if host.contains(':') => format!("[{host}]"),
        None => host.clone(),
    };
    let asked = match path {
        Some(path) => {
            let base = rest.split('?').next().unwrap_or_default();
            format!(
                "{}/{}",
                base.trim_end_matches('/'),
                path.trim_start_matches('/')
            )
        }
        None if rest.is_empty() => "/".to_owned(),
        None => rest.to_owned(),
    };
    Ok(Target {
        text: format!("{scheme}://{place}{asked}"),
        place: Some((host, Some(port.unwrap_or(default)))),
    })
}

fn postgres(text: &str) -> Result<Target, String> {
    const DEFAULT_PORT: u16 = 5432;
    if text.contains('=') && !text.contains("://") {
        return postgres_words(text);
    }
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .or_else(|| (!text.contains("://")).then_some(text))
        .ok_or("is no `postgres://user@host:port/database`")?;
    let (authority, rest) = split_authority(rest);
    let (user, place) = match authority.rsplit_once('@') {
        Some((user, place)) => (user.split(':').next().unwrap_or_default(), place),
        None => ("", authority),
    };
    let (host, port) = host_port(place)?;
    let port = port.unwrap_or(DEFAULT_PORT);
    let user = if user.is_empty() {
        String::new()
    } else {
        format!("{user}@")
    };
    // Options could hold a password; of these only how to encrypt matters to a probe.
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let ssl = options
        .split('&')
        .find(|option| option.starts_with("sslmode="));
    let ssl = ssl.map_or_else(String::new, |ssl| format!("?{ssl}"));
    Ok(Target {
        text: format!("postgres://{user}{}{path}{ssl}", joined(&host, port)),
        place: Some((host, Some(port))),
    })
}

/// `host=db port=5432 dbname=x user=y`, as libpq writes it.
fn postgres_words(text: &str) -> Result<Target, String> {
    let word = |key: &str| {
        let mut pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(name, _)| *name == key).map(|(_, value)| value);
        value.map(|value| value.trim_matches('\''))
    };
    let host = word("host").ok_or("has no `host=`")?;
    let (host, _) = host_port(&bracketed(host))?;
    let port = match word("port").map(str::parse) {
        None => 5432,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err("has a port that is no number from 1 to 65535".to_owned()),
    };
    let user = word("user").map_or_else(String::new, |user| format!("{user}@"));
    let database = word("dbname").map_or_else(String::new, |name| format!("/{name}"));
    let ssl = word("sslmode").map_or_else(String::new, |mode| format!("?sslmode={mode}"));
    Ok(Target {
        text: format!("postgres://{user}{}{database}{ssl}", joined(&host, port)),
        place: Some((host, Some(port))),
    })
}

fn file(text: &str) -> Result<Target, String> {
    let path = text
        .strip_prefix("file://")
        .or_else(|| text.strip_prefix("file:"));
    let path = path.unwrap_or(text);
    if path.is_empty() || path.contains("://") {
        return Err("is no path".to_owned());
    }
    Ok(Target {
        text: path.to_owned(),
        place: None,
    })
}

/// Scheme, authority and the rest. A user's part with a password is refused
/// without being shown, one without is dropped.
fn url(text: &str) -> Result<(Option<&str>, &str, &str), String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let (authority, rest) = split_authority(rest);
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err("holds a password".to_owned()),
        Some((_, place)) => Ok((scheme, place, rest)),
        None => Ok((scheme, authority, rest)),
    }
}

fn split_authority(text: &str) -> (&str, &str) {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    text.split_at(end)
}

fn host_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("has a `[` that is not closed")?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err("has something after `]` that is no port".to_owned()),
        };
        if !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
            return Err("has no IPv6 address between its brackets".to_owned());
        }
        (host, port)
    } else if text.parse::<IpAddr>().is_ok() {
        (text, None)
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.parse::<IpAddr>().is_err() && !is_name(host) {
        return Err("has no valid host name".to_owned());
    }
    // What looks like an address but is none would be resolved in surprising ways.
    if host.parse::<IpAddr>().is_err() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err("has no valid host name or address".to_owned());
    }
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err("has a port that is no number from 1 to 65535".to_owned()),
    };
    Ok((host.to_ascii_lowercase(), port))
}

fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

fn joined(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: ReferenceKind, text: &str, path: Option<&str>) -> String {
        let node = Node::new(0..0, Value::Text(text.to_owned()));
        match target(kind, &node, path) {
            Ok(target) => target.text,
            Err(flaw) => format!("! {flaw}"),
        }
    }

    #[test]
    fn targets_by_kind() {
        use ReferenceKind::{Dns, File, Http, Postgres, Tcp, Tls};
        for (kind, text, path, expected) in [
            (Tcp, "db:1", None, "db:1"),
            (Tcp, "tcp://DB.internal:1", None, "db.internal:1"),
            (Tcp, "[::1]:80", None, "[::1]:80"),
            (Tcp, "db", None, "! has no port"),
            (
                Tcp,
                "db:0",
                None,
                "! has a port that is no number from 1 to 65535",
            ),
            (
                Tcp,
                "db:99999",
                None,
                "! has a port that is no number from 1 to 65535",
            ),
            (
                Tcp,
                "http://db:1",
                None,
                "! is no `host:port` or `tcp://host:port`",
            ),
            (
                Tcp,
                "256.1.1.1:80",
                None,
                "! has no valid host name or address",
            ),
            (Tcp, "a b:80", None, "! has no valid host name"),
            (Tls, "web", None, "web:443"),
            (Tls, "https://web/x", None, "web:443"),
            (Dns, "a.b:80", None, "a.b"),
            (
                Dns,
                "10.0.0.1",
                None,
                "! is an address, and only names are resolved",
            ),
            (
                Http,
                "auth:8080",
                Some("/authenticate"),
                "http://auth:8080/authenticate",
            ),
            (Http, "https://auth/base/", Some("x"), "https://auth/base/x"),
            (Http, "https://auth/base?q=1", None, "https://auth/base?q=1"),
            (Http, "https://auth", None, "https://auth/"),
            (Http, "https://auth#x", None, "https://auth/"),
            (Http, "https://u:p@auth", None, "! holds a password"),
            (Http, "https://u@auth", None, "https://auth/"),
            (
                Http,
                "ftp://auth",
                None,
                "! has the scheme \"ftp\", not http or https",
            ),
            (Http, "http://[::1]/x", None, "http://[::1]/x"),
            (
                Postgres,
                "postgres://u:p@db/app?password=x&sslmode=require",
                None,
                "postgres://u@db:5432/app?sslmode=require",
            ),
            (
                Postgres,
                "host=db port=5433 user=u password=x dbname=app",
                None,
                "postgres://u@db:5433/app",
            ),
            (Postgres, "db:5433", None, "postgres://db:5433"),
            (
                Postgres,
                "mysql://db",
                None,
                "! is no `postgres://user@host:port/database`",
            ),
            (File, "file:///etc/x", None, "/etc/x"),
            (File, "certs/ca.pem", None, "certs/ca.pem"),
            (File, " ", None, "! is empty"),
        ] {
            assert_eq!(made(kind, text, path), expected, "{kind} {text}");
        }
    }

    #[test]
    fn a_map_of_host_and_port() {
        let (roots, _) = crate::documents::load(
            crate::documents::Format::Json,
            r#"{"host": "::1", "port": 5}"#,
        );
        assert_eq!(
            target(ReferenceKind::Tcp, &roots[0], None).unwrap().text,
            "[::1]:5"
        );
    }
}
