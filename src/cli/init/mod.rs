//! `shakedown init`: inspect a directory, write a contract, and print the assumptions.

mod detect;
mod draft;

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::print::print;
use crate::outcome::Exit;

/// Write a shakedown.toml for the worker in this directory, and print the assumptions
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the worker
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
    /// Overwrite an existing shakedown.toml
    #[arg(long)]
    force: bool,
}

/// Writes the file.
pub(super) fn run(args: &Args) -> Result<Exit, Failure> {
    let path = args.directory.join("shakedown.toml");
    if !args.directory.is_dir() {
        return Err(Failure::usage(format!("`{}` is not a directory", args.directory.display())));
    }
    if path.exists() && !args.force {
        let remedy = "remove it, or overwrite it with --force";
        return Err(Failure::usage(format!("`{}` already exists: {remedy}", path.display())));
    }
    let found = detect::detect(&args.directory)
        .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", args.directory.display())))?;
    let draft = draft::contract(&found);
    write(&path, &draft.text).map_err(|error| Failure::usage(format!("cannot write `{}`: {error}", path.display())))?;
    let absolute = std::path::absolute(&path).unwrap_or(path);
    let mut text = format!("created {}\n\nassumptions:\n", absolute.display());
    for assumption in &draft.assumptions {
        text.push_str(&format!("  - {assumption}\n"));
    }
    text.push_str("\nnext: read it, then `shakedown run --dry-run`, then `shakedown run`\n");
    print(&text);
    Ok(Exit::Ok)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Program, Settings, Source};

    /// A directory with these files, and the contract written for it.
    fn contract(files: &[(&str, &str)]) -> (tempfile::TempDir, draft::Draft, crate::settings::Contract) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let draft = draft::contract(&detect::detect(directory.path()).unwrap());
        let path = directory.path().join("shakedown.toml");
        std::fs::write(&path, &draft.text).unwrap();
        let settings = Settings::load(Source { config: Some(path), ..Source::default() })
            .unwrap_or_else(|error| panic!("{error}\n{}", draft.text));
        let contract = settings.config().contract.clone().unwrap();
        (directory, draft, contract)
    }

    fn command(contract: &crate::settings::Contract) -> String {
        match &contract.worker.program {
            Program::Command(command) => command.join(" "),
            image @ Program::Image { .. } => image.to_string(),
        }
    }

    #[test]
    fn a_node_project_is_started_as_its_scripts_say() {
        let (_directory, draft, contract) = contract(&[
            (
                "package.json",
                r#"{"scripts":{"build":"tsc","worker":"node dist/worker.js"},"dependencies":{"bullmq":"^5.81.0"}}"#,
            ),
            ("package-lock.json", "{}"),
            (
                "src/worker.ts",
                "new Worker('docs', f, {}); process.env.REDIS_HOST; process.env['QDRANT_URL']; process.env.MY_FLAG; \
                 job.data.documentId; job.data.content",
            ),
            ("node_modules/x/index.js", "process.env.JINA_API_KEY"),
        ]);
        assert_eq!(command(&contract), "node dist/worker.js");
        assert_eq!(contract.worker.build.unwrap().command, ["npm", "run", "build"]);
        assert_eq!(contract.worker.env["REDIS_HOST"].to_string(), "{{redis.host}}");
        assert!(!contract.worker.env.contains_key("JINA_API_KEY"), "what libraries read is not the worker's");
        assert!(!contract.worker.env.contains_key("MY_FLAG"));
        assert_eq!(contract.queue.name.as_deref(), Some("docs"));
        assert!(contract.queue.job.data.contains_key("content"));
        assert!(draft.assumptions.iter().any(|line| line.contains("MY_FLAG")), "{:?}", draft.assumptions);
    }

    #[test]
    fn a_python_project_is_started_as_a_module() {
        let (_directory, _, contract) = contract(&[
            ("pyproject.toml", "[project]\nname = \"ingest\"\ndependencies = [\"bullmq>=3\"]"),
            ("ingest/__main__.py", "import os\nos.environ['DATABASE_URL']; os.getenv(\"QUEUE_NAME\")"),
        ]);
        assert_eq!(command(&contract), "python3 -m ingest");
        assert_eq!(contract.worker.env["QUEUE_NAME"].to_string(), "{{queue.name}}");
        assert!(contract.queue.name.is_none());
    }

    #[test]
    fn a_rust_project_is_built_and_run() {
        let (_directory, _, contract) = contract(&[
            ("Cargo.toml", "[package]\nname = \"w\"\n[dependencies]\nbullmq-official = \"1\""),
            ("src/main.rs", "env::var(\"REDIS_URL\")"),
        ]);
        assert_eq!(command(&contract), "cargo run --release --quiet");
        assert_eq!(contract.worker.env["REDIS_URL"].to_string(), "{{redis.url}}");
    }

    #[test]
    fn a_dockerfile_alone_gives_an_image_and_an_empty_directory_gives_an_assumption() {
        let (_directory, _, contract_of_image) = contract(&[("Dockerfile", "FROM scratch")]);
        assert!(command(&contract_of_image).starts_with("image "));
        let (_directory, draft, _) = contract(&[]);
        assert!(draft.assumptions.iter().any(|line| line.contains("no worker was found")));
    }
}
