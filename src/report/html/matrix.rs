//! Which cases notice which defect, as a page: the proof that a suite can fail.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::json;

use super::page::{Page, page};

const TEMPLATE: &str = include_str!("../templates/matrix.html.j2");

/// Writes a page about `found`: for each defect, by its name, the cases that noticed it, each with its reason.
pub fn matrix(title: &str, found: &BTreeMap<String, BTreeMap<String, String>>, out: &mut impl Write) -> io::Result<()> {
    let mut cases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (defect, noticed) in found {
        for case in noticed.keys() {
            cases.entry(case).or_default().push(defect);
        }
    }
    let rows = found.iter().map(|(defect, noticed)| {
        let reasons = noticed.iter().map(|(case, reason)| json!({ "case": case, "reason": reason }));
        json!({ "defect": defect, "found": reasons.collect::<Vec<_>>() })
    });
    let context = json!({
        "title": title,
        "rows": rows.collect::<Vec<_>>(),
        "noticed": found.values().map(BTreeMap::len).sum::<usize>(),
        "cases": cases.iter().map(|(id, defects)| json!({ "id": id, "defects": defects })).collect::<Vec<_>>(),
        "shakedown": env!("CARGO_PKG_VERSION"),
    });
    page(
        Page { name: "matrix.html", template: TEMPLATE, context, lazy: Vec::new(), style: "", script: "", live: false },
        out,
    )
}
