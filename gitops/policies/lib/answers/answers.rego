# METADATA
# description: The two shapes of a decision, so that every policy answers alike.
package lib.answers

allow(headers) := {"allow": true, "reason": "ok", "headers": headers}

allow_at_cost(headers, cost) := {"allow": true, "reason": "ok", "headers": headers, "cost": cost}

deny(reason, detail) := {"allow": false, "reason": reason, "detail": detail}
