//! One module for each group of commands.

pub(crate) mod agent;
pub(crate) mod approve;
pub(crate) mod attest;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod drill;
pub(crate) mod emergency;
pub(crate) mod hosts;
pub(crate) mod incident;
pub(crate) mod journal;
pub(crate) mod notify;
pub(crate) mod oncall;
pub(crate) mod pack;
pub(crate) mod plan;
pub(crate) mod project;
pub(crate) mod push;
pub(crate) mod releases;
pub(crate) mod report;
pub(crate) mod restart;
pub(crate) mod rollback;
pub(crate) mod serve;
pub(crate) mod silence;
pub(crate) mod status;
pub(crate) mod traffic;
pub(crate) mod verdict;
