//! Time zones as people write them.
//!
//! Sources: the abbreviations of the IANA time zone database, and the rules
//! for summer time of the USA (Energy Policy Act of 2005), the European Union
//! (directive 2000/84/EC), Australia and New Zealand.
//!
//! Invariant: an abbreviation that means several zones (IST, CST, BST) has no
//! offset, and nothing is ever concluded from it.

use jiff::civil::{Date, Weekday, date};
use serde::{Deserialize, Serialize};

use crate::place::head;

/// A zone as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// As it was written.
    pub name: String,
    /// Names of one family mean the same clock on the same day.
    pub(crate) family: String,
    pub(crate) offset: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Offset {
    /// Minutes east of Greenwich.
    Fixed(i32),
    /// Minutes in winter, an hour more in summer.
    Seasonal(i32, Rule),
    /// It means several zones, or where the readers are.
    Unknown,
}

/// When a region has summer time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rule {
    Us,
    Eu,
    Au,
    Nz,
}

/// Whether an abbreviation is for one half of the year only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Always,
    Winter(Rule, &'static str),
    Summer(Rule, &'static str),
    General(Rule),
    Several,
}

use Half::{Always, General, Several, Summer, Winter};
use Rule::{Au, Eu, Nz, Us};

/// Abbreviation, family, minutes east (of a general name: in winter), half, and
/// the name that is right in the other half.
const ZONES: &[(&str, &str, i32, Half)] = &[
    ("UTC", "UTC", 0, Always),
    ("GMT", "UTC", 0, Always),
    ("Z", "UTC", 0, Always),
    ("PST", "Pacific", -480, Winter(Us, "PDT")),
    ("PDT", "Pacific", -420, Summer(Us, "PST")),
    ("PT", "Pacific", -480, General(Us)),
    // Arizona has MST all year.
    ("MST", "Mountain", -420, Always),
    ("MDT", "Mountain", -360, Summer(Us, "MST")),
    ("MT", "Mountain", -420, General(Us)),
    // China and Cuba have a CST too.
    ("CST", "CST", 0, Several),
    ("CDT", "Central", -300, Summer(Us, "CST")),
    ("CT", "Central", -360, General(Us)),
    ("EST", "Eastern", -300, Winter(Us, "EDT")),
    ("EDT", "Eastern", -240, Summer(Us, "EST")),
    ("ET", "Eastern", -300, General(Us)),
    ("AKST", "Alaska", -540, Winter(Us, "AKDT")),
    ("AKDT", "Alaska", -480, Summer(Us, "AKST")),
    ("HST", "Hawaii", -600, Always),
    ("CET", "Central Europe", 60, Winter(Eu, "CEST")),
    ("CEST", "Central Europe", 120, Summer(Eu, "CET")),
    // Libya and Kaliningrad have EET all year.
    ("EET", "Eastern Europe", 120, Always),
    ("EEST", "Eastern Europe", 180, Summer(Eu, "EET")),
    ("WET", "Western Europe", 0, Always),
    ("WEST", "Western Europe", 60, Summer(Eu, "WET")),
    ("BST", "BST", 0, Several),
    ("IST", "IST", 0, Several),
    ("AST", "AST", 0, Several),
    ("ADT", "ADT", 0, Several),
    ("SST", "SST", 0, Several),
    ("PHT", "PHT", 480, Always),
    ("WAT", "West Africa", 60, Always),
    ("CAT", "Central Africa", 120, Always),
    ("EAT", "East Africa", 180, Always),
    ("SAST", "South Africa", 120, Always),
    ("MSK", "Moscow", 180, Always),
    ("TRT", "Turkey", 180, Always),
    ("GST", "GST", 0, Several),
    ("PKT", "Pakistan", 300, Always),
    ("NPT", "Nepal", 345, Always),
    ("ICT", "Indochina", 420, Always),
    ("WIB", "West Indonesia", 420, Always),
    ("SGT", "Singapore", 480, Always),
    ("MYT", "Malaysia", 480, Always),
    ("HKT", "Hong Kong", 480, Always),
    ("JST", "Japan", 540, Always),
    ("KST", "Korea", 540, Always),
    ("AWST", "Western Australia", 480, Always),
    ("ACST", "Central Australia", 570, Always),
    ("ACDT", "Central Australia", 630, Summer(Au, "ACST")),
    // Queensland has AEST all year.
    ("AEST", "Eastern Australia", 600, Always),
    ("AEDT", "Eastern Australia", 660, Summer(Au, "AEST")),
    ("AET", "Eastern Australia", 600, General(Au)),
    ("NZST", "New Zealand", 720, Winter(Nz, "NZDT")),
    ("NZDT", "New Zealand", 780, Summer(Nz, "NZST")),
    ("BRT", "Brasilia", -180, Always),
    ("ART", "Argentina", -180, Always),
    ("COT", "Colombia", -300, Always),
    ("PET", "Peru", -300, Always),
    ("CLT", "Chile", 0, Several),
    ("NST", "Newfoundland", 0, Several),
    ("NDT", "Newfoundland", 0, Several),
];

/// Full names, in lower case, and the abbreviation that means the same.
const NAMES: &[(&str, &str)] = &[
    ("pacific standard time", "PST"),
    ("pacific daylight time", "PDT"),
    ("pacific time", "PT"),
    ("us pacific", "PT"),
    ("pacific", "PT"),
    ("mountain standard time", "MST"),
    ("mountain daylight time", "MDT"),
    ("mountain time", "MT"),
    ("central european summer time", "CEST"),
    ("central european time", "CET"),
    ("central africa time", "CAT"),
    ("central daylight time", "CDT"),
    ("central time", "CT"),
    ("eastern standard time", "EST"),
    ("eastern daylight time", "EDT"),
    ("eastern european time", "EET"),
    ("eastern time", "ET"),
    ("us eastern", "ET"),
    ("west africa standard time", "WAT"),
    ("west african time", "WAT"),
    ("west africa time", "WAT"),
    ("east african time", "EAT"),
    ("east africa time", "EAT"),
    ("central african time", "CAT"),
    ("south africa standard time", "SAST"),
    ("greenwich mean time", "GMT"),
    ("coordinated universal time", "UTC"),
    ("universal time", "UTC"),
    ("indian standard time", "IST"),
    ("british summer time", "BST"),
    ("zulu", "UTC"),
];

/// What a piece of text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Zone(Zone),
    /// It looks like an abbreviation and is none.
    Unknown(String),
}

impl Zone {
    /// Of a name alone: `PT`, `UTC+03:00`, `Europe/Berlin`, `West Africa Time`.
    pub fn named(name: &str) -> Option<Zone> {
        let name = name.trim();
        match at_start(name, Context::Alone)? {
            (Named::Zone(zone), length) if length == name.len() => Some(zone),
            (Named::Zone(_) | Named::Unknown(_), _) => None,
        }
    }

    /// Minutes east of Greenwich on a day; none if that can't be told.
    pub(crate) fn offset_on(&self, day: Option<Date>) -> Option<i32> {
        match self.offset {
            Offset::Fixed(minutes) => Some(minutes),
            Offset::Unknown => None,
            Offset::Seasonal(winter, rule) => {
                let summer = is_summer(rule, day?)?;
                Some(winter + if summer { 60 } else { 0 })
            }
        }
    }

    /// The name that is right on a day for which this one is wrong.
    pub(crate) fn right_on(&self, day: Date) -> Option<&'static str> {
        let upper = self.name.to_ascii_uppercase();
        let abbreviation = NAMES
            .iter()
            .find(|(full, _)| full.eq_ignore_ascii_case(&self.name))
            .map_or(upper.as_str(), |(_, short)| short);
        let (.., half) = ZONES.iter().find(|(name, ..)| *name == abbreviation)?;
        match half {
            Winter(rule, other) => is_summer(*rule, day)?.then_some(*other),
            Summer(rule, other) => (!is_summer(*rule, day)?).then_some(*other),
            Always | General(_) | Several => None,
        }
    }

    /// How far this zone's clock is ahead of another's, in minutes; none if unknown.
    pub(crate) fn ahead_of(&self, other: &Zone, day: Option<Date>) -> Option<i32> {
        if self.family == other.family {
            return Some(0);
        }
        Some(self.offset_on(day)? - other.offset_on(day)?)
    }

    fn of(entry: &(&str, &str, i32, Half), written: &str) -> Zone {
        let (_, family, minutes, half) = entry;
        let offset = match half {
            Always | Winter(..) | Summer(..) => Offset::Fixed(*minutes),
            General(rule) => Offset::Seasonal(*minutes, *rule),
            Several => Offset::Unknown,
        };
        Zone {
            name: written.to_owned(),
            family: (*family).to_owned(),
            offset,
        }
    }
}

/// Where a zone is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// Right after a time of day.
    Time,
    /// In brackets of a heading, or given on a command line.
    Alone,
}

/// The zone that a text begins with, and how many bytes long it is.
pub(crate) fn at_start(text: &str, context: Context) -> Option<(Named, usize)> {
    /// The longest name, and what has to stand behind it.
    const REACH: usize = 64;
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '+' || c == '-') {
        return None;
    }
    let text = head(text, REACH);
    offset_only(text)
        .or_else(|| full_name(text))
        .or_else(|| abbreviation(text, context))
        .or_else(|| place_name(text))
}

/// `+01:00` and `-0730`, as in RFC 3339; right at the time, so without a blank.
fn offset_only(text: &str) -> Option<(Named, usize)> {
    let (minutes, length) = offset(text, true)?;
    let name = &text[..length];
    Some((Named::Zone(fixed(name, minutes)), length))
}

fn fixed(name: &str, minutes: i32) -> Zone {
    // The same whatever it is written like: GMT + 1, UTC+01:00.
    Zone {
        name: name.to_owned(),
        family: if minutes == 0 {
            "UTC".to_owned()
        } else {
            format!("UTC{minutes:+}")
        },
        offset: Offset::Fixed(minutes),
    }
}

/// A sign and hours, with minutes after them (`whole`) or perhaps.
fn offset(text: &str, whole: bool) -> Option<(i32, usize)> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).filter(|b| b.is_ascii_digit());
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut at = 1;
    let mut hours = 0;
    while let Some(digit) = digit(at)
        && at < 3
    {
        hours = hours * 10 + i32::from(digit - b'0');
        at += 1;
    }
    if at == 1 || hours > 14 || (whole && at != 3) {
        return None;
    }
    let colon = usize::from(bytes.get(at) == Some(&b':'));
    let minutes = match (digit(at + colon), digit(at + colon + 1)) {
        (Some(tens), Some(ones)) if at == 3 || colon == 1 => {
            at += colon + 2;
            i32::from(tens - b'0') * 10 + i32::from(ones - b'0')
        }
        _ if whole => return None,
        _ => 0,
    };
    let plausible = matches!(minutes, 0 | 30 | 45) && digit(at).is_none();
    plausible.then_some((sign * (hours * 60 + minutes), at))
}

fn full_name(text: &str) -> Option<(Named, usize)> {
    let found = NAMES.iter().find(|(full, _)| {
        let start = text.get(..full.len());
        start.is_some_and(|it| it.eq_ignore_ascii_case(full))
            && !text[full.len()..].starts_with(|c: char| c.is_alphanumeric())
    });
    if let Some((full, short)) = found {
        let entry = ZONES.iter().find(|(name, ..)| name == short)?;
        return Some((
            Named::Zone(Zone::of(entry, &text[..full.len()])),
            full.len(),
        ));
    }
    // "local time", "Lagos time": a clock that people there know.
    let (first, rest) = text.split_once(' ')?;
    let named = first.eq_ignore_ascii_case("local")
        || (first.starts_with(|c: char| c.is_ascii_uppercase())
            && first.len() > 3
            && first.chars().all(char::is_alphabetic)
            && ![
                "Response", "Down", "Real", "Downtime", "This", "That", "Each", "Every", "Some",
                "Load", "Start",
            ]
            .contains(&first));
    let time = rest.get(..4)?.eq_ignore_ascii_case("time")
        && !rest[4..].starts_with(|c: char| c.is_alphanumeric());
    (named && time).then(|| {
        let length = first.len() + 5;
        let zone = Zone {
            name: text[..length].to_owned(),
            family: first.to_ascii_lowercase(),
            offset: Offset::Unknown,
        };
        (Named::Zone(zone), length)
    })
}

fn abbreviation(text: &str, context: Context) -> Option<(Named, usize)> {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = &text[..letters];
    let rest = &text[letters..];
    if letters == 0 || rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let upper = word.to_ascii_uppercase();
    // In small letters only what is no word of any language.
    const SMALL: &[&str] = &[
        "UTC", "GMT", "PST", "PDT", "EST", "EDT", "CST", "CDT", "CEST", "WAT",
    ];
    let written = word == upper || SMALL.contains(&upper.as_str());
    let entry = ZONES.iter().find(|(name, ..)| *name == upper);
    let Some(entry) = entry.filter(|_| written) else {
        return unknown(word, rest, context).map(|named| (named, letters));
    };
    if matches!(entry.0, "UTC" | "GMT") {
        let blank = rest.len() - rest.trim_start_matches(' ').len();
        let sign = rest[blank..].starts_with('+') && blank <= 1;
        if let Some((minutes, length)) = spaced(&rest[blank..]).filter(|_| sign || blank == 0) {
            let all = letters + blank + length;
            return Some((Named::Zone(fixed(&text[..all], minutes)), all));
        }
    }
    // "PST time", "GMT time".
    let length = letters + if rest.starts_with(" time") { 5 } else { 0 };
    Some((Named::Zone(Zone::of(entry, word)), length))
}

/// `+1`, `+ 1`, `-07:00`; not `- 7`, which goes on to another time.
fn spaced(text: &str) -> Option<(i32, usize)> {
    match text.strip_prefix("+ ") {
        Some(rest) => {
            let (minutes, length) = offset(&format!("+{rest}"), false)?;
            Some((minutes, length + 1))
        }
        None => offset(text, false),
    }
}

/// Three or four capitals that end like "time", where nothing else could stand.
fn unknown(word: &str, rest: &str, context: Context) -> Option<Named> {
    const WORDS: &[&str] = &[
        "REST", "POST", "PUT", "GET", "HOST", "TEST", "NAT", "BOT", "IOT", "CERT", "JWT", "ALERT",
        "SHUT", "WENT", "LAST", "MOST", "BEST", "NEXT", "EDIT", "RTT", "MQTT", "ROOT", "INIT",
        "UNIT", "LIST", "COST", "BUT", "NOT", "OUT", "SALT", "GIT", "MIT", "IT", "AT", "SLOT",
        "BOOT", "TEXT", "LEFT", "DIST", "SENT", "FAST", "PORT", "DHT", "CAST", "GRANT", "TGT",
        "CSIRT", "ITIL", "SIT", "UAT", "FACT", "JIT", "NIST", "AGT", "JUST", "SET", "NFT",
    ];
    let shaped = (3..=4).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_uppercase())
        && word.ends_with('T')
        && !WORDS.contains(&word);
    let over = match context {
        Context::Alone => rest.is_empty() || rest.starts_with(')'),
        Context::Time => {
            let next = rest.trim_start();
            next.is_empty()
                || rest.starts_with([',', '.', ';', ')', ':', '|'])
                || next.starts_with("to ")
                || next.starts_with("- ")
                || next.starts_with("on ")
                || next.starts_with("and ")
        }
    };
    (shaped && over).then(|| Named::Unknown(word.to_owned()))
}

/// `Europe/Berlin`.
fn place_name(text: &str) -> Option<(Named, usize)> {
    const REGIONS: &[&str] = &[
        "Africa/",
        "America/",
        "Asia/",
        "Atlantic/",
        "Australia/",
        "Europe/",
        "Indian/",
        "Pacific/",
    ];
    REGIONS.iter().find(|region| text.starts_with(**region))?;
    let length = text
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || b"/_-".contains(b))
        .count();
    let zone = Zone {
        name: text[..length].to_owned(),
        family: text[..length].to_owned(),
        offset: Offset::Unknown,
    };
    Some((Named::Zone(zone), length))
}

/// Whether a day has summer time; none on the days on which clocks change, and
/// in years whose rules were others.
fn is_summer(rule: Rule, day: Date) -> Option<bool> {
    let year = day.year();
    if year < 2008 {
        return None;
    }
    let first = |month, nth| {
        date(year, month, 1)
            .nth_weekday_of_month(nth, Weekday::Sunday)
            .ok()
    };
    let (start, end, south) = match rule {
        Us => (first(3, 2)?, first(11, 1)?, false),
        Eu => (first(3, -1)?, first(10, -1)?, false),
        Au => (first(4, 1)?, first(10, 1)?, true),
        Nz => (first(4, 1)?, first(9, -1)?, true),
    };
    if day == start || day == end {
        return None;
    }
    Some((start < day && day < end) != south)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<(String, Option<i32>)> {
        let zone = Zone::named(text)?;
        Some((zone.name.clone(), zone.offset_on(Some(date(2024, 7, 1)))))
    }

    #[test]
    fn zones_are_read_in_many_ways() {
        for (text, minutes) in [
            ("UTC", Some(0)),
            ("utc", Some(0)),
            ("GMT + 1", Some(60)),
            ("GMT+1", Some(60)),
            ("UTC+03:00", Some(180)),
            ("UTC-7", Some(-420)),
            ("+05:30", Some(330)),
            ("-0700", Some(-420)),
            ("PT", Some(-420)),
            ("Pacific time", Some(-420)),
            ("WAT", Some(60)),
            ("EAT", Some(180)),
            ("West Africa Time", Some(60)),
            ("IST", None),
            ("local time", None),
            ("Lagos time", None),
            ("Europe/Berlin", None),
        ] {
            assert_eq!(named(text), Some((text.to_owned(), minutes)), "{text}");
        }
        for text in ["", "PCT", "REST", "west", "eat", "UTC+25", "Response time"] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn an_abbreviation_is_wrong_in_the_other_half_of_the_year() {
        let right = |name: &str, day| Zone::named(name).and_then(|it| it.right_on(day));
        assert_eq!(right("PST", date(2020, 9, 30)), Some("PDT"));
        assert_eq!(right("PST", date(2020, 12, 1)), None);
        assert_eq!(right("PDT", date(2020, 12, 1)), Some("PST"));
        assert_eq!(right("CEST", date(2024, 1, 15)), Some("CET"));
        assert_eq!(right("NZST", date(2024, 1, 15)), Some("NZDT"));
        assert_eq!(right("AEDT", date(2024, 7, 15)), Some("AEST"));
        // Nobody can tell: the day of change, old rules, Arizona, several zones.
        assert_eq!(right("PST", date(2024, 3, 10)), None);
        assert_eq!(right("PST", date(2003, 7, 1)), None);
        for name in ["MST", "IST", "CST", "BST", "GMT", "AEST"] {
            assert_eq!(right(name, date(2024, 7, 15)), None, "{name}");
        }
    }

    #[test]
    fn what_only_looks_like_a_zone_is_told_from_what_is_none() {
        let unknown = |text| match at_start(text, Context::Time) {
            Some((Named::Unknown(name), _)) => Some(name),
            _ => None,
        };
        assert_eq!(unknown("PCT, the site"), Some("PCT".to_owned()));
        assert_eq!(unknown("XYT"), Some("XYT".to_owned()));
        for text in [
            "REST API",
            "NAT gateway",
            "AWS,",
            "POST.",
            "CTO",
            "GET /",
            "XYT server",
        ] {
            assert_eq!(unknown(text), None, "{text}");
        }
    }

    #[test]
    fn clocks_of_two_zones_are_compared_only_if_both_are_known() {
        let zone = |name| Zone::named(name).expect("a zone");
        let day = Some(date(2024, 7, 1));
        assert_eq!(zone("PT").ahead_of(&zone("PST"), day), Some(0));
        assert_eq!(zone("WAT").ahead_of(&zone("UTC"), day), Some(60));
        assert_eq!(zone("UTC").ahead_of(&zone("PT"), day), Some(420));
        assert_eq!(zone("UTC").ahead_of(&zone("PT"), None), None);
        assert_eq!(zone("IST").ahead_of(&zone("UTC"), day), None);
    }
}
