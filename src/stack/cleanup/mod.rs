//! Clean-up: the [`ledger`] of everything that a run creates, and what removes it again.

pub(super) mod clean;
pub(super) mod clean_remote;
pub(super) mod ledger;
pub(super) mod remote_data;
mod remove;
pub(super) mod resource;
