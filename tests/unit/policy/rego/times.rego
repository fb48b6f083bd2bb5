package times

decision["now"] := time.now_ns()

decision["date"] := time.date(input.t)

decision["clock"] := time.clock(input.t)

decision["weekday"] := time.weekday(input.t)

decision["format"] := time.format(input.t)

decision["format layout"] := [time.format([input.ns, input.zone, layout]) | some layout in input.layouts]

decision["zone"] := [time.date([input.ns, input.zone]), time.clock([input.ns, input.zone]), time.weekday([input.ns, input.zone])]

decision["add_date"] := time.add_date(input.t, input.y, input.m, input.d)

decision["diff"] := time.diff(input.t, input.other)

decision["rfc3339"] := time.parse_rfc3339_ns(input.text)

decision["parse"] := [ns | some layout in input.readable; ns := time.parse_ns(layout, input.text)]

decision["parse back"] := [ns |
	some layout in input.readable
	ns := time.parse_ns(layout, time.format([input.ns, "UTC", layout]))
]

decision["duration"] := time.parse_duration_ns(input.duration)
