"""What a change of the stacks would do, told from two commits without access to any cloud (docs/stack-changes.md)."""
