package language

import data.support

default greeting := "hello"

greeting := "hi" if input.informal

level := "high" if input.n > 10

else := "middle" if input.n > 5

else := "low"

tags contains tag if {
	some tag in input.tags
	not tag in data.support.hidden
}

owners[name] contains role if some name, role in input.roles

decision["default"] := greeting

decision["else"] := level

decision["set"] := sort(tags)

decision["nested"] := {name: sort(roles) | some name, roles in owners}

decision["every"] := true if every x in input.list { is_number(x) }

decision["some"] := sort([k | some k, v in input.roles; v == "admin"])

decision["with"] := text if text := greeting with input.informal as true

decision["types"] := [[type_name(x), is_array(x), is_boolean(x), is_null(x), is_number(x), is_object(x), is_set(x), is_string(x)] |
	some x in [input.n, input.tags, input.roles, input.list, null, true, "x", {1}]
]

decision["sets"] := [
	sort({1, 2} & {2, 3}), sort({1, 2} | {2, 3}), sort({1, 2} - {2, 3}),
	sort(intersection({{1, 2}, {2}})), sort(union({{1}, {x | some x in input.list}})),
]

decision["function"] := support.twice(input.n)

decision["member"] := input.n in input.list

decision["member with key"] if 0, input.n in input.list

decision["object"] := {k: v | some k, v in input.roles}

decision["unified"] := x if [x, _] = input.list

decision["walked"] := count([1 | walk(input, _)])

decision["pairs"] := [[y, x] | some y, x in input.list]
