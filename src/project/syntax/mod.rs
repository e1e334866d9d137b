//! Source files as trees of common shapes: tree-sitter parses, and the queries in `*.scm` say which node of a grammar is
//! which shape. Everything above this module reads JavaScript, TypeScript and Python alike.

mod captures;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
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

/// A node of a source file. Its descendants are the nodes from the next one to `end`.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) line: usize,
    pub(super) parent: Option<usize>,
    pub(super) end: usize,
    bytes: (usize, usize),
    roles: Vec<(Role, usize)>,
}

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
}

impl SourceFile {
    /// Parses a file; `None` if its language is unknown.
    pub(super) fn parse(path: PathBuf, text: String) -> Option<Self> {
        let language = Language::of(&path)?;
        let mut parser = Parser::new();
        parser.set_language(&language.grammar()).ok()?;
        let tree = parser.parse(&text, None)?;
        let (nodes, error) = lower(&tree, language.query()?, &text);
        Some(Self { path, language, error, text, nodes })
    }

    pub(super) fn node(&self, id: usize) -> &Node {
        &self.nodes[id]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The source text of a node.
    pub(super) fn text(&self, id: usize) -> &str {
        let (start, end) = self.nodes[id].bytes;
        self.text.get(start..end).unwrap_or_default()
    }

    /// The part of a node that has this role.
    pub(super) fn role(&self, id: usize, role: Role) -> Option<usize> {
        self.nodes[id].roles.iter().find(|(known, _)| *known == role).map(|(_, part)| *part)
    }
}

/// The nodes of a tree in the order of the text, each before its descendants, and the line of the first syntax error.
fn lower(tree: &Tree, query: &Query, text: &str) -> (Vec<Node>, Option<usize>) {
    let (kinds, roles) = captured(tree, query, text);
    let mut nodes: Vec<Node> = Vec::new();
    let mut place = HashMap::new();
    let mut open: Vec<usize> = Vec::new();
    let mut error = None;
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let line = node.start_position().row + 1;
        if error.is_none() && (node.is_error() || node.is_missing()) {
            error = Some(line);
        }
        let id = nodes.len();
        place.insert(node.id(), id);
        nodes.push(Node {
            kind: kinds.get(&node.id()).map_or(Kind::Other, |(_, kind)| *kind),
            line,
            parent: open.last().copied(),
            end: id + 1,
            bytes: (node.start_byte(), node.end_byte()),
            roles: Vec::new(),
        });
        if cursor.goto_first_child() {
            open.push(id);
            continue;
        }
        while !cursor.goto_next_sibling() {
            let end = nodes.len();
            let (Some(closed), true) = (open.pop(), cursor.goto_parent()) else {
                for (main, role, part) in roles {
                    if let (Some(main), Some(part)) = (place.get(&main), place.get(&part)) {
                        nodes[*main].roles.push((role, *part));
                    }
                }
                return (nodes, error);
            };
            nodes[closed].end = end;
        }
    }
}

/// The kinds of nodes, with the number of the pattern that gave it, and the parts of nodes, by tree-sitter's ids.
type Captured = (HashMap<usize, (usize, Kind)>, Vec<(usize, Role, usize)>);

fn captured(tree: &Tree, query: &Query, text: &str) -> Captured {
    let meanings: Vec<Option<Capture>> = query.capture_names().iter().map(|name| Capture::named(name)).collect();
    let (mut kinds, mut roles) = (HashMap::<usize, (usize, Kind)>::new(), Vec::new());
    let mut cursor = QueryCursor::new();
    let mut matches = cursor.matches(query, tree.root_node(), text.as_bytes());
    while let Some(found) = matches.next() {
        let mut main = None;
        for capture in found.captures() {
            if let Some(Some(Capture::Kind(kind))) = meanings.get(capture.index as usize) {
                main = main.or(Some(capture.node.id()));
                // The first pattern of the file decides.
                let known = kinds.entry(capture.node.id()).or_insert((found.pattern_index, *kind));
                if found.pattern_index < known.0 {
                    *known = (found.pattern_index, *kind);
                }
            }
        }
        for capture in found.captures() {
            if let (Some(main), Some(Some(Capture::Role(role)))) = (main, meanings.get(capture.index as usize)) {
                roles.push((main, *role, capture.node.id()));
            }
        }
    }
    (kinds, roles)
}
