//! The contracts that are written for projects.

mod fixtures;
mod hostile;
mod sources;

use std::fs;
use std::path::Path;

use super::answers::Answers;
use super::page::Page;
use crate::project::Project;
use crate::settings::{Contract, Program, Settings, Source};

/// A project that was read, and the contract that was written for it.
struct Written {
    directory: tempfile::TempDir,
    page: Page,
    contract: Contract,
}

impl Written {
    /// The contract for a project with these files.
    fn of(files: &[(&str, &str)]) -> Self {
        Self::answered(files, Answers::None)
    }

    fn answered(files: &[(&str, &str)], answers: Answers) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let (page, contract) = written(directory.path(), directory.path(), answers);
        Self { directory, page, contract }
    }

    fn command(&self) -> String {
        command(&self.contract)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.contract.worker.env.get(name).map(ToString::to_string)
    }

    fn data(&self) -> Vec<&str> {
        self.contract.queue.job.data.keys().map(String::as_str).collect()
    }

    /// Everything that is written or printed.
    fn everything(&self) -> String {
        let lists = [&self.page.read, &self.page.guessed].map(|lines| lines.join("\n"));
        format!("{}\n{}", self.page.text, lists.join("\n"))
    }
}

/// The contract for the project in `source`, written to `target`.
fn written(source: &Path, target: &Path, mut answers: Answers) -> (Page, Contract) {
    let project = Project::read(source).unwrap();
    let page = super::contract(&project, source, &mut answers);
    let path = target.join("shakedown.toml");
    fs::write(&path, &page.text).unwrap();
    let contract = load(&path).unwrap_or_else(|error| panic!("{error}\n{}", page.text));
    (page, contract)
}

fn load(path: &Path) -> Result<Contract, String> {
    let settings = Settings::load(Source { config: Some(path.to_owned()), ..Source::default() });
    let settings = settings.map_err(|error| error.to_string())?;
    settings.config().contract.clone().ok_or_else(|| "there is no [worker]".to_owned())
}

fn command(contract: &Contract) -> String {
    match &contract.worker.program {
        Program::Command(command) => command.join(" "),
        image @ Program::Image { .. } => image.to_string(),
    }
}
