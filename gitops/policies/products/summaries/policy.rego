# METADATA
# description: A summary costs by the length of its text, up to what the plan allows.
package products.summaries

import data.lib.access
import data.lib.answers

default decision := {"allow": false, "reason": "plan-unknown", "detail": "Your plan does not cover summaries."}

decision := answers.deny("org-suspended", "Your organisation is suspended.") if access.suspended

else := answers.deny("text-missing", "A summary needs a text, a string that is not empty.") if not length

else := answers.deny("text-too-long", "The text is longer than your plan allows.") if length > plan.summary_characters

else := answers.allow_at_cost({"x-model-tier": plan.tier}, 1 + floor(length / 4000))

plan := data.lib.plans[input.plan]

length := count(input.body.text) if {
	is_string(input.body.text)
	input.body.text != ""
}
