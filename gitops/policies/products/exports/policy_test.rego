package products.exports_test

import data.products.exports

request := {
	"org": "globex",
	"region": "eu",
	"product": "exports",
	"plan": "pro",
	"key": {"id": "k1"},
	"request": {
		"method": "POST",
		"route": "/",
		"path": "/",
		"params": {},
		"query": {},
		"headers": {},
		"client_ip": "198.51.100.7",
	},
	"body": {"dataset": "orders", "days": 7},
}

changed(path, value) := json.patch(request, [{"op": "add", "path": path, "value": value}])

test_an_export_within_the_plan_is_allowed if {
	exports.decision.allow with input as request
}

test_an_export_stays_in_the_region_of_its_org if {
	exports.decision.headers == {"x-export-region": "eu"} with input as request
}

test_an_export_costs_by_the_month if {
	exports.decision.cost == 1 with input as request
	exports.decision.cost == 2 with input as changed("/body/days", 31)
}

test_more_days_than_the_plan_allows_are_denied if {
	exports.decision.reason == "days-over-plan" with input as changed("/body/days", 32)
}

test_days_that_are_no_whole_positive_number_are_denied if {
	every wrong in [0, -1, 1.5, "7", null] {
		exports.decision.reason == "days-malformed" with input as changed("/body/days", wrong)
	}
}

test_reading_an_export_costs_one_token if {
	reading := object.remove(changed("/request/method", "GET"), {"body"})
	decision := exports.decision with input as reading
	decision.allow
	not decision.cost
}

test_a_suspended_org_is_denied if {
	exports.decision.reason == "org-suspended" with input as changed("/org", "hooli")
}

test_an_unknown_plan_is_denied if {
	exports.decision.reason == "plan-unknown" with input as changed("/plan", "gratis")
}
