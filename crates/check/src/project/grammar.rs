//! The small languages inside strings: names, durations, shares, waves, versions, patterns. Each
//! reader is text in, value or [`Flaw`] out. Where things are is in `places`.

use std::ops::RangeInclusive;

use model::ticks::CLASS_BYTES_MAX;
use model::{InvalidName, Millis, Permille, WavePlan, WaveSelector};

pub(super) const DURATION_HELP: &str =
    "write a whole number with its unit, like \"500ms\", \"30s\", \"2m\" or \"1h\"";
pub(super) const SHARE_HELP: &str = "write it like \"5%\" or \"0.5%\", from 0% to 100%";
pub(super) const PERCENTAGE_HELP: &str = "write it like \"20%\" or \"0.5%\"";
const WAVE_HELP: &str = "write \"1 host\", \"3 hosts\", \"5% of zone\", \"20%\", \"zone\", \
                         \"each zone\" or \"all\", each with \" at 1%\" behind it if you like";
/// More hosts than any fleet has; what is above is a slip of the finger.
const WAVE_HOSTS_MAX: u32 = 100_000;
/// Longest shown part of what the user wrote.
const QUOTED_CHARS_MAX: usize = 60;
/// Longest text that people read in one line.
const SENTENCE_BYTES_MAX: usize = 500;
/// A query that is longer belongs in a recording rule.
const QUERY_BYTES_MAX: usize = 2000;
/// Longer than any method that is in use.
const METHOD_BYTES_MAX: usize = 20;
/// More than a thousandfold is no limit.
const PERCENT_MAX: u64 = 100_000;

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
    pub(super) fn part(mut self, part: &str) -> Flaw {
        self.part = Some(part.to_owned());
        self
    }
}

/// The user's text in quotes, without control characters and not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// The user's text without control characters and not too long.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    // The debug form of a string escapes less than `escape_debug`: no single quotes.
    let escaped = format!("{cut:?}");
    let inner = escaped
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    format!("{}{dots}", inner.unwrap_or_default())
}

pub(super) fn bad_name(text: &str, error: &InvalidName) -> Flaw {
    let flaw = Flaw::new(format!(
        "{} is not a valid {} name",
        quoted(text),
        error.kind
    ));
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
    Err(flaw.help(format!("use {} to {}", written(least), written(most))))
}

/// A duration as it is written in the file.
pub(super) fn written(span: Millis) -> String {
    match span.0 {
        0 => "\"0s\"".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("\"{}h\"", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("\"{}m\"", ms / 60_000),
        ms if ms % 1000 == 0 => format!("\"{}s\"", ms / 1000),
        ms => format!("\"{ms}ms\""),
    }
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

/// A percentage with at most `digits` behind the point, in steps of the last: with one,
/// "0.5%" is 5. It may be more than everything.
pub(super) fn percentage(
    text: &str,
    label: &str,
    digits: u32,
    allowed: RangeInclusive<u64>,
) -> Result<u64, Flaw> {
    let bad = || Flaw::new(format!("{} is not a percentage", quoted(text))).help(PERCENTAGE_HELP);
    let number = text.strip_suffix('%').ok_or_else(bad)?;
    let number = number.strip_suffix(' ').unwrap_or(number);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let numeric = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !numeric(whole) || !numeric(part) {
        return Err(bad());
    }
    let missing = u32::try_from(part.len())
        .ok()
        .and_then(|length| digits.checked_sub(length));
    let Some(missing) = missing else {
        let step = percentage_written(1, digits);
        let flaw = Flaw::new(format!("{} is finer than steps of {step}", quoted(text)));
        return Err(flaw.help(PERCENTAGE_HELP));
    };
    let steps = |text: &str, zeros: u32| text.parse::<u64>().ok()?.checked_mul(10u64.pow(zeros));
    let value = steps(whole, digits)
        .zip(steps(part, missing))
        .and_then(|(whole, part)| whole.checked_add(part));
    let fits = value.filter(|value| allowed.contains(value));
    fits.ok_or_else(|| {
        let (least, most) = allowed.into_inner();
        let flaw = Flaw::new(format!("`{label}` is out of range: {}", quoted(text)));
        flaw.help(format!(
            "use \"{}\" to \"{}\"",
            percentage_written(least, digits),
            percentage_written(most, digits)
        ))
    })
}

/// A percentage as it is written in the file.
pub(super) fn percentage_written(value: u64, digits: u32) -> String {
    let unit = 10u64.pow(digits);
    let width = digits as usize;
    let part = format!("{:0width$}", value % unit);
    match part.trim_end_matches('0') {
        "" => format!("{}%", value / unit),
        part => format!("{}.{part}%", value / unit),
    }
}

/// `HOSTS` or `HOSTS at SHARE`.
pub(super) fn wave(text: &str) -> Result<WavePlan, Flaw> {
    let (hosts, traffic) = match text.split_once(" at ") {
        Some((hosts, traffic)) => (
            hosts,
            Some(share(traffic).map_err(|flaw| flaw.part(traffic))?),
        ),
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

/// A version range as Cargo writes it, left as it is.
pub(super) fn version_range(text: &str) -> Result<String, Flaw> {
    if crate::compat::range(text).is_some() {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not a version range", quoted(text)));
    Err(flaw.help("write it like \"^2\", \">=2, <3\", \"~1.4\", \"=1.4.2\" or \"*\""))
}

/// A version that ranges can be compared with, left as it is.
pub(super) fn semantic_version(text: &str) -> Result<String, Flaw> {
    if crate::compat::version(text).is_some() {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not a version to compare", quoted(text)));
    Err(flaw.help("write a semantic version, like \"1.4.2\" or \"2.0.0-rc.1\""))
}

/// Which files of a bundle.
pub(super) fn path_pattern(text: &str) -> Result<String, Flaw> {
    let Some(reason) = crate::pattern::path_flaw(text) else {
        return Ok(text.to_owned());
    };
    let flaw = Flaw::new(format!("{} is no path pattern: {reason}", quoted(text)));
    Err(flaw.help("write a path in the bundle; `*` is anything in one folder, `**` any folders"))
}

/// Which fields of a document.
pub(super) fn pointer(text: &str) -> Result<String, Flaw> {
    if crate::pattern::Pointer::parse(text).is_ok() {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is no pointer", quoted(text)));
    Err(flaw.help("write it like \"/auth/*/address\": names behind slashes, `*` for any one"))
}

/// Where probes may go.
pub(super) fn egress(text: &str) -> Result<String, Flaw> {
    let Some(reason) = crate::egress::flaw(text) else {
        return Ok(text.to_owned());
    };
    let flaw = Flaw::new(format!("{} names no places: {reason}", quoted(text)));
    Err(flaw.help(
        "write a name, \"*.domain\" or \"10.0.0.0/8\", each with \":port\" behind it if you like",
    ))
}

/// An ed25519 public key.
pub(super) fn public_key(text: &str) -> Result<String, Flaw> {
    match text.parse::<model::Digest>() {
        Ok(key) => Ok(key.to_string()),
        Err(_) => Err(Flaw::new(format!("{} is not a public key", quoted(text)))
            .help("write the 64 hex digits that `plimsoll attest key FILE` prints")),
    }
}

/// Something for people, in one line.
pub(super) fn sentence(text: &str) -> Result<String, Flaw> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Flaw::new("this is empty").help("say it in a few words"));
    }
    if text.len() > SENTENCE_BYTES_MAX || text.chars().any(char::is_control) {
        let flaw = Flaw::new(format!(
            "this is longer than one line of {SENTENCE_BYTES_MAX} bytes"
        ));
        return Err(flaw.help("say it shorter; it is shown in lists"));
    }
    Ok(text.to_owned())
}

/// A CEL expression; whether it compiles is known where it runs.
pub(super) fn expression(text: &str) -> Result<String, Flaw> {
    if text.trim().is_empty() {
        let flaw = Flaw::new("this expression is empty");
        return Err(flaw.help("write CEL that is true when the policy bites"));
    }
    Ok(text.to_owned())
}

/// A query in Prometheus' language; whether it is one is known there.
pub(super) fn query(text: &str) -> Result<String, Flaw> {
    let text = text.trim();
    if text.is_empty() {
        let flaw = Flaw::new("this query is empty");
        return Err(flaw.help(
            "write PromQL that gives running totals by host or bundle, like 'sum by (host) (http_requests_total)'",
        ));
    }
    if text.len() > QUERY_BYTES_MAX {
        let flaw = Flaw::new(format!("this query is longer than {QUERY_BYTES_MAX} bytes"));
        return Err(flaw.help("let Prometheus record it under a name, and ask for that"));
    }
    Ok(text.to_owned())
}

/// The name of a class of endpoints.
pub(super) fn class_name(text: &str) -> Result<String, Flaw> {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let bytes = text.as_bytes();
    let fine = bytes.len() <= CLASS_BYTES_MAX
        && bytes.iter().all(|b| inner(*b))
        && edge(bytes.first())
        && edge(bytes.last());
    if fine {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not a name for endpoints", quoted(text)));
    Err(flaw.help(format!(
        "use 1 to {CLASS_BYTES_MAX} of a-z, 0-9, '-', '_' and '.', beginning and ending with a letter or digit"
    )))
}

/// Methods that have a meaning for everybody; others may be used too.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
];

/// A method, in capitals as it is sent.
pub(super) fn method(text: &str) -> Result<String, Flaw> {
    let word = |b: u8| b.is_ascii_uppercase() || b == b'-' || b == b'_';
    let fine = (1..=METHOD_BYTES_MAX).contains(&text.len()) && text.bytes().all(word);
    let meant = crate::suggest::nearest(text, METHODS);
    // One that nobody knows and that looks like one that everybody knows would never fit.
    if fine && meant.is_none_or(|meant| meant == text) {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not a method", quoted(text)));
    Err(match meant {
        Some(meant) => flaw.help(format!("did you mean {meant:?}?")),
        None => flaw.help("write it in capitals, like \"GET\" or \"POST\""),
    })
}

/// What an HTTP probe asks for: it begins with `/`.
pub(super) fn url_path(text: &str) -> Result<String, Flaw> {
    let fine = text.starts_with('/')
        && text.len() <= SENTENCE_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if fine {
        return Ok(text.to_owned());
    }
    let flaw = Flaw::new(format!("{} is not a path to ask for", quoted(text)));
    Err(flaw.help("write it like \"/authenticate\", visible ASCII without `#`"))
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, Flaw> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: Option<u64> = match unit.strip_prefix(' ').unwrap_or(unit) {
        "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let size = number.parse::<u32>().ok().zip(unit);
    size.map(|(number, unit)| u64::from(number) * unit)
        .ok_or_else(|| {
            let flaw = Flaw::new(format!("{} is not a size", quoted(text)));
            flaw.help("write a whole number with its unit, like \"500B\", \"64KiB\" or \"10MiB\"")
        })
}

/// A percentage that may be more than everything.
pub(super) fn percent(text: &str) -> Result<u64, Flaw> {
    let number = text.strip_suffix('%').unwrap_or_default();
    let number = number.strip_suffix(' ').unwrap_or(number);
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse::<u64>().ok();
    number
        .filter(|number| digits && *number <= PERCENT_MAX)
        .ok_or_else(|| {
            let flaw = Flaw::new(format!("{} is not a whole percentage", quoted(text)));
            flaw.help(format!(
                "write it like \"50%\" or \"200%\", at most {PERCENT_MAX}%"
            ))
        })
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MINUTES: u32 = 24 * 60;

/// A time of the week, in minutes since Monday 00:00.
pub(super) fn week_minute(text: &str) -> Result<u32, Flaw> {
    let bad = || {
        let flaw = Flaw::new(format!("{} is not a time of the week", quoted(text)));
        let days = DAYS.join(", ");
        flaw.help(format!(
            "write it like \"fri 16:00\", from 00:00 to 23:59; days: {days}"
        ))
    };
    let (day, time) = text.split_once(' ').ok_or_else(bad)?;
    let day = (0u32..).zip(DAYS).find(|(_, name)| *name == day);
    let (hour, minute) = time.split_once(':').ok_or_else(bad)?;
    let number = |text: &str, most: u32| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u32>().ok();
        number.filter(|number| digits && *number <= most)
    };
    let (day, _) = day.ok_or_else(bad)?;
    let hour = number(hour, 23).ok_or_else(bad)?;
    Ok(day * DAY_MINUTES + hour * 60 + number(minute, 59).ok_or_else(bad)?)
}

/// An IANA time zone, as the database spells it.
pub(super) fn time_zone(text: &str) -> Result<String, Flaw> {
    if let Some(name) = crate::calendar::zone_name(text) {
        return Ok(name);
    }
    let flaw = Flaw::new(format!("{} is not a known time zone", quoted(text)));
    let known = crate::calendar::zone_names();
    // There are hundreds; a slip of the finger leaves the first letter and about the length.
    let first = |name: &str| name.chars().next().map(|c| c.to_ascii_lowercase());
    let alike = known
        .iter()
        .map(String::as_str)
        .filter(|name| first(name) == first(text) && name.len().abs_diff(text.len()) <= 2);
    Err(match crate::suggest::nearest(text, alike) {
        Some(meant) => flaw.help(format!("did you mean {meant:?}?")),
        None => flaw.help("write its IANA name, like \"Europe/Berlin\" or \"UTC\""),
    })
}
