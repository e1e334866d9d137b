//! What the captures of the queries mean. A capture without a dot gives a node its kind, one with a dot gives a part of
//! that node its role.

/// What a node of a source file is, in any language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::project) enum Kind {
    Name,
    Text,
    Fragment,
    Escape,
    Hole,
    Literal,
    Member,
    Index,
    Call,
    Object,
    List,
    Pair,
    Function,
    Pattern,
    Parameter,
    Bind,
    Import,
    Alias,
    Class,
    Decorator,
    Branch,
    Switch,
    Case,
    Binary,
    Wrap,
    Return,
    Exit,
    Record,
    Field,
    Generic,
    /// Everything that no query names.
    Other,
}

/// What a node is for the node that it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::project) enum Role {
    Value,
    Object,
    Name,
    Key,
    Function,
    Arguments,
    Type,
    Parameters,
    Body,
    Default,
    Target,
    Module,
    Alias,
    Base,
    Condition,
    Then,
    Else,
    Left,
    Operator,
    Right,
    Optional,
    Argument,
}

/// The captures that give a node its kind.
pub(super) const KINDS: &[(&str, Kind, &str)] = &[
    ("name", Kind::Name, "an identifier, or the name of a property or type"),
    ("text", Kind::Text, "a literal text, also a template"),
    ("fragment", Kind::Fragment, "a piece of a literal text, as written"),
    ("escape", Kind::Escape, "an escape sequence in a literal text"),
    ("hole", Kind::Hole, "an expression inside a template"),
    ("literal", Kind::Literal, "a number, a boolean or nothing"),
    ("member", Kind::Member, "object.name"),
    ("index", Kind::Index, "object[key]"),
    ("call", Kind::Call, "a call, or the construction of an object"),
    ("object", Kind::Object, "an object or dictionary, with pairs, names and other children"),
    ("list", Kind::List, "a list"),
    ("pair", Kind::Pair, "key and value of an object, of a pattern, or a named argument"),
    ("function", Kind::Function, "a function, method or lambda"),
    ("pattern", Kind::Pattern, "a pattern that takes an object apart"),
    ("parameter", Kind::Parameter, "a parameter with a type or a default"),
    ("bind", Kind::Bind, "a variable, assignment or field of a class"),
    ("import", Kind::Import, "an import, or an export of what another file has"),
    ("alias", Kind::Alias, "one imported name"),
    ("class", Kind::Class, "a class"),
    ("decorator", Kind::Decorator, "a decorator of a class or function"),
    ("branch", Kind::Branch, "an if, or a conditional expression"),
    ("switch", Kind::Switch, "a switch or match"),
    ("case", Kind::Case, "one case of it"),
    ("binary", Kind::Binary, "an operator with two operands"),
    ("wrap", Kind::Wrap, "what changes nothing about a value: parentheses, await, a cast"),
    ("return", Kind::Return, "a return with a value"),
    ("exit", Kind::Exit, "a statement after which the next one is not reached"),
    ("record", Kind::Record, "an interface or a named type"),
    ("field", Kind::Field, "one field of it"),
    ("generic", Kind::Generic, "a type with arguments"),
];

/// The captures that give a part its role.
pub(super) const ROLES: &[(&str, Role, &str)] = &[
    ("hole.value", Role::Value, "the expression"),
    ("member.object", Role::Object, "what the member belongs to"),
    ("member.name", Role::Name, "its name"),
    ("index.object", Role::Object, "what is indexed"),
    ("index.key", Role::Key, "the index"),
    ("call.function", Role::Function, "what is called or constructed"),
    ("call.arguments", Role::Arguments, "the list of arguments"),
    ("call.type", Role::Type, "the first type argument"),
    ("pair.key", Role::Key, "the key"),
    ("pair.value", Role::Value, "the value"),
    ("function.name", Role::Name, "the name of the function"),
    ("function.parameters", Role::Parameters, "the list of parameters, or the only one"),
    ("function.body", Role::Body, "the body, or the expression that is returned"),
    ("parameter.name", Role::Name, "the name or pattern"),
    ("parameter.type", Role::Type, "the type"),
    ("parameter.default", Role::Default, "the value if none is passed"),
    ("bind.target", Role::Target, "what is assigned to"),
    ("bind.value", Role::Value, "the value"),
    ("bind.type", Role::Type, "the type"),
    ("import.module", Role::Module, "the module"),
    ("alias.name", Role::Name, "the name in the module"),
    ("alias.alias", Role::Alias, "the name in this file"),
    ("class.name", Role::Name, "the name of the class"),
    ("class.base", Role::Base, "the class it extends"),
    ("decorator.value", Role::Value, "the expression"),
    ("branch.condition", Role::Condition, "the condition"),
    ("branch.then", Role::Then, "what is done if it holds"),
    ("branch.else", Role::Else, "what is done otherwise"),
    ("switch.value", Role::Value, "what is compared"),
    ("case.value", Role::Value, "what it is compared with"),
    ("binary.left", Role::Left, "the first operand"),
    ("binary.operator", Role::Operator, "the operator"),
    ("binary.right", Role::Right, "the second operand"),
    ("wrap.value", Role::Value, "the value"),
    ("wrap.type", Role::Type, "the type it is cast to"),
    ("return.value", Role::Value, "what is returned"),
    ("record.name", Role::Name, "the name of the type"),
    ("record.body", Role::Body, "its definition"),
    ("field.name", Role::Name, "the name of the field"),
    ("field.type", Role::Type, "its type"),
    ("field.optional", Role::Optional, "the mark of an optional field"),
    ("generic.name", Role::Name, "the name of the type"),
    ("generic.argument", Role::Argument, "its first argument"),
];

/// The meaning of a capture.
#[derive(Debug, Clone, Copy)]
pub(super) enum Capture {
    Kind(Kind),
    Role(Role),
}

impl Capture {
    /// The meaning of this capture, if the tables have it.
    pub(super) fn named(name: &str) -> Option<Self> {
        let kind = KINDS.iter().find(|(known, ..)| *known == name).map(|(_, kind, _)| Self::Kind(*kind));
        kind.or_else(|| ROLES.iter().find(|(known, ..)| *known == name).map(|(_, role, _)| Self::Role(*role)))
    }
}
