package products.staff_payslips_test

import data.products.staff_payslips

request := {
	"org": "acme",
	"region": "us",
	"product": "staff-payslips",
	"plan": "enterprise",
	"key": {"id": "k1"},
	"request": {
		"method": "GET",
		"route": "/{employee_id}",
		"path": "/e-17",
		"params": {"employee_id": "e-17"},
		"query": {},
		"headers": {},
		"client_ip": "198.51.100.7",
	},
	"claims": {"iss": "https://issuer.demo.localhost", "sub": "e-17", "org": "acme", "roles": []},
}

changed(path, value) := json.patch(request, [{"op": "add", "path": path, "value": value}])

test_a_person_reads_their_own if {
	decision := staff_payslips.decision with input as request
	decision.allow
	decision.headers == {"x-staff-reader": "self"}
}

test_a_person_does_not_read_another_s if {
	staff_payslips.decision.reason == "not-yours" with input as changed("/claims/sub", "e-18")
}

test_a_person_does_not_write_their_own if {
	staff_payslips.decision.reason == "not-yours" with input as changed("/request/method", "PUT")
}

test_payroll_reads_and_writes_all if {
	payroll := json.patch(request, [
		{"op": "replace", "path": "/claims/sub", "value": "e-1"},
		{"op": "replace", "path": "/claims/roles", "value": ["payroll"]},
	])
	every method in ["GET", "PUT"] {
		decision := staff_payslips.decision with input as json.patch(
			payroll,
			[{"op": "replace", "path": "/request/method", "value": method}],
		)
		decision.headers == {"x-staff-reader": "payroll"}
	}
}

test_a_role_that_is_no_list_grants_nothing if {
	wrong := json.patch(request, [
		{"op": "replace", "path": "/claims/sub", "value": "e-1"},
		{"op": "replace", "path": "/claims/roles", "value": {"any": "payroll"}},
	])
	staff_payslips.decision.reason == "not-yours" with input as wrong
}

test_a_token_of_another_org_is_denied if {
	staff_payslips.decision.reason == "other-org" with input as changed("/claims/org", "globex")
}

test_a_request_without_claims_is_denied if {
	staff_payslips.decision.reason == "other-org" with input as object.remove(request, {"claims"})
}

test_a_suspended_org_is_denied if {
	staff_payslips.decision.reason == "org-suspended" with input as changed("/org", "hooli")
}
