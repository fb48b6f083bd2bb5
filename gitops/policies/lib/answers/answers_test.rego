package lib.answers_test

import data.lib.answers

test_an_allow_carries_its_headers if {
	answers.allow({"x-tier": "gold"}) == {"allow": true, "reason": "ok", "headers": {"x-tier": "gold"}}
}

test_an_allow_can_cost_more_than_one_token if {
	answers.allow_at_cost({}, 3).cost == 3
}

test_a_deny_says_why if {
	answers.deny("too-large", "Ask for less.") == {"allow": false, "reason": "too-large", "detail": "Ask for less."}
}
