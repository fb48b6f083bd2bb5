"""What APX is in Google Cloud, in CDKTF."""

from stacks.providers import PACKAGES, import_by_module, prepare_node

if all(import_by_module(package) for package in PACKAGES):  # before any module of theirs is imported
    prepare_node()
