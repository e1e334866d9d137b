; The common shapes of a JavaScript file. `captures.rs` says what each capture means.

[(identifier) (property_identifier) (private_property_identifier) (this) (shorthand_property_identifier)
 (shorthand_property_identifier_pattern)] @name

[(string) (template_string)] @text
(string_fragment) @fragment
(escape_sequence) @escape
(template_substitution (_) @hole.value) @hole

[(number) (true) (false) (null) (undefined)] @literal

(member_expression object: (_) @member.object property: (_) @member.name) @member
(subscript_expression object: (_) @index.object index: (_) @index.key) @index
(call_expression function: (_) @call.function arguments: (_) @call.arguments) @call
(new_expression constructor: (_) @call.function arguments: (_) @call.arguments) @call

(object) @object
(array) @list
(pair key: (_) @pair.key value: (_) @pair.value) @pair

(function_declaration name: (_) @function.name parameters: (_) @function.parameters body: (_) @function.body) @function
(generator_function_declaration name: (_) @function.name parameters: (_) @function.parameters body: (_) @function.body) @function
(function_expression parameters: (_) @function.parameters body: (_) @function.body) @function
(method_definition name: (_) @function.name parameters: (_) @function.parameters body: (_) @function.body) @function
(arrow_function parameter: (_) @function.parameters body: (_) @function.body) @function
(arrow_function parameters: (_) @function.parameters body: (_) @function.body) @function

(object_pattern) @pattern
(pair_pattern key: (_) @pair.key value: (_) @pair.value) @pair
(object_assignment_pattern left: (_) @parameter.name right: (_) @parameter.default) @parameter
(formal_parameters (assignment_pattern left: (_) @parameter.name right: (_) @parameter.default) @parameter)

(variable_declarator name: (_) @bind.target) @bind
(variable_declarator name: (_) @bind.target value: (_) @bind.value) @bind
(assignment_expression left: (_) @bind.target right: (_) @bind.value) @bind

(import_statement source: (string) @import.module) @import
(import_clause (identifier) @alias.name) @alias
(namespace_import (identifier) @alias.name) @alias
(import_specifier name: (_) @alias.name) @alias
(import_specifier name: (_) @alias.name alias: (_) @alias.alias) @alias
(export_statement source: (string) @import.module) @import
(export_specifier name: (_) @alias.name) @alias
(export_specifier name: (_) @alias.name alias: (_) @alias.alias) @alias

(class_declaration name: (_) @class.name) @class
(class_declaration (class_heritage (_) @class.base)) @class
(decorator (_) @decorator.value) @decorator

(if_statement condition: (_) @branch.condition consequence: (_) @branch.then) @branch
(if_statement alternative: (_) @branch.else) @branch
(ternary_expression condition: (_) @branch.condition consequence: (_) @branch.then alternative: (_) @branch.else) @branch
(switch_statement value: (_) @switch.value) @switch
(switch_case value: (_) @case.value) @case

(binary_expression left: (_) @binary.left operator: _ @binary.operator right: (_) @binary.right) @binary
[(parenthesized_expression (_) @wrap.value) (await_expression (_) @wrap.value)] @wrap
(return_statement (_) @return.value) @return
[(return_statement) (throw_statement) (break_statement) (continue_statement)] @exit
