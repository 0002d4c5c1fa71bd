//! One module for each group of commands.

pub(crate) mod agent;
pub(crate) mod doctor;
pub(crate) mod drill;
pub(crate) mod hosts;
pub(crate) mod journal;
pub(crate) mod project;
pub(crate) mod push;
pub(crate) mod releases;
pub(crate) mod rollback;
pub(crate) mod serve;
pub(crate) mod status;
