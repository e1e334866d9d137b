//! The voyages on which nothing goes wrong, and with which the others are compared: as few as are enough.

use std::collections::BTreeMap;

use crate::spec::{Scenario, Step};

/// Seconds until one that serves many is given up.
const WITHIN_S: u64 = 120;

/// Calm scenarios that take the place of several.
#[derive(Debug, Default)]
pub(super) struct Calms {
    merged: BTreeMap<String, Scenario>,
    /// By the name of each whose place is taken: the name of the one that takes it.
    instead: BTreeMap<String, String>,
}

impl Calms {
    /// Merges those of `calms` that do the same with documents that another has as well. Where every other document is
    /// removed, which ones depends on all of them, so these stay as they are.
    pub(super) fn merge<'a>(calms: impl IntoIterator<Item = (&'a str, &'a Scenario)>) -> Self {
        let mut groups: Vec<(Scenario, Vec<&str>)> = Vec::new();
        for (name, calm) in calms {
            if calm.steps.contains(&Step::Delete) {
                continue;
            }
            let both = |group: &Scenario| group.documents.with(&calm.documents).filter(|_| group.steps == calm.steps);
            match groups.iter_mut().find_map(|(group, names)| Some((both(group)?, group, names))) {
                Some((documents, group, names)) => {
                    group.documents = documents;
                    names.push(name);
                }
                None => groups.push((calm.clone(), vec![name])),
            }
        }
        let mut all = Self::default();
        for (scenario, names) in groups {
            let [first, _, ..] = names.as_slice() else { continue };
            let name = format!("{first}-and-more");
            all.instead.extend(names.iter().map(|old| ((*old).to_owned(), name.clone())));
            all.merged.insert(name, Scenario { within_s: Some(WITHIN_S), ..scenario });
        }
        all
    }

    /// The names of those that were merged.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.merged.keys()
    }

    /// The one of this name, if it was merged.
    pub(super) fn get(&self, name: &str) -> Option<&Scenario> {
        self.merged.get(name)
    }

    /// The one that is sailed for the calm scenario `name`: another one, or itself.
    pub(super) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.instead.get(name).map_or(name, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::Suites;

    use super::*;

    #[test]
    fn few_calm_voyages_serve_all_scenarios() {
        let suites = Suites::builtin().unwrap();
        let calms: BTreeMap<&str, &Scenario> = suites
            .scenarios
            .values()
            .filter_map(|scenario| scenario.calm.as_deref())
            .map(|calm| (calm, &suites.scenarios[calm]))
            .collect();
        let merged = Calms::merge(calms.clone());
        let sailed: std::collections::BTreeSet<&str> = calms.keys().map(|calm| merged.of(calm)).collect();
        assert!(sailed.len() * 2 < calms.len(), "{sailed:?} of {}", calms.len());
        for (name, calm) in calms {
            let Some(serves) = merged.get(merged.of(name)) else { continue };
            assert_eq!(serves.steps, calm.steps);
            assert_eq!(serves.documents.with(&calm.documents).as_ref(), Some(&serves.documents), "{name}");
        }
    }

    #[test]
    fn what_is_alone_stays_as_it_is() {
        let suites = Suites::builtin().unwrap();
        let name = suites.scenarios["reconnection.redis-cut"].calm.as_deref().unwrap();
        let merged = Calms::merge([(name, &suites.scenarios[name])]);
        assert_eq!((merged.of(name), merged.names().count()), (name, 0));
    }
}
