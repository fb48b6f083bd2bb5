package documents

decision["patch"] := json.patch(input.document, input.patch)

decision["filter"] := json.filter(input.document, input.paths)

decision["remove"] := json.remove(input.document, input.paths)

decision["subset"] := object.subset(input.document, input.part)

decision["subset of lists"] := object.subset(input.list, input.run)

decision["subset of sets"] := object.subset({x | some x in input.list}, {x | some x in input.run})

decision["subset of list and set"] := object.subset(input.list, {x | some x in input.run})

decision["get"] := object.get(input.document, ["a", "b"], "none")

decision["keys"] := sort(object.keys(input.document))

decision["without"] := object.remove(input.document, ["a"])

decision["only"] := object.filter(input.document, ["a", "c"])

decision["union"] := object.union(input.document, input.part)

decision["union_n"] := object.union_n([input.document, input.part, {"z": 1}])

decision["walk"] := sort([[path, value] | walk(input.document, [path, value])])

decision["reachable"] := sort(graph.reachable(input.graph, input.start))

decision["range"] := numbers.range(input.n, input.m)

decision["range_step"] := numbers.range_step(input.n, input.m, input.step)

decision["array"] := [
	array.concat(input.list, input.run),
	array.slice(input.list, input.n, input.m),
	array.reverse(input.list),
	array.flatten([input.list, [input.run]]),
]
