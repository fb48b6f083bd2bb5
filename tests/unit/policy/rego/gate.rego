package gate

default decision := {"allow": false, "reason": "no"}

decision := {"allow": true, "reason": "ok"} if input.user == "alice"
