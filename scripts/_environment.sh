# Sourced by the scripts beside it: a virtual environment with this project in it, made once.
#
# BNN_TASKS_VENV         where it is (default: .venv in the repository)
# BNN_TASKS_TORCH_INDEX  a package index for torch and torchvision alone, for instance the one with CPU wheels:
#                        https://download.pytorch.org/whl/cpu
# PYTHON                 the Python >= 3.11 that makes it (default: python3)

make_environment() { # $1: extras, comma separated
  local venv="${BNN_TASKS_VENV:-.venv}" python="${PYTHON:-python3}" stamp
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Expected Python 3.11 or newer, but $python is $("$python" --version 2>&1). Cure: PYTHON=python3.11 $0" >&2
    exit 2
  fi
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  stamp="$venv/.installed-$(cksum < pyproject.toml | tr ' ' '-')-$1"
  if [ ! -e "$stamp" ]; then
    echo "Installing into $venv (torch is large: about 2 to 4 minutes) ..."
    if [ -n "${BNN_TASKS_TORCH_INDEX:-}" ]; then
      "$venv/bin/python" -m pip install --quiet --index-url "$BNN_TASKS_TORCH_INDEX" torch torchvision
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$1]"
    touch "$stamp"
  fi
  PATH="$PWD/$venv/bin:$PATH"
  [ "${venv#/}" = "$venv" ] || PATH="$venv/bin:$PATH"
  export PATH
}
