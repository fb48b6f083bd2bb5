"""An environment's stacks, brought to Google Cloud: `./dev deploy`, `./dev diff`, `./dev destroy`.

Runs in the ordinary environment and imports no cdktf: it looks at what was synthesised, and runs Terraform on it.
"""
