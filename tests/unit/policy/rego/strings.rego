package strings_

# Each rule is one question: one that is undefined is missing on both sides.

decision["concat"] := concat(input.b, input.list)

decision["contains"] := contains(input.a, input.b)

decision["startswith"] := startswith(input.a, input.b)

decision["endswith"] := endswith(input.a, input.b)

decision["indexof"] := indexof(input.a, input.b)

decision["indexof_n"] := indexof_n(input.a, input.b)

decision["lower"] := lower(input.a)

decision["upper"] := upper(input.a)

decision["replace"] := replace(input.a, input.b, "<>")

decision["replace_n"] := strings.replace_n({"a": "1", "b": "2"}, input.a)

decision["reverse"] := strings.reverse(input.a)

decision["split"] := split(input.a, input.b)

decision["split_n"] := strings.split_n(input.a, input.b, input.n)

decision["count"] := strings.count(input.a, input.b)

decision["substring"] := substring(input.a, input.n, 2)

decision["substring rest"] := substring(input.a, 1, -1)

decision["trim"] := trim(input.a, input.b)

decision["trim_left"] := trim_left(input.a, input.b)

decision["trim_right"] := trim_right(input.a, input.b)

decision["trim_prefix"] := trim_prefix(input.a, input.b)

decision["trim_suffix"] := trim_suffix(input.a, input.b)

decision["trim_space"] := trim_space(input.a)

decision["format_int"] := [format_int(input.n, base) | some base in [2, 8, 10, 16]]

decision["any_prefix"] := strings.any_prefix_match(input.a, input.list)

decision["any_suffix"] := strings.any_suffix_match(input.list, input.b)

decision["any_prefix of a set"] := strings.any_prefix_match({x | some x in input.list}, [input.b])

decision["template"] := $"{input.a} and {input.n} and {input.list}"

decision["quote_meta"] := glob.quote_meta(input.a)
