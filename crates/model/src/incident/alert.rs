//! Alerts: who they are (labels), and who does not want to hear of them.
//!
//! Invariant: [`Labels`] are not empty, sorted, within their bounds, and none
//! has an empty value, so that equal alerts have equal fingerprints.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Millis, Timestamp};

/// Most labels of an alert: Prometheus' own alerts have about ten.
pub const LABELS_MAX: usize = 64;
/// Longest name of a label, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 256;
/// Longest value of a label, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 1024;

/// What an alert is told from others by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Labels(BTreeMap<String, String>);

/// Labels that make no alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// None has a value.
    #[error("at least one label pair required")]
    Empty,
    /// More than [`LABELS_MAX`].
    #[error("{count} labels, at most {LABELS_MAX}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A name is empty or too long, or a value is too long.
    #[error("the label {name:?} is too long, or has no name")]
    TooLong {
        /// The beginning of its name.
        name: String,
    },
}

impl Labels {
    /// Labels of these pairs; those with an empty value are left out, as Alertmanager does.
    ///
    /// # Errors
    /// When none is left, or there are too many or too long ones.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Labels, InvalidLabels> {
        let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let labels: BTreeMap<String, String> = pairs.collect();
        if labels.is_empty() {
            return Err(InvalidLabels::Empty);
        }
        if labels.len() > LABELS_MAX {
            let count = labels.len();
            return Err(InvalidLabels::TooMany { count });
        }
        let fits = |(name, value): &(&String, &String)| {
            (1..=LABEL_NAME_BYTES_MAX).contains(&name.len()) && value.len() <= LABEL_VALUE_BYTES_MAX
        };
        if let Some((name, _)) = labels.iter().find(|pair| !fits(pair)) {
            let name = name.chars().take(40).collect();
            return Err(InvalidLabels::TooLong { name });
        }
        Ok(Labels(labels))
    }

    /// A label's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Which alert it is.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = InvalidLabels;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Labels, InvalidLabels> {
        Labels::new(labels)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

/// Which alert: FNV-1a with 64 bits over the labels sorted by name, each name and value followed by 0xFF, as Alertmanager
/// computes it. Written as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(u64);

/// Offset basis and prime of FNV-1a, 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Fingerprint {
    fn of(labels: &Labels) -> Fingerprint {
        let mut hash = FNV_BASIS;
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            for byte in text.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
            }
        }
        Fingerprint(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Fingerprint, String> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| digits);
        let number = number.ok_or_else(|| format!("{text:?} is not 16 hex digits"))?;
        Ok(Fingerprint(number))
    }
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Who it is.
    pub labels: Labels,
    /// What its rule says about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Since when, by its sender's clock.
    pub starts_at: Timestamp,
    /// It is over when it isn't told again for so long.
    pub lease_ms: Millis,
    /// Where to look at it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
    /// Who told it: `alertmanager`, `pagerduty`, `plimsoll`.
    pub source: String,
}

/// Why an alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertEnd {
    /// Its sender said so.
    Told,
    /// Its sender said nothing more.
    LeaseEnded,
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "=~")]
    Regex,
    #[serde(rename = "!~")]
    NotRegex,
}

impl Operator {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Regex => "=~",
            Operator::NotRegex => "!~",
        }
    }
}

/// One condition on one label. A label that is not there counts as empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// Of which label.
    pub name: String,
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: String,
}

/// Alerts that page nobody for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Given by the shell, a UUID.
    pub id: String,
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
    /// From.
    pub starts_at: Timestamp,
    /// Until.
    pub ends_at: Timestamp,
    /// Who wanted it, in their words.
    pub created_by: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, InvalidLabels> {
        Labels::new(pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())))
    }

    #[test]
    fn a_fingerprint_is_alertmanagers() {
        let ours = labels(&[("severity", "page"), ("alertname", "T1")]).unwrap();
        assert_eq!(ours.fingerprint().to_string(), "c1870db1300b0a19");
        let json = serde_json::to_string(&ours.fingerprint()).unwrap();
        assert_eq!(
            serde_json::from_str::<Fingerprint>(&json).unwrap(),
            ours.fingerprint()
        );
        for bad in [
            "",
            "c1870db1300b0a1",
            "+1870db1300b0a19",
            "g1870db1300b0a19",
        ] {
            assert!(Fingerprint::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn empty_values_are_no_labels() {
        let with = labels(&[("a", "1"), ("b", "")]).unwrap();
        assert_eq!(with, labels(&[("a", "1")]).unwrap());
        assert_eq!(labels(&[("b", "")]), Err(InvalidLabels::Empty));
    }

    #[test]
    fn labels_are_bounded() {
        let many = (0..=LABELS_MAX).map(|n| (format!("l{n}"), "v".into()));
        assert_eq!(Labels::new(many), Err(InvalidLabels::TooMany { count: 65 }));
        let long = "x".repeat(LABEL_VALUE_BYTES_MAX + 1);
        assert!(matches!(
            labels(&[("a", &long)]),
            Err(InvalidLabels::TooLong { .. })
        ));
        assert!(serde_json::from_str::<Labels>("{}").is_err());
    }
}
