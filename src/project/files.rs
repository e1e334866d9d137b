//! The files of a project: which are there, and which of them are parsed.

use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ignore::WalkBuilder;

use super::sources::{At, Bound, MAX_BYTES, Sources};
use super::syntax::{Kind, Language, Role, SourceFile};

/// Directories with dependencies, build output or caches.
const SKIPPED_DIRECTORIES: &[&str] = &[
    "node_modules",
    "bower_components",
    "dist",
    "build",
    "out",
    "target",
    "vendor",
    "coverage",
    "__pycache__",
    "site-packages",
    "venv",
    "env",
    "virtualenv",
];
/// Hidden files that are read all the same.
const READ_HIDDEN: &[&str] = &[".env", ".env.example", ".env.sample", ".env.template", ".env.dist"];
/// The maximum number of files to look at, and of source files to parse.
const MAX_FILES: usize = 50_000;
const MAX_SOURCES: usize = 4000;
/// The maximum size of all sources that are parsed, in bytes.
const MAX_TEXT: usize = 48 << 20;
/// A file with none of these words says nothing about the worker, unless another one imports it.
const MARKERS: &[&str] = &[
    "bullmq",
    "Worker",
    "Queue",
    "process.env",
    "environ",
    "getenv",
    "qdrant",
    "Qdrant",
    "pgTable",
    "__tablename__",
    "create_table",
    "supabase",
    "BaseSettings",
    "cleanEnv",
    "Joi",
    "splitter",
    "Splitter",
    "embedding",
    "Embedding",
    "INSERT INTO",
    "insert into",
    "CREATE TABLE",
    "create table",
    "UPDATE ",
    "update ",
];

impl Sources {
    /// Reads the directory.
    ///
    /// # Errors
    /// The directory itself cannot be read.
    pub(super) fn read(root: &Path) -> std::io::Result<Self> {
        Self::read_within(root, MAX_FILES)
    }

    /// The same, looking at no more than `max_files`.
    pub(super) fn read_within(root: &Path, max_files: usize) -> std::io::Result<Self> {
        fs::read_dir(root)?;
        let mut sources = Self { root: root.to_owned(), ..Self::default() };
        sources.walk(max_files);
        let all: Vec<PathBuf> = sources.files.keys().filter(|path| Language::of(path).is_some()).cloned().collect();
        let more = all.len().saturating_sub(MAX_SOURCES);
        if more > 0 {
            sources.notes.push(format!("there are {} source files: the last {more} by name were not read", all.len()));
        }
        let mut wanted: Vec<PathBuf> = all.into_iter().take(MAX_SOURCES).collect();
        sources.parse(&wanted, true);
        // What the files import, and what that imports.
        for _ in 0..3 {
            wanted = sources.imported_paths();
            if wanted.is_empty() {
                break;
            }
            sources.parse(&wanted, false);
        }
        sources.index();
        Ok(sources)
    }

    fn walk(&mut self, max_files: usize) {
        let mut walk = WalkBuilder::new(&self.root);
        // Rules of directories above the project say nothing about it. Symbolic links are not followed.
        walk.hidden(false).parents(false).git_global(false).require_git(false).follow_links(false);
        walk.filter_entry(|entry| {
            let name = entry.file_name().to_string_lossy();
            let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
            let hidden = name.starts_with('.') && entry.depth() > 0;
            if is_directory && entry.depth() > 0 {
                return !hidden && !SKIPPED_DIRECTORIES.contains(&name.as_ref());
            }
            !hidden || READ_HIDDEN.contains(&name.as_ref())
        });
        walk.sort_by_file_name(std::ffi::OsStr::cmp);
        for entry in walk.build().flatten() {
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let path = entry.path().strip_prefix(&self.root).unwrap_or(entry.path()).to_owned();
            if self.files.len() == max_files {
                self.notes.push(format!(
                    "there are more than {max_files} files: reading stopped at {}; name the directory of the worker alone",
                    path.display()
                ));
                break;
            }
            let size = entry.metadata().map_or(0, |about| about.len());
            self.files.insert(path, size);
        }
        // An ignored `.env` is the rule, and its names are still worth reading.
        if let Ok(about) = fs::metadata(self.root.join(".env")) {
            self.files.insert(".env".into(), about.len());
        }
    }

    /// Parses these files, each once; if `marked`, only those with a word that matters.
    fn parse(&mut self, paths: &[PathBuf], marked: bool) {
        let paths: Vec<&PathBuf> = paths.iter().filter(|path| !self.by_path.contains_key(*path)).collect();
        for path in &paths {
            if marked && self.files.get(*path).is_some_and(|size| *size > MAX_BYTES) {
                self.notes.push(format!("{}: larger than 1 MiB, not read", path.display()));
            }
        }
        let wanted = |text: &String| {
            !marked || MARKERS.iter().any(|word| memchr::memmem::find(text.as_bytes(), word.as_bytes()).is_some())
        };
        let texts = in_parallel(&paths, |path| Some(((*path).clone(), self.text_of(path).filter(wanted)?)));
        let mut room = MAX_TEXT;
        let fitting = texts.iter().take_while(|(_, text)| {
            room = room.saturating_sub(text.len());
            room > 0
        });
        let fitting = fitting.count();
        if let Some((path, _)) = texts.get(fitting) {
            let path = path.display();
            self.notes.push(format!("the sources have more than {} MiB: reading stopped at {path}", MAX_TEXT >> 20));
        }
        let parsed = in_parallel(&texts[..fitting], |(path, text)| SourceFile::parse(path.clone(), text.clone()));
        for file in parsed {
            if let Some(line) = file.error {
                self.notes.push(format!("{}:{line}: syntax error; the rest of the file was read", file.path.display()));
            }
            self.by_path.insert(file.path.clone(), self.parsed.len());
            self.parsed.push(file);
        }
    }

    fn imported_paths(&self) -> Vec<PathBuf> {
        let modules = self.of_kinds(&[Kind::Import]).into_iter();
        let mut paths: Vec<PathBuf> = modules
            .filter_map(|at| self.module_path(at.file, &at.role(Role::Module)?.module_name()))
            .filter(|path| !self.by_path.contains_key(path))
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// The file of the project that a module name means in this file.
    fn module_path(&self, file: usize, module: &str) -> Option<PathBuf> {
        let from = &self.parsed[file];
        let known = |path: PathBuf| self.files.contains_key(&path).then_some(path);
        if from.language == Language::Python {
            let dots = module.len() - module.trim_start_matches('.').len();
            let parts = module.trim_start_matches('.').replace('.', "/");
            let bases: Vec<PathBuf> = if dots > 0 {
                vec![from.path.ancestors().nth(dots)?.to_owned()]
            } else {
                from.path.ancestors().skip(1).flat_map(|base| [base.to_owned(), base.join("src")]).collect()
            };
            return bases.into_iter().find_map(|base| {
                let base = base.join(&parts);
                known(base.with_extension("py")).or_else(|| known(base.join("__init__.py")))
            });
        }
        // Without a bundler's aliases, but with the usual one for the source directory.
        let target = match module.strip_prefix("@/").or_else(|| module.strip_prefix("~/")) {
            Some(rest) => Path::new("src").join(rest),
            None if module.starts_with('.') => normal(&from.path.parent()?.join(module)),
            None => return None,
        };
        let stem = match target.extension().and_then(|extension| extension.to_str()) {
            Some("js" | "mjs" | "cjs" | "jsx") => target.with_extension(""),
            _ => target.clone(),
        };
        let endings = ["ts", "tsx", "mts", "cts", "js", "mjs", "cjs", "jsx"];
        let with = |base: &Path, ending: &str| {
            let mut name = base.as_os_str().to_owned();
            name.push(".");
            name.push(ending);
            PathBuf::from(name)
        };
        known(target.clone())
            .or_else(|| endings.into_iter().find_map(|ending| known(with(&stem, ending))))
            .or_else(|| endings.into_iter().find_map(|ending| known(with(&target.join("index"), ending))))
    }

    /// Fills the tables of names.
    fn index(&mut self) {
        let (mut top, mut bound, mut imports) = (Vec::new(), Vec::new(), Vec::new());
        let (mut functions, mut calls, mut types) = (HashMap::new(), HashMap::new(), HashMap::new());
        let add = |table: &mut HashMap<String, Vec<(usize, usize)>>, name: &str, at: At<'_>| {
            table.entry(name.to_owned()).or_default().push((at.file, at.id));
        };
        for root in self.roots() {
            let mut names = HashMap::new();
            let mut own: HashMap<String, Vec<Bound>> = HashMap::new();
            let source = root.source();
            let defining = [Kind::Function, Kind::Class, Kind::Record, Kind::Bind];
            let mut definitions: Vec<usize> = defining.iter().flat_map(|kind| source.of_kind(*kind)).collect();
            definitions.sort_unstable();
            for at in definitions.into_iter().map(|id| At { id, ..root }) {
                let function = at.functions().next().map(|function| function.id);
                for name in defined_names(at) {
                    own.entry(name.clone()).or_default().push((function, at.id));
                    if function.is_none() && (at.class().is_none() || at.is(Kind::Class)) {
                        names.entry(name.clone()).or_insert(at.id);
                    }
                    match at.kind() {
                        Kind::Function => add(&mut functions, &name, at),
                        Kind::Class | Kind::Record => add(&mut types, &name, at),
                        _ => {}
                    }
                }
            }
            for at in source.of_kind(Kind::Call).map(|id| At { id, ..root }) {
                if let Some(callee) = at.callee() {
                    add(&mut calls, callee, at);
                }
            }
            top.push(names);
            bound.push(own);
            imports.push(self.imports_of(root));
        }
        (self.top, self.bound, self.imports) = (top, bound, imports);
        (self.functions, self.calls, self.types) = (functions, calls, types);
    }

    fn imports_of(&self, root: At<'_>) -> HashMap<String, (usize, String)> {
        let mut imports = HashMap::new();
        for import in root.source().of_kind(Kind::Import).map(|id| At { id, ..root }) {
            let module = import.role(Role::Module).map(At::module_name).unwrap_or_default();
            let path = self.module_path(root.file, &module);
            let Some(file) = path.and_then(|path| self.by_path.get(&path).copied()) else { continue };
            let aliases: Vec<At<'_>> = import.descendants().filter(|at| at.is(Kind::Alias)).collect();
            if aliases.is_empty() {
                imports.insert(format!("*{}", import.id), (file, String::new()));
            }
            for alias in aliases {
                let Some(name) = alias.role(Role::Name) else { continue };
                let own = alias.role(Role::Alias).unwrap_or(name);
                imports.insert(own.text().to_owned(), (file, name.text().to_owned()));
            }
        }
        imports
    }
}

impl At<'_> {
    /// The name of a module as an import writes it.
    fn module_name(self) -> String {
        self.literal().unwrap_or_else(|| self.text().to_owned())
    }
}

/// The names that a node defines.
fn defined_names(at: At<'_>) -> Vec<String> {
    let role = if at.is(Kind::Bind) { Role::Target } else { Role::Name };
    match at.role(role) {
        Some(name) if name.is(Kind::Name) => vec![name.text().to_owned()],
        Some(pattern) if pattern.is(Kind::Pattern) => {
            pattern.pattern_names().into_iter().map(|(_, bound)| bound).collect()
        }
        _ => Vec::new(),
    }
}

/// What a function makes of each item, in their order. What it makes nothing of is left out.
fn in_parallel<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> Option<R> + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let (next, made) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    if let (Some(one), Ok(mut made)) = (make(item), made.lock()) {
                        made.push((number, one));
                    }
                }
            });
        }
    });
    let mut made = made.into_inner().unwrap_or_default();
    made.sort_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, one)| one).collect()
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}
