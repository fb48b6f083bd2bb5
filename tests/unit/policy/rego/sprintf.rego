package sprintf_

decision["one"] := sprintf(input.verb, [input.value])

decision["missing"] := sprintf("%d %d", [input.n])

decision["extra"] := sprintf("%v", [input.n, input.value])

decision["noverb"] := sprintf("%v%", [input.n])

decision["percent"] := sprintf("100%% of %v", [input.value])

decision["width"] := sprintf("[%5v|%-5v|%05d|%+d|% d|%5s|%-5s|%.1s]", [input.n, input.n, input.n, input.n, input.n, "ab", "cd", "éf"])

decision["set"] := sprintf("%v", [{x | some x in input.list}])

decision["empty set"] := sprintf("%v %v", [set(), {}])

decision["float"] := sprintf("%v %6.2f %08.3f", [input.f, input.f, input.f])
