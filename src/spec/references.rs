//! What suites refer to by name: cases and scenarios that may be in other files.

use std::collections::BTreeMap;

use super::Place;

/// References to cases and scenarios, each with its place, and where each case is.
#[derive(Debug, Default)]
pub(super) struct References {
    pub(super) required_cases: Vec<(Place, String)>,
    pub(super) scenarios: Vec<(Place, String)>,
    pub(super) case_places: BTreeMap<String, Place>,
}
