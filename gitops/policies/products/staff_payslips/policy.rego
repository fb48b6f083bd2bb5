# METADATA
# description: A person reads their own payslips; the payroll role reads and writes those of its org.
package products.staff_payslips

import data.lib.access
import data.lib.answers

default decision := {
	"allow": false,
	"reason": "not-yours",
	"detail": "You may read your own payslips; payroll may read and write those of its organisation.",
}

decision := answers.deny("org-suspended", "Your organisation is suspended.") if access.suspended

else := answers.deny("other-org", "The token was issued for another organisation.") if not same_org

else := answers.allow({"x-staff-reader": "payroll"}) if payroll

else := answers.allow({"x-staff-reader": "self"}) if {
	input.request.method == "GET"
	input.claims.sub == input.request.params.employee_id
}

same_org if input.claims.org == input.org

payroll if {
	is_array(input.claims.roles)
	"payroll" in input.claims.roles
}
