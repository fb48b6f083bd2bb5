# METADATA
# description: Everybody may ask for a forecast; live ones belong to the paid plans.
package products.forecast

import data.lib.access
import data.lib.answers

default decision := {"allow": false, "reason": "plan-unknown", "detail": "Your plan does not cover forecasts."}

decision := answers.deny("org-suspended", "Your organisation is suspended.") if access.suspended

else := answers.deny("live-not-in-plan", "Live forecasts are part of the paid plans.") if {
	input.request.route in {"/{city}/live", "/{city}/socket"}
	not plan.live
}

else := answers.allow({"x-forecast-tier": plan.tier, "x-forecast-units": units})

plan := data.lib.plans[input.plan]

default units := "metric"

units := "imperial" if startswith(input.request.headers["accept-language"], "en-US")
