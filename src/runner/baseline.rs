//! Baselines: fault-free scenario runs that the others are compared with. Similar ones are merged.

use std::collections::BTreeMap;

use crate::spec::{Scenario, Step};

/// Deadline of a merged baseline, in seconds.
const MERGED_DEADLINE_S: u64 = 120;

/// Merged baselines, each shared by several scenarios.
#[derive(Debug, Default)]
pub(super) struct Baselines {
    merged: BTreeMap<String, Scenario>,
    /// The name of the merged baseline, by the name of each that it replaces.
    replaced_by: BTreeMap<String, String>,
}

impl Baselines {
    /// Merges baselines with the same steps if one workload can contain the documents of all. Baselines with a `delete`
    /// step stay as they are: the step removes every other document, so the result depends on the whole workload.
    pub(super) fn merge<'a>(baselines: impl IntoIterator<Item = (&'a str, &'a Scenario)>) -> Self {
        let mut groups: Vec<(Scenario, Vec<&str>)> = Vec::new();
        let baselines: BTreeMap<&str, &Scenario> = baselines.into_iter().collect();
        for (name, baseline) in baselines {
            if baseline.steps.contains(&Step::Delete) {
                continue;
            }
            let combined =
                |group: &Scenario| group.documents.union(&baseline.documents).filter(|_| group.steps == baseline.steps);
            match groups.iter_mut().find_map(|(group, names)| Some((combined(group)?, group, names))) {
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
            all.replaced_by.extend(names.iter().map(|old| ((*old).to_owned(), name.clone())));
            all.merged.insert(name, Scenario { within_s: Some(MERGED_DEADLINE_S), ..scenario });
        }
        all
    }

    /// The merged baseline called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&Scenario> {
        self.merged.get(name)
    }

    /// The name of the baseline to run for `name`: the merged one that replaces it, or itself.
    pub(super) fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        self.replaced_by.get(name).map_or(name, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::Suites;

    use super::*;

    #[test]
    fn merging_halves_the_number_of_baselines() {
        let suites = Suites::builtin().unwrap();
        let baselines: BTreeMap<&str, &Scenario> = suites
            .scenarios
            .values()
            .filter_map(|scenario| scenario.baseline.as_deref())
            .map(|baseline| (baseline, &suites.scenarios[baseline]))
            .collect();
        let merged = Baselines::merge(baselines.clone());
        let needed: std::collections::BTreeSet<&str> =
            baselines.keys().map(|baseline| merged.resolve(baseline)).collect();
        assert!(needed.len() * 2 < baselines.len(), "{needed:?} of {}", baselines.len());
        for (name, baseline) in baselines {
            let Some(shared) = merged.get(merged.resolve(name)) else { continue };
            assert_eq!(shared.steps, baseline.steps);
            assert_eq!(shared.documents.union(&baseline.documents).as_ref(), Some(&shared.documents), "{name}");
        }
    }

    #[test]
    fn a_single_baseline_is_not_merged() {
        let suites = Suites::builtin().unwrap();
        let name = suites.scenarios["reconnection.redis-cut"].baseline.as_deref().unwrap();
        let merged = Baselines::merge([(name, &suites.scenarios[name])]);
        assert_eq!((merged.resolve(name), merged.merged.len()), (name, 0));
    }
}
