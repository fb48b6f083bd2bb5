package lib.access_test

import data.lib.access

test_an_org_in_good_standing_is_not_suspended if {
	not access.suspended with input as {"org": "acme"}
}

test_a_suspended_org_is_named_in_the_data if {
	access.suspended with input as {"org": "hooli"}
}

test_an_address_inside_a_blocked_network_is_blocked if {
	access.blocked_address with input as {"request": {"client_ip": "192.0.2.7"}}
}

test_an_address_outside_is_not if {
	not access.blocked_address with input as {"request": {"client_ip": "198.51.100.7"}}
}

test_an_address_that_is_not_known_is_not_blocked if {
	not access.blocked_address with input as {"request": {"client_ip": ""}}
}
