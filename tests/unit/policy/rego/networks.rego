package networks

decision["contains"] := net.cidr_contains(input.a, input.b)

decision["intersects"] := net.cidr_intersects(input.a, input.b)

decision["matches"] := sort([x | some x in net.cidr_contains_matches(input.a, input.list)])

decision["matches of sets"] := net.cidr_contains_matches({x | some x in input.list}, {input.b})

decision["matches of objects"] := net.cidr_contains_matches({"x": [input.a, "more"]}, {"y": input.b})

decision["expand"] := sort([x | some x in net.cidr_expand(input.small)])

decision["is_valid"] := [net.cidr_is_valid(x) | some x in [input.a, input.b, input.small, 1]]

decision["merge"] := sort([x | some x in net.cidr_merge(input.merge)])
