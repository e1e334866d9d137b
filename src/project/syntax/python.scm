; The common shapes of a Python file. `captures.rs` says what each capture means.

(identifier) @name

[(string) (concatenated_string)] @text
(string_content) @fragment
(escape_sequence) @escape
(interpolation expression: (_) @hole.value) @hole

[(integer) (float) (true) (false) (none)] @literal

(attribute object: (_) @member.object attribute: (_) @member.name) @member
(subscript value: (_) @index.object subscript: (_) @index.key) @index
(call function: (_) @call.function arguments: (_) @call.arguments) @call

(dictionary) @object
[(list) (tuple)] @list
(pair key: (_) @pair.key value: (_) @pair.value) @pair
(keyword_argument name: (_) @pair.key value: (_) @pair.value) @pair

(function_definition name: (_) @function.name parameters: (_) @function.parameters body: (_) @function.body) @function
(lambda parameters: (_) @function.parameters body: (_) @function.body) @function

(typed_parameter . (identifier) @parameter.name type: (type (_) @parameter.type)) @parameter
(default_parameter name: (_) @parameter.name value: (_) @parameter.default) @parameter
(typed_default_parameter name: (_) @parameter.name type: (type (_) @parameter.type) value: (_) @parameter.default) @parameter

(assignment left: (_) @bind.target) @bind
(assignment left: (_) @bind.target right: (_) @bind.value) @bind
(assignment type: (type (_) @bind.type)) @bind
(named_expression name: (_) @bind.target value: (_) @bind.value) @bind

(import_from_statement module_name: (_) @import.module) @import
(import_from_statement name: (dotted_name) @alias.name @alias)
(import_from_statement name: (aliased_import name: (_) @alias.name alias: (_) @alias.alias) @alias)

(class_definition name: (_) @class.name) @class
(class_definition superclasses: (argument_list (_) @class.base)) @class
(decorator (_) @decorator.value) @decorator

(if_statement condition: (_) @branch.condition consequence: (_) @branch.then) @branch
(if_statement alternative: (_) @branch.else) @branch
(elif_clause condition: (_) @branch.condition consequence: (_) @branch.then) @branch
(match_statement subject: (_) @switch.value) @switch
(case_clause (case_pattern (_) @case.value)) @case

(comparison_operator . (_) @binary.left operators: _ @binary.operator (_) @binary.right .) @binary
(boolean_operator left: (_) @binary.left operator: _ @binary.operator right: (_) @binary.right) @binary
(binary_operator left: (_) @binary.left operator: _ @binary.operator right: (_) @binary.right) @binary
[(parenthesized_expression (_) @wrap.value) (await (_) @wrap.value)] @wrap
(return_statement (_) @return.value) @return
[(return_statement) (raise_statement) (break_statement) (continue_statement)] @exit
