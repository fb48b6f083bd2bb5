package products.summaries_test

import data.products.summaries

request := {
	"org": "globex",
	"region": "eu",
	"product": "summaries",
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
	"body": {"text": "A long story."},
}

changed(path, value) := json.patch(request, [{"op": "add", "path": path, "value": value}])

long(characters) := concat("", [letter | some i in numbers.range(1, characters); letter := substring("a", 0, i)])

test_a_short_text_costs_one_token if {
	summaries.decision.cost == 1 with input as request
}

test_a_longer_text_costs_more if {
	summaries.decision.cost == 3 with input as changed("/body/text", long(8000))
}

test_the_model_learns_the_tier if {
	summaries.decision.headers == {"x-model-tier": "silver"} with input as request
}

test_a_text_over_the_plan_is_denied if {
	summaries.decision.reason == "text-too-long" with input as changed("/body/text", long(20001))
}

test_a_text_that_is_missing_or_empty_is_denied if {
	every wrong in ["", null, 7, ["a"]] {
		summaries.decision.reason == "text-missing" with input as changed("/body/text", wrong)
	}
}

test_a_request_without_body_is_denied if {
	summaries.decision.reason == "text-missing" with input as object.remove(request, {"body"})
}

test_a_suspended_org_is_denied if {
	summaries.decision.reason == "org-suspended" with input as changed("/org", "hooli")
}

test_an_unknown_plan_is_denied if {
	summaries.decision.reason == "plan-unknown" with input as changed("/plan", "gratis")
}
