"""A server that stands for companies' real backends: products to call, faults on demand, a record of what came."""
