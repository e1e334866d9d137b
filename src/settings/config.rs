//! What `shakedown.toml` says, as data. `file` reads it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::contract::{Contract, QueueContract};
use super::desired::Desired;
use super::error::Place;
use super::table::Entry;
use super::waiver::Waiver;

/// The content of `shakedown.toml`.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file; `None` if there is no file.
    pub path: Option<PathBuf>,
    /// `[queue]`.
    pub queue: Option<QueueContract>,
    /// `[worker]`, `[queue]` and `[evidence]`; without `[worker]` the reference worker is tested.
    pub contract: Option<Contract>,
    /// `[[waive]]`, in the order of the file.
    pub waivers: Vec<Waiver>,
    /// `[desired]` merged with `[profile.NAME.desired]`, by profile; empty if there is neither.
    pub desired: BTreeMap<&'static str, Desired>,
    pub(super) profiles: BTreeMap<&'static str, Vec<ProfileVariable>>,
}

/// A variable that a profile sets.
#[derive(Debug, Clone)]
pub(super) struct ProfileVariable {
    pub(super) entry: &'static Entry,
    pub(super) value: ProfileValue,
    pub(super) place: Place,
}

/// How a profile sets a variable.
#[derive(Debug, Clone)]
pub(super) enum ProfileValue {
    /// `NAME = "value"`.
    Literal(String),
    /// `NAME_FILE = "path"`, joined to the directory of `shakedown.toml`.
    File(PathBuf),
    /// `NAME = { from = "OTHER" }`.
    Variable(String),
}
