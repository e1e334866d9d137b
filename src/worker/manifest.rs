//! The libraries that the worker's manifest names: `package.json`, `requirements.txt`, `pyproject.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// A longer manifest is not read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The names of the libraries, in lower case, of the manifests in `directory`, or in the nearest directory above it that has
/// one. Empty if there is none.
#[must_use]
pub fn libraries(directory: &Path) -> BTreeSet<String> {
    let mut nearest = directory.ancestors().take(3).map(libraries_in);
    nearest.find(|libraries| !libraries.is_empty()).unwrap_or_default()
}

fn libraries_in(directory: &Path) -> BTreeSet<String> {
    let read = |name: &str| {
        let path = directory.join(name);
        let is_small = fs::metadata(&path).is_ok_and(|about| about.len() <= LARGEST);
        is_small.then(|| fs::read_to_string(path).ok()).flatten().unwrap_or_default()
    };
    let mut libraries = of_package_json(&read("package.json"));
    libraries.extend(of_requirements(&read("requirements.txt")));
    libraries.extend(of_pyproject(&read("pyproject.toml")));
    libraries
}

fn of_package_json(text: &str) -> BTreeSet<String> {
    let manifest: Value = serde_json::from_str(text).unwrap_or_default();
    let tables = ["dependencies", "devDependencies", "optionalDependencies"].map(|table| manifest[table].as_object());
    tables.into_iter().flatten().flat_map(|table| table.keys().map(|name| name.to_lowercase())).collect()
}

fn of_requirements(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(requirement).collect()
}

fn of_pyproject(text: &str) -> BTreeSet<String> {
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let project = manifest.get("project").and_then(|project| project.get("dependencies"));
    let listed = project.and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str);
    let mut libraries: BTreeSet<String> = listed.filter_map(requirement).collect();
    let poetry = manifest.get("tool").and_then(|tool| tool.get("poetry")?.get("dependencies"));
    let named = poetry.and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    libraries.extend(named.filter(|name| *name != "python").map(|name| normalised(name)));
    libraries
}

/// The library of a line such as `SQLAlchemy[asyncio]>=2.0  # rows`; `None` for options and comments.
fn requirement(line: &str) -> Option<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let name = line.trim().split(|letter: char| !is_part(letter)).next()?;
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric()).then(|| normalised(name))
}

/// The name as the package index writes it.
fn normalised(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_every_manifest_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write(
            "package.json",
            r#"{"dependencies": {"bullmq": "5", "@langchain/qdrant": "1"}, "devDependencies": {"pg": "8"}}"#,
        );
        write(
            "requirements.txt",
            "# rows\nSQLAlchemy[asyncio]>=2.0  # with pool\n-r other.txt\nlangchain_qdrant==1\n\n",
        );
        write(
            "pyproject.toml",
            "[project]\ndependencies = [\"openai>1\"]\n[tool.poetry.dependencies]\npython = \"3\"\nasyncpg = \"1\"\n",
        );
        let inner = directory.path().join("dist");
        fs::create_dir(&inner).unwrap();
        let wanted = ["@langchain/qdrant", "asyncpg", "bullmq", "langchain-qdrant", "openai", "pg", "sqlalchemy"];
        for from in [directory.path(), &inner] {
            assert_eq!(libraries(from), wanted.map(str::to_owned).into());
        }
    }

    #[test]
    fn a_manifest_that_cannot_be_read_names_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["package.json", "pyproject.toml"] {
            fs::write(directory.path().join(name), "{[").unwrap();
        }
        assert_eq!(libraries_in(directory.path()), BTreeSet::new());
    }
}
