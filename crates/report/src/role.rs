//! What a line of a timeline, or a clause, tells of an incident.
//!
//! Word lists, and cautious ones: a role that is missed costs a finding, a role
//! that is wrong accuses somebody of a contradiction that isn't there.
//!
//! Invariant: the roles of a text depend on its words alone, not on its place.

mod back;
mod onset;

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Something was pushed, deployed, configured.
    Change,
    /// The outage itself begins.
    Begin,
    /// Something is wrong: errors, slowness.
    Symptom,
    /// People begin to treat it as an incident.
    Declared,
    /// Somebody or something sees it.
    Detect,
    Acknowledge,
    /// The cause is found.
    Identify,
    RollbackStarted,
    RollbackFailed,
    RollbackSucceeded,
    Restart,
    /// So many per cent of the traffic are back.
    Restored(u8),
    Mitigated,
    Fixed,
    /// The ticket is closed.
    Closed,
}

impl Role {
    /// In a sentence: "the line about ...".
    pub(crate) fn words(self) -> String {
        match self {
            Role::Change => "the change".to_owned(),
            Role::Begin => "the beginning of the outage".to_owned(),
            Role::Symptom => "the first symptom".to_owned(),
            Role::Declared => "the declaration".to_owned(),
            Role::Detect => "the alert".to_owned(),
            Role::Acknowledge => "the acknowledgement".to_owned(),
            Role::Identify => "the finding of the cause".to_owned(),
            Role::RollbackStarted => "the beginning of the rollback".to_owned(),
            Role::RollbackFailed => "the failed rollback".to_owned(),
            Role::RollbackSucceeded => "the rollback".to_owned(),
            Role::Restart => "the restart".to_owned(),
            Role::Restored(100) => "the end of the outage".to_owned(),
            Role::Restored(percent) => format!("the return of {percent} % of the traffic"),
            Role::Mitigated => "the mitigation".to_owned(),
            Role::Fixed => "the fix".to_owned(),
            Role::Closed => "the closing of the ticket".to_owned(),
        }
    }
}

/// The words of a text, to be asked about.
struct Words<'a> {
    low: &'a str,
    words: Vec<&'a str>,
}

impl Words<'_> {
    /// One of them is such a word, or begins like a stem that ends in `*`.
    fn any(&self, stems: &str) -> bool {
        self.at(stems).is_some()
    }

    /// Where the first such word stands.
    fn at(&self, stems: &str) -> Option<usize> {
        self.words.iter().position(|word| {
            stems.split(' ').any(|stem| match stem.strip_suffix('*') {
                Some(start) => word.starts_with(start),
                None => *word == stem,
            })
        })
    }

    /// It holds one of the phrases, which bars separate.
    fn says(&self, phrases: &str) -> bool {
        phrases.split('|').any(|phrase| self.low.contains(phrase))
    }

    fn is_plan(&self) -> bool {
        self.any("will would should plan* expect* estimat* scheduled")
    }
}

/// A line of a timeline is read up to here; what is longer tells several things.
const TEXT_BYTES_MAX: usize = 600;

/// All roles of a text in lower case, sorted.
pub(crate) fn roles(low: &str) -> Vec<Role> {
    let mut end = low.len().min(TEXT_BYTES_MAX);
    while !low.is_char_boundary(end) {
        end -= 1;
    }
    let low = &low[..end];
    let words = Words {
        low,
        words: low
            .split(|c: char| !(c.is_alphanumeric() || c == '\''))
            .filter(|word| !word.is_empty())
            .collect(),
    };
    let mut found = Vec::new();
    let rollback = back::rollback(&words);
    found.extend(rollback);
    let restored = back::restored(&words);
    found.extend(restored);
    if back::closed(&words) {
        found.push(Role::Closed);
    }
    if words.any("acknowledg* ack acked ack'd") {
        found.push(Role::Acknowledge);
    } else if onset::detect(&words) {
        found.push(Role::Detect);
    }
    if words.any("restart* reboot* bounced") || words.says("running again") {
        found.push(Role::Restart);
    }
    if words.any("mitigat*") && !words.says("to mitigate|mitigating|mitigation start") {
        found.push(Role::Mitigated);
    }
    if words.any("fix fixed fixes hotfix patch patched") {
        found.push(Role::Fixed);
    }
    if onset::identified(&words) {
        found.push(Role::Identify);
    }
    let quiet = rollback.is_none() && restored.is_none();
    if quiet && onset::begin(&words) {
        found.push(Role::Begin);
    } else if quiet && onset::declared(&words) {
        found.push(Role::Declared);
    } else if quiet && onset::symptom(&words) {
        found.push(Role::Symptom);
    }
    if quiet && found.is_empty() && onset::change(&words) {
        found.push(Role::Change);
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::Role::{Acknowledge, Begin, Change, Closed, Declared, Detect, Identify, Restart};
    use super::Role::{Restored, RollbackFailed, RollbackStarted, RollbackSucceeded, Symptom};
    use super::*;

    #[test]
    fn lines_of_timelines_have_roles() {
        for (line, expected) in [
            ("config push", vec![Change]),
            ("upgrade of the web tier starts", vec![Change]),
            ("outage begins", vec![Begin]),
            ("OUTAGE BEGINS: backends melt", vec![Begin]),
            ("the site went down", vec![Begin]),
            ("interruption starts", vec![Begin]),
            ("incident begins", vec![Declared]),
            ("pagers alerted the teams", vec![Detect]),
            ("on-call acknowledged the page", vec![Acknowledge]),
            ("rollback started", vec![RollbackStarted]),
            ("rollback of the config failed", vec![RollbackFailed]),
            ("unsuccessful attempt to revert", vec![RollbackFailed]),
            ("rolled back", vec![RollbackSucceeded]),
            ("rolled back the failed deployment", vec![RollbackFailed]),
            (
                "successful attempt to revert the change",
                vec![RollbackSucceeded],
            ),
            ("push withdrawn successfully", vec![RollbackSucceeded]),
            ("servers restarted", vec![Restart]),
            ("25% of traffic restored", vec![Restored(25)]),
            ("100% of traffic back online", vec![Restored(100)]),
            ("service fully restored", vec![Restored(100)]),
            ("resolved", vec![Restored(100)]),
            ("ticket closed", vec![Closed]),
            ("the cause was identified", vec![Identify]),
            ("error rate rises", vec![Symptom]),
            ("status page updated", vec![]),
            ("working to restore service", vec![]),
            ("100% of traffic fails", vec![Symptom]),
            ("database restored from backup", vec![]),
            ("alerts cleared", vec![]),
        ] {
            // One that tells of a rollback of something that failed is hard to tell
            // from a failed one; it is taken for the worse, and nothing rests on it.
            assert_eq!(roles(&line.to_ascii_lowercase()), expected, "{line}");
        }
    }
}
