//! The way back in words: rollbacks, traffic that returns, what is closed.
//!
//! Invariant: what is planned, tried or only partly so is never told as done.

use super::{Role, Words};

const UNDO: &str = "rollback* revert* withdraw* withdrawn withdrew undo undone undid reversed";

const APART: &str = "roll rolled rolling take taken took backed";

const UNDONE: &str = "roll back|rolled back|rolling back|roll it back|rolled it back|rolling it back|\
    take back|taken back|took back|backed out|roll-back|rolled-back";

const NOT_UNDONE: &str =
    "failed to roll|failed to revert|failed rollback|did not work|could not be|unable to";

const UNDOING: &str = "begin* began begun start* initiat* attempt* trying tried try progress";

const UP: &str = "restored back online routed reinstated recovered returned resumed normal";

const NOT_UP: &str = "not yet until attempt* trying unable still didn't";

const TO_COME: &str = "to restore|to recover|to resolve|working on|to bring";

const WHAT_IS_UP: &str = "traffic service* users capacity requests online restored back customers";

const IN_PART: &str = "partial* some gradual* began begin* begun start* slowly backup* snapshot* previous \
    replica* most restoring recovering initial* one disk table* file* alert* monitoring \
    access";

const ALL_BACK: &str = "back online|fully restored|fully recovered|fully operational|back to normal|\
    returned to normal|return to normal|service restored|services restored|\
    service was restored|services were restored|service is restored|outage ends|\
    outage ended|outage over|outage is over|outage resolved|incident resolved|\
    incident is resolved|incident was resolved|issue resolved|issue was resolved|\
    all systems operational|normal service|operational again|up again|online again|\
    service recovered|services recovered|restored to normal|back to service|downtime ended|\
    downtime ends|traffic came back|traffic restored|all clear|resumed normal|full service|\
    full recovery|fully resolved|fully back|site is up|site up|available again|\
    normal operation";

const SUBJECTS: &str = "service* outage incident issue traffic site problem system* everything";

const ALL: &str = "all online traffic|all traffic|all of the traffic|entirety of the traffic";

const OVER: &str = "incident ends|incident ended|post-mortem|postmortem|all clear given";

pub(super) fn rollback(words: &Words) -> Option<Role> {
    let direct = words.at(UNDO);
    let apart = words.at(APART);
    let back = words.says(UNDONE);
    let reversed = (words.any("reverse") && words.any("config* change update deploy*"))
        && !words.any("proxy dns");
    let at = match (direct, apart) {
        (Some(at), _) => at,
        (None, Some(at)) if back => at,
        _ if reversed => words.at("reverse")?,
        _ => return None,
    };
    if words.is_plan() || words.says("decid|consider|discuss|prepar") {
        return None;
    }
    let failed = words.any("unsuccess* refused rejected aborted")
        || words.says(NOT_UNDONE)
        || words
            .words
            .iter()
            .skip(at)
            .any(|word| word.starts_with("fail"))
        || (words.says("attempt") && words.any("failed fails"));
    let done = words.any("success* succe* complet* finish* done ended");
    let started = words.any(UNDOING);
    Some(if failed {
        Role::RollbackFailed
    } else if done {
        Role::RollbackSucceeded
    } else if started {
        Role::RollbackStarted
    } else if words.any("reverted withdrawn withdrew undone reversed")
        || words.says("rolled back|rolled it back|taken back|backed out")
    {
        Role::RollbackSucceeded
    } else {
        Role::RollbackStarted
    })
}

pub(super) fn restored(words: &Words) -> Option<Role> {
    let up = words.any(UP);
    let negative = words.is_plan() || words.any(NOT_UP) || words.says(TO_COME);
    if negative {
        return None;
    }
    if let Some(percent) = percent(words)
        && up
        && words.any(WHAT_IS_UP)
        && rollback(words).is_none()
    {
        return Some(Role::Restored(percent));
    }
    // A part came back, or something that is no service.
    if words.any(IN_PART) {
        return None;
    }
    let full = words.says(ALL_BACK)
        || matches!(
            words.words.as_slice(),
            ["resolved" | "restored" | "recovered" | "resolution"]
        )
        || (words.words.len() <= 6
            && words.any("resolved restored recovered")
            && words.any(SUBJECTS));
    full.then_some(Role::Restored(100))
}

/// The share that a text names, in per cent.
fn percent(words: &Words) -> Option<u8> {
    if words.says("three quarters") {
        return Some(75);
    }
    if words.says("a quarter of|one quarter of") {
        return Some(25);
    }
    if words.says("half of the traffic|half the traffic") {
        return Some(50);
    }
    if words.says(ALL) {
        return Some(100);
    }
    let at = words
        .low
        .find('%')
        .or_else(|| words.low.find(" percent"))
        .or_else(|| words.low.find(" per cent"))?;
    let head = words.low.get(..at)?.trim_end();
    let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = head.get(head.len() - digits..)?;
    let fraction = head.get(..head.len() - digits)?.ends_with('.');
    number
        .parse()
        .ok()
        .filter(|percent| *percent <= 100 && !fraction)
}

pub(super) fn closed(words: &Words) -> bool {
    let over = words.any("closed closes close");
    (over && words.any("ticket incident case jira issue bridge")) || words.says(OVER)
}
