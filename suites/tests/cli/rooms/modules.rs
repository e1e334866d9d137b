//! The modules of a crate as its source files declare them, and which file each import leads to.
//!
//! Only what a reader follows counts: code under `#[cfg(test)]` is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// A crate: its modules, the root first.
pub(super) struct Modules(Vec<Module>);

/// A module, in a file of its own or inline.
struct Module {
    file: PathBuf,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// The names that it defines.
    defines: BTreeSet<String>,
    imports: Vec<Import>,
    /// The paths in its code; a single name too.
    paths: Vec<Vec<String>>,
}

/// One name that a `use` brings into a module.
#[derive(Debug, Clone)]
struct Import {
    /// The path; a glob ends with `*`.
    path: Vec<String>,
    /// The name in this module.
    name: String,
    is_public: bool,
}

impl Modules {
    /// Reads the crate whose root is `root`, such as `src/lib.rs`.
    pub(super) fn read(root: &Path) -> Self {
        let mut modules = Self(Vec::new());
        modules.add_file(root, None, root.parent().unwrap());
        modules
    }

    /// Adds the module in `file`; its children are in `directory`.
    fn add_file(&mut self, file: &Path, parent: Option<usize>, directory: &Path) -> usize {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(file, parent, directory, &parsed.items)
    }

    fn add(&mut self, file: &Path, parent: Option<usize>, directory: &Path, items: &[Item]) -> usize {
        let mut code = Code::default();
        for item in items {
            code.visit_item(item);
        }
        let index = self.0.len();
        self.0.push(Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            defines: items.iter().filter_map(defined_name).collect(),
            imports: code.imports,
            paths: code.paths,
        });
        for item in items {
            let Item::Mod(child) = item else { continue };
            if is_test(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let inside = directory.join(&name);
            let child = if let Some((_, items)) = &child.content {
                self.add(file, Some(index), &inside, items)
            } else {
                let own = inside.join("mod.rs");
                let file = if own.exists() { own } else { inside.with_extension("rs") };
                self.add_file(&file, Some(index), &inside)
            };
            self.0[index].children.insert(name, child);
        }
        index
    }

    /// The files that each file imports from, itself excluded.
    ///
    /// A name leads to the file that defines it, through all re-exports; the name of a module leads to the file of that
    /// module. Two things are not an import: a re-export whose name the file does not use itself, and a path such as
    /// `child::run` from a module into its own children, which is how a module hands work to its parts.
    pub(super) fn imported_files(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut imported: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (index, module) in self.0.iter().enumerate() {
            let is_used = |import: &&Import| {
                !import.is_public || module.paths.iter().any(|path| path.first() == Some(&import.name))
            };
            let imports = module.imports.iter().filter(is_used).map(|import| &import.path);
            let leads_out = |path: &&Vec<String>| path.len() > 1 && !module.children.contains_key(&path[0]);
            let paths = module.paths.iter().filter(leads_out);
            let files = imports.chain(paths).filter_map(|path| self.file_of(index, path, &mut BTreeSet::new()));
            imported.entry(&module.file).or_default().extend(files.filter(|file| *file != module.file));
        }
        imported
    }

    /// The file that `path`, as it stands in the module `index`, leads to; `None` if it leads out of the crate.
    fn file_of<'a>(
        &'a self,
        index: usize,
        path: &[String],
        seen: &mut BTreeSet<(usize, Vec<String>)>,
    ) -> Option<&'a Path> {
        // Two globs may lead to each other.
        if !seen.insert((index, path.to_owned())) {
            return None;
        }
        let module = &self.0[index];
        let Some((first, rest)) = path.split_first() else { return Some(&module.file) };
        match first.as_str() {
            "crate" => return self.file_of(0, rest, seen),
            "super" => return self.file_of(module.parent?, rest, seen),
            "self" => return self.file_of(index, rest, seen),
            "*" => return Some(&module.file),
            _ => {}
        }
        // A module and a function may have the same name; the module is the one with names in it.
        let is_defined = module.defines.contains(first);
        if let Some(child) = module.children.get(first).filter(|_| !rest.is_empty() || !is_defined) {
            return self.file_of(*child, rest, seen);
        }
        if is_defined {
            return Some(&module.file);
        }
        if let Some(import) = module.imports.iter().find(|import| import.name == *first && import.path[0] != *first) {
            let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            return self.file_of(index, &whole, seen);
        }
        let mut globs = module.imports.iter().filter(|import| import.name == "*" && import.path[0] != *first);
        globs.find_map(|glob| {
            let whole: Vec<String> = glob.path[..glob.path.len() - 1].iter().chain(path).cloned().collect();
            self.file_of(index, &whole, seen)
        })
    }
}

/// The imports and paths in the code of one module.
#[derive(Default)]
struct Code {
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Code {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    /// A module has its own list.
    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        add_imports(&item.tree, &mut Vec::new(), is_public, &mut self.imports);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

fn add_imports(tree: &UseTree, before: &mut Vec<String>, is_public: bool, imports: &mut Vec<Import>) {
    let mut add = |last: Option<String>, name: String| {
        imports.push(Import { path: before.iter().cloned().chain(last).collect(), name, is_public });
    };
    match tree {
        UseTree::Name(leaf) if leaf.ident == "self" => add(None, before.last().cloned().unwrap_or_default()),
        UseTree::Name(leaf) => add(Some(leaf.ident.to_string()), leaf.ident.to_string()),
        UseTree::Rename(leaf) if leaf.ident == "self" => add(None, leaf.rename.to_string()),
        UseTree::Rename(leaf) => add(Some(leaf.ident.to_string()), leaf.rename.to_string()),
        UseTree::Glob(_) => add(Some("*".to_owned()), "*".to_owned()),
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            add_imports(&path.tree, before, is_public, imports);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| add_imports(tree, before, is_public, imports)),
    }
}

/// Whether an item exists in tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
