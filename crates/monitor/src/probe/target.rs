//! What a reference points to, read from its text.
//!
//! Invariant: a name or password in the text is never part of what is read
//! from it, nor of what is shown.

use url::Url;

/// A host by name or address (IPv6 without brackets) and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Without brackets.
    pub host: String,
    /// From 1.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// More of a target is cut: it is one field of a document, shown in one line.
const SHOWN_CHARS_MAX: usize = 200;

/// The target for people: in one line, without a name or password before `@`.
pub fn shown(text: &str) -> String {
    let bare = match text.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, tail) = rest.split_at(end);
            let hosts = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
            format!("{scheme}://{hosts}{tail}")
        }
        None => text.to_owned(),
    };
    let words = bare.split_whitespace();
    let words = words.filter(|word| !word.starts_with("password=") && !word.starts_with("user="));
    let line = words.collect::<Vec<_>>().join(" ");
    let clean = line.chars().filter(|c| !c.is_control());
    match clean.clone().nth(SHOWN_CHARS_MAX) {
        Some(_) => clean.take(SHOWN_CHARS_MAX).chain(['…']).collect(),
        None => clean.collect(),
    }
}

/// `host:port`, or a URL of any scheme; without a port the scheme's own, if it is well known.
pub fn endpoint(text: &str) -> Result<Endpoint, String> {
    let (scheme, authority) = authority(text);
    one(authority, scheme.and_then(well_known))
}

/// Like [`endpoint`], for TLS: without a port it is 443.
pub fn secure(text: &str) -> Result<Endpoint, String> {
    let (scheme, authority) = authority(text);
    one(authority, scheme.and_then(well_known).or(Some(443)))
}

/// The name or address in a name, `host:port` or URL.
pub fn name(text: &str) -> Result<String, String> {
    let (_, authority) = authority(text);
    one(authority, Some(1)).map(|endpoint| endpoint.host)
}

/// An `http` or `https` URL. A bare `host:port/path` is taken as `http`.
pub fn url(text: &str) -> Result<(Url, Endpoint), String> {
    let text = text.trim();
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    let url = Url::parse(&whole).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{}:// is neither http nor https", url.scheme()));
    }
    let host = url.host_str().and_then(bare);
    let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
        return Err("the URL names no host".into());
    };
    let endpoint = Endpoint { host, port };
    Ok((url, endpoint))
}

/// The servers of a PostgreSQL connection string: a URL (`postgres://…`, also
/// after `jdbc:`, also with several hosts), `host=… port=…`, or `host:port`.
pub fn postgres(text: &str) -> Result<Vec<Endpoint>, String> {
    const PORT: u16 = 5432;
    let text = text.trim().trim_start_matches("jdbc:");
    let words: Vec<(&str, &str)> = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .collect();
    let word = |key| words.iter().find(|(name, _)| *name == key).map(|it| it.1);
    if !text.contains("://")
        && let Some(hosts) = word("hostaddr").or(word("host"))
    {
        let ports: Vec<&str> = word("port").unwrap_or("5432").split(',').collect();
        let pairs = hosts.split(',').enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.last()).unwrap_or(&"5432");
            let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
            Ok(Endpoint {
                host: host_of(host)?,
                port,
            })
        });
        return pairs.collect();
    }
    let (_, authority) = authority(text);
    authority
        .split(',')
        .map(|one_of| one(one_of, Some(PORT)))
        .collect()
}

/// The scheme, if there is one, and `host:port` without user, path and query.
fn authority(text: &str) -> (Option<&str>, &str) {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    (scheme, hosts)
}

fn well_known(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "postgres" | "postgresql" => Some(5432),
        "mysql" => Some(3306),
        "redis" | "rediss" => Some(6379),
        "amqp" => Some(5672),
        "amqps" => Some(5671),
        "ldap" => Some(389),
        "ldaps" => Some(636),
        "nats" => Some(4222),
        "mongodb" => Some(27017),
        "smtp" => Some(25),
        "smtps" => Some(465),
        _ => None,
    }
}

fn one(text: &str, port_else: Option<u16>) -> Result<Endpoint, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or("`[` is not closed")?;
            (inside, after.strip_prefix(':'))
        }
        // More than one colon: an IPv6 address without a port.
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(text) => match text.parse() {
            Ok(port) if port > 0 => port,
            Ok(_) | Err(_) => return Err(format!("{text:?} is not a port from 1 to 65535")),
        },
        None => port_else.ok_or("a port is missing: write host:port")?,
    };
    let host = host_of(host)?;
    Ok(Endpoint { host, port })
}

/// A host as the URL standard reads it: lower-case, international names in their ASCII form.
fn host_of(text: &str) -> Result<String, String> {
    let no_host = || format!("{text:?} is neither a host's name nor an address");
    let authority = match text.contains(':') {
        true => format!("http://[{text}]/"),
        false => format!("http://{text}/"),
    };
    if text.contains(['/', '?', '#', '@', '\\']) || text.contains(char::is_whitespace) {
        return Err(no_host());
    }
    let url = Url::parse(&authority).map_err(|_| no_host())?;
    url.host_str().and_then(bare).ok_or_else(no_host)
}

/// Without the brackets of IPv6. The URL standard lets marks like `${` pass, of which no name is made.
fn bare(host: &str) -> Option<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    host.chars().all(fits).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(read: Result<Endpoint, String>) -> String {
        read.map_or_else(|reason| reason, |endpoint| endpoint.to_string())
    }

    #[test]
    fn endpoints_of_every_form() {
        for (text, expected) in [
            ("10.1.2.3:9101", "10.1.2.3:9101"),
            ("tcp://Auth.Internal:9101/x", "auth.internal:9101"),
            ("redis://:secret@cache/0", "cache:6379"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("https://a.example/x?y=:1", "a.example:443"),
            ("straße.example:1", "xn--strae-oqa.example:1"),
        ] {
            assert_eq!(said(endpoint(text)), expected, "{text}");
        }
        for bad in [
            "auth",
            "",
            ":80",
            "a:0",
            "a:70000",
            "a b:1",
            "${host}:80",
            "fd00::1",
            "[::1:80",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        assert_eq!(said(secure("a.example")), "a.example:443");
        assert_eq!(name("a.example:1/x").unwrap(), "a.example");
        assert_eq!(name("fd00::1").unwrap(), "fd00::1");
    }

    #[test]
    fn urls() {
        let (read, endpoint) = url("http://10.1.2.3:9101/authenticate?a=b").unwrap();
        assert_eq!(read.path(), "/authenticate");
        assert_eq!(endpoint.to_string(), "10.1.2.3:9101");
        assert_eq!(url("https://[::1]/").unwrap().1.to_string(), "[::1]:443");
        assert_eq!(url("auth:9101/x").unwrap().1.to_string(), "auth:9101");
        for bad in [
            "http://${host}/",
            "ftp://a/",
            "http://",
            "http://a:x/",
            "http:// /",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn connection_strings() {
        let read = |text| {
            let hosts = postgres(text).unwrap();
            let hosts = hosts.iter().map(ToString::to_string);
            hosts.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            read("postgres://me:pw@db.internal/orders"),
            "db.internal:5432"
        );
        assert_eq!(read("jdbc:postgresql://a:1,b:2/x?user=u"), "a:1 b:2");
        assert_eq!(read("host=db port=6432 user=me password=x"), "db:6432");
        assert_eq!(read("host=a,b port=1,2"), "a:1 b:2");
        assert_eq!(read("db:6432"), "db:6432");
        assert!(postgres("host=/var/run/postgresql").is_err());
    }

    #[test]
    fn nobody_is_shown_a_password() {
        assert_eq!(shown("postgres://me:p@w@db:1/x@y"), "postgres://db:1/x@y");
        assert_eq!(shown("host=db user=me password=x"), "host=db");
        assert_eq!(shown("a\n\tb"), "a b");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 201);
    }
}
