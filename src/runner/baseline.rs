//! The scenario runs on which nothing goes wrong, and with which the others are compared: as few as are enough.

use std::collections::BTreeMap;

use crate::spec::{Scenario, Step};

/// Seconds until one that serves many is given up.
const WITHIN_S: u64 = 120;

/// Baseline scenarios, each shared by several scenarios.
#[derive(Debug, Default)]
pub(super) struct Baselines {
    merged: BTreeMap<String, Scenario>,
    /// By the name of each whose place is taken: the name of the one that takes it.
    instead: BTreeMap<String, String>,
}

impl Baselines {
    /// Merges those of `baselines` that do the same with documents that another has as well. Where every other document is
    /// removed, which ones depends on all of them, so these stay as they are.
    pub(super) fn merge<'a>(baselines: impl IntoIterator<Item = (&'a str, &'a Scenario)>) -> Self {
        let mut groups: Vec<(Scenario, Vec<&str>)> = Vec::new();
        for (name, baseline) in baselines {
            if baseline.steps.contains(&Step::Delete) {
                continue;
            }
            let both =
                |group: &Scenario| group.documents.with(&baseline.documents).filter(|_| group.steps == baseline.steps);
            match groups.iter_mut().find_map(|(group, names)| Some((both(group)?, group, names))) {
                Some((documents, group, names)) => {
                    group.documents = documents;
                    names.push(name);
                }
                None => groups.push((baseline.clone(), vec![name])),
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

    /// The one that is run for the baseline scenario `name`: another one, or itself.
    pub(super) fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.instead.get(name).map_or(name, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::Suites;

    use super::*;

    #[test]
    fn a_few_baselines_serve_all_scenarios() {
        let suites = Suites::builtin().unwrap();
        let baselines: BTreeMap<&str, &Scenario> = suites
            .scenarios
            .values()
            .filter_map(|scenario| scenario.baseline.as_deref())
            .map(|baseline| (baseline, &suites.scenarios[baseline]))
            .collect();
        let merged = Baselines::merge(baselines.clone());
        let result: std::collections::BTreeSet<&str> = baselines.keys().map(|baseline| merged.of(baseline)).collect();
        assert!(result.len() * 2 < baselines.len(), "{result:?} of {}", baselines.len());
        for (name, baseline) in baselines {
            let Some(serves) = merged.get(merged.of(name)) else { continue };
            assert_eq!(serves.steps, baseline.steps);
            assert_eq!(serves.documents.with(&baseline.documents).as_ref(), Some(&serves.documents), "{name}");
        }
    }

    #[test]
    fn what_is_alone_stays_as_it_is() {
        let suites = Suites::builtin().unwrap();
        let name = suites.scenarios["reconnection.redis-cut"].baseline.as_deref().unwrap();
        let merged = Baselines::merge([(name, &suites.scenarios[name])]);
        assert_eq!((merged.of(name), merged.names().count()), (name, 0));
    }
}
