# METADATA
# description: An export covers as many days as the plan allows, stays in the org's region, and costs by the month.
package products.exports

import data.lib.access
import data.lib.answers

default decision := {"allow": false, "reason": "plan-unknown", "detail": "Your plan does not cover exports."}

decision := answers.deny("org-suspended", "Your organisation is suspended.") if access.suspended

else := answers.deny("days-malformed", "An export names its days, a whole number of at least 1.") if {
	starting
	not days
}

else := answers.deny("days-over-plan", "The export covers more days than your plan allows.") if {
	starting
	days > plan.export_days
}

else := answers.allow_at_cost({"x-export-region": input.region}, 1 + floor(days / 31)) if {
	starting
	plan
}

else := answers.allow({"x-export-region": input.region}) if {
	not starting
	plan
}

plan := data.lib.plans[input.plan]

starting if input.request.method == "POST"

days := input.body.days if {
	is_number(input.body.days)
	input.body.days >= 1
	floor(input.body.days) == input.body.days
}
