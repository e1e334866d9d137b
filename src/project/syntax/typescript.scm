; What TypeScript has besides `javascript.scm`.

(type_identifier) @name

(class_declaration (class_heritage (extends_clause value: (_) @class.base))) @class
(abstract_class_declaration name: (_) @class.name) @class
(enum_declaration name: (_) @class.name) @class
(enum_assignment name: (_) @bind.target value: (_) @bind.value) @bind
(public_field_definition name: (_) @bind.target) @bind
(public_field_definition name: (_) @bind.target value: (_) @bind.value) @bind
(public_field_definition type: (type_annotation (_) @bind.type)) @bind
(variable_declarator type: (type_annotation (_) @bind.type)) @bind

(required_parameter pattern: (_) @parameter.name) @parameter
(required_parameter type: (type_annotation (_) @parameter.type)) @parameter
(required_parameter value: (_) @parameter.default) @parameter
(optional_parameter pattern: (_) @parameter.name) @parameter
(optional_parameter type: (type_annotation (_) @parameter.type)) @parameter

(interface_declaration name: (_) @record.name body: (_) @record.body) @record
(type_alias_declaration name: (_) @record.name value: (_) @record.body) @record
(property_signature name: (_) @field.name) @field
(property_signature type: (type_annotation (_) @field.type)) @field
(property_signature "?" @field.optional) @field
(generic_type name: (_) @generic.name type_arguments: (type_arguments . (_) @generic.argument)) @generic
(new_expression type_arguments: (type_arguments . (_) @call.type)) @call

(as_expression . (_) @wrap.value) @wrap
(as_expression (_) (_) @wrap.type .) @wrap
(satisfies_expression . (_) @wrap.value) @wrap
(non_null_expression (_) @wrap.value) @wrap
