package numbers_

decision["arithmetic"] := [input.a + input.b, input.a - input.b, input.a * input.b]

decision["divided"] := input.a / input.b

decision["remainder"] := input.a % input.b

decision["rounded"] := [round(input.a), ceil(input.a), floor(input.a), abs(input.a)]

decision["compared"] := [input.a < input.b, input.a <= input.b, input.a > input.b, input.a >= input.b, input.a == input.b, input.a != input.b]

decision["bits"] := [bits.and(input.i, input.j), bits.or(input.i, input.j), bits.xor(input.i, input.j), bits.negate(input.i)]

decision["shifted"] := [bits.lsh(input.i, 3), bits.rsh(input.i, 1)]

decision["aggregates"] := [count(input.list), sum(input.list), product(input.list), max(input.list), min(input.list), sort(input.list)]

decision["to_number"] := to_number(input.text)

decision["same"] := input.a

decision["int text"] := format_int(input.i, 10)
