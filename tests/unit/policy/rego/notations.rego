package notations

decision["semver"] := semver.compare(input.a, input.b)

decision["semver valid"] := [semver.is_valid(x) | some x in [input.a, input.b, 1]]

decision["units"] := units.parse(input.unit)

decision["bytes"] := units.parse_bytes(input.unit)

decision["uuid"] := uuid.parse(input.uuid)
