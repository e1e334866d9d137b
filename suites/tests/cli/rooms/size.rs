//! How long files are, which functions may be long, and where the file of a module is.
//!
//! Clippy limits functions: `clippy.toml` has the most lines and parameters. A function is exempt if its body is a table.

use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Meta, Stmt, Token};

use super::files;

/// The most lines of a file.
const MAX_LINES: usize = 500;
/// The lint that limits the lines of a function. In two parts: this file must not contain it.
const LINT: &str = concat!("too_many_", "lines");
/// The lint that limits the parameters, `self` included.
const NEVER_ALLOWED: &str = concat!("too_many_", "arguments");

/// The files of `src` and of the tests, with their names from the root.
fn sources() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = ["src", "suites/tests"].map(|directory| files(&root.join(directory))).concat();
    all.into_iter().map(|path| (path.strip_prefix(root).unwrap().display().to_string(), path)).collect()
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    let all = sources().into_iter().map(|(name, path)| (name, lines(&path)));
    let long: Vec<String> =
        all.filter(|(_, lines)| *lines > MAX_LINES).map(|(name, lines)| format!("{name}: {lines} lines")).collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn a_module_with_children_is_the_file_mod_rs_beside_them() {
    let beside = |path: &Path| path.with_extension("").is_dir();
    let wrong: Vec<String> = sources().into_iter().filter(|(_, path)| beside(path)).map(|(name, _)| name).collect();
    assert_eq!(wrong, Vec::<String>::new(), "move each to mod.rs in its directory");
}

#[test]
fn only_a_function_whose_body_is_a_table_may_be_longer_than_80_lines() {
    let mut wrong = Vec::new();
    for (name, path) in sources() {
        let text = fs::read_to_string(&path).unwrap();
        if text.contains(NEVER_ALLOWED) {
            wrong.push(format!("{name} switches off {NEVER_ALLOWED}: pass a struct"));
        }
        let mut found = Exempt::default();
        found.visit_file(&syn::parse_file(&text).unwrap());
        wrong.extend(found.others.iter().map(|function| format!("{name}: the body of {function} is not one table")));
        if text.matches(LINT).count() != found.tables.len() + found.others.len() {
            wrong.push(format!("{name} switches off {LINT} for more than one function"));
        }
        for function in found.tables {
            println!("{name}: {function} may be long, because it is one table");
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The functions that are exempt from the limit of lines.
#[derive(Default)]
struct Exempt {
    tables: Vec<String>,
    others: Vec<String>,
}

impl Exempt {
    fn add(&mut self, name: &syn::Ident, attributes: &[Attribute], body: &Block) {
        if attributes.iter().any(switches_off) {
            let list = if is_table(body) { &mut self.tables } else { &mut self.others };
            list.push(name.to_string());
        }
    }
}

impl<'ast> Visit<'ast> for Exempt {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig.ident, &function.attrs, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.attrs, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

/// Whether an attribute is `expect` or `allow` of the limit.
fn switches_off(attribute: &Attribute) -> bool {
    let is_level = attribute.path().is_ident("expect") || attribute.path().is_ident("allow");
    let lints = || attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let is_limit = |lint: &Meta| lint.path().segments.last().is_some_and(|segment| segment.ident == LINT);
    is_level && lints().is_ok_and(|lints| lints.iter().any(is_limit))
}

/// Whether a body is one table: a single array, macro call, or `match` whose arms are single expressions.
fn is_table(body: &Block) -> bool {
    match only_expression(body) {
        Some(Expr::Array(_) | Expr::Macro(_)) => true,
        Some(Expr::Match(table)) => table.arms.iter().all(|arm| match arm.body.as_ref() {
            Expr::Block(block) => only_expression(&block.block).is_some(),
            _ => true,
        }),
        _ => false,
    }
}

/// The expression that is all of a block.
fn only_expression(block: &Block) -> Option<&Expr> {
    match block.stmts.as_slice() {
        [Stmt::Expr(expression, None)] => Some(expression),
        _ => None,
    }
}

#[test]
fn a_table_is_an_array_a_macro_call_or_a_match_of_single_expressions() {
    for (body, is) in [
        ("{ [1, 2] }", true),
        ("{ json!({ \"a\": 1 }) }", true),
        ("{ match x { A => 1, B => { f(2) } } }", true),
        ("{ match x { A => 1, B => { let y = 2; f(y) } } }", false),
        ("{ let y = 1; [y] }", false),
        ("{ f(1) }", false),
    ] {
        assert_eq!(is_table(&syn::parse_str(body).unwrap()), is, "{body}");
    }
}
