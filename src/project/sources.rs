//! The parsed sources of a project, and what can be asked about a place in them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::place::Place;
use super::syntax::{Kind, Role, SourceFile};
use super::value::Value;

/// The maximum size of a file, in bytes. A source file of this size was not written by hand.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// How many nodes around a node are looked at. Code that is written by hand nests less deep.
pub(super) const MAX_DEPTH: usize = 300;
/// The maximum length of a dotted path.
const MAX_PATH: usize = 32;

/// The function that a name is bound in, if it is in one, and the node that binds it.
pub(super) type Bound = (Option<usize>, usize);

/// The files of a project, and its parsed sources.
#[derive(Default)]
pub(super) struct Sources {
    /// All files by path, with their size in bytes.
    pub(super) files: BTreeMap<PathBuf, u64>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
    pub(super) root: PathBuf,
    pub(super) parsed: Vec<SourceFile>,
    pub(super) by_path: HashMap<PathBuf, usize>,
    /// Names that are bound at the top level of each file.
    pub(super) top: Vec<HashMap<String, usize>>,
    /// What is bound to the names of each file, with the function that it is bound in.
    pub(super) bound: Vec<HashMap<String, Vec<Bound>>>,
    /// Imported names of each file: the module and the name in it.
    pub(super) imports: Vec<HashMap<String, (usize, String)>>,
    /// Functions and methods by name.
    pub(super) functions: HashMap<String, Vec<(usize, usize)>>,
    /// Calls by the last name of what they call.
    pub(super) calls: HashMap<String, Vec<(usize, usize)>>,
    /// Classes and named types by name.
    pub(super) types: HashMap<String, Vec<(usize, usize)>>,
    /// The variables of the environment that settings are read from, by the names of the settings.
    pub(super) settings: OnceLock<HashMap<String, Value>>,
}

impl Sources {
    /// Whether there is such a file or directory, whatever is left out of the files.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The text of a file, if it is one of the project's and can be read.
    pub(super) fn text_of(&self, path: &Path) -> Option<String> {
        let size = self.files.get(path)?;
        if *size > MAX_BYTES {
            return None;
        }
        let bytes = fs::read(self.root.join(path)).ok()?;
        // A file that changes meanwhile may have grown; a text has no byte 0.
        if bytes.contains(&0) {
            return None;
        }
        String::from_utf8(bytes).ok()
    }

    pub(super) fn file(&self, number: usize) -> &SourceFile {
        &self.parsed[number]
    }

    /// The roots of all parsed files.
    pub(super) fn roots(&self) -> impl Iterator<Item = At<'_>> {
        (0..self.parsed.len()).map(|file| At { sources: self, file, id: 0 })
    }

    /// The nodes of these kinds in all files, in the order of the files and of their texts.
    pub(super) fn of_kinds(&self, kinds: &[Kind]) -> Vec<At<'_>> {
        let mut found = Vec::new();
        for (file, source) in self.parsed.iter().enumerate() {
            let mut own: Vec<usize> = kinds.iter().flat_map(|kind| source.of_kind(*kind)).collect();
            own.sort_unstable();
            found.extend(own.into_iter().map(|id| At { sources: self, file, id }));
        }
        found
    }

    pub(super) fn at(&self, (file, id): (usize, usize)) -> At<'_> {
        At { sources: self, file, id }
    }

    /// The calls of these functions, by the last name.
    pub(super) fn calls_of<'p>(&'p self, names: &[&str]) -> Vec<At<'p>> {
        let mut found: Vec<(usize, usize)> =
            names.iter().filter_map(|name| self.calls.get(*name)).flatten().copied().collect();
        found.sort_unstable();
        found.into_iter().map(|at| self.at(at)).collect()
    }

    /// The top-level definition of a name in a file, or in the file that it is imported from.
    pub(super) fn top_level(&self, file: usize, name: &str) -> Option<At<'_>> {
        self.definition_within(file, name, 3)
    }

    fn definition_within(&self, file: usize, name: &str, imports: usize) -> Option<At<'_>> {
        if let Some(id) = self.top.get(file)?.get(name) {
            return Some(At { sources: self, file, id: *id });
        }
        let left = imports.checked_sub(1)?;
        if let Some((module, name)) = self.imports.get(file)?.get(name) {
            return self.definition_within(*module, name, left);
        }
        // `export * from`.
        let all = self.imports.get(file)?.iter().filter(|(key, _)| key.starts_with('*'));
        all.into_iter().find_map(|(_, (module, _))| self.definition_within(*module, name, left))
    }
}

/// A node of a source file.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    pub(super) sources: &'p Sources,
    pub(super) file: usize,
    pub(super) id: usize,
}

impl PartialEq for At<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.file, self.id) == (other.file, other.id)
    }
}

impl<'p> At<'p> {
    pub(super) fn source(self) -> &'p SourceFile {
        self.sources.file(self.file)
    }

    fn to(self, id: usize) -> Self {
        Self { id, ..self }
    }

    pub(super) fn kind(self) -> Kind {
        self.source().kind(self.id)
    }

    pub(super) fn is(self, kind: Kind) -> bool {
        self.kind() == kind
    }

    pub(super) fn text(self) -> &'p str {
        self.source().text(self.id)
    }

    pub(super) fn place(self) -> Place {
        Place::new(&self.source().path, self.source().line(self.id))
    }

    /// The part with this role.
    pub(super) fn role(self, role: Role) -> Option<Self> {
        self.source().role(self.id, role).map(|id| self.to(id))
    }

    pub(super) fn parent(self) -> Option<Self> {
        self.source().parent(self.id).map(|id| self.to(id))
    }

    /// The nodes around this one, from the inside.
    pub(super) fn ancestors(self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), |at| at.parent()).take(MAX_DEPTH)
    }

    /// The node and everything in it, in the order of the text.
    pub(super) fn descendants(self) -> impl Iterator<Item = Self> {
        (self.id..self.source().end(self.id)).map(move |id| self.to(id))
    }

    /// The nodes directly in this one.
    pub(super) fn children(self) -> impl Iterator<Item = Self> {
        let end = self.source().end(self.id);
        let first = (self.id + 1 < end).then_some(self.id + 1);
        let next = move |id: &usize| Some(self.source().end(*id)).filter(|next| *next < end);
        std::iter::successors(first, next).map(move |id| self.to(id))
    }

    /// Whether the other node is this one or in it.
    pub(super) fn contains(self, other: Self) -> bool {
        self.file == other.file && (self.id..self.source().end(self.id)).contains(&other.id)
    }

    /// The same value without parentheses, awaits and casts.
    pub(super) fn bare(self) -> Self {
        let mut at = self;
        while at.is(Kind::Wrap)
            && let Some(value) = at.role(Role::Value)
        {
            at = value;
        }
        at
    }

    /// The text of a literal without expressions in it.
    pub(super) fn literal(self) -> Option<String> {
        let at = self.bare();
        let pieces = at.is(Kind::Text).then(|| at.pieces())?;
        pieces.into_iter().map(Result::ok).collect()
    }

    /// The pieces of a literal text: text, or the expression in a template.
    pub(super) fn pieces(self) -> Vec<Result<String, Self>> {
        let mut pieces: Vec<Result<String, Self>> = Vec::new();
        let mut skip_to = 0;
        for at in self.descendants().skip(1) {
            if at.id < skip_to {
                continue;
            }
            let piece = match at.kind() {
                // In Python the escapes are inside the fragment.
                Kind::Fragment if at.children().any(|child| child.is(Kind::Escape)) => Ok(unescape_all(at.text())),
                Kind::Fragment => Ok(at.text().to_owned()),
                Kind::Escape => Ok(unescape_all(at.text())),
                Kind::Hole => Err(at.role(Role::Value).unwrap_or(at)),
                _ => continue,
            };
            skip_to = at.source().end(at.id);
            match (pieces.last_mut(), piece) {
                (Some(Ok(last)), Ok(more)) => last.push_str(&more),
                (_, piece) => pieces.push(piece),
            }
        }
        if pieces.is_empty() {
            pieces.push(Ok(String::new()));
        }
        pieces
    }

    /// The names of a dotted path such as `this.queue.add`, from the left; what has no name is empty.
    pub(super) fn path(self) -> Vec<&'p str> {
        let (mut path, mut at) = (Vec::new(), self.bare());
        // Of a chain of thousands of calls the end is enough.
        for _ in 0..MAX_PATH {
            let (name, next) = match at.kind() {
                Kind::Name => (at.text(), None),
                Kind::Member => (at.role(Role::Name).map(Self::text).unwrap_or_default(), at.role(Role::Object)),
                Kind::Call => ("", at.role(Role::Function)),
                Kind::Generic => (at.role(Role::Name).map(Self::text).unwrap_or_default(), None),
                _ => ("", None),
            };
            path.push(name);
            let Some(next) = next else { break };
            at = next.bare();
        }
        path.reverse();
        path
    }

    /// The last name of the function that a call calls.
    pub(super) fn callee(self) -> Option<&'p str> {
        let function = self.is(Kind::Call).then(|| self.role(Role::Function)).flatten()?;
        function.path().last().copied().filter(|name| !name.is_empty())
    }

    /// The arguments of a call without a name.
    pub(super) fn arguments(self) -> Vec<Self> {
        let arguments = self.role(Role::Arguments).into_iter().flat_map(Self::children);
        arguments.filter(|at| at.is_value() && !at.is(Kind::Pair)).collect()
    }

    /// The value of a named argument of a call, also of one in an object that is passed.
    pub(super) fn option(self, names: &[&str]) -> Option<Self> {
        let list = self.role(Role::Arguments)?;
        let objects = list.children().filter(|at| at.is(Kind::Object));
        std::iter::once(list).chain(objects).find_map(|at| at.entry(names))
    }

    /// The value of a key of an object, or of a named argument in a list of arguments.
    pub(super) fn entry(self, names: &[&str]) -> Option<Self> {
        self.entries().into_iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value)
    }

    /// The keys of an object and their values. A name alone is its own value.
    pub(super) fn entries(self) -> Vec<(String, Self)> {
        let entry = |at: Self| match at.kind() {
            Kind::Pair => Some((at.role(Role::Key)?.key()?, at.role(Role::Value)?)),
            Kind::Name => Some((at.text().to_owned(), at)),
            Kind::Function => Some((at.role(Role::Name)?.text().to_owned(), at)),
            Kind::Parameter => Some((at.role(Role::Name)?.text().to_owned(), at)),
            _ => None,
        };
        self.children().filter_map(entry).collect()
    }

    /// The name that a key or index stands for.
    pub(super) fn key(self) -> Option<String> {
        match self.kind() {
            Kind::Name => Some(self.text().to_owned()),
            _ => self.literal(),
        }
    }

    /// Whether this can be a value, and is no comment.
    fn is_value(self) -> bool {
        !(self.is(Kind::Other) && ["//", "/*", "#"].iter().any(|start| self.text().starts_with(start)))
    }

    /// The functions around this node, from the inside.
    pub(super) fn functions(self) -> impl Iterator<Item = Self> {
        self.ancestors().filter(|at| at.is(Kind::Function))
    }

    /// The class around this node.
    pub(super) fn class(self) -> Option<Self> {
        self.ancestors().find(|at| at.is(Kind::Class))
    }

    /// The parameters of a function, without the object that a method is called on.
    pub(super) fn parameters(self) -> Vec<Self> {
        let Some(list) = self.role(Role::Parameters) else { return Vec::new() };
        let of_value = matches!(list.kind(), Kind::Name);
        let all: Vec<Self> = if of_value { vec![list] } else { list.children().collect() };
        let of_class = self.class().is_some();
        let own = |at: &Self| !(of_class && matches!(at.text(), "self" | "cls"));
        all.into_iter()
            .filter(|at| matches!(at.kind(), Kind::Name | Kind::Parameter | Kind::Pattern))
            .filter(own)
            .collect()
    }

    /// The name of a parameter, or its pattern.
    pub(super) fn parameter_name(self) -> Self {
        self.role(Role::Name).filter(|_| self.is(Kind::Parameter)).unwrap_or(self)
    }
}

/// A text with its escape sequences replaced; unknown ones stay.
fn unescape_all(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('\n') => {}
            Some(other @ ('\\' | '\'' | '"' | '`' | '$')) => out.push(other),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}
