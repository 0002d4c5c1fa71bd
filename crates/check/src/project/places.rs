//! Where things are: addresses, URLs and paths, and the placeholders that each
//! host replaces in them. Each reader is text in, value or [`Flaw`] out.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::grammar::{Flaw, quoted};

/// What can stand in `${...}`, and a value of the right form to check the text around it.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("address", "127.0.0.1:1"),
    ("host", "host"),
    ("zone", "zone"),
    ("environment", "environment"),
    ("service", "service"),
    ("tree", "/tree"),
];
/// Longest version; people and file names carry it.
const VERSION_BYTES_MAX: usize = 64;

/// Refuses `${...}` that no host would replace.
pub(super) fn placeholders(text: &str) -> Result<(), Flaw> {
    let known = || {
        let names: Vec<String> = PLACEHOLDERS
            .iter()
            .map(|(name, _)| format!("${{{name}}}"))
            .collect();
        names.join(", ")
    };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let opened = &rest[at..];
        let Some(end) = opened.find('}') else {
            let flaw = Flaw::new("`${` is never closed by `}`").part("${");
            return Err(flaw.help(format!("known placeholders: {}", known())));
        };
        let name = &opened[2..end];
        if !PLACEHOLDERS.iter().any(|(known, _)| *known == name) {
            let meant = crate::suggest::nearest(name, PLACEHOLDERS.map(|(name, _)| name));
            let meant = meant.map_or(String::new(), |name| {
                format!("did you mean `${{{name}}}`? ")
            });
            let flaw = Flaw::new(format!("unknown placeholder {}", quoted(&opened[..=end])));
            return Err(flaw.part(&opened[..=end]).help(format!(
                "{meant}known placeholders: {} (there is no shell and no environment variable)",
                known()
            )));
        }
        rest = &opened[end + 1..];
    }
    Ok(())
}

/// The text with a stand-in for every placeholder.
fn filled_in(text: &str) -> String {
    PLACEHOLDERS
        .iter()
        .fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
}

/// `${address}` holds host and port, so text beside it would change one of them.
fn stands_alone(text: &str) -> bool {
    text == "${address}" || !text.contains("${address}")
}

/// `host:port` of a TCP health check, with placeholders.
pub(super) fn probe_address(text: &str) -> Result<String, Flaw> {
    placeholders(text)?;
    if stands_alone(text) && address(&filled_in(text)).is_ok() {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not an address", quoted(text)));
    Err(flaw.help("write `host:port`, most often just \"${address}\""))
}

/// Where a service listens: `host:port`.
pub(super) fn address(text: &str) -> Result<String, Flaw> {
    let bad = |help: &str| {
        let flaw = Flaw::new(format!("{} is not an address", quoted(text)));
        Err(flaw.help(help))
    };
    let Some((host, port)) = text.rsplit_once(':') else {
        return bad("write `host:port`, like \"10.0.0.5:8080\"");
    };
    if text.contains("//") {
        return bad("write `host:port` without a scheme, like \"10.0.0.5:8080\"");
    }
    if !is_host(host) {
        return bad(
            "write a host name, an IPv4 address, or an IPv6 address in brackets before the port, \
             like \"[2001:db8::1]:8080\"",
        );
    }
    if !is_port(port) {
        return bad("the port is a number from 1 to 65535");
    }
    Ok(text.to_owned())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[') {
        return inner
            .strip_suffix(']')
            .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    // A last label of digits makes it an IPv4 address, as in URLs: "10.0.0.999" is no host name.
    let numeric = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= 253
        && text.split('.').all(label)
        && (!numeric || text.parse::<Ipv4Addr>().is_ok())
}

/// The name that a certificate must have.
pub(super) fn server_name(text: &str) -> Result<String, Flaw> {
    let is_fine = is_host(text) && !text.starts_with('[') || text.parse::<Ipv6Addr>().is_ok();
    if is_fine {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is no name of a server", quoted(text)));
    Err(flaw.help("write the name in its certificate, like \"api.internal\", without a port"))
}

/// The URL of an HTTP health check, with placeholders.
pub(super) fn probe_url(text: &str) -> Result<String, Flaw> {
    placeholders(text)?;
    url(
        text,
        "is not a URL to probe",
        "write it like \"http://${address}/healthz\"",
    )
}

/// The URL below which a server answers: no placeholders, no query.
pub(super) fn base_url(text: &str) -> Result<String, Flaw> {
    let (what, how) = (
        "is not the URL of a server",
        "write it like \"http://prometheus:9090\"",
    );
    if text.contains(['$', '?']) {
        let flaw = Flaw::new(format!("{} {what}", quoted(text)));
        return Err(flaw.help(format!("{how}, without `$` and `?`")));
    }
    let url = url(text, what, how)?;
    Ok(url.trim_end_matches('/').to_owned())
}

/// Paths of a class of endpoints.
pub(super) fn endpoint_path(text: &str) -> Result<String, Flaw> {
    let bad = |help: &str| {
        let flaw = Flaw::new(format!("{} is not a path of requests", quoted(text)));
        Err(flaw.help(help))
    };
    if !text.starts_with('/') {
        return bad("write it like \"/orders\" or \"/orders/*\", with `/` first");
    }
    if text.len() > model::bundle::PATH_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return bad("a path has at most 512 visible ASCII characters");
    }
    if text.contains(['?', '#']) {
        return bad("only the path is looked at; leave out what comes behind `?` or `#`");
    }
    let stem = text.strip_suffix('*').unwrap_or(text);
    if stem.contains('*') {
        return bad("`*` stands for anything at the end, like \"/orders/*\", and nowhere else");
    }
    Ok(text.to_owned())
}

/// A URL of this program's neighbours; `what` is wrong when it is none, `how` to write it.
fn url(text: &str, what: &str, how: &str) -> Result<String, Flaw> {
    let bad = |help: &str| {
        let flaw = Flaw::new(format!("{} {what}", quoted(text)));
        Err(flaw.help(help))
    };
    let Some(rest) = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
    else {
        return bad(how);
    };
    if !rest.bytes().all(|b| b.is_ascii_graphic()) {
        return bad("a URL has no spaces, control characters or letters outside ASCII");
    }
    if rest.contains('#') {
        return bad("the part after `#` is never sent; leave it out");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') {
        return bad("a password does not belong here: everybody who reads the bundle can see it");
    }
    if !stands_alone(authority) {
        return bad("`${address}` is the host with its port already; write nothing beside it");
    }
    // A name without its port is fine in a URL.
    let authority = filled_in(authority);
    if address(&authority).is_err() && !is_host(&authority) {
        return bad(&format!(
            "the host after `://` is not a name or address; {how}"
        ));
    }
    Ok(text.to_owned())
}

/// A path below the folder of `plimsoll.toml`, without `.` and doubled slashes.
pub(super) fn relative_path(text: &str) -> Result<String, Flaw> {
    let bad = |why: &str, help: &str| {
        let flaw = Flaw::new(format!("the path {} {why}", quoted(text)));
        Err(flaw.help(help))
    };
    let below = "write a path below the folder of plimsoll.toml, like \"config\"";
    let drive = text.as_bytes().get(1) == Some(&b':');
    if text.starts_with(['/', '~']) || drive {
        return bad("is absolute", below);
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return bad("holds a backslash or control character", "part it with `/`");
    }
    let parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
    let path = parts.collect::<Vec<_>>().join("/");
    if path.split('/').any(|part| part == "..") {
        return bad("leaves its folder by `..`", below);
    }
    if path.is_empty() {
        return bad("names no folder of its own", below);
    }
    if path.len() > model::bundle::PATH_BYTES_MAX {
        return bad("is longer than 512 bytes", below);
    }
    Ok(path)
}

/// The path of a package's archive.
pub(super) fn archive(text: &str) -> Result<String, Flaw> {
    let path = relative_path(text)?;
    if path.ends_with(".tar") || path.ends_with(".tar.gz") {
        return Ok(path);
    }
    let flaw = Flaw::new(format!("{} is not a tar archive by its name", quoted(text)));
    Err(flaw.help("packages are `.tar` or `.tar.gz` files"))
}

/// A package's version, as its makers write it.
pub(super) fn version(text: &str) -> Result<String, Flaw> {
    let fine = (1..=VERSION_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if fine {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not a version", quoted(text)));
    Err(flaw.help("use 1 to 64 visible ASCII characters without `/`, like \"1.4.2\""))
}

/// The name of a request header, in lower case.
pub(super) fn header(text: &str) -> Result<String, Flaw> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(token) {
        return Ok(text.to_ascii_lowercase());
    }
    let flaw = Flaw::new(format!("{} is not a header name", quoted(text)));
    Err(flaw.help("write the name alone, like \"x-api-key\""))
}

/// One argument of a command: no NUL, and only placeholders that exist.
pub(super) fn argument(text: &str) -> Result<String, Flaw> {
    if text.contains('\0') {
        return Err(Flaw::new("an argument can't hold a NUL character"));
    }
    placeholders(text)?;
    Ok(text.to_owned())
}
