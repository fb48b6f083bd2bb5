# METADATA
# description: Orders are bounded by the plan; the backend learns the org's tier.
package products.orders

import data.lib.access
import data.lib.answers

default decision := {"allow": false, "reason": "plan-unknown", "detail": "Your plan does not cover orders."}

decision := answers.deny("org-suspended", "Your organisation is suspended.") if access.suspended

else := answers.deny("address-blocked", "Calls from your address are not accepted.") if access.blocked_address

else := answers.deny("order-malformed", "An order has a positive number as amount_usd.") if {
	placing
	not amount
}

else := answers.deny("order-too-large", "The order's amount_usd is over what your plan allows.") if {
	placing
	amount > plan.order_usd
}

else := answers.allow({"x-order-tier": plan.tier, "x-order-org": input.org})

plan := data.lib.plans[input.plan]

placing if {
	input.request.method == "POST"
	input.request.route == "/"
}

placing if input.request.method == "PUT"

amount := input.body.amount_usd if {
	is_number(input.body.amount_usd)
	input.body.amount_usd > 0
}
