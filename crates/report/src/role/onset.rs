//! How it began in words: changes, outages, symptoms, alerts, causes found.
//!
//! Invariant: the work on an outage is never taken for its beginning.

use super::Words;

const QUIET: &str =
    "clear* silenc* resolved resolves resolving stop* recover* ceas* restor* automat*";

const ALARMS: &str = "alert* pager* pagerduty paged alarm* alarms opsgenie";

const TOLD: &str = "on-call notified|team notified|team was notified|engineers notified|teams were notified|\
    pages on-call|pages the on";

const SEEN: &str = "became aware|customers report|users report|customer report|user report|reported by|\
    reports from|first report|monitoring show|monitoring system|monitoring picked";

const FOUND: &str = "identif* pinpoint* traced determined isolated diagnosed";

const CAUSES: &str = "cause* causing culprit source bug problem issue change update";

const CAUSE_FOUND: &str = "root cause found|found the root cause|found the cause|cause found";

const AFTERWARDS: &str = "investigat* declar* restart* reboot* end ends ended resolved resolves resolving \
    resolution acknowledg* postmortem discuss*";

const OUTAGES: &str = "outage downtime disruption interruption unavailab* degradation crash* failures failing \
    impact issue problem";

const BEGINS: &str = "begin* began begun start* occurred occurs occur onset commence* initiating";

const FALLEN: &str = "went down|goes down|go down|went offline|became unavailable|becomes unavailable|\
    become unavailable|stopped responding|stops responding|site is down|service is down|\
    site down|service down|services down|servers crash|server crash|started failing|\
    start failing|starts failing|began failing|begin failing|started to fail|began to fail|\
    begin to fail|errors begin|errors began|errors start|start seeing errors|\
    started seeing errors|began seeing errors|begin seeing errors|outage:";

const DECLARED: &str = "declar* begin* began open* start* creat* rais*";

const SYMPTOMS: &str = "error* latency timeout* timing 5xx 500 500s 502 503 504 fail* spike* slow* degrad* \
    unavailab* crash* outage down unreachable saturat* exhaust* overload* melt* stall* \
    hang* unresponsive";

const CHANGES: &str = "deploy* push* releas* rollout upgrad* updat* migrat* modif* insert* install* chang* \
    merg* launch* ship* publish* config*";

const NO_CHANGE: &str = "status customers investigat* communicat* decid* blog statement tweet* stakeholders call \
    ticket team* engineer* dns scal*";

pub(super) fn detect(words: &Words) -> bool {
    let cleared = words.any(QUIET);
    let alerted = words.any(ALARMS) || words.says(TOLD);
    let seen = words.any("detect* notic* discover* complain*") || words.says(SEEN);
    (alerted || seen) && !cleared && !words.any("no not didn't")
}

pub(super) fn identified(words: &Words) -> bool {
    words.any(FOUND) && words.any(CAUSES) && !words.says("to identify|not identif|to determine")
        || words.says(CAUSE_FOUND)
}

/// The outage itself, not what led to it and not the work on it.
pub(super) fn begin(words: &Words) -> bool {
    let other = words.any(AFTERWARDS) || words.says("meeting|bridge|war room|conference");
    if other || words.is_plan() {
        return false;
    }
    let noun = words.any(OUTAGES);
    let verb = words.any(BEGINS) || words.says("time of the outage|time of outage");
    let fallen = words.says(FALLEN);
    (noun && verb) || fallen || words.words.as_slice() == ["outage"]
}

pub(super) fn declared(words: &Words) -> bool {
    words.any("incident sev1 sev2 major") && words.any(DECLARED)
}

pub(super) fn symptom(words: &Words) -> bool {
    words.any(SYMPTOMS)
}

pub(super) fn change(words: &Words) -> bool {
    let verb = words.any(CHANGES) || words.says("rolled out|roll out|rolling out");
    let other = words.any(NO_CHANGE);
    verb && !other && !words.is_plan()
}
