# Sourced by scripts that run a program written in Python.

# python_venv NAME REQUIREMENTS: sets $venv to target/NAME, a virtual environment with exactly the packages of
# the file REQUIREMENTS. Exits with 3 if PyPI cannot be reached, so that scripts/test can report a skipped
# check, and with 1 if PyPI answers but the packages cannot be installed.
python_venv() {
    venv=$PWD/target/$1
    cmp -s "$2" "$venv/installed" && return
    command -v python3 >/dev/null || { echo "$0: python3 is missing; it is needed for $2" >&2; exit 3; }
    if python3 -m venv --clear "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"; then
        cp "$2" "$venv/installed"
        return
    fi
    if "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$venv/probe" idna >/dev/null 2>&1; then
        echo "$0: the packages of $2 cannot be installed, although PyPI can be reached" >&2
        exit 1
    fi
    echo "$0: PyPI cannot be reached" >&2
    exit 3
}
