package products.orders

decision := {"allow": true, "reason": "ok"}
