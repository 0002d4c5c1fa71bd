//! What was recorded: figures of the incident reports, beside our own. And one drill of what
//! no report tells of, because nobody noticed.

use super::{Drill, Fault};

/// Every drill.
pub static ALL: [Drill; 5] = [
    Drill {
        name: "api-infrastructure",
        summary: "wrong authentication address, library without deadline: every serving thread is consumed",
        // Change 7:52 pm, outage and page 8:04, first rollback failed 8:37,
        // rolled back 9:01, servers running 9:06, all traffic back 9:41.
        recorded: &[
            ("requests failed", "100 %"),
            ("customers hit", "all"),
            ("production hosts touched", "all"),
            ("longest time with 95 % failing", "57 to 97 min"),
            ("stopped by", "people"),
            ("first failure to decision", "33 min, refused"),
            ("decision to every host back", "24 min"),
            ("first failure to last", "97 min"),
        ],
        fault: Fault::SilentAuth,
        message: "authentication moves to its new address",
        // A quarter of the traffic came back first.
        way_back: &[25, 100],
    },
    Drill {
        name: "hairlinegenius-api",
        summary: "untested package conflicts with a deployed one: servers crash, traffic queues",
        // Push 11:49, outage and page 12:00, withdrawn 12:50, restarted 12:51,
        // all traffic back 12:55.
        recorded: &[
            ("requests failed", "100 %"),
            ("customers hit", "75 %"),
            ("production hosts touched", "all"),
            ("longest time with 95 % failing", "50 to 55 min"),
            ("stopped by", "people"),
            ("first failure to decision", "not told"),
            ("decision to every host back", "withdrawn after 50 min"),
            ("first failure to last", "55 min"),
        ],
        fault: Fault::PackageConflict,
        message: "sessions move to the new session store",
        way_back: &[100],
    },
    Drill {
        name: "ninaz-hairline-api",
        summary: "the same outage as another of its teams recorded it",
        // The same times.
        recorded: &[
            ("requests failed", "100 %"),
            ("customers hit", "75 % of those active then"),
            ("production hosts touched", "all"),
            ("longest time with 95 % failing", "50 to 55 min"),
            ("stopped by", "people"),
            ("first failure to decision", "not told"),
            ("decision to every host back", "withdrawn after 50 min"),
            ("first failure to last", "55 min"),
        ],
        fault: Fault::PackageConflict,
        message: "the new session package goes into the framework",
        way_back: &[100],
    },
    Drill {
        name: "web-01",
        summary: "upgrade needs authentication that the deployed version does not support",
        // Upgrade 9:45, outage and page 10:00, taken on 10:10, rollback begun
        // 10:15, done and restarted 10:20, all traffic back 10:22.
        recorded: &[
            ("requests failed", "100 %"),
            ("customers hit", "all"),
            ("production hosts touched", "all"),
            ("longest time with 95 % failing", "20 to 22 min"),
            ("stopped by", "people"),
            ("first failure to decision", "15 min"),
            ("decision to every host back", "5 min"),
            ("first failure to last", "22 min"),
        ],
        fault: Fault::MissingFeature,
        message: "upgrade to web 2",
        way_back: &[100],
    },
    Drill {
        name: "subtle",
        summary: "a limit that is a little too tight: one request in twenty fails instead of one in a hundred",
        recorded: &[],
        fault: Fault::TightLimit,
        message: "smaller buffers for sessions",
        way_back: &[100],
    },
];
