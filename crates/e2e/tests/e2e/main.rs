//! The built `plimsoll` as real processes: killed, cut off, misused, told to end.
//!
//! Each test brings up what it needs below a temporary folder and lets nothing
//! outlive it. Conditions are waited for with wide deadlines; a sleep is never
//! a way to know that something has happened. `PLIMSOLL_SEED` replays the
//! random parts, `PLIMSOLL_E2E_KEEP=1` keeps the folders, and
//! `PLIMSOLL_E2E_PROGRAM` names another program than the workspace's own.

#![expect(
    clippy::print_stdout,
    reason = "tests tell their seed and what they saw"
)]

mod advance;
mod approval;
mod bad_input;
mod balancer;
mod countersign;
mod dead_control;
mod debian;
mod doctor;
mod drills;
mod ends;
mod fleet;
mod forged;
mod full_disk;
mod gates;
mod held;
mod judged;
mod kills;
mod no_way;
mod oncall;
mod paging;
mod people;
mod plane;
mod program;
mod prometheus;
mod pushed;
mod random;
mod record;
mod traffic;
mod wait;
