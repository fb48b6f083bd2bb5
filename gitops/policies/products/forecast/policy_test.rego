package products.forecast_test

import data.products.forecast

request := {
	"org": "initech",
	"region": "us",
	"product": "forecast",
	"plan": "free",
	"key": {"id": "k1"},
	"request": {
		"method": "GET",
		"route": "/{city}",
		"path": "/oslo",
		"params": {"city": "oslo"},
		"query": {},
		"headers": {},
		"client_ip": "198.51.100.7",
	},
}

changed(path, value) := json.patch(request, [{"op": "add", "path": path, "value": value}])

test_a_forecast_is_for_every_plan if {
	forecast.decision.allow with input as request
}

test_units_are_metric_by_default if {
	forecast.decision.headers["x-forecast-units"] == "metric" with input as request
}

test_an_american_reader_gets_imperial_units if {
	american := changed("/request/headers/accept-language", "en-US,en;q=0.9")
	forecast.decision.headers["x-forecast-units"] == "imperial" with input as american
}

test_live_forecasts_are_not_in_the_free_plan if {
	every route in ["/{city}/live", "/{city}/socket"] {
		forecast.decision.reason == "live-not-in-plan" with input as changed("/request/route", route)
	}
}

test_live_forecasts_are_in_the_paid_plans if {
	paid := json.patch(request, [
		{"op": "replace", "path": "/request/route", "value": "/{city}/live"},
		{"op": "replace", "path": "/plan", "value": "pro"},
	])
	forecast.decision.allow with input as paid
}

test_a_suspended_org_is_denied if {
	forecast.decision.reason == "org-suspended" with input as changed("/org", "hooli")
}

test_an_unknown_plan_is_denied if {
	forecast.decision.reason == "plan-unknown" with input as changed("/plan", "gratis")
}
