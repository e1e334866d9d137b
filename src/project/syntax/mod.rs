//! Source files as trees of common shapes: tree-sitter parses, and the queries in `*.scm` say which node of a grammar is
//! which shape. Everything above this module reads JavaScript, TypeScript and Python alike.

mod captures;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(super) use captures::{Kind, Role};

use captures::Capture;
use tree_sitter::{Language as Grammar, Parser, Query, QueryCursor, StreamingIterator as _, Tree};

/// A language whose files can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    JavaScript,
    TypeScript,
    Tsx,
    Python,
}

impl Language {
    /// The language of a file, by its extension.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" => Self::Tsx,
            "py" => Self::Python,
            _ => return None,
        })
    }

    fn grammar(self) -> Grammar {
        match self {
            Self::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
            Self::Python => tree_sitter_python::LANGUAGE.into(),
        }
    }

    /// The text of its query.
    fn query_text(self) -> String {
        // The grammar of TypeScript has another shape for what a class extends and for the parameters of functions.
        const JAVASCRIPT_ALONE: &[&str] =
            &["(class_declaration (class_heritage (_) @class.base))", "(formal_parameters (assignment_pattern"];
        let javascript = include_str!("javascript.scm");
        match self {
            Self::JavaScript => javascript.to_owned(),
            Self::Python => include_str!("python.scm").to_owned(),
            Self::TypeScript | Self::Tsx => {
                let shared =
                    javascript.lines().filter(|line| !JAVASCRIPT_ALONE.iter().any(|own| line.starts_with(own)));
                let mut text: String = shared.flat_map(|line| [line, "\n"]).collect();
                text.push_str(include_str!("typescript.scm"));
                text
            }
        }
    }

    fn query(self) -> Option<&'static Query> {
        // A query takes a while to compile: each does when its language is first met. A test compiles every one.
        static QUERIES: [OnceLock<Option<Query>>; 4] = [const { OnceLock::new() }; 4];
        let compiled = QUERIES[self as usize].get_or_init(|| Query::new(&self.grammar(), &self.query_text()).ok());
        compiled.as_ref()
    }
}

/// A node of a source file. Its descendants are the nodes from the next one to `end`. There are millions of them in a large
/// project, so they are small.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    line: u32,
    parent: u32,
    end: u32,
    bytes: (u32, u32),
}

/// The parent of the first node.
const NONE: u32 = u32::MAX;

/// A source file that was parsed.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Its path in the project.
    pub(super) path: PathBuf,
    pub(super) language: Language,
    /// The line of the first syntax error, if there is one; the rest of the file was read.
    pub(super) error: Option<usize>,
    text: String,
    nodes: Vec<Node>,
    /// The parts of nodes, sorted by node.
    roles: Vec<(u32, Role, u32)>,
    /// The nodes of each kind.
    kinds: HashMap<Kind, Vec<u32>>,
}

impl SourceFile {
    /// Parses a file; `None` if its language is unknown.
    pub(super) fn parse(path: PathBuf, text: String) -> Option<Self> {
        let language = Language::of(&path)?;
        u32::try_from(text.len()).ok()?;
        let mut parser = Parser::new();
        parser.set_language(&language.grammar()).ok()?;
        let tree = parser.parse(&text, None)?;
        let mut file =
            Self { path, language, error: None, text, nodes: Vec::new(), roles: Vec::new(), kinds: HashMap::new() };
        file.lower(&tree, language.query()?);
        Some(file)
    }

    pub(super) fn kind(&self, id: usize) -> Kind {
        self.nodes[id].kind
    }

    /// The line of a node, from 1.
    pub(super) fn line(&self, id: usize) -> usize {
        self.nodes[id].line as usize
    }

    pub(super) fn parent(&self, id: usize) -> Option<usize> {
        Some(self.nodes[id].parent).filter(|parent| *parent != NONE).map(|parent| parent as usize)
    }

    /// The node behind the last descendant of a node.
    pub(super) fn end(&self, id: usize) -> usize {
        self.nodes[id].end as usize
    }

    /// The nodes of a kind, in the order of the text.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = usize> {
        self.kinds.get(&kind).into_iter().flatten().map(|id| *id as usize)
    }

    /// The source text of a node.
    pub(super) fn text(&self, id: usize) -> &str {
        let (start, end) = self.nodes[id].bytes;
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The part of a node that has this role.
    pub(super) fn role(&self, id: usize, role: Role) -> Option<usize> {
        let first = self.roles.partition_point(|(main, ..)| (*main as usize) < id);
        let own = self.roles[first..].iter().take_while(|(main, ..)| *main as usize == id);
        own.into_iter().find(|(_, known, _)| *known == role).map(|(.., part)| *part as usize)
    }

    /// Fills the nodes in the order of the text, each before its descendants. Punctuation is left out.
    fn lower(&mut self, tree: &Tree, query: &Query) {
        let Captured { kinds, roles } = Captured::of(tree, query, &self.text);
        let parts: HashSet<usize, Plain> = roles.iter().map(|(.., part)| *part).collect();
        let mut place: HashMap<usize, u32, Plain> = HashMap::default();
        let mut open: Vec<u32> = Vec::new();
        let mut cursor = tree.walk();
        'nodes: loop {
            let node = cursor.node();
            if self.error.is_none() && (node.is_error() || node.is_missing()) {
                self.error = Some(node.start_position().row + 1);
            }
            if node.is_named() || parts.contains(&node.id()) || self.nodes.is_empty() {
                let id = small(self.nodes.len());
                place.insert(node.id(), id);
                let kind = kinds.get(&node.id()).map_or(Kind::Other, |(_, kind)| *kind);
                if kind != Kind::Other {
                    self.kinds.entry(kind).or_default().push(id);
                }
                self.nodes.push(Node {
                    kind,
                    line: small(node.start_position().row + 1),
                    parent: open.last().copied().unwrap_or(NONE),
                    end: id + 1,
                    bytes: (small(node.start_byte()), small(node.end_byte())),
                });
                if cursor.goto_first_child() {
                    open.push(id);
                    continue;
                }
            }
            while !cursor.goto_next_sibling() {
                let (Some(closed), true) = (open.pop(), cursor.goto_parent()) else { break 'nodes };
                self.nodes[closed as usize].end = small(self.nodes.len());
            }
        }
        let known = |(main, role, part): (usize, Role, usize)| Some((*place.get(&main)?, role, *place.get(&part)?));
        self.roles = roles.into_iter().filter_map(known).collect();
        // Stable: the first pattern's part comes first.
        self.roles.sort_by_key(|(main, ..)| *main);
    }
}

/// A place in a file, which is smaller than 4 GB.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

/// What the patterns of a query captured, by tree-sitter's ids of nodes.
struct Captured {
    /// The kinds of nodes, with the number of the pattern that gave it.
    kinds: HashMap<usize, (usize, Kind), Plain>,
    /// The parts of nodes.
    roles: Vec<(usize, Role, usize)>,
}

impl Captured {
    fn of(tree: &Tree, query: &Query, text: &str) -> Self {
        let meanings: Vec<Option<Capture>> = query.capture_names().iter().map(|name| Capture::named(name)).collect();
        let mut captured = Self { kinds: HashMap::default(), roles: Vec::new() };
        let mut cursor = QueryCursor::new();
        let mut matches = cursor.matches(query, tree.root_node(), text.as_bytes());
        while let Some(found) = matches.next() {
            let mut main = None;
            for capture in found.captures() {
                if let Some(Some(Capture::Kind(kind))) = meanings.get(capture.index as usize) {
                    main = main.or(Some(capture.node.id()));
                    // The first pattern of the file decides.
                    let known = captured.kinds.entry(capture.node.id()).or_insert((found.pattern_index, *kind));
                    if found.pattern_index < known.0 {
                        *known = (found.pattern_index, *kind);
                    }
                }
            }
            for capture in found.captures() {
                if let (Some(main), Some(Some(Capture::Role(role)))) = (main, meanings.get(capture.index as usize)) {
                    captured.roles.push((main, *role, capture.node.id()));
                }
            }
        }
        captured
    }
}

/// A hash of ids of nodes, which are addresses: no input chooses them.
type Plain = BuildHasherDefault<AddressHasher>;

#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
