//! The small languages inside strings: durations, shares, waves, addresses,
//! URLs, paths, placeholders. Each reader is text in, value or [`Flaw`] out.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use model::{InvalidName, Millis, Permille, WavePlan, WaveSelector};

/// What can stand in `${...}`, and a value of the right form to check the text around it.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("address", "127.0.0.1:1"),
    ("host", "host"),
    ("zone", "zone"),
    ("environment", "environment"),
    ("service", "service"),
    ("tree", "/tree"),
];

pub(super) const DURATION_HELP: &str = "write it like \"500ms\", \"30s\", \"2m\" or \"1h\"";
pub(super) const SHARE_HELP: &str = "write it like \"5%\" or \"0.5%\", from 0% to 100%";
const WAVE_HELP: &str = "write \"1 host\", \"3 hosts\", \"5% of zone\", \"20%\", \"zone\", \
                         \"each zone\" or \"all\", each with \" at 1%\" behind it if you like";
/// More hosts than any fleet has; what is above is a slip of the finger.
const WAVE_HOSTS_MAX: u32 = 100_000;
/// Longest shown part of what the user wrote.
const QUOTED_CHARS_MAX: usize = 60;
/// Longest version and archive name: both become parts of file names.
const VERSION_BYTES_MAX: usize = 64;

/// Why a text isn't what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The part of the text that is wrong, as it stands there.
    pub(super) part: Option<String>,
}

impl Flaw {
    pub(super) fn new(message: impl Into<String>) -> Flaw {
        Flaw {
            message: message.into(),
            help: None,
            part: None,
        }
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Flaw {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    fn part(mut self, part: &str) -> Flaw {
        self.part = Some(part.to_owned());
        self
    }
}

/// The user's text in quotes, without control characters and not too long.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

pub(super) fn bad_name(text: &str, error: &InvalidName) -> Flaw {
    let flaw = Flaw::new(format!("{} is not a {} name", quoted(text), error.kind));
    flaw.help(format!(
        "use 1 to {} of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit",
        model::id::NAME_BYTES_MAX
    ))
}

pub(super) fn duration(
    text: &str,
    label: &str,
    allowed: RangeInclusive<Millis>,
) -> Result<Millis, Flaw> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let (Some(unit_ms), Ok(number)) = (unit_ms, number.parse::<u32>()) else {
        let flaw = Flaw::new(format!("{} is not a duration", quoted(text)));
        return Err(flaw.help(DURATION_HELP));
    };
    let span = Millis(u64::from(number) * unit_ms);
    if allowed.contains(&span) {
        return Ok(span);
    }
    let (least, most) = allowed.into_inner();
    let flaw = Flaw::new(format!("`{label}` is out of range: {}", quoted(text)));
    Err(flaw.help(format!("use {least} to {most}")))
}

/// A share in steps of 0.1 %.
pub(super) fn share(text: &str) -> Result<Permille, Flaw> {
    let bad = || Flaw::new(format!("{} is not a share", quoted(text))).help(SHARE_HELP);
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    let number = number.strip_suffix(' ').unwrap_or(number);
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(tenth) {
        return Err(bad());
    }
    if tenth.len() > 1 {
        let flaw = Flaw::new(format!("{} is finer than steps of 0.1%", quoted(text)));
        return Err(flaw.help(SHARE_HELP));
    }
    // One digit, so only a large whole fails here.
    let tenth: u16 = tenth.parse().map_err(|_| bad())?;
    let whole: Option<u16> = whole.parse().ok();
    whole
        .and_then(|whole| whole.checked_mul(10)?.checked_add(tenth))
        .and_then(Permille::new)
        .ok_or_else(|| {
            Flaw::new(format!("{} is more than everything", quoted(text))).help(SHARE_HELP)
        })
}

/// `HOSTS` or `HOSTS at SHARE`.
pub(super) fn wave(text: &str) -> Result<WavePlan, Flaw> {
    let (hosts, traffic) = match text.split_once(" at ") {
        Some((hosts, traffic)) => (hosts, Some(share(traffic)?)),
        None => (text, None),
    };
    Ok(WavePlan {
        hosts: wave_hosts(hosts)?,
        traffic_permille: traffic,
    })
}

/// Which hosts a wave takes.
pub(super) fn wave_hosts(text: &str) -> Result<WaveSelector, Flaw> {
    let bad = || Flaw::new(format!("{} is not a wave", quoted(text))).help(WAVE_HELP);
    let nothing = || Flaw::new(format!("{} is a wave of nothing", quoted(text))).help(WAVE_HELP);
    let some = |permille| match permille {
        Permille::NONE => Err(nothing()),
        permille => Ok(permille),
    };
    match text {
        "zone" => return Ok(WaveSelector::Zone),
        "each zone" => return Ok(WaveSelector::EachZone),
        "all" => return Ok(WaveSelector::All),
        _ => {}
    }
    let counted = text
        .strip_suffix(" hosts")
        .or_else(|| text.strip_suffix(" host"));
    if let Some(count) = counted {
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        return match count.parse() {
            Ok(0) => Err(nothing()),
            Ok(count) if count <= WAVE_HOSTS_MAX => Ok(WaveSelector::Hosts { count }),
            Ok(_) | Err(_) => Err(Flaw::new(format!(
                "{} is more hosts than any fleet has",
                quoted(text)
            ))
            .help(format!("use at most {WAVE_HOSTS_MAX}, or \"all\""))),
        };
    }
    if let Some(of_zone) = text.strip_suffix(" of zone") {
        let permille = some(share(of_zone)?)?;
        return Ok(WaveSelector::ShareOfZone { permille });
    }
    if text.ends_with('%') {
        let permille = some(share(text)?)?;
        return Ok(WaveSelector::Share { permille });
    }
    Err(bad())
}

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

/// `host:port` of a TCP health check, with placeholders.
pub(super) fn probe_address(text: &str) -> Result<String, Flaw> {
    placeholders(text)?;
    address(&filled_in(text)).map_err(|_| {
        let flaw = Flaw::new(format!("{} is not an address", quoted(text)));
        flaw.help("write `host:port`, most often just \"${address}\"")
    })?;
    Ok(text.to_owned())
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

/// The URL of an HTTP health check, with placeholders.
pub(super) fn probe_url(text: &str) -> Result<String, Flaw> {
    placeholders(text)?;
    let bad = |help: &str| {
        let flaw = Flaw::new(format!("{} is not a URL to probe", quoted(text)));
        Err(flaw.help(help))
    };
    let url = filled_in(text);
    let Some(rest) = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
    else {
        return bad("write it like \"http://${address}/healthz\"");
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
    if text.contains("${address}:") {
        return bad("`${address}` already holds the port");
    }
    // A name without its port is fine in a URL.
    if address(authority).is_err() && !is_host(authority) {
        return bad("the host after `://` is not a name or address; try \"http://${address}/\"");
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
