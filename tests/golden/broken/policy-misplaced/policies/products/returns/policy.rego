package products.refunds
