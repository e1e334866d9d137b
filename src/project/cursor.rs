//! A place in the sources of a project, and what can be asked about it.

use std::fmt;

use super::files::Sources;
use super::syntax::{Kind, Role, SourceFile};

/// A line of a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The path of the file in the project, with slashes.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
}

impl Place {
    pub(super) fn new(path: &std::path::Path, line: usize) -> Self {
        Self { path: path.to_string_lossy().replace('\\', "/"), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
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
        self.source().node(self.id).kind
    }

    pub(super) fn is(self, kind: Kind) -> bool {
        self.kind() == kind
    }

    pub(super) fn text(self) -> &'p str {
        self.source().text(self.id)
    }

    pub(super) fn place(self) -> Place {
        Place::new(&self.source().path, self.source().node(self.id).line)
    }

    /// The part with this role.
    pub(super) fn role(self, role: Role) -> Option<Self> {
        self.source().role(self.id, role).map(|id| self.to(id))
    }

    pub(super) fn parent(self) -> Option<Self> {
        self.source().node(self.id).parent.map(|id| self.to(id))
    }

    /// The nodes around this one, from the inside.
    pub(super) fn ancestors(self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), |at| at.parent())
    }

    /// The node and everything in it, in the order of the text.
    pub(super) fn descendants(self) -> impl Iterator<Item = Self> {
        (self.id..self.source().node(self.id).end).map(move |id| self.to(id))
    }

    /// The nodes directly in this one.
    pub(super) fn children(self) -> impl Iterator<Item = Self> {
        let end = self.source().node(self.id).end;
        let first = (self.id + 1 < end).then_some(self.id + 1);
        let next = move |id: &usize| Some(self.source().node(*id).end).filter(|next| *next < end);
        std::iter::successors(first, next).map(move |id| self.to(id))
    }

    /// Whether the other node is this one or in it.
    pub(super) fn contains(self, other: Self) -> bool {
        self.file == other.file && (self.id..self.source().node(self.id).end).contains(&other.id)
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
        pieces.into_iter().map(|piece| piece.ok()).collect()
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
            skip_to = at.source().node(at.id).end;
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
        let at = self.bare();
        match at.kind() {
            Kind::Name => vec![at.text()],
            Kind::Member => {
                let mut path = at.role(Role::Object).map(Self::path).unwrap_or_default();
                path.extend(at.role(Role::Name).map(Self::text));
                path
            }
            Kind::Call => {
                let mut path = at.role(Role::Function).map(Self::path).unwrap_or_default();
                path.push("");
                path
            }
            Kind::Generic => at.role(Role::Name).map(Self::path).unwrap_or_default(),
            _ => vec![""],
        }
    }

    /// The last name of the function that a call calls.
    pub(super) fn callee(self) -> Option<&'p str> {
        let function = self.is(Kind::Call).then(|| self.role(Role::Function)).flatten()?;
        function.path().last().copied().filter(|name| !name.is_empty())
    }

    /// The arguments of a call without a name.
    pub(super) fn arguments(self) -> Vec<Self> {
        let arguments = self.role(Role::Arguments).into_iter().flat_map(|list| list.children());
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

    /// Whether this can be a value: punctuation and comments are not.
    fn is_value(self) -> bool {
        let text = self.text();
        !(matches!(text, "(" | ")" | "," | "[" | "]" | "{" | "}") || text.starts_with("//") || text.starts_with("/*"))
            && !(text.starts_with('#') && self.is(Kind::Other))
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
