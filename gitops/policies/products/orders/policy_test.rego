package products.orders_test

import data.products.orders

request := {
	"org": "acme",
	"region": "us",
	"product": "orders",
	"plan": "free",
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
	"body": {"sku": "A-1", "quantity": 1, "amount_usd": 80},
}

changed(path, value) := json.patch(request, [{"op": "add", "path": path, "value": value}])

test_an_order_within_the_plan_is_allowed if {
	orders.decision.allow with input as request
}

test_the_backend_learns_tier_and_org if {
	headers := orders.decision.headers with input as request
	headers == {"x-order-tier": "standard", "x-order-org": "acme"}
}

test_an_order_over_the_plan_is_denied if {
	orders.decision.reason == "order-too-large" with input as changed("/body/amount_usd", 100.01)
}

test_a_replaced_order_is_bounded_too if {
	replaced := json.patch(request, [
		{"op": "replace", "path": "/request/method", "value": "PUT"},
		{"op": "replace", "path": "/request/route", "value": "/{order_id}"},
		{"op": "replace", "path": "/body/amount_usd", "value": 101},
	])
	orders.decision.reason == "order-too-large" with input as replaced
}

test_a_larger_plan_allows_a_larger_order if {
	larger := json.patch(request, [
		{"op": "replace", "path": "/plan", "value": "pro"},
		{"op": "replace", "path": "/body/amount_usd", "value": 9999},
	])
	orders.decision.allow with input as larger
}

test_an_amount_that_is_not_a_positive_number_is_denied if {
	every wrong in ["80", null, [80], 0, -1] {
		orders.decision.reason == "order-malformed" with input as changed("/body/amount_usd", wrong)
	}
}

test_an_order_without_body_is_denied if {
	orders.decision.reason == "order-malformed" with input as object.remove(request, {"body"})
}

test_reading_needs_no_body if {
	reading := object.remove(changed("/request/method", "GET"), {"body"})
	orders.decision.allow with input as reading
}

test_a_suspended_org_is_denied if {
	orders.decision.reason == "org-suspended" with input as changed("/org", "hooli")
}

test_a_blocked_address_is_denied if {
	orders.decision.reason == "address-blocked" with input as changed("/request/client_ip", "192.0.2.1")
}

test_an_unknown_plan_is_denied if {
	orders.decision.reason == "plan-unknown" with input as changed("/plan", "gratis")
}
