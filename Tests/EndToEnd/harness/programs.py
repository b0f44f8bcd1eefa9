"""Real programs, which `make setup` installs."""

import shutil


def program(name):
    found = shutil.which(name)
    assert found, f"{name} is missing: `make setup` installs it"
    return found
