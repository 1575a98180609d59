#!/usr/bin/env bash
# Runs `mtb gate` and tells GitHub what came of it; settings come as GATE_* variables from action.yml, so that no value
# is ever part of a script.
# Exit code: 0 no regression, or inconclusive unless GATE_FAIL_ON_INCONCLUSIVE=true; 3, 4, 5, 2, 1 as `mtb gate`.
set -uo pipefail

if [ -z "${GATE_BASE_RUN:-}" ]; then
  echo "::error title=mtb gate::base-run is not set"
  exit 2
fi
mtb="${GATE_MTB:-mtb}"
if ! command -v "$mtb" >/dev/null 2>&1; then
  echo "::error title=mtb gate::the command '$mtb' is not installed; install multitask-bench in an earlier step"
  exit 2
fi

# An option reaches mtb only where it has a value.
option() { if [ -n "$2" ]; then options+=("$1=$2"); fi; }
options=(gate)
option --arm "${GATE_ARM:-}"
option --margin "${GATE_MARGIN:-}"
option --max-rate "${GATE_MAX_RATE:-}"
option --twins-margin "${GATE_TWINS_MARGIN:-}"
option --task-margin "${GATE_TASK_MARGIN:-}"
option --json "${GATE_JSON:-}"
option --junit "${GATE_JUNIT:-}"
if [ "${GATE_SEQUENTIAL:-false}" = true ]; then options+=(--sequential); fi
options+=(-- "$GATE_BASE_RUN")
if [ -n "${GATE_TUNED_RUN:-}" ]; then options+=("$GATE_TUNED_RUN"); fi

shown="$(mktemp)"
trap 'rm -f "$shown"' EXIT
COLUMNS="${COLUMNS:-120}" "$mtb" "${options[@]}" >"$shown" 2>&1
code=$?

# Names of arms and forms are the user's: nothing in them is taken for a command to GitHub.
token="mtb-$$-$RANDOM$RANDOM"
echo "::stop-commands::$token"
cat "$shown"
echo "::$token::"

verdict=""
case $code in
  0 | 3 | 4 | 5) verdict="$(head -n 1 "$shown")" ;;
  2) verdict="$(tail -n 1 "$shown")" ;;
  *) verdict="mtb gate ended with exit code $code" ;;
esac
verdict="$(printf '%s' "$verdict" | tr -d '\r\n')"
if [ -n "${GITHUB_OUTPUT:-}" ]; then printf 'code=%s\nverdict=%s\n' "$code" "$verdict" >>"$GITHUB_OUTPUT"; fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  { printf '### mtb gate: exit code %s\n\n' "$code" && sed 's/^/    /' "$shown" && echo; } >>"$GITHUB_STEP_SUMMARY"
fi

text="$(printf '%s' "$verdict" | sed 's/%/%25/g')"
case $code in
  0) echo "::notice title=mtb gate::$text" ;;
  4)
    if [ "${GATE_FAIL_ON_INCONCLUSIVE:-false}" = true ]; then
      echo "::error title=mtb gate::$text"
    else
      echo "::warning title=mtb gate::$text"
      code=0
    fi
    ;;
  *) echo "::error title=mtb gate::$text" ;;
esac
exit "$code"
