package patterns

decision["match"] := regex.match(input.pattern, input.text)

decision["is_valid"] := regex.is_valid(input.pattern)

decision["find_n"] := regex.find_n(input.pattern, input.text, input.n)

decision["find_all"] := regex.find_all_string_submatch_n(input.pattern, input.text, -1)

decision["split"] := regex.split(input.pattern, input.text)

decision["replace"] := regex.replace(input.text, input.pattern, "<$0$1${1}x$$>")

decision["template"] := regex.template_match("urn:foo:{.*}:{[0-9]+}", input.text, "{", "}")

decision["template bad"] := regex.template_match("urn:{foo", input.text, "{", "}")

decision["glob"] := glob.match(input.glob, [], input.text)

decision["glob delimited"] := glob.match(input.glob, ["/", ":"], input.text)

decision["glob without delimiters"] := glob.match(input.glob, null, input.text)
